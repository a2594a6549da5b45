//! The rules of addresses: which requests make sense.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

/// The longest name of a room, in characters.
pub const ROOM_MAX: usize = 32;
/// How many hexadecimal digits an id has.
pub const ID_DIGITS: usize = 64;
/// The most tags of a socket;
/// <https://developers.cloudflare.com/durable-objects/api/state/#acceptwebsocket>.
pub const TAGS_MAX: usize = 10;
/// The longest tag, in bytes.
pub const TAG_MAX: usize = 256;
/// What can be tried in the lab.
pub const EXPERIMENTS: [&str; 3] = ["auto-response", "timeout", "limits"];
/// The longest request body, in bytes.
pub const BODY_MAX: usize = 1_000;

// ANCHOR: refusal
/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET /help lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("Name too long: a room's name is at most {ROOM_MAX} characters long")]
    RoomName,
    #[error("no such room: POST /api/room makes an id")]
    RoomId,
    /// In the words of the public demo.
    #[error("expected websocket")]
    Websocket,
    /// In the words of the official example.
    #[error("Worker expected Upgrade: websocket")]
    Upgrade,
    #[error("1 to {TAGS_MAX} tags, with commas between, of 1 to {TAG_MAX} bytes")]
    Tags,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path | Self::RoomName | Self::RoomId => 404,
            Self::Method(_) => 405,
            Self::Websocket | Self::Tags => 400,
            Self::Upgrade => 426,
            Self::BodySize => 413,
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
    /// `POST /api/room`
    NewRoom,
    /// `GET /api/room/<name>/websocket`, for a room that has a name.
    Room { name: String },
    /// `GET /api/room/<id>/websocket`, for a room that only has an id.
    PrivateRoom { id: String },
    /// `GET /websocket`: the official example.
    Example,
    /// `GET /lab/websocket/<tag>,<tag>`
    LabSocket { tags: Vec<String> },
    /// `GET /lab/sockets`
    LabSockets,
    /// `POST /lab/tell/<tag>`
    LabTell { tag: String },
    /// `POST /lab/awake`: begin, `GET`: look.
    LabAwake { begin: bool },
    /// `GET /lab/<experiment>`
    Lab { experiment: String },
    /// `GET /lab/inside/<what>`: what an object of the lab asks another one.
    LabInside { what: String },
}
// ANCHOR_END: route

impl Route {
    /// Makes sense of a method and a path, or says why it cannot.
    pub fn parse(method: &str, path: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let get = |route| match method {
            "GET" | "HEAD" => Ok(route),
            _ => Err(Refusal::Method("GET, HEAD")),
        };
        match *segments.as_slice() {
            ["help"] => get(Self::Help),
            ["api", "room"] | ["api", "room", ""] => match method {
                "POST" => Ok(Self::NewRoom),
                _ => Err(Refusal::Method("POST")),
            },
            ["api", "room", name, "websocket"] => get(Self::room(name)?),
            ["websocket"] => get(Self::Example),
            ["lab", "websocket", tags] => {
                let tags: Vec<_> = tags.split(',').map(str::to_owned).collect();
                let fits = tags.len() <= TAGS_MAX
                    && tags.iter().all(|tag| (1..=TAG_MAX).contains(&tag.len()));
                if fits {
                    get(Self::LabSocket { tags })
                } else {
                    Err(Refusal::Tags)
                }
            }
            ["lab", "sockets"] => get(Self::LabSockets),
            ["lab", "tell", tag] => match method {
                "POST" => Ok(Self::LabTell { tag: tag.to_owned() }),
                _ => Err(Refusal::Method("POST")),
            },
            ["lab", "awake"] => match method {
                "POST" => Ok(Self::LabAwake { begin: true }),
                "GET" | "HEAD" => Ok(Self::LabAwake { begin: false }),
                _ => Err(Refusal::Method("GET, HEAD, POST")),
            },
            ["lab", experiment] if EXPERIMENTS.contains(&experiment) => {
                get(Self::Lab { experiment: experiment.to_owned() })
            }
            ["lab", "inside", what] => {
                get(Self::LabInside { what: what.to_owned() })
            }
            _ => Err(Refusal::Path),
        }
    }

