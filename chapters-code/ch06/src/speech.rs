//! How a socket speaks: in text, or in the binary frames of the crate `wire`.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

use room::{Change, told};
use wire::{FrameError, FromRoom, PROTOCOL, ToRoom};

use crate::rules::Refusal;

/// The longest message that is read, in bytes. Ours have a few.
pub const MESSAGE_MAX: usize = 1_024;
/// The longest reason to close a WebSocket with, in bytes: a close frame has no room
/// for more.
pub const REASON_MAX: usize = 123;

// ANCHOR: speech
/// What was agreed upon when the socket was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// No protocol was offered: words.
    Text,
    /// `counter.v1`: frames.
    Binary,
}

impl Speech {
    /// Chooses from the list in `Sec-WebSocket-Protocol`, in which the client offers
    /// what it speaks.
    pub fn choose(offered: Option<&str>) -> Result<Self, Refusal> {
        let Some(offered) = offered else { return Ok(Self::Text) };
        let known = offered.split(',').any(|protocol| protocol.trim() == PROTOCOL);
        known.then_some(Self::Binary).ok_or(Refusal::Protocol)
    }

    /// What to answer in `Sec-WebSocket-Protocol`, if anything.
    pub fn protocol(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Binary => Some(PROTOCOL),
        }
    }
}
// ANCHOR_END: speech

// ANCHOR: words
/// A message of a WebSocket: the one kind or the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    Text(String),
    Binary(Vec<u8>),
}

impl Speech {
    /// What a message asks for: a change, nothing, or to be shown the door.
    pub fn understand(self, words: &Words) -> Result<Option<Change>, Goodbye> {
        match (self, words) {
            (Self::Text, Words::Text(text)) => Ok(Change::from_text(text)),
            (Self::Binary, Words::Binary(frame)) => {
                Ok(Some(match ToRoom::decode(frame)? {
                    ToRoom::Increment => Change::Increment,
                    ToRoom::Decrement => Change::Decrement,
                }))
            }
            (Self::Text, Words::Binary(_)) => Err(Goodbye::WantsText),
            (Self::Binary, Words::Text(_)) => Err(Goodbye::WantsBinary),
        }
    }

    /// How to tell a number.
    pub fn tell(self, value: i64) -> Result<Words, FrameError> {
        Ok(match self {
            Self::Text => Words::Text(told(value)),
            Self::Binary => Words::Binary(FromRoom::Value(value).encode()?),
        })
    }
}
// ANCHOR_END: words

// ANCHOR: goodbye
/// Why a socket is closed. Its text is the reason that the client gets, of which a
/// WebSocket carries [`REASON_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Goodbye {
    #[error("this socket speaks text")]
    WantsText,
    #[error("this socket speaks {PROTOCOL}, in binary")]
    WantsBinary,
    #[error("a message is at most {MESSAGE_MAX} bytes long")]
    TooLong,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("too many messages in one second")]
    TooFast,
    #[error("the number could not be written down; come again")]
    Broken,
}

impl Goodbye {
    /// The code that goes with it: see the list of
    /// [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1).
    pub fn code(&self) -> u16 {
        match self {
            Self::WantsText | Self::WantsBinary => 1003,
            Self::TooFast => 1008,
            Self::TooLong => 1009,
            Self::Frame(error) => error.close_code(),
            Self::Broken => 1011,
        }
    }
}
// ANCHOR_END: goodbye

// ANCHOR: echo
/// The code to close a socket with when its other end, or its other half behind a
/// proxy, was closed with this one; or none. Not every code that is heard may be sent:
///
/// - 1005 was not sent either: there was a close without a code.
/// - 1006 tells of a line that broke. The one behind it is going away, 1001.
/// - Codes that nobody has given a meaning are a breach of the protocol, 1002.
pub fn echo(code: u16) -> Option<u16> {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Some(code),
        1005 => None,
        1006 => Some(1001),
        _ => Some(1002),
    }
}

