//! The rules at the gate: which requests make sense, and what is told to the others.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

/// The longest name of an object or a timer, in characters.
pub const NAME_MAX: usize = 64;
/// The longest request body, in bytes.
pub const BODY_MAX: usize = 1_024;
/// The longest idempotency key that a caller may send, in characters.
pub const KEY_MAX: usize = 100;
/// How many items may wait in one queue.
pub const QUEUE_MAX: u64 = 10_000;
/// How many timers one schedule holds.
pub const TIMERS_MAX: u64 = 1_000;
/// How many letters one mailbox holds.
pub const LETTERS_MAX: u64 = 10_000;
/// For how many deliveries a mailbox can be told to make trouble.
pub const TROUBLE_MAX: u32 = 1_000;
/// The shortest time from one turn of a timer to the next, in milliseconds. Each
/// turn costs a request and some writes.
pub const EVERY_MIN: u64 = 1_000;
/// How far ahead a timer may be, in milliseconds: 366 days.
pub const AHEAD_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// How far in the past `at` may be, in milliseconds: the request may have been slow.
pub const LATE_MAX: u64 = 60_000;

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
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
    #[error("a body is text in UTF-8")]
    Text,
    #[error(
        r#"a timer is {{"in": 1500, "say": "text"}}, or "at" a time instead of "in", both in ms; "every" makes it repeat"#
    )]
    Timer,
    #[error(r#""at" and "in" are from now to 366 days ahead, in ms"#)]
    Time,
    #[error(r#""every" is {EVERY_MIN} to {AHEAD_MAX} ms"#)]
    Every,
    #[error("no such timer; GET the schedule lists them")]
    NoTimer,
    #[error("a schedule holds {TIMERS_MAX} timers; cancel one first")]
    TimersFull,
    #[error("the queue holds {QUEUE_MAX} items; try again when it has been posted")]
    QueueFull,
    #[error(
        "a letter has an Idempotency-Key of 1 to {KEY_MAX} printable characters"
    )]
    Key,
    #[error("that key has come with another letter before; take a new one")]
    OtherLetter,
    #[error("the mailbox holds {LETTERS_MAX} letters and is full")]
    MailboxFull,
    #[error("the body is the number of deliveries, 0 to {TROUBLE_MAX}")]
    Number,
    #[error("the mailbox is closed, come again")]
    Closed,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path | Self::NoTimer => 404,
            Self::Method(_) => 405,
            Self::TimersFull => 409,
            Self::BodySize => 413,
            Self::OtherLetter => 422,
            Self::QueueFull => 429,
            Self::Closed => 503,
            Self::MailboxFull => 507,
            _ => 400,
        }
    }
}
// ANCHOR_END: refusal

