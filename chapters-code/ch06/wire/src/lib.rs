//! How a room is spoken to in binary: the frames of the protocol `counter.v1`.
//!
//! A frame is one binary message of a WebSocket: a byte with the version, and then
//! the message in [postcard](https://postcard.jamesmunns.com/wire-format). Server
//! and clients share these types. The tests hold the bytes fast: a format that other
//! people's programs speak must not change by accident.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

// ANCHOR: messages
/// What a client asks for with `Sec-WebSocket-Protocol`.
pub const PROTOCOL: &str = "counter.v1";

/// The first byte of every frame.
pub const VERSION: u8 = 1;

/// No frame of this version is longer, in bytes: the version, the number of the
/// variant, and an `i64`, for which postcard takes 10 bytes at most.
pub const FRAME_MAX: usize = 12;

/// From a client to its room. New variants only at the end: postcard sends the
/// number of the variant, not its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum ToRoom {
    /// One more.
    Increment,
    /// One less.
    Decrement,
}

/// From a room to its clients. New variants only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum FromRoom {
    /// The number, after each change and for each newcomer.
    Value(i64),
}
// ANCHOR_END: messages

// ANCHOR: frames
impl ToRoom {
    /// The message as a frame.
    ///
    /// # Errors
    /// None today: each message fits.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self)
    }

    /// The message in a frame.
    ///
    /// # Errors
    /// If the frame is none of this version, or there is anything else in it.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        decode(frame)
    }
}

impl FromRoom {
    /// The message as a frame.
    ///
    /// # Errors
    /// None today: each message fits.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self)
    }

    /// The message in a frame.
    ///
    /// # Errors
    /// If the frame is none of this version, or there is anything else in it.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        decode(frame)
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    postcard::to_extend(message, vec![VERSION]).map_err(|_| FrameError::Malformed)
}

/// The version is looked at before anything else: the rest of a frame of another
/// version may mean anything.
fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let (version, body) = frame.split_first().ok_or(FrameError::Malformed)?;
    if *version != VERSION {
        return Err(FrameError::Version(*version));
    }
    if frame.len() > FRAME_MAX {
        return Err(FrameError::TooLong(frame.len()));
    }
    // `from_bytes` would take what is left over for nothing.
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Malformed),
    }
}
// ANCHOR_END: frames

// ANCHOR: error
/// Why a frame is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A version that is not ours; with the version.
    Version(u8),
    /// Longer than any message; with its length in bytes.
    TooLong(usize),
    /// Empty, broken off, with a variant that does not exist, or with bytes left over.
    Malformed,
}

impl FrameError {
    /// The code to close the WebSocket with, of
    /// [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1).
    ///
    /// - 1002, a breach of the protocol: `counter.v1` was agreed upon, and then
    ///   another version is spoken.
    /// - 1007, the data is not what it must be in a message of its kind.
    /// - 1009, the message is too big.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Version(_) => 1002,
            Self::Malformed => 1007,
            Self::TooLong(_) => 1009,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "a frame of version {version}; this is version {VERSION}")
            }
            Self::TooLong(bytes) => {
                write!(f, "a frame of {bytes} bytes; at most {FRAME_MAX} are right")
            }
            Self::Malformed => write!(f, "no message of {PROTOCOL}"),
        }
    }
}

impl std::error::Error for FrameError {}
// ANCHOR_END: error
