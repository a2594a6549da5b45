//! The rules of the counter: which requests make sense, and how a count may grow.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

/// The longest name of a counter, in characters.
pub const NAME_MAX: usize = 64;
/// The largest amount that one request may add.
pub const AMOUNT_MAX: u32 = 1_000;
/// The largest count: 2^53 - 1, the last integer that JavaScript keeps exact.
pub const COUNT_MAX: u64 = (1 << 53) - 1;
/// The longest request body, in bytes.
pub const BODY_MAX: usize = 64;
/// Where Cloudflare can be asked to place an object; see
/// <https://developers.cloudflare.com/durable-objects/reference/data-location/>.
pub const HINTS: [&str; 9] =
    ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"];
/// Where an object can be made to stay; see
/// <https://developers.cloudflare.com/durable-objects/reference/data-location/>.
pub const JURISDICTIONS: [&str; 3] = ["eu", "fedramp", "us"];

// ANCHOR: refusal
/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET / lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("a name is 1 to {NAME_MAX} of the characters a-z, 0-9 and '-'")]
    Name,
    #[error("an id is the 64 hexadecimal digits that POST /ids gave you")]
    Id,
    #[error("a hint is one of {}", HINTS.join(", "))]
    Hint,
    #[error("a jurisdiction is one of {}", JURISDICTIONS.join(", "))]
    Jurisdiction,
    #[error("the body is empty or a whole number from 1 to {AMOUNT_MAX}")]
    Amount,
    #[error("the count would pass {COUNT_MAX}, so it stays as it is")]
    Full,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
    #[error("only Cloudflare's network has jurisdictions, this runtime does not")]
    NoJurisdictions,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method(_) => 405,
            Self::Full => 409,
            Self::BodySize => 413,
            Self::NoJurisdictions => 501,
            _ => 400,
        }
    }
}
// ANCHOR_END: refusal

