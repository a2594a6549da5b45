//! Which request goes where.

/// Where a request goes that no file answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: the cover page.
    Cover { url: String },
    /// `/live/chNN/rest`: `/rest` of the chapter's Worker.
    Live { binding: String, url: String },
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
            return Some(Self::Cover {
                url: format!("{scheme}://{host}/index.html{query}"),
            });
        }
        let live = path.strip_prefix("live/")?;
        let (chapter, rest) = live.split_once('/').unwrap_or((live, ""));
        let number = chapter.strip_prefix("ch")?;
        let fits = number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self::Live {
            binding: format!("CH{number}"),
            url: format!("{scheme}://{host}/{rest}{query}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(binding: &str, url: &str) -> Option<Route> {
        Some(Route::Live { binding: binding.into(), url: url.into() })
    }

    /// A chapter sees its own paths, with the query, and never another chapter's.
    #[test]
    fn live_requests_lose_their_prefix() {
        assert_eq!(Route::of("http://h/live/ch02"), live("CH02", "http://h/"));
        assert_eq!(Route::of("http://h/live/ch02/"), live("CH02", "http://h/"));
        assert_eq!(
            Route::of("https://h:1/live/ch02/a/b?c=/d"),
            live("CH02", "https://h:1/a/b?c=/d")
        );
        assert_eq!(
            Route::of("http://h/live/ch02//ch01/x"),
            live("CH02", "http://h//ch01/x")
        );
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
            "h",
        ] {
            assert_eq!(Route::of(url), None, "{url}");
        }
    }
}
