//! The rules: which requests make sense, which seats there are, and what may be
//! written down.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::query::parameter;

/// The longest id of a flight or a logbook, in characters.
pub const ID_MAX: usize = 16;
/// The rows of seats in an aeroplane.
pub const ROWS: u8 = 10;
/// The longest name of a passenger, in characters.
pub const NAME_MAX: usize = 64;
/// The most sockets on one flight. The runtime takes 32,768, and throws at the next.
pub const WATCHERS_MAX: usize = 1_000;
/// The longest text of an entry, in characters.
pub const TEXT_MAX: usize = 10_000;
/// The most details of an entry, in bytes of JSON.
pub const DETAILS_MAX: usize = 10_000;
/// How deep details may be nested. SQLite itself refuses what is deeper.
pub const DEPTH_MAX: usize = 1_000;
/// The most entries that one answer holds. SQLite writes it as one text, which may be
/// 2 MB long: twenty of the longest entries are 1.4 MB.
pub const PAGE_MAX: u32 = 20;
/// The largest number of an entry: 2^53 - 1, the last integer that JavaScript keeps
/// exact.
pub const ENTRY_MAX: u64 = (1 << 53) - 1;
/// The longest text to search for, in characters.
pub const SEARCH_MAX: usize = 100;
/// The longest name of a detail, in characters.
pub const DETAIL_MAX: usize = 32;
/// The longest request body, in bytes. A row of SQLite may be 2 MB long; see
/// <https://developers.cloudflare.com/durable-objects/platform/limits/>.
pub const BODY_MAX: usize = 1_000_000;

// ANCHOR: refusal
/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET /help lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error(
        "add ?flightId= and 1 to {ID_MAX} of the characters A-Z, a-z, 0-9, '-'"
    )]
    FlightId,
    #[error("this path takes WebSockets only: send Upgrade: websocket")]
    Upgrade,
    #[error(r#"a booking looks like {{"seatNumber":"3B","name":"Ada"}}"#)]
    Booking,
    #[error("there are the seats 1A to {ROWS}F")]
    Seat,
    #[error("a name is 1 to {NAME_MAX} characters long, none of them a control")]
    Name,
    #[error("{0} is taken")]
    Taken(Seat),
    #[error("{WATCHERS_MAX} watch this flight already; come back later")]
    Crowded,
    #[error("a logbook's name is 1 to {ID_MAX} of A-Z, a-z, 0-9, '-'")]
    Logbook,
    #[error(r#"an entry looks like {{"text":"Fog","details":{{"wind":3}}}}"#)]
    Entry,
    #[error("a text is 1 to {TEXT_MAX} characters long")]
    Text,
    #[error(
        "details are a JSON object of at most {DETAILS_MAX} bytes, {DEPTH_MAX} levels deep"
    )]
    Details,
    #[error("after is the number of an entry, limit is 1 to {PAGE_MAX}")]
    Page,
    #[error("add ?q= and 1 to {SEARCH_MAX} characters with a word in them")]
    Search,
    #[error("a detail's name is 1 to {DETAIL_MAX} of the characters a-z")]
    Detail,
    #[error("a photo is 1 to {BODY_MAX} bytes long")]
    Photo,
    #[error("no such entry, or it has no photo")]
    NoEntry,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path | Self::Seat | Self::NoEntry => 404,
            Self::Method(_) => 405,
            Self::Taken(_) => 409,
            Self::BodySize => 413,
            Self::Upgrade => 426,
            Self::Crowded => 503,
            _ => 400,
        }
    }
}
// ANCHOR_END: refusal

