//! The rules: which requests make sense, and what may be written into a guest book.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

use serde::Deserialize;

use crate::query::parameter;

/// The longest name of a book, in characters.
pub const BOOK_MAX: usize = 32;
/// The longest name of a guest, in characters.
pub const NAME_MAX: usize = 64;
/// The longest text of a line, in characters.
pub const TEXT_MAX: usize = 500;
/// The most lines in a book.
pub const LINES_MAX: u32 = 10_000;
/// The most lines that one answer holds.
pub const PAGE_MAX: u32 = 100;
/// The longest request body, in bytes. The longest name and text fit, though each of
/// their characters may be written as `\ud83c\udfe1`, twelve bytes.
pub const BODY_MAX: usize = 8_000;

/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET /help lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error(
        "a book's name is 1 to {BOOK_MAX} of the characters A-Z, a-z, 0-9, '-'"
    )]
    Book,
    #[error("after is 0 to {LINES_MAX}, limit is 1 to {PAGE_MAX}")]
    Page,
    #[error(r#"a line looks like {{"name":"Ada","text":"Lovely cellar."}}"#)]
    Line,
    #[error("a name is 1 to {NAME_MAX} characters long, none of them a control")]
    Name,
    #[error(
        "a text is one line of 1 to {TEXT_MAX} characters, none of them a control"
    )]
    Text,
    #[error("this book has {LINES_MAX} lines and is full; please sign another")]
    Full,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method(_) => 405,
            Self::Full => 409,
            Self::BodySize => 413,
            _ => 400,
        }
    }
}

/// A request that makes sense: every part of its address has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /help`
    Help,
    /// `GET /books/<name>?after=<number>&limit=<number>`
    Read { book: String, after: u32, limit: u32 },
    /// `POST /books/<name>`
    Sign { book: String },
    /// `GET /books/<name>/where`
    Where { book: String },
}

impl Route {
    /// Makes sense of a method, a path and a whole URL, or says why it cannot.
    pub fn parse(method: &str, path: &str, url: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let get = matches!(method, "GET" | "HEAD");
        match *segments.as_slice() {
            ["help"] if get => Ok(Self::Help),
            ["books", name] if get => {
                let book = book(name)?;
                let number = |name, default| match parameter(url, name) {
                    Some(text) => text.parse().map_err(|_| Refusal::Page),
                    None => Ok(default),
                };
                let (after, limit) =
                    (number("after", 0)?, number("limit", PAGE_MAX)?);
                let fits = after <= LINES_MAX && (1..=PAGE_MAX).contains(&limit);
                fits.then_some(Self::Read { book, after, limit })
                    .ok_or(Refusal::Page)
            }
            ["books", name] if method == "POST" => {
                Ok(Self::Sign { book: book(name)? })
            }
            ["books", name, "where"] if get => {
                Ok(Self::Where { book: book(name)? })
            }
            ["books", _] => Err(Refusal::Method("GET, HEAD, POST")),
            ["help"] | ["books", _, "where"] => Err(Refusal::Method("GET, HEAD")),
            _ => Err(Refusal::Path),
        }
    }
}

/// The name of a book, if it may be one.
fn book(name: &str) -> Result<String, Refusal> {
    let fits = (1..=BOOK_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then(|| name.to_owned()).ok_or(Refusal::Book)
}

/// What somebody wants to write into the book.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct NewLine {
    pub name: String,
    pub text: String,
}

impl NewLine {
    /// Reads the body of `POST /books/<name>`. What stands between the first and the
    /// last visible character is kept exactly as it was sent.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        // Serde would also take `["Ada","Lovely cellar."]` for a line.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::Line);
        }
        let Self { name, text } =
            serde_json::from_slice(body).map_err(|_| Refusal::Line)?;
        Ok(Self {
            name: words(&name, NAME_MAX).ok_or(Refusal::Name)?,
            text: words(&text, TEXT_MAX).ok_or(Refusal::Text)?,
        })
    }
}