/// A request that makes sense: every part of its path has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /`
    Help,
    /// `POST /guests/<name>`
    Visit(&'a str),
    /// `GET /guests/<name>`
    Guest(&'a str),
    /// `DELETE /guests/<name>`
    CheckOut(&'a str),
    /// `PUT /guests/<name>/wave`
    Wave(&'a str),
    /// `PUT /guests/<name>/stay`
    Stay(&'a str),
    /// `POST /batches/<name>`
    Queue(&'a str),
    /// `GET /batches/<name>`
    Batch(&'a str),
    /// `GET /schedules/<name>`
    Schedule(&'a str),
    /// `PUT /schedules/<name>/<timer>`
    SetTimer { schedule: &'a str, timer: &'a str },
    /// `DELETE /schedules/<name>/<timer>`
    Cancel { schedule: &'a str, timer: &'a str },
    /// `POST /mailboxes/<name>`
    Deliver(&'a str),
    /// `GET /mailboxes/<name>`, `GET /mailboxes/<name>/after/<number>`
    Letters { mailbox: &'a str, after: u32 },
    /// `POST /mailboxes/<name>/closed`, `POST /mailboxes/<name>/mute`
    Trouble { mailbox: &'a str, kind: Trouble },
}

/// How a mailbox can make trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It turns letters away.
    Closed,
    /// It keeps a letter, and nobody hears that it did.
    Mute,
}

impl Trouble {
    /// Its name in the path and in the mailbox's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Mute => "mute",
        }
    }
}

impl<'a> Route<'a> {
    /// Makes sense of a method and a path, or says why it cannot.
    pub fn parse(method: &str, path: &'a str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let method = if method == "HEAD" { "GET" } else { method };
        let get = |route| match method {
            "GET" => Ok(route),
            _ => Err(Refusal::Method("GET, HEAD")),
        };
        match *segments.as_slice() {
            [""] => get(Self::Help),
            ["guests", text] => match (method, name(text)?) {
                ("GET", name) => Ok(Self::Guest(name)),
                ("POST", name) => Ok(Self::Visit(name)),
                ("DELETE", name) => Ok(Self::CheckOut(name)),
                _ => Err(Refusal::Method("GET, HEAD, POST, DELETE")),
            },
            ["guests", text, wish @ ("wave" | "stay")] => {
                match (method, name(text)?) {
                    ("PUT", name) if wish == "wave" => Ok(Self::Wave(name)),
                    ("PUT", name) => Ok(Self::Stay(name)),
                    _ => Err(Refusal::Method("PUT")),
                }
            }
            ["batches", text] => match (method, name(text)?) {
                ("GET", name) => Ok(Self::Batch(name)),
                ("POST", name) => Ok(Self::Queue(name)),
                _ => Err(Refusal::Method("GET, HEAD, POST")),
            },
            ["schedules", text] => get(Self::Schedule(name(text)?)),
            ["schedules", text, id] => {
                let (schedule, timer) = (name(text)?, name(id)?);
                match method {
                    "PUT" => Ok(Self::SetTimer { schedule, timer }),
                    "DELETE" => Ok(Self::Cancel { schedule, timer }),
                    _ => Err(Refusal::Method("PUT, DELETE")),
                }
            }
            ["mailboxes", text] => match (method, name(text)?) {
                ("GET", mailbox) => Ok(Self::Letters { mailbox, after: 0 }),
                ("POST", name) => Ok(Self::Deliver(name)),
                _ => Err(Refusal::Method("GET, HEAD, POST")),
            },
            ["mailboxes", text, "after", number] => {
                let after = number.parse().map_err(|_| Refusal::Path)?;
                get(Self::Letters { mailbox: name(text)?, after })
            }
            ["mailboxes", text, kind @ ("closed" | "mute")] => {
                let kind =
                    if kind == "closed" { Trouble::Closed } else { Trouble::Mute };
                match method {
                    "POST" => Ok(Self::Trouble { mailbox: name(text)?, kind }),
                    _ => Err(Refusal::Method("POST")),
                }
            }
            _ => Err(Refusal::Path),
        }
    }
}

fn name(text: &str) -> Result<&str, Refusal> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain);
    fits.then_some(text).ok_or(Refusal::Name)
}

/// A body as text.
pub fn text(body: Vec<u8>) -> Result<String, Refusal> {
    String::from_utf8(body).map_err(|_| Refusal::Text)
}

/// The key that a caller has given to a letter.
pub fn key(header: Option<String>) -> Result<String, Refusal> {
    header
        .filter(|key| (1..=KEY_MAX).contains(&key.len()))
        .filter(|key| key.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or(Refusal::Key)
}

/// For how many deliveries a mailbox is to make trouble.
pub fn trouble(body: &[u8]) -> Result<u32, Refusal> {
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|&count| count <= TROUBLE_MAX)
        .ok_or(Refusal::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every route of the help text is understood.
    #[test]
    fn good_requests() {
        let cases = [
            ("GET", "/", Route::Help),
            ("HEAD", "/", Route::Help),
            ("POST", "/guests/ada", Route::Visit("ada")),
            ("GET", "/guests/ada", Route::Guest("ada")),
            ("HEAD", "/guests/ada", Route::Guest("ada")),
            ("DELETE", "/guests/ada", Route::CheckOut("ada")),
            ("PUT", "/guests/ada/wave", Route::Wave("ada")),
            ("PUT", "/guests/ada/stay", Route::Stay("ada")),
            ("POST", "/batches/shop", Route::Queue("shop")),
            ("GET", "/batches/shop", Route::Batch("shop")),
            ("GET", "/schedules/day", Route::Schedule("day")),
            (
                "PUT",
                "/schedules/day/tea",
                Route::SetTimer { schedule: "day", timer: "tea" },
            ),
            (
                "DELETE",
                "/schedules/day/tea",
                Route::Cancel { schedule: "day", timer: "tea" },
            ),
            ("POST", "/mailboxes/shop", Route::Deliver("shop")),
            (
                "GET",
                "/mailboxes/shop",
                Route::Letters { mailbox: "shop", after: 0 },
            ),
            (
                "GET",
                "/mailboxes/shop/after/20",
                Route::Letters { mailbox: "shop", after: 20 },
            ),
            (
                "POST",
                "/mailboxes/shop/closed",
                Route::Trouble { mailbox: "shop", kind: Trouble::Closed },
            ),
            (
                "POST",
                "/mailboxes/shop/mute",
                Route::Trouble { mailbox: "shop", kind: Trouble::Mute },
            ),
        ];
        for (method, path, route) in cases {
            assert_eq!(Route::parse(method, path), Ok(route), "{method} {path}");
        }
    }

    /// A path that is not there is 404, whatever the method.
    #[test]
    fn unknown_paths() {
        for path in [
            "",
            "//",
            "/guest",
            "/guests",
            "/guests/a/b",
            "/GUESTS/a",
            "/schedules/a/b/c",
            "/mailboxes/a/open",
            "/mailboxes/a/after/x",
            "/mailboxes/a/after/-1",
            "/mailboxes/a/after/99999999999",
        ] {
            assert_eq!(Route::parse("GET", path), Err(Refusal::Path), "{path}");
            assert_eq!(Route::parse("POST", path), Err(Refusal::Path), "{path}");
        }
    }

    /// A method that a path does not take is 405 and names those that it takes.
    #[test]
    fn wrong_methods() {
        for (method, path, allow) in [
            ("POST", "/", "GET, HEAD"),
            ("PUT", "/guests/ada", "GET, HEAD, POST, DELETE"),
            ("PURGE", "/batches/shop", "GET, HEAD, POST"),
            ("POST", "/schedules/day", "GET, HEAD"),
            ("GET", "/schedules/day/tea", "PUT, DELETE"),
            ("DELETE", "/mailboxes/shop", "GET, HEAD, POST"),
            ("POST", "/mailboxes/shop/after/1", "GET, HEAD"),
            ("GET", "/mailboxes/shop/mute", "POST"),
        ] {
            let refused = Err(Refusal::Method(allow));
            assert_eq!(Route::parse(method, path), refused, "{method} {path}");
        }
    }

    /// Bad names are refused before they reach a namespace.
    #[test]
    fn bad_names() {
        let long = "x".repeat(NAME_MAX + 1);
        for bad in ["", "Ada", "two words", "%61", "ä", "..", "\u{7}", &long] {
            for path in [
                format!("/guests/{bad}"),
                format!("/batches/{bad}"),
                format!("/schedules/{bad}"),
                format!("/schedules/day/{bad}"),
                format!("/mailboxes/{bad}"),
            ] {
                let method =
                    if path.starts_with("/schedules/day/") { "PUT" } else { "GET" };
                assert_eq!(
                    Route::parse(method, &path),
                    Err(Refusal::Name),
                    "{path}"
                );
            }
        }
        let longest = format!("/guests/{}", "x".repeat(NAME_MAX));
        assert!(Route::parse("GET", &longest).is_ok());
    }

    /// Keys, texts and numbers: what is taken and what is not.
    #[test]
    fn bodies_and_keys() {
        assert_eq!(key(Some("order-7".into())).as_deref(), Ok("order-7"));
        for bad in
            [None, Some(""), Some("two words"), Some(&*"x".repeat(KEY_MAX + 1))]
        {
            assert_eq!(key(bad.map(Into::into)), Err(Refusal::Key), "{bad:?}");
        }
        assert_eq!(text(b"bread".into()).as_deref(), Ok("bread"));
        assert_eq!(text(vec![0xff, 0xfe]), Err(Refusal::Text));
        assert_eq!(trouble(b" 3\n"), Ok(3));
        for bad in ["", "-1", "1001", "x", "1.5"] {
            assert_eq!(trouble(bad.as_bytes()), Err(Refusal::Number), "{bad:?}");
        }
    }

    proptest! {
        /// Whatever comes, parsing does not panic, and each refusal is one line with
        /// a 4xx.
        #[test]
        fn any_request_is_parsed_or_refused(
            method in "[A-Z]{0,6}", path in "(/(guests|batches|mailboxes|after|[a-z0-9-]{0,3}|\\PC{0,9})){0,5}"
        ) {
            if let Err(refusal) = Route::parse(&method, &path) {
                prop_assert!((400..500).contains(&refusal.status()));
                prop_assert_eq!(refusal.to_string().lines().count(), 1);
            }
        }
    }
}
