//! Headers that a page cannot set, given in the query of a live request.

/// The parameters that set a header. Each is `live.` and the header's name.
pub const SETTABLE: [&str; 3] =
    ["live.Upgrade", "live.Origin", "live.CF-Connecting-IP"];
/// The parameter with which somebody plays with the objects of another.
const INVITATION: &str = "live.as";

/// A live request's URL without what is meant for the front door, and that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub invitation: Option<String>,
}

impl Asked {
    /// Takes the parameters that begin with `live.` out of a URL. What else is in
    /// the query stays as it is, byte for byte: it is the chapter's. Nothing, if there
    /// is no such parameter.
    pub fn of(url: &str) -> Option<Self> {
        let Some((path, query)) = url.split_once('?') else {
            return Some(Self { url: url.to_owned(), ..Self::default() });
        };
        let mut asked = Self::default();
        let mut kept = Vec::new();
        for part in query.split('&') {
            if !part.starts_with("live.") {
                kept.push(part);
                continue;
            }
            let pair = form_urlencoded::parse(part.as_bytes()).next();
            let (name, value) = pair?;
            if name == INVITATION {
                asked.invitation = Some(value.into_owned());
                continue;
            }
            let name = SETTABLE.iter().find(|known| **known == name);
            let header = name.and_then(|name| name.strip_prefix("live."));
            // What is no text of a header would make the runtime fail.
            let fits = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            asked.headers.push((header.filter(|_| fits)?, value.into_owned()));
        }
        asked.url = match kept.join("&") {
            kept if kept.is_empty() => path.to_owned(),
            kept => format!("{path}?{kept}"),
        };
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Asked {
        Asked::of(url).unwrap()
    }

    /// A chapter's own query is not touched, whatever is in it.
    #[test]
    fn the_rest_stays() {
        for url in [
            "http://h/a",
            "http://h/a?flightId=../42&x=%2F+&y",
            "http://h/?name=live.as",
        ] {
            let plain = Asked { url: url.into(), ..Asked::default() };
            assert_eq!(asked(url), plain);
        }
        assert_eq!(asked("http://h/a?").url, "http://h/a");
    }

    /// What is for the front door is taken out, and read.
    #[test]
    fn ours_are_read() {
        let asked = asked(
            "http://h/a?x=1&live.Upgrade=websocket&live.as=id.0f&y=2\
             &live.Origin=https%3A%2F%2Fevil.example",
        );
        assert_eq!(asked.url, "http://h/a?x=1&y=2");
        assert_eq!(asked.invitation.as_deref(), Some("id.0f"));
        let origin = ("Origin", "https://evil.example".to_owned());
        assert_eq!(asked.headers, [("Upgrade", "websocket".to_owned()), origin]);
    }

    /// Other headers are not for the page to set, and a header has no line breaks.
    #[test]
    fn others_are_refused() {
        for part in [
            "live.Cookie=live",
            "live.Live-Visitor=ada",
            "live.origin=x",
            "live.",
            "live.Origin=a%0D%0Ab",
            "live.Origin=%C3%A9",
        ] {
            let url = format!("http://h/a?{part}");
            assert!(Asked::of(&url).is_none(), "{part}");
        }
    }
}