// ANCHOR: route
/// A request that makes sense: every part of its address has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /help`
    Help,
    /// `GET /seats?flightId=<id>`
    Seats { flight: String },
    /// `POST /book-seat?flightId=<id>`
    Book { flight: String },
    /// `GET /ws?flightId=<id>`
    Live { flight: String },
    /// `GET /logbooks/<name>?after=<number>&limit=<number>`
    Page { logbook: String, after: u64, limit: u32 },
    /// `POST /logbooks/<name>`
    Write { logbook: String },
    /// `GET /logbooks/<name>/search?q=<words>`
    Search { logbook: String, terms: String },
    /// `GET /logbooks/<name>/tally/<detail>`
    Tally { logbook: String, detail: String },
    /// `GET /logbooks/<name>/<number>/photo`
    Photo { logbook: String, entry: u64 },
    /// `PUT /logbooks/<name>/<number>/photo`
    SetPhoto { logbook: String, entry: u64 },
    /// `GET /lab/<experiment>`
    Lab { experiment: String },
}
// ANCHOR_END: route

impl Route {
    /// Makes sense of a method, a path and a whole URL, or says why it cannot.
    pub fn parse(method: &str, path: &str, url: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let get = || match method {
            "GET" | "HEAD" => Ok(()),
            _ => Err(Refusal::Method("GET, HEAD")),
        };
        let flight = || match parameter(url, "flightId") {
            Some(id) if plain(&id) => Ok(id),
            _ => Err(Refusal::FlightId),
        };
        let logbook = |name: &str| {
            plain(name).then(|| name.to_owned()).ok_or(Refusal::Logbook)
        };
        match *segments.as_slice() {
            ["help"] => get().map(|()| Self::Help),
            ["seats"] => get().and_then(|()| Ok(Self::Seats { flight: flight()? })),
            ["ws"] => get().and_then(|()| Ok(Self::Live { flight: flight()? })),
            ["book-seat"] if method == "POST" => {
                Ok(Self::Book { flight: flight()? })
            }
            ["book-seat"] => Err(Refusal::Method("POST")),
            ["logbooks", name] => match method {
                "GET" | "HEAD" => {
                    let number = |name, default| match parameter(url, name) {
                        Some(text) => text.parse().map_err(|_| Refusal::Page),
                        None => Ok(default),
                    };
                    let after = number("after", 0)?;
                    let limit = number("limit", PAGE_MAX.into())?;
                    let limit = u32::try_from(limit).map_err(|_| Refusal::Page)?;
                    let fits =
                        after <= ENTRY_MAX && (1..=PAGE_MAX).contains(&limit);
                    let logbook = logbook(name)?;
                    fits.then_some(Self::Page { logbook, after, limit })
                        .ok_or(Refusal::Page)
                }
                "POST" => Ok(Self::Write { logbook: logbook(name)? }),
                _ => Err(Refusal::Method("GET, HEAD, POST")),
            },
            ["logbooks", name, "search"] => {
                get()?;
                let query = parameter(url, "q").ok_or(Refusal::Search)?;
                let terms = search_terms(&query)?;
                Ok(Self::Search { logbook: logbook(name)?, terms })
            }
            ["logbooks", name, "tally", detail] => {
                get()?;
                let fits = (1..=DETAIL_MAX).contains(&detail.len())
                    && detail.bytes().all(|b| b.is_ascii_lowercase());
                let detail =
                    fits.then(|| detail.to_owned()).ok_or(Refusal::Detail)?;
                Ok(Self::Tally { logbook: logbook(name)?, detail })
            }
            ["logbooks", name, number, "photo"] => {
                let logbook = logbook(name)?;
                let entry = number.parse().ok();
                let entry = entry
                    .filter(|number| (1..=ENTRY_MAX).contains(number))
                    .ok_or(Refusal::NoEntry)?;
                match method {
                    "GET" | "HEAD" => Ok(Self::Photo { logbook, entry }),
                    "PUT" => Ok(Self::SetPhoto { logbook, entry }),
                    _ => Err(Refusal::Method("GET, HEAD, PUT")),
                }
            }
            ["lab", experiment] => {
                get().map(|()| Self::Lab { experiment: experiment.to_owned() })
            }
            _ => Err(Refusal::Path),
        }
    }
}

