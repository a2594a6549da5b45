//! The rules of talking: what a guest may say, and in which words the room answers.
//!
//! The protocol is that of the public chat demo,
//! <https://github.com/cloudflare/workers-chat-demo>, with a few words more for
//! clients that know them. Plain Rust: the socket is somebody else's business.

use serde::{Deserialize, Serialize};

/// The longest name of a guest, in characters.
pub const NAME_MAX: usize = 32;
/// The longest message, in characters.
pub const MESSAGE_MAX: usize = 256;
/// The longest key, and the longest id of a message, in characters.
pub const MARK_MAX: usize = 64;
/// The longest text that is looked at, in bytes.
pub const TEXT_MAX: usize = 8 * 1024;
/// The most guests in one room. The runtime would take 32,768 sockets.
pub const GUESTS_MAX: usize = 2_000;
/// After so many refused messages in a row, a guest has to go.
pub const REFUSED_MAX: u32 = 50;
/// How many messages a newcomer hears who does not say what they have heard before.
pub const BACKLOG: i32 = 100;
/// The most messages in one batch.
pub const BATCH_MAX: usize = 500;
/// The name of whoever says none. Any number of guests may bear it.
pub const ANONYMOUS: &str = "anonymous";
/// The longest reason for a close, in bytes.
pub const REASON_MAX: usize = 123;
/// The latest timestamp that JavaScript keeps exact.
const TIMESTAMP_MAX: u64 = (1 << 53) - 1;

// ANCHOR: hello
/// The first message of a guest: `{"name":"Ada"}`, and what a client adds that can
/// do more than the demo's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub name: String,
    /// The timestamp of the last message that this client has heard.
    pub since: Option<u64>,
    /// Whoever comes again with this key gets their name back.
    pub key: Option<String>,
    /// Whether the back-log may come in one frame.
    pub batch: bool,
}

/// Every other message: `{"message":"Hello"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Speech {
    pub message: String,
    /// The client's own name for this message: it is stored once, however often it
    /// is sent.
    pub id: Option<String>,
}
// ANCHOR_END: hello

// ANCHOR: complaint
/// Why a message was not taken. Its text goes to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    #[error(r#"Begin with your name: {{"name":"Ada"}}"#)]
    Hello,
    #[error(r#"A message looks like {{"message":"Hello"}}"#)]
    Speech,
    #[error("Name too long.")]
    NameTooLong,
    #[error("A name has no line breaks or other control characters.")]
    NameOdd,
    #[error("Name is taken.")]
    NameTaken,
    #[error("Message too long.")]
    MessageTooLong,
    #[error("A key, and the id of a message, is 1 to {MARK_MAX} characters long.")]
    Mark,
    #[error("Text only, please.")]
    Binary,
    #[error("At most {TEXT_MAX} bytes at once, please.")]
    TextTooLong,
    #[error("Your IP is being rate-limited, please try again later.")]
    RateLimited,
    #[error("The room is full: {GUESTS_MAX} are in it. Please try again later.")]
    Full,
    #[error("Something went wrong here. Please try again later.")]
    Broken,
}

/// The end of a socket: a code, and a reason of at most [`REASON_MAX`] bytes for
/// whoever reads it.
pub type Farewell = (u16, &'static str);

/// Silent for too long at the door.
pub const NAMELESS: Farewell = (1008, "say your name");
/// Told to stop, and did not.
pub const TOO_MANY: Farewell = (1008, "too many messages");
/// Used to ping, and does no more.
pub const SILENT: Farewell = (1001, "no ping for 90 seconds");
/// It is the room's fault.
pub const BROKEN: Farewell = (1011, "try again later");
/// Came in again by another door.
pub const ELSEWHERE: Farewell = (4000, "opened elsewhere");

impl Complaint {
    /// How the socket is closed after this complaint, if it is.
    pub fn farewell(self) -> Option<Farewell> {
        match self {
            Self::NameTooLong => Some((1009, "Name too long.")),
            Self::NameTaken => Some((1008, "name is taken")),
            Self::Binary => Some((1003, "text only")),
            Self::TextTooLong => Some((1009, "too long")),
            Self::Full => Some((1013, "the room is full")),
            _ => None,
        }
    }
}
// ANCHOR_END: complaint

// ANCHOR: sendable
/// A close code that may be sent. Others only ever tell you something: 1005 that
/// there was no code, 1006 that the line broke.
pub fn sendable(code: usize) -> Option<u16> {
    let code = u16::try_from(code).ok()?;
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(code)
}
// ANCHOR_END: sendable

// ANCHOR: parse
impl Hello {
    /// Reads the first message of a guest.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        #[derive(Deserialize)]
        struct Wish {
            name: Option<String>,
            since: Option<u64>,
            key: Option<String>,
            #[serde(default)]
            batch: bool,
        }
        let wish: Wish =
            serde_json::from_str(fits(text)?).map_err(|_| Complaint::Hello)?;
        let name = wish.name.unwrap_or_default();
        let name = match name.trim() {
            "" => ANONYMOUS,
            name => name,
        };
        if name.chars().count() > NAME_MAX {
            return Err(Complaint::NameTooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(Complaint::NameOdd);
        }
        if wish.since > Some(TIMESTAMP_MAX) {
            return Err(Complaint::Hello);
        }
        let key = mark(wish.key)?;
        let name = name.to_owned();
        Ok(Self { name, since: wish.since, key, batch: wish.batch })
    }
}

impl Speech {
    /// Reads every other message.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let speech: Self =
            serde_json::from_str(fits(text)?).map_err(|_| Complaint::Speech)?;
        if speech.message.chars().count() > MESSAGE_MAX {
            return Err(Complaint::MessageTooLong);
        }
        Ok(Self { id: mark(speech.id)?, ..speech })
    }
}
// ANCHOR_END: parse

