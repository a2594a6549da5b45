//! Which request goes where.

/// Where a request goes that no file answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: the cover page.
    Cover { url: String },
    /// `/live/visitor`: who is not known yet becomes a visitor.
    Visitor,
    /// `/live/restart/chNN`, `/live/reset/chNN`: something is done to all objects
    /// that a visitor has in a chapter.
    Act { act: Act, chapter: String, query: String },
    /// `/live/exercise/chNN`: the tests of a chapter's exercises.
    Exercise { chapter: String },
    /// `/live/chNN/rest`: `/rest` of the chapter's Worker.
    Live { chapter: String, url: String },
}

/// What can be done to all objects of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// They lose what is in memory, as when the server is started again.
    Restart,
    /// They lose all.
    Reset,
}

impl Act {
    /// The word for it, in paths and between our Workers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reset => "reset",
        }
    }
}

impl Route {
    /// Reads an absolute URL, as requests carry it. Nothing means the 404 page.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (path, String::new()),
        };
        if path.is_empty() {
            let url = format!("{scheme}://{host}/index.html{query}");
            return Some(Self::Cover { url });
        }
        let live = path.strip_prefix("live/")?;
        let (first, rest) = live.split_once('/').unwrap_or((live, ""));
        if is_chapter(first) {
            let url = format!("{scheme}://{host}/{rest}{query}");
            return Some(Self::Live { chapter: first.to_owned(), url });
        }
        let chapter = || is_chapter(rest).then(|| rest.to_owned());
        let act = |act| Some(Self::Act { act, chapter: chapter()?, query });
        match first {
            "visitor" if rest.is_empty() => Some(Self::Visitor),
            "exercise" => Some(Self::Exercise { chapter: chapter()? }),
            "restart" => act(Act::Restart),
            "reset" => act(Act::Reset),
            _ => None,
        }
    }
}

fn is_chapter(name: &str) -> bool {
    let number = name.strip_prefix("ch").unwrap_or_default();
    number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of the service binding to a chapter's Worker.
pub fn binding(chapter: &str) -> String {
    chapter.to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(chapter: &str, url: &str) -> Option<Route> {
        Some(Route::Live { chapter: chapter.into(), url: url.into() })
    }

    /// A chapter sees its own paths, with the query, and never another chapter's.
    #[test]
    fn live_requests_lose_their_prefix() {
        assert_eq!(Route::of("http://h/live/ch02"), live("ch02", "http://h/"));
        assert_eq!(Route::of("http://h/live/ch02/"), live("ch02", "http://h/"));
        assert_eq!(
            Route::of("https://h:1/live/ch02/a/b?c=/d"),
            live("ch02", "https://h:1/a/b?c=/d")
        );
        assert_eq!(
            Route::of("http://h/live/ch02//ch01/x"),
            live("ch02", "http://h//ch01/x")
        );
        assert_eq!(binding("ch02"), "CH02");
    }

    /// The root is the cover; what is neither root nor chapter is nobody's.
    #[test]
    fn the_rest_is_cover_or_nothing() {
        assert_eq!(
            Route::of("http://h/?q"),
            Some(Route::Cover { url: "http://h/index.html?q".into() })
        );
        for url in [
            "http://h/nope",
            "http://h/live/",
            "http://h/live/ch2/",
            "http://h/live/CH02/",
            "http://h/live/chxy",
            "http://h/live/visitor/x",
            "http://h/live/reset",
            "http://h/live/reset/",
            "http://h/live/reset/ch02/x",
            "http://h/live/exercise/ch2",
            "h",
        ] {
            assert_eq!(Route::of(url), None, "{url}");
        }
    }

    /// What belongs to a visitor has routes of its own, beside the chapters.
    #[test]
    fn the_visitors_own_routes() {
        assert_eq!(Route::of("http://h/live/visitor"), Some(Route::Visitor));
        let chapter = || "ch02".to_owned();
        assert_eq!(
            Route::of("http://h/live/exercise/ch02"),
            Some(Route::Exercise { chapter: chapter() })
        );
        for act in [Act::Restart, Act::Reset] {
            assert_eq!(
                Route::of(&format!("http://h/live/{}/ch02?live.as=x", act.word())),
                Some(Route::Act {
                    act,
                    chapter: chapter(),
                    query: "?live.as=x".into()
                })
            );
        }
    }
}