/// Whether this may be the id of a flight or the name of a logbook.
fn plain(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

// ANCHOR: seat
/// A seat that exists: a row from 1 to [`ROWS`], and a letter from A to F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    row: u8,
    letter: char,
}

impl FromStr for Seat {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let seats = (1..=ROWS)
            .flat_map(|row| ('A'..='F').map(move |letter| Self { row, letter }));
        seats.into_iter().find(|seat| seat.to_string() == text).ok_or(Refusal::Seat)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.row, self.letter)
    }
}
// ANCHOR_END: seat

// ANCHOR: booking
/// Who wants to sit where.
#[derive(Debug, PartialEq, Eq)]
pub struct Booking {
    pub seat: Seat,
    pub name: String,
}

impl Booking {
    /// Reads the body of `POST /book-seat`.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            seat_number: String,
            name: String,
        }
        let body: Body = json(body).ok_or(Refusal::Booking)?;
        let name = body.name.trim().to_owned();
        let fits = (1..=NAME_MAX).contains(&name.chars().count())
            && !name.chars().any(char::is_control);
        if !fits {
            return Err(Refusal::Name);
        }
        Ok(Self { seat: body.seat_number.parse()?, name })
    }
}
// ANCHOR_END: booking

/// Reads a body as JSON of a certain shape.
fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// What somebody wants to write down.
#[derive(Debug, Deserialize)]
pub struct NewEntry {
    pub text: String,
    /// Kept as it was sent: SQLite looks inside, we do not.
    details: Option<Box<RawValue>>,
}

impl NewEntry {
    /// Reads the body of `POST /logbooks/<name>`.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let entry: Self = json(body).ok_or(Refusal::Entry)?;
        if !(1..=TEXT_MAX).contains(&entry.text.chars().count()) {
            return Err(Refusal::Text);
        }
        if !entry.details().starts_with('{') || entry.details().len() > DETAILS_MAX
        {
            return Err(Refusal::Details);
        }
        Ok(entry)
    }

    /// The details, as JSON.
    pub fn details(&self) -> &str {
        self.details.as_ref().map_or("{}", |details| details.get())
    }
}