/// As much of a reason as a WebSocket carries, in which each byte that was no UTF-8
/// may have become three.
pub fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_MAX)]
}
// ANCHOR_END: echo

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(words: &str) -> Words {
        Words::Text(words.to_owned())
    }

    /// The client offers, we choose; who offers only what we do not speak is refused.
    #[test]
    fn protocols() {
        let choose = |list| Speech::choose(Some(list));
        assert_eq!(Speech::choose(None), Ok(Speech::Text));
        for good in ["counter.v1", "counter.v2, counter.v1", "a,counter.v1 ,b"] {
            assert_eq!(choose(good), Ok(Speech::Binary), "{good}");
        }
        for bad in ["", "counter.v2", "COUNTER.V1", "counter", "xcounter.v1"] {
            assert_eq!(choose(bad), Err(Refusal::Protocol), "{bad}");
        }
        assert_eq!(Speech::Text.protocol(), None);
        assert_eq!(Speech::Binary.protocol(), Some("counter.v1"));
    }

    /// Each kind of socket understands its own messages, and says goodbye to others.
    #[test]
    fn messages() {
        let (increment, hello) = (text("increment"), text("hello"));
        let frame = |message: ToRoom| Words::Binary(message.encode().unwrap());
        assert_eq!(
            Speech::Text.understand(&increment),
            Ok(Some(Change::Increment))
        );
        assert_eq!(Speech::Text.understand(&hello), Ok(None));
        assert_eq!(
            Speech::Binary.understand(&frame(ToRoom::Decrement)),
            Ok(Some(Change::Decrement))
        );
        let goodbyes = [
            (Speech::Text, frame(ToRoom::Increment), Goodbye::WantsText, 1003),
            (Speech::Binary, increment, Goodbye::WantsBinary, 1003),
            (
                Speech::Binary,
                Words::Binary(vec![2, 0]),
                Goodbye::Frame(FrameError::Version(2)),
                1002,
            ),
            (
                Speech::Binary,
                Words::Binary(vec![]),
                Goodbye::Frame(FrameError::Malformed),
                1007,
            ),
        ];
        for (speech, words, goodbye, code) in goodbyes {
            assert_eq!(speech.understand(&words), Err(goodbye.clone()));
            assert_eq!(goodbye.code(), code);
        }
    }

    /// A number is told as each socket understands it.
    #[test]
    fn numbers() {
        assert_eq!(Speech::Text.tell(-7), Ok(text("new value: -7")));
        let Ok(Words::Binary(frame)) = Speech::Binary.tell(-7) else { panic!() };
        assert_eq!(FromRoom::decode(&frame), Ok(FromRoom::Value(-7)));
    }

    /// A longer reason would be an error of `close`, and the socket would stay open.
    #[test]
    fn reasons() {
        for goodbye in [
            Goodbye::WantsText,
            Goodbye::WantsBinary,
            Goodbye::TooLong,
            Goodbye::TooFast,
            Goodbye::Frame(FrameError::Version(u8::MAX)),
            Goodbye::Frame(FrameError::TooLong(usize::MAX)),
            Goodbye::Frame(FrameError::Malformed),
            Goodbye::Broken,
        ] {
            assert!(goodbye.to_string().len() <= REASON_MAX, "{goodbye}");
        }
    }

    /// What may be sent is given back, and what may not becomes what may.
    #[test]
    fn echoes() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4321, 4999] {
            assert_eq!(echo(code), Some(code));
        }
        assert_eq!(echo(1005), None);
        assert_eq!(echo(1006), Some(1001));
        for code in [0, 3, 999, 1004, 1015, 1016, 2000, 2999, 5000, u16::MAX] {
            assert_eq!(echo(code), Some(1002));
        }
    }

    proptest! {
        /// What is left of a reason fits, and is the beginning of it.
        #[test]
        fn any_reason(reason in any::<String>(), long in "\u{fffd}{100,200}") {
            for reason in [&reason, &long] {
                prop_assert!(cut(reason).len() <= REASON_MAX);
                prop_assert!(reason.starts_with(cut(reason)));
                prop_assert!(cut(reason).len() > 120 || cut(reason) == reason);
            }
        }

        /// No message makes a socket panic.
        #[test]
        fn any_message(bytes in any::<Vec<u8>>(), said in any::<String>()) {
            for speech in [Speech::Text, Speech::Binary] {
                let _ = speech.understand(&Words::Binary(bytes.clone()));
                let _ = speech.understand(&Words::Text(said.clone()));
            }
        }
    }
}
