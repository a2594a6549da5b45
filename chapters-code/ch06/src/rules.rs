//! The rules at the door: which requests make sense, and who may come in.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.
//! What is said inside is decided by the crate `room`.

use wire::PROTOCOL;

use crate::ticket::SECONDS;

/// The longest name of a room, in characters.
pub const NAME_MAX: usize = 64;
/// The most sockets in one room. The runtime would take more.
pub const SOCKETS_MAX: usize = 1_000;
/// The most messages of one socket in a second, unless the variable
/// `MESSAGES_PER_SECOND` has another number.
const MESSAGES_PER_SECOND: u32 = 100;
/// The longest request body that is read, in bytes. No path takes one.
pub const BODY_MAX: usize = 1_000;

// ANCHOR: refusal
/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET / lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("a room's name is 1 to {NAME_MAX} of A-Z, a-z, 0-9, '-', '_'")]
    Name,
    #[error("Worker expected Upgrade: websocket")]
    Upgrade,
    #[error("pages of this origin open no sockets here; see ALLOWED_ORIGINS")]
    Origin,
    #[error("offer the protocol {PROTOCOL}, or none for text")]
    Protocol,
    #[error("{SOCKETS_MAX} are in this room already; come back later")]
    Crowded,
    #[error("send the members' key: Authorization: Bearer <key>")]
    Key,
    #[error("add ?ticket= with a ticket for this room, not older than {SECONDS} s")]
    Ticket,
    #[error("there are no members yet: MEMBERS_KEY is not set")]
    NoKey,
    #[error("this path takes no body")]
    Body,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Key | Self::Ticket => 401,
            Self::Origin => 403,
            Self::Path => 404,
            Self::Method(_) => 405,
            Self::BodySize => 413,
            Self::Upgrade => 426,
            Self::Crowded | Self::NoKey => 503,
            Self::Name | Self::Protocol | Self::Body => 400,
        }
    }
}
// ANCHOR_END: refusal

// ANCHOR: route
/// A request that makes sense: every part of its path has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /`
    Help,
    /// `GET /status`
    Status,
    /// `GET /ws` and `GET /ws/<room>`: a socket in a room that is open to all.
    Room(String),
    /// `POST /tickets/<room>`: a ticket for a room of the members.
    Ticket(String),
    /// `GET /members/<room>?ticket=<ticket>`: a socket in it.
    Members(String),
    /// `GET /proxy/<room>`: a socket in an open room, with a Worker in between.
    Proxy(String),
    /// `GET /websocket`: a socket of the official example.
    WebSocketServer,
    /// `GET /lab/states`: what an experiment saw.
    States,
}

impl Route {
    /// Makes sense of a method and a path, or says why it cannot.
    pub fn parse(method: &str, path: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let route = match *segments.as_slice() {
            [""] => Self::Help,
            ["status"] => Self::Status,
            ["ws"] => Self::Room("1".to_owned()),
            ["ws", room] => Self::Room(name(room)?),
            ["tickets", room] => Self::Ticket(name(room)?),
            ["members", room] => Self::Members(name(room)?),
            ["proxy", room] => Self::Proxy(name(room)?),
            ["websocket"] => Self::WebSocketServer,
            ["lab", "states"] => Self::States,
            _ => return Err(Refusal::Path),
        };
        match (&route, method) {
            (Self::Ticket(_), "POST") => Ok(route),
            (Self::Ticket(_), _) => Err(Refusal::Method("POST")),
            (_, "GET" | "HEAD") => Ok(route),
            _ => Err(Refusal::Method("GET, HEAD")),
        }
    }
}