// ANCHOR: search_terms
/// Turns what somebody typed into a search expression of FTS5: each word in quotes,
/// so that none of them is taken for an operator.
pub fn search_terms(query: &str) -> Result<String, Refusal> {
    let words = query.split_whitespace();
    let words: Vec<String> = words
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect();
    let fits = !words.is_empty()
        && query.chars().count() <= SEARCH_MAX
        && !query.contains('\0');
    fits.then(|| words.join(" ")).ok_or(Refusal::Search)
}
// ANCHOR_END: search_terms

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
        let flight = || "VL42".to_owned();
        let logbook = || "north".to_owned();
        let cases = [
            ("GET", "/help", Route::Help),
            ("GET", "/seats?flightId=VL42", Route::Seats { flight: flight() }),
            ("HEAD", "/seats?flightId=VL42", Route::Seats { flight: flight() }),
            ("POST", "/book-seat?flightId=VL42", Route::Book { flight: flight() }),
            ("GET", "/ws?flightId=VL42", Route::Live { flight: flight() }),
            (
                "GET",
                "/logbooks/north",
                Route::Page { logbook: logbook(), after: 0, limit: PAGE_MAX },
            ),
            (
                "GET",
                "/logbooks/north?after=7&limit=1",
                Route::Page { logbook: logbook(), after: 7, limit: 1 },
            ),
            ("POST", "/logbooks/north", Route::Write { logbook: logbook() }),
            (
                "GET",
                "/logbooks/north/search?q=fog",
                Route::Search { logbook: logbook(), terms: "\"fog\"".into() },
            ),
            (
                "GET",
                "/logbooks/north/tally/wind",
                Route::Tally { logbook: logbook(), detail: "wind".into() },
            ),
            (
                "GET",
                "/logbooks/north/7/photo",
                Route::Photo { logbook: logbook(), entry: 7 },
            ),
            (
                "PUT",
                "/logbooks/north/7/photo",
                Route::SetPhoto { logbook: logbook(), entry: 7 },
            ),
            ("GET", "/lab/types", Route::Lab { experiment: "types".into() }),
        ];
        for (method, address, route) in cases {
            assert_eq!(parse(method, address), Ok(route), "{method} {address}");
        }
    }

    /// Bad addresses are refused before they reach a namespace.
    #[test]
    fn bad_addresses() {
        let long = "x".repeat(ID_MAX + 1);
        let cases = [
            ("GET", "/".to_owned(), Refusal::Path),
            ("GET", "/SEATS?flightId=A".into(), Refusal::Path),
            ("GET", "/seats/".into(), Refusal::Path),
            ("GET", "/seats".into(), Refusal::FlightId),
            ("GET", "/seats?flightId=".into(), Refusal::FlightId),
            ("GET", "/seats?flightId=two%20words".into(), Refusal::FlightId),
            ("GET", "/seats?flightId=..%2f..".into(), Refusal::FlightId),
            ("GET", format!("/seats?flightId={long}"), Refusal::FlightId),
            ("PUT", "/seats?flightId=A".into(), Refusal::Method("GET, HEAD")),
            ("GET", "/book-seat?flightId=A".into(), Refusal::Method("POST")),
            ("POST", "/ws?flightId=A".into(), Refusal::Method("GET, HEAD")),
            ("GET", format!("/logbooks/{long}"), Refusal::Logbook),
            ("GET", "/logbooks/a?limit=0".into(), Refusal::Page),
            ("GET", "/logbooks/a?limit=21".into(), Refusal::Page),
            ("GET", "/logbooks/a?limit=4294967297".into(), Refusal::Page),
            ("GET", "/logbooks/a?after=-1".into(), Refusal::Page),
            ("GET", "/logbooks/a?after=9007199254740992".into(), Refusal::Page),
            ("GET", "/logbooks/a/search".into(), Refusal::Search),
            ("GET", "/logbooks/a/search?q=%22*".into(), Refusal::Search),
            ("GET", "/logbooks/a/tally/$.a".into(), Refusal::Detail),
            ("GET", "/logbooks/a/0/photo".into(), Refusal::NoEntry),
            (
                "DELETE",
                "/logbooks/a/1/photo".into(),
                Refusal::Method("GET, HEAD, PUT"),
            ),
        ];
        for (method, address, refusal) in cases {
            assert_eq!(parse(method, &address), Err(refusal), "{method} {address}");
        }
    }

    fn booking(seat: &str, name: &str) -> Result<Booking, Refusal> {
        let body = serde_json::json!({ "seatNumber": seat, "name": name });
        Booking::parse(body.to_string().as_bytes())
    }

    /// Names of any script are welcome; empty, long and unprintable ones are not.
    #[test]
    fn names() {
        let longest = "ä".repeat(NAME_MAX);
        for (name, kept) in [
            ("A", "A"),
            ("  Ada ", "Ada"),
            ("Иван", "Иван"),
            ("山田", "山田"),
            ("'); DROP TABLE seats; --", "'); DROP TABLE seats; --"),
            (&longest, &longest),
        ] {
            let booked = booking("3B", name).map(|booking| booking.name);
            assert_eq!(booked.as_deref(), Ok(kept));
        }
        for bad in ["", "  ", "a\0b", "a\nb", "\u{9d}", &"x".repeat(10_000)] {
            assert_eq!(booking("3B", bad), Err(Refusal::Name), "{bad:?}");
        }
        let too_long = format!("{longest}ä");
        assert_eq!(booking("3B", &too_long), Err(Refusal::Name));
    }

    /// A body is a booking, or it is told what a booking looks like.
    #[test]
    fn bodies() {
        for bad in ["", "Ada", "{}", "[]", "null", r#"{"seatNumber":3,"name":"A"}"#]
        {
            assert_eq!(
                Booking::parse(bad.as_bytes()),
                Err(Refusal::Booking),
                "{bad}"
            );
        }
        assert_eq!(Booking::parse(&[0xff, 0xfe]), Err(Refusal::Booking));
        assert_eq!(Refusal::Booking.to_string().lines().count(), 1);
        let entry = |body: &str| NewEntry::parse(body.as_bytes());
        assert_eq!(entry(r#"{"text":"Fog"}"#).unwrap().details(), "{}");
        let windy = entry(r#"{"text":"Fog","details":{"wind":3}}"#).unwrap();
        assert_eq!(windy.details(), r#"{"wind":3}"#);
        let long = "x".repeat(TEXT_MAX + 1);
        for (bad, refusal) in [
            ("Fog", Refusal::Entry),
            (r#"{"text":7}"#, Refusal::Entry),
            (r#"{"text":""}"#, Refusal::Text),
            (&format!(r#"{{"text":"{long}"}}"#), Refusal::Text),
            (r#"{"text":"Fog","details":[1]}"#, Refusal::Details),
            (
                &format!(r#"{{"text":"Fog","details":{{"a":"{long}"}}}}"#),
                Refusal::Details,
            ),
        ] {
            assert_eq!(entry(bad).unwrap_err(), refusal, "{bad}");
        }
    }

    /// The statuses that callers rely on.
    #[test]
    fn statuses() {
        let seat = Seat { row: 3, letter: 'B' };
        let status = [
            Refusal::Path,
            Refusal::Seat,
            Refusal::Method("GET"),
            Refusal::Taken(seat),
            Refusal::BodySize,
            Refusal::Upgrade,
            Refusal::Name,
        ]
        .map(|refusal| refusal.status());
        assert_eq!(status, [404, 404, 405, 409, 413, 426, 400]);
    }

    proptest! {
        /// A text is a seat only if it is exactly one of the sixty.
        #[test]
        fn seats(text in "[0-9]{0,3}[A-Ga-f]?") {
            let exists = text.len() > 1 && {
                let (row, letter) = text.split_at(text.len() - 1);
                !row.starts_with('0')
                    && row.parse().is_ok_and(|row: u8| (1..=ROWS).contains(&row))
                    && "ABCDEF".contains(letter)
            };
            let seat = text.parse::<Seat>();
            prop_assert_eq!(seat.is_ok(), exists);
            if let Ok(seat) = seat {
                prop_assert_eq!(seat.to_string(), text);
            }
        }

        /// No body makes the parsers panic, and what they let through is within the
        /// limits.
        #[test]
        fn any_booking(seat in ".{0,4}", name in any::<String>()) {
            if let Ok(booking) = booking(&seat, &name) {
                prop_assert_eq!(&booking.name, name.trim());
                prop_assert!(booking.name.chars().count() <= NAME_MAX);
            }
        }

        #[test]
        fn any_body(body in any::<Vec<u8>>()) {
            let _ = Booking::parse(&body);
            let _ = NewEntry::parse(&body);
        }

        /// However odd the words, each stays inside its quotes.
        #[test]
        fn any_search(query in any::<String>()) {
            if let Ok(terms) = search_terms(&query) {
                let quotes = terms.chars().filter(|&c| c == '"').count();
                prop_assert_eq!(quotes % 2, 0);
                prop_assert!(terms.starts_with('"') && terms.ends_with('"'));
            }
        }

        /// No address makes the router panic.
        #[test]
        fn any_address(method in "GET|PUT|POST", address in "[ -~]{0,40}") {
            let _ = parse(&method, &address);
        }
    }
}