/// A text that is short enough to be looked at.
fn fits(text: &str) -> Result<&str, Complaint> {
    if text.len() > TEXT_MAX { Err(Complaint::TextTooLong) } else { Ok(text) }
}

/// A key or an id that is neither empty nor too long.
fn mark(mark: Option<String>) -> Result<Option<String>, Complaint> {
    match &mark {
        Some(text) if !(1..=MARK_MAX).contains(&text.chars().count()) => {
            Err(Complaint::Mark)
        }
        _ => Ok(mark),
    }
}

// ANCHOR: said
/// A message as it is kept and as everybody gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub name: String,
    pub message: String,
    /// When it came, in milliseconds since 1970. No two messages of a room have the
    /// same.
    pub timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What else the room says.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum News<'a> {
    Joined(&'a str),
    Quit(&'a str),
    /// You have heard all there was: `{"ready":true}`.
    Ready(bool),
    /// Messages before these have been trimmed: `{"gap":true}`.
    Gap(bool),
}
// ANCHOR_END: said

/// Something as JSON.
///
/// # Errors
/// None for what this file defines.
pub fn json(what: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(what)
}

/// `{"error":"..."}`; with the id of the message that it is about, if it had one.
///
/// # Errors
/// None.
pub fn error(
    complaint: Complaint,
    id: Option<&str>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Refused<'a> {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    }
    json(&Refused { error: complaint.to_string(), id })
}

// ANCHOR: batch
/// Packs JSON texts into frames: each one for itself, or, for a client that can
/// unpack them, up to [`BATCH_MAX`] into one `{"batch":[...]}`.
pub fn pack(texts: Vec<String>, batch: bool) -> Vec<String> {
    if !batch {
        return texts;
    }
    let frame = |texts: &[String]| format!(r#"{{"batch":[{}]}}"#, texts.join(","));
    texts.chunks(BATCH_MAX).map(frame).collect()
}
// ANCHOR_END: batch

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(text: &str) -> Result<Hello, Complaint> {
        Hello::parse(text)
    }

    /// What the client of the public demo sends is understood, and so is what ours
    /// adds.
    #[test]
    fn hellos() {
        let named = |name: &str| Hello {
            name: name.to_owned(),
            since: None,
            key: None,
            batch: false,
        };
        for (text, name) in [
            (r#"{"name":"Ada"}"#, "Ada"),
            (r#"{"name":" Ada "}"#, "Ada"),
            (r#"{"name":""}"#, ANONYMOUS),
            (r#"{"name":null,"colour":"red"}"#, ANONYMOUS),
            ("{}", ANONYMOUS),
        ] {
            assert_eq!(hello(text), Ok(named(name)), "{text}");
        }
        let more = r#"{"name":"Ada","since":7,"key":"k","batch":true}"#;
        let key = Some("k".to_owned());
        let ada = Hello { since: Some(7), key, batch: true, ..named("Ada") };
        assert_eq!(hello(more), Ok(ada));
    }

    /// Each complaint for its reason, and at its limit.
    #[test]
    fn complaints() {
        let long = |name: &str, n| format!(r#"{{"{name}":"{}"}}"#, "ä".repeat(n));
        assert!(hello(&long("name", NAME_MAX)).is_ok());
        assert_eq!(hello(&long("name", NAME_MAX + 1)), Err(Complaint::NameTooLong));
        assert!(hello(&long("key", MARK_MAX)).is_ok());
        assert_eq!(hello(&long("key", MARK_MAX + 1)), Err(Complaint::Mark));
        assert_eq!(hello(&long("name", TEXT_MAX)), Err(Complaint::TextTooLong));
        assert_eq!(hello(r#"{"name":"A\u0000"}"#), Err(Complaint::NameOdd));
        assert!(hello(r#"{"since":9007199254740991}"#).is_ok());
        assert_eq!(hello(r#"{"since":9007199254740992}"#), Err(Complaint::Hello));
        let speech = |text: &str| Speech::parse(text);
        assert!(speech(&long("message", MESSAGE_MAX)).is_ok());
        let too_long = speech(&long("message", MESSAGE_MAX + 1));
        assert_eq!(too_long, Err(Complaint::MessageTooLong));
        assert_eq!(speech(r#"{"message":"","id":""}"#), Err(Complaint::Mark));
        assert_eq!(speech("ping"), Err(Complaint::Speech));
    }

    /// The words of the public demo, letter by letter.
    #[test]
    fn words() {
        let said = Said {
            name: "Ada".into(),
            message: "\"<b>\"".into(),
            timestamp: 7,
            id: None,
        };
        for (text, words) in [
            (json(&News::Joined("Ada")), r#"{"joined":"Ada"}"#),
            (json(&News::Quit("Ada")), r#"{"quit":"Ada"}"#),
            (json(&News::Ready(true)), r#"{"ready":true}"#),
            (json(&News::Gap(true)), r#"{"gap":true}"#),
            (json(&said), r#"{"name":"Ada","message":"\"<b>\"","timestamp":7}"#),
            (
                json(&Said { id: Some("1".into()), ..said.clone() }),
                r#"{"name":"Ada","message":"\"<b>\"","timestamp":7,"id":"1"}"#,
            ),
            (error(Complaint::NameTooLong, None), r#"{"error":"Name too long."}"#),
            (
                error(Complaint::MessageTooLong, Some("1")),
                r#"{"error":"Message too long.","id":"1"}"#,
            ),
        ] {
            assert_eq!(text.unwrap(), words);
        }
    }

    /// Every farewell can be sent.
    #[test]
    fn farewells() {
        let complaints = [
            Complaint::NameTooLong,
            Complaint::NameTaken,
            Complaint::Binary,
            Complaint::TextTooLong,
            Complaint::Full,
        ];
        let mut farewells = vec![NAMELESS, TOO_MANY, SILENT, BROKEN, ELSEWHERE];
        farewells.extend(complaints.iter().filter_map(|c| c.farewell()));
        assert_eq!(farewells.len(), 10);
        for (code, reason) in farewells {
            assert_eq!(sendable(code.into()), Some(code));
            assert!(reason.len() <= REASON_MAX);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1_000_000] {
            assert_eq!(sendable(code), None, "{code}");
        }
    }

    proptest! {
        /// No text makes the parsers panic, and what they let through is within the
        /// limits.
        #[test]
        fn any_text(text in any::<String>(), name in any::<String>()) {
            let _ = Speech::parse(&text);
            let wish = serde_json::json!({ "name": name }).to_string();
            if let Ok(hello) = Hello::parse(&wish) {
                let length = hello.name.chars().count();
                prop_assert!((1..=NAME_MAX).contains(&length));
                prop_assert!(!hello.name.chars().any(char::is_control));
            }
        }

        /// Whatever is packed comes out again, whole and in order.
        #[test]
        fn batches(count in 0_usize..1_200, batch in any::<bool>()) {
            let texts: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let frames = pack(texts.clone(), batch);
            let mut unpacked: Vec<String> = Vec::new();
            for frame in &frames {
                let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
                match frame.get("batch") {
                    Some(serde_json::Value::Array(parts)) => {
                        prop_assert!(parts.len() <= BATCH_MAX);
                        unpacked.extend(parts.iter().map(ToString::to_string));
                    }
                    _ => unpacked.push(frame.to_string()),
                }
            }
            prop_assert_eq!(unpacked, texts);
            prop_assert!(!batch || frames.len() == count.div_ceil(BATCH_MAX));
        }
    }
}