// ANCHOR: route
/// A request that makes sense: every part of its path has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /`
    Help,
    /// `GET /last-city`
    LastCity,
    /// `POST /ids`, `POST /ids/within/<jurisdiction>`
    NewId { within: Option<&'a str> },
    /// `GET /counters/<name>/id`
    IdOf { name: &'a str },
    /// `GET /ids/<id>/is/<name>`
    Same { id: &'a str, name: &'a str },
    /// `GET` of a counter
    Read(Target<'a>),
    /// `GET /counters/<name>/about`
    About(Target<'a>),
    /// `POST` to a counter
    Add(Target<'a>),
}

/// Which counter is meant, and where it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub who: Who<'a>,
    /// A wish: place the object there if it is new.
    pub near: Option<&'a str>,
    /// A law: the object never leaves.
    pub within: Option<&'a str>,
}

/// The two ways to say which object.
#[derive(Debug, PartialEq, Eq)]
pub enum Who<'a> {
    Name(&'a str),
    Id(&'a str),
}
// ANCHOR_END: route

impl<'a> Route<'a> {
    /// Makes sense of a method and a path, or says why it cannot.
    pub fn parse(method: &str, path: &'a str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let target = |who, near, within| Target { who, near, within };
        let get = || match method {
            "GET" | "HEAD" => Ok(()),
            _ => Err(Refusal::Method("GET, HEAD")),
        };
        let post = || match method {
            "POST" => Ok(()),
            _ => Err(Refusal::Method("POST")),
        };
        let get_or_post = |target| match method {
            "GET" | "HEAD" => Ok(Self::Read(target)),
            "POST" => Ok(Self::Add(target)),
            _ => Err(Refusal::Method("GET, HEAD, POST")),
        };
        match *segments.as_slice() {
            [""] => get().map(|()| Self::Help),
            ["last-city"] => get().map(|()| Self::LastCity),
            ["ids"] => post().map(|()| Self::NewId { within: None }),
            ["ids", "within", place] => {
                post()?;
                let within = Some(jurisdiction(place)?);
                Ok(Self::NewId { within })
            }
            ["ids", hex] => get_or_post(target(Who::Id(id(hex)?), None, None)),
            ["ids", hex, "near", place] => {
                post()?;
                Ok(Self::Add(target(Who::Id(id(hex)?), Some(hint(place)?), None)))
            }
            ["ids", hex, "is", text] => {
                get()?;
                Ok(Self::Same { id: id(hex)?, name: name(text)? })
            }
            ["counters", text] => {
                get_or_post(target(Who::Name(name(text)?), None, None))
            }
            ["counters", text, "id"] => {
                get()?;
                Ok(Self::IdOf { name: name(text)? })
            }
            ["counters", text, "about"] => {
                get()?;
                Ok(Self::About(target(Who::Name(name(text)?), None, None)))
            }
            ["counters", text, "near", place] => {
                post()?;
                Ok(Self::Add(target(
                    Who::Name(name(text)?),
                    Some(hint(place)?),
                    None,
                )))
            }
            ["counters", text, "within", place] => get_or_post(target(
                Who::Name(name(text)?),
                None,
                Some(jurisdiction(place)?),
            )),
            _ => Err(Refusal::Path),
        }
    }
}

fn name(text: &str) -> Result<&str, Refusal> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain);
    fits.then_some(text).ok_or(Refusal::Name)
}

fn id(text: &str) -> Result<&str, Refusal> {
    let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then_some(text).ok_or(Refusal::Id)
}

fn hint(text: &str) -> Result<&str, Refusal> {
    HINTS.contains(&text).then_some(text).ok_or(Refusal::Hint)
}

fn jurisdiction(text: &str) -> Result<&str, Refusal> {
    let known = JURISDICTIONS.contains(&text);
    known.then_some(text).ok_or(Refusal::Jurisdiction)
}

// ANCHOR: amount
/// Reads the amount from a request body; an empty body means 1.
pub fn amount(body: &[u8]) -> Result<u32, Refusal> {
    if body.is_empty() {
        return Ok(1);
    }
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|amount| (1..=AMOUNT_MAX).contains(amount))
        .ok_or(Refusal::Amount)
}
// ANCHOR_END: amount

// ANCHOR: add
/// The new count, if it may grow by that amount.
pub fn add(count: u64, amount: u32) -> Result<u64, Refusal> {
    count
        .checked_add(amount.into())
        .filter(|&sum| sum <= COUNT_MAX)
        .ok_or(Refusal::Full)
}
// ANCHOR_END: add

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// Every route of the help text is understood.
    #[test]
    fn good_requests() {
        let kitchen =
            |near, within| Target { who: Who::Name("kitchen"), near, within };
        let by_id = |near| Target { who: Who::Id(ID), near, within: None };
        let cases = [
            ("GET", "/".into(), Route::Help),
            ("HEAD", "/".into(), Route::Help),
            ("GET", "/last-city".into(), Route::LastCity),
            ("GET", "/counters/kitchen".into(), Route::Read(kitchen(None, None))),
            ("HEAD", "/counters/kitchen".into(), Route::Read(kitchen(None, None))),
            ("POST", "/counters/kitchen".into(), Route::Add(kitchen(None, None))),
            (
                "GET",
                "/counters/kitchen/about".into(),
                Route::About(kitchen(None, None)),
            ),
            ("GET", "/counters/kitchen/id".into(), Route::IdOf { name: "kitchen" }),
            (
                "POST",
                "/counters/kitchen/near/weur".into(),
                Route::Add(kitchen(Some("weur"), None)),
            ),
            (
                "GET",
                "/counters/kitchen/within/eu".into(),
                Route::Read(kitchen(None, Some("eu"))),
            ),
            (
                "POST",
                "/counters/kitchen/within/eu".into(),
                Route::Add(kitchen(None, Some("eu"))),
            ),
            ("POST", "/ids".into(), Route::NewId { within: None }),
            ("POST", "/ids/within/us".into(), Route::NewId { within: Some("us") }),
            ("GET", format!("/ids/{ID}"), Route::Read(by_id(None))),
            ("POST", format!("/ids/{ID}"), Route::Add(by_id(None))),
            ("POST", format!("/ids/{ID}/near/oc"), Route::Add(by_id(Some("oc")))),
            (
                "GET",
                format!("/ids/{ID}/is/kitchen"),
                Route::Same { id: ID, name: "kitchen" },
            ),
        ];
        for (method, path, route) in &cases {
            assert_eq!(
                Route::parse(method, path).as_ref(),
                Ok(route),
                "{method} {path}"
            );
        }
    }

    /// A path that is not there is 404, whatever the method.
    #[test]
    fn unknown_paths() {
        for path in [
            "",
            "/counter",
            "/counters",
            "/counters/a/b",
            "/ids/a/b/c",
            "//",
            "/COUNTERS/a",
        ] {
            assert_eq!(Route::parse("GET", path), Err(Refusal::Path), "{path}");
            assert_eq!(Route::parse("POST", path), Err(Refusal::Path), "{path}");
        }
    }

    /// A method that a path does not take is 405 and names those that it takes.
    #[test]
    fn wrong_methods() {
        let wrong = |method, path: &str| match Route::parse(method, path) {
            Err(Refusal::Method(allow)) => allow,
            other => panic!("{method} {path}: {other:?}"),
        };
        assert_eq!(wrong("POST", "/"), "GET, HEAD");
        assert_eq!(wrong("GET", "/ids"), "POST");
        assert_eq!(wrong("GET", "/ids/within/eu"), "POST");
        assert_eq!(wrong("PURGE", "/counters/kitchen"), "GET, HEAD, POST");
        assert_eq!(wrong("DELETE", &format!("/ids/{ID}")), "GET, HEAD, POST");
        assert_eq!(wrong("GET", "/counters/kitchen/near/weur"), "POST");
        assert_eq!(wrong("POST", "/counters/kitchen/about"), "GET, HEAD");
        assert_eq!(wrong("POST", "/counters/kitchen/id"), "GET, HEAD");
    }

    /// Bad names, ids and places are refused before they reach a namespace.
    #[test]
    fn malformed_parts() {
        let refused = |path: &str| Route::parse("POST", path).err();
        for bad in
            ["", "Kitchen", "two words", "%61", "ä", &"x".repeat(NAME_MAX + 1)]
        {
            assert_eq!(
                refused(&format!("/counters/{bad}")),
                Some(Refusal::Name),
                "{bad:?}"
            );
        }
        assert_eq!(refused(&format!("/counters/{}", "x".repeat(NAME_MAX))), None);
        for bad in ["", "xyz", &ID[1..], &ID.replace('0', "g")] {
            assert_eq!(
                refused(&format!("/ids/{bad}")),
                Some(Refusal::Id),
                "{bad:?}"
            );
        }
        assert_eq!(refused("/counters/kitchen/near/moon"), Some(Refusal::Hint));
        assert_eq!(
            refused("/counters/kitchen/within/EU"),
            Some(Refusal::Jurisdiction)
        );
        assert_eq!(refused("/ids/within/"), Some(Refusal::Jurisdiction));
    }

    /// An amount is a small positive number, or nothing at all.
    #[test]
    fn amounts() {
        for (body, good) in [("", 1), ("1", 1), ("5\n", 5), ("1000", AMOUNT_MAX)] {
            assert_eq!(amount(body.as_bytes()), Ok(good), "{body:?}");
        }
        for bad in
            ["0", "1001", "-1", "1.5", "five", "{}", "99999999999999", "\0", " "]
        {
            assert_eq!(amount(bad.as_bytes()), Err(Refusal::Amount), "{bad:?}");
        }
        assert_eq!(amount(&[0xff, 0xfe]), Err(Refusal::Amount));
    }

    /// The count stops at its limit instead of wrapping or losing digits.
    #[test]
    fn sums() {
        assert_eq!(add(0, 1), Ok(1));
        assert_eq!(add(COUNT_MAX - 1, 1), Ok(COUNT_MAX));
        assert_eq!(add(COUNT_MAX, 1), Err(Refusal::Full));
        assert_eq!(add(u64::MAX, 1), Err(Refusal::Full));
    }

    /// The statuses that callers rely on.
    #[test]
    fn statuses() {
        let status = [
            Refusal::Path,
            Refusal::Method("GET"),
            Refusal::Name,
            Refusal::BodySize,
        ]
        .map(|refusal| refusal.status());
        assert_eq!(status, [404, 405, 400, 413]);
    }
}