    // ANCHOR: room
    /// Which room is meant: 64 digits are an id, anything else is a name. It stays
    /// as it stands in the address, so `%41da` and `Ada` are two rooms.
    fn room(name: &str) -> Result<Self, Refusal> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match name.len() {
            ID_DIGITS if name.bytes().all(digit) => {
                Ok(Self::PrivateRoom { id: name.to_owned() })
            }
            1..=ROOM_MAX => Ok(Self::Room { name: name.to_owned() }),
            0 => Err(Refusal::Path),
            _ => Err(Refusal::RoomName),
        }
    }
    // ANCHOR_END: room
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every route of the help text is understood.
    #[test]
    fn good_requests() {
        let id = "0123456789abcdef".repeat(4);
        let longest = "x".repeat(ROOM_MAX);
        let room = |name: &str| Route::Room { name: name.to_owned() };
        let cases = [
            ("GET", "/help".to_owned(), Route::Help),
            ("POST", "/api/room".into(), Route::NewRoom),
            ("POST", "/api/room/".into(), Route::NewRoom),
            ("GET", "/api/room/tea/websocket".into(), room("tea")),
            ("HEAD", "/api/room/tea/websocket".into(), room("tea")),
            ("GET", "/api/room/%C3%A9/websocket".into(), room("%C3%A9")),
            ("GET", format!("/api/room/{longest}/websocket"), room(&longest)),
            (
                "GET",
                format!("/api/room/{id}/websocket"),
                Route::PrivateRoom { id: id.clone() },
            ),
            ("GET", "/websocket".into(), Route::Example),
            (
                "GET",
                "/lab/limits".into(),
                Route::Lab { experiment: "limits".into() },
            ),
        ];
        for (method, path, route) in cases {
            assert_eq!(Route::parse(method, &path), Ok(route), "{method} {path}");
        }
    }

    /// Bad addresses are refused before they reach a namespace.
    #[test]
    fn bad_addresses() {
        let long = "x".repeat(ROOM_MAX + 1);
        let upper = "0123456789ABCDEF".repeat(4);
        let cases = [
            ("GET", "/".to_owned(), Refusal::Path),
            ("GET", "/api".into(), Refusal::Path),
            ("GET", "/api/room".into(), Refusal::Method("POST")),
            ("GET", "/api/room/tea".into(), Refusal::Path),
            ("GET", "/api/room//websocket".into(), Refusal::Path),
            ("GET", "/api/room/tea/websocket/".into(), Refusal::Path),
            ("GET", "/api/rooms/tea/websocket".into(), Refusal::Path),
            ("PUT", "/api/room/tea/websocket".into(), Refusal::Method("GET, HEAD")),
            ("GET", format!("/api/room/{long}/websocket"), Refusal::RoomName),
            ("GET", format!("/api/room/{upper}/websocket"), Refusal::RoomName),
            ("POST", "/websocket".into(), Refusal::Method("GET, HEAD")),
        ];
        for (method, path, refusal) in cases {
            assert_eq!(
                Route::parse(method, &path),
                Err(refusal),
                "{method} {path}"
            );
        }
    }

    /// The statuses that callers rely on.
    #[test]
    fn statuses() {
        let status = [
            Refusal::Websocket,
            Refusal::Path,
            Refusal::RoomName,
            Refusal::RoomId,
            Refusal::Method("GET"),
            Refusal::BodySize,
            Refusal::Upgrade,
        ]
        .map(|refusal| refusal.status());
        assert_eq!(status, [400, 404, 404, 404, 405, 413, 426]);
    }

    proptest! {
        /// No address makes the router panic.
        #[test]
        fn any_address(method in "GET|PUT|POST", path in "[ -~]{0,40}") {
            let _ = Route::parse(&method, &path);
        }
    }
}