/// A text without the space around it, if it fits on one line.
fn words(text: &str, max: usize) -> Option<String> {
    let text = text.trim();
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let fits = (1..=max).contains(&text.chars().count()) && !text.contains(breaks);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(method: &str, address: &str) -> Result<Route, Refusal> {
        let path = address.split('?').next().unwrap_or_default();
        Route::parse(method, path, &format!("https://village{address}"))
    }

    /// Every route of the help text is understood.
    #[test]
    fn good_requests() {
        let book = || "village".to_owned();
        let read = |after, limit| Route::Read { book: book(), after, limit };
        let longest = "x".repeat(BOOK_MAX);
        let cases = [
            ("GET", "/help", Route::Help),
            ("GET", "/books/village", read(0, PAGE_MAX)),
            ("HEAD", "/books/village", read(0, PAGE_MAX)),
            ("GET", "/books/village?after=7&limit=1", read(7, 1)),
            ("GET", "/books/village?after=10000", read(LINES_MAX, PAGE_MAX)),
            ("POST", "/books/village", Route::Sign { book: book() }),
            ("GET", "/books/village/where", Route::Where { book: book() }),
            ("GET", "/books/where/where", Route::Where { book: "where".into() }),
            (
                "POST",
                &format!("/books/{longest}"),
                Route::Sign { book: longest.clone() },
            ),
        ];
        for (method, address, route) in cases {
            assert_eq!(parse(method, address), Ok(route), "{method} {address}");
        }
    }

    /// Bad addresses are refused before they reach a namespace.
    #[test]
    fn bad_addresses() {
        let long = "x".repeat(BOOK_MAX + 1);
        let cases = [
            ("GET", "/".to_owned(), Refusal::Path),
            ("GET", "/books".into(), Refusal::Path),
            ("GET", "/BOOKS/a".into(), Refusal::Path),
            ("GET", "/books/a/where/b".into(), Refusal::Path),
            ("GET", "/books/".into(), Refusal::Book),
            ("GET", "/books/two%20words".into(), Refusal::Book),
            ("GET", "/books/..".into(), Refusal::Book),
            ("POST", format!("/books/{long}"), Refusal::Book),
            ("GET", format!("/books/{long}/where"), Refusal::Book),
            ("GET", "/books/a?limit=0".into(), Refusal::Page),
            ("GET", "/books/a?limit=101".into(), Refusal::Page),
            ("GET", "/books/a?limit=4294967297".into(), Refusal::Page),
            ("GET", "/books/a?after=-1".into(), Refusal::Page),
            ("GET", "/books/a?after=10001".into(), Refusal::Page),
            ("GET", "/books/a?after=".into(), Refusal::Page),
            ("POST", "/help".into(), Refusal::Method("GET, HEAD")),
            ("POST", "/books/a/where".into(), Refusal::Method("GET, HEAD")),
            ("DELETE", "/books/a".into(), Refusal::Method("GET, HEAD, POST")),
        ];
        for (method, address, refusal) in cases {
            assert_eq!(parse(method, &address), Err(refusal), "{method} {address}");
        }
    }

    fn line(name: &str, text: &str) -> Result<NewLine, Refusal> {
        let body = serde_json::json!({ "name": name, "text": text });
        NewLine::parse(body.to_string().as_bytes())
    }

    /// Words of any script are welcome, and kept as they are; empty, long and
    /// unprintable ones are not.
    #[test]
    fn words_of_any_script() {
        let longest = "ä".repeat(NAME_MAX);
        for (given, kept) in [
            ("A", "A"),
            ("\t Ada\u{a0}\n", "Ada"),
            ("two  spaces", "two  spaces"),
            ("Иван", "Иван"),
            ("山田 太郎", "山田 太郎"),
            ("مريم", "مريم"),
            ("e\u{301} 👩‍🌾", "e\u{301} 👩‍🌾"),
            ("'); DROP TABLE lines; --", "'); DROP TABLE lines; --"),
            ("<b>", "<b>"),
            (&longest, &longest),
        ] {
            let both = NewLine { name: kept.into(), text: kept.into() };
            assert_eq!(line(given, given), Ok(both));
        }
        for bad in ["", " \n ", "a\0b", "a\nb", "a\rb", "\u{9d}", "a\u{2028}b"] {
            assert_eq!(line(bad, "Hello"), Err(Refusal::Name), "{bad:?}");
            assert_eq!(line("Ada", bad), Err(Refusal::Text), "{bad:?}");
        }
        assert_eq!(line(&format!("{longest}ä"), "Hello"), Err(Refusal::Name));
        assert!(line("Ada", &"山".repeat(TEXT_MAX)).is_ok());
        let too_long = "山".repeat(TEXT_MAX + 1);
        assert_eq!(line("Ada", &too_long), Err(Refusal::Text));
    }

    /// A body is a line, or it is told what a line looks like.
    #[test]
    fn bodies() {
        for bad in [
            "",
            "Ada",
            r#"["Ada","Hello"]"#,
            "null",
            r#"{"name":"Ada"}"#,
            r#"{"name":"Ada","text":7}"#,
            r#"{"name":"Ada","text":"\ud83c"}"#,
            r#"{"name":"Ada","text":"a"} "#.repeat(2).as_str(),
        ] {
            let refused = NewLine::parse(bad.as_bytes());
            assert_eq!(refused, Err(Refusal::Line), "{bad}");
        }
        assert_eq!(NewLine::parse(&[0xff, 0xfe]), Err(Refusal::Line));
    }

    /// The longest line fits into a body, however its characters are written.
    #[test]
    fn the_longest_line_fits() {
        let house = r"\ud83c\udfe1";
        let (name, text) = (house.repeat(NAME_MAX), house.repeat(TEXT_MAX));
        let body = format!(r#"{{ "name": "{name}", "text": "{text}" }}"#);
        assert!(body.len() <= BODY_MAX, "{} bytes", body.len());
        let line = NewLine::parse(body.as_bytes()).unwrap();
        assert_eq!(line.text, "🏡".repeat(TEXT_MAX));
    }

    /// The statuses that callers rely on, each with one line of text.
    #[test]
    fn statuses() {
        let cases = [
            (Refusal::Path, 404),
            (Refusal::Method("GET"), 405),
            (Refusal::Book, 400),
            (Refusal::Page, 400),
            (Refusal::Line, 400),
            (Refusal::Name, 400),
            (Refusal::Text, 400),
            (Refusal::Full, 409),
            (Refusal::BodySize, 413),
        ];
        for (refusal, status) in cases {
            assert_eq!(refusal.status(), status, "{refusal}");
            assert_eq!(refusal.to_string().lines().count(), 1, "{refusal}");
        }
    }

    proptest! {
        /// Whatever is sent: what is let through is within the limits, on one line,
        /// and stood there.
        #[test]
        fn any_line(name in any::<String>(), text in any::<String>()) {
            if let Ok(line) = line(&name, &text) {
                prop_assert_eq!(&line.name, name.trim());
                prop_assert_eq!(&line.text, text.trim());
                prop_assert!((1..=NAME_MAX).contains(&line.name.chars().count()));
                prop_assert!((1..=TEXT_MAX).contains(&line.text.chars().count()));
                prop_assert!(!(line.name + &line.text).contains(char::is_control));
            }
        }

        /// No body makes the parser panic.
        #[test]
        fn any_body(body in any::<Vec<u8>>()) {
            let _ = NewLine::parse(&body);
        }

        /// No address makes the router panic, and no name of a book gets through that
        /// is not one.
        #[test]
        fn any_address(method in "GET|PUT|POST", address in "(/books/)?[ -~]{0,40}") {
            if let Ok(Route::Read { book, .. } | Route::Sign { book } | Route::Where { book }) = parse(&method, &address) {
                prop_assert!((1..=BOOK_MAX).contains(&book.len()));
                prop_assert!(book.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            }
        }
    }
}
