//! What a client says in a room, and what it understands.

use serde_json::{Value, json};

/// How a room is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// The shared counter of ch06 (and of Stateroom): `increment`, and
    /// `new value: 1`.
    Counter,
    /// The chat of ch07 (and of Cloudflare's public chat demo): JSON.
    Chat,
}

/// What a client makes of a message of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The client is in the room now.
    Ready,
    /// What somebody in the room has said, and everybody hears.
    Said(&'a str),
    /// Somebody came or went, or the like.
    Other,
    /// The server refuses something.
    Refused,
}

impl Protocol {
    /// What a client says when it comes in.
    pub fn hello(self, client: usize) -> Option<String> {
        match self {
            Self::Counter => None,
            Self::Chat => {
                Some(json!({ "name": format!("guest {client}") }).to_string())
            }
        }
    }

    /// The message with this number.
    pub fn message(self, number: usize) -> String {
        match self {
            Self::Counter => "increment".to_owned(),
            Self::Chat => {
                json!({ "message": format!("message {number}") }).to_string()
            }
        }
    }

    /// What a text of the server means to a client that is in the room already, or
    /// is not.
    pub fn understand(self, text: &str, inside: bool) -> Heard<'_> {
        match self {
            Self::Counter if text.starts_with("new value: ") => {
                if inside {
                    Heard::Said(text)
                } else {
                    Heard::Ready
                }
            }
            Self::Counter => Heard::Refused,
            Self::Chat => understand_chat(text),
        }
    }
}

fn understand_chat(text: &str) -> Heard<'_> {
    let Ok(Value::Object(message)) = serde_json::from_str(text) else {
        return Heard::Refused;
    };
    let has = |key: &str| message.contains_key(key);
    if has("error") {
        Heard::Refused
    } else if has("ready") {
        Heard::Ready
    } else if has("message") {
        Heard::Said(text)
    } else {
        Heard::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first value is the welcome, the later ones are news.
    #[test]
    fn counter() {
        let said = |text, inside| Protocol::Counter.understand(text, inside);
        assert_eq!(said("new value: 7", false), Heard::Ready);
        assert_eq!(said("new value: 8", true), Heard::Said("new value: 8"));
        assert_eq!(said("no", true), Heard::Refused);
    }

    /// Only what somebody said counts; an error is never taken for it.
    #[test]
    fn chat() {
        let said = |text| Protocol::Chat.understand(text, true);
        assert_eq!(said(r#"{"ready":true}"#), Heard::Ready);
        assert_eq!(said(r#"{"joined":"Ada"}"#), Heard::Other);
        let hello = r#"{"name":"Ada","message":"error","timestamp":1}"#;
        assert_eq!(said(hello), Heard::Said(hello));
        assert_eq!(said(r#"{"error":"message too long"}"#), Heard::Refused);
        assert_eq!(said("ready"), Heard::Refused);
    }
}