fn name(text: &str) -> Result<String, Refusal> {
    let fits = (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    fits.then(|| text.to_owned()).ok_or(Refusal::Name)
}
// ANCHOR_END: route

// ANCHOR: upgrade
/// Whether the request is the beginning of a WebSocket.
pub fn check_upgrade(upgrade: Option<&str>) -> Result<(), Refusal> {
    let asks = upgrade.is_some_and(|it| it.eq_ignore_ascii_case("websocket"));
    asks.then_some(()).ok_or(Refusal::Upgrade)
}
// ANCHOR_END: upgrade

/// How many messages of one socket a room listens to in a second. A variable that is
/// no such number does not open the door to a flood.
pub fn messages_per_second(variable: Option<&str>) -> u32 {
    let limit = variable.and_then(|limit| limit.parse().ok());
    limit.filter(|limit| *limit > 0).unwrap_or(MESSAGES_PER_SECOND)
}

// ANCHOR: origin
/// Whether a page of this origin may open sockets here: one of our own, or one of
/// those in the list. Who sends no origin is no browser, and may.
///
/// `url` is the address of the request, `allowed` a list with commas in between.
pub fn check_origin(
    origin: Option<&str>,
    url: &str,
    allowed: &str,
) -> Result<(), Refusal> {
    let Some(origin) = origin else { return Ok(()) };
    let mut known =
        own_origin(url).into_iter().chain(allowed.split(',').map(str::trim));
    let known = known.any(|it| !it.is_empty() && it.eq_ignore_ascii_case(origin));
    known.then_some(()).ok_or(Refusal::Origin)
}

/// The part of an address that a browser calls its origin: `https://village.example`.
fn own_origin(url: &str) -> Option<&str> {
    let host = url.find("://")? + "://".len();
    let end = url[host..].find(['/', '?', '#']);
    Some(end.map_or(url, |end| &url[..host + end]))
}
// ANCHOR_END: origin

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The variable is a number above zero, or it does not count.
    #[test]
    fn the_limit_is_a_number() {
        assert_eq!(messages_per_second(Some("7")), 7);
        for no_limit in [None, Some(""), Some("0"), Some("-1"), Some("many")] {
            assert_eq!(messages_per_second(no_limit), MESSAGES_PER_SECOND);
        }
    }

    /// Every route of the help text is understood.
    #[test]
    fn good_requests() {
        let plaza = || "plaza".to_owned();
        let longest = "x".repeat(NAME_MAX);
        let cases = [
            ("GET", "/".to_owned(), Route::Help),
            ("GET", "/status".into(), Route::Status),
            ("HEAD", "/status".into(), Route::Status),
            ("GET", "/ws".into(), Route::Room("1".into())),
            ("GET", "/ws/plaza".into(), Route::Room(plaza())),
            ("GET", "/ws/A-z_0".into(), Route::Room("A-z_0".into())),
            ("GET", format!("/ws/{longest}"), Route::Room(longest)),
            ("POST", "/tickets/plaza".into(), Route::Ticket(plaza())),
            ("GET", "/members/plaza".into(), Route::Members(plaza())),
            ("GET", "/proxy/plaza".into(), Route::Proxy(plaza())),
            ("GET", "/websocket".into(), Route::WebSocketServer),
            ("GET", "/lab/states".into(), Route::States),
        ];
        for (method, path, route) in cases {
            assert_eq!(Route::parse(method, &path), Ok(route), "{method} {path}");
        }
    }

    /// Bad addresses are refused before they reach a namespace.
    #[test]
    fn bad_addresses() {
        let long = format!("/ws/{}", "x".repeat(NAME_MAX + 1));
        let cases = [
            ("GET", "", Refusal::Path),
            ("GET", "/WS", Refusal::Path),
            ("GET", "/ws/a/b", Refusal::Path),
            ("GET", "/ws/", Refusal::Name),
            ("GET", &long, Refusal::Name),
            ("GET", "/ws/two%20words", Refusal::Name),
            ("GET", "/ws/members%2Fplaza", Refusal::Name),
            ("GET", "/ws/caf\u{e9}", Refusal::Name),
            ("GET", "/proxy/..", Refusal::Name),
            ("GET", "/members/", Refusal::Name),
            ("PUT", "/ws/plaza", Refusal::Method("GET, HEAD")),
            ("POST", "/", Refusal::Method("GET, HEAD")),
            ("GET", "/tickets/plaza", Refusal::Method("POST")),
        ];
        for (method, path, refusal) in cases {
            assert_eq!(Route::parse(method, path), Err(refusal), "{method} {path}");
        }
    }

    /// Our own pages and those in the list may open sockets, and nobody's else.
    #[test]
    fn origins() {
        let url = "https://village.example/ws/plaza?x=https://other.example/";
        let allowed = "https://a.example, https://b.example:8443,";
        let may = |origin| check_origin(Some(origin), url, allowed).is_ok();
        assert_eq!(check_origin(None, url, ""), Ok(()));
        for good in [
            "https://village.example",
            "https://Village.Example",
            "https://a.example",
            "https://b.example:8443",
        ] {
            assert!(may(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "http://village.example",
            "https://village.example:8443",
            "https://village.example.evil.example",
            "https://evil.example/https://village.example",
            "https://a.example,https://b.example:8443",
            "https://other.example",
            "https://b.example",
            "b.example",
        ] {
            assert!(!may(bad), "{bad}");
        }
        assert_eq!(
            own_origin("http://localhost:8787"),
            Some("http://localhost:8787")
        );
    }

    /// The upgrade may be spelled as one likes.
    #[test]
    fn upgrades() {
        assert_eq!(check_upgrade(Some("WebSocket")), Ok(()));
        for bad in [None, Some(""), Some("h2c"), Some("websocket, h2c")] {
            assert_eq!(check_upgrade(bad), Err(Refusal::Upgrade));
        }
    }

    /// The statuses that callers rely on, and one line for each.
    #[test]
    fn statuses() {
        let cases = [
            (Refusal::Path, 404),
            (Refusal::Method("GET"), 405),
            (Refusal::Name, 400),
            (Refusal::Upgrade, 426),
            (Refusal::Origin, 403),
            (Refusal::Protocol, 400),
            (Refusal::Crowded, 503),
            (Refusal::Key, 401),
            (Refusal::Ticket, 401),
            (Refusal::NoKey, 503),
            (Refusal::Body, 400),
            (Refusal::BodySize, 413),
        ];
        for (refusal, status) in cases {
            assert_eq!(refusal.status(), status, "{refusal}");
            assert_eq!(refusal.to_string().lines().count(), 1);
        }
    }

    proptest! {
        /// No address makes the router panic, and no odd name gets through.
        #[test]
        fn any_address(method in "GET|PUT|POST", path in "/ws/\\PC{0,70}") {
            if let Ok(Route::Room(name)) = Route::parse(&method, &path) {
                prop_assert!((1..=NAME_MAX).contains(&name.len()));
                prop_assert!(name.bytes().all(|b| b != b'/' && b.is_ascii_graphic()));
            }
        }

        /// No header makes the check of origins panic.
        #[test]
        fn any_origin(origin in any::<String>(), url in any::<String>()) {
            let _ = check_origin(Some(&origin), &url, &origin);
        }
    }
}
