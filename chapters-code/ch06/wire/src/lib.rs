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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of version 1. A change here is another protocol: give it another
    /// name and another version.
    #[test]
    fn the_bytes_of_version_1() {
        for (message, bytes) in [
            (ToRoom::Increment, [1, 0]), // the version, the number of the variant
            (ToRoom::Decrement, [1, 1]),
        ] {
            assert_eq!(message.encode().as_deref(), Ok(&bytes[..]));
            assert_eq!(ToRoom::decode(&bytes), Ok(message));
        }
        for (value, bytes) in [
            (0, &[1, 0, 0][..]),
            (-1, &[1, 0, 1]), // numbers in a zigzag: 0, -1, 1, -2, 2
            (1, &[1, 0, 2]),
            (63, &[1, 0, 126]),
            (64, &[1, 0, 128, 1]), // seven bits to a byte, the lowest first
            (i64::MAX, &[1, 0, 254, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            (i64::MIN, &[1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let message = FromRoom::Value(value);
            assert_eq!(message.encode().as_deref(), Ok(bytes));
            assert_eq!(FromRoom::decode(bytes), Ok(message));
        }
        assert_eq!((PROTOCOL, VERSION, FRAME_MAX), ("counter.v1", 1, 12));
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for frame in [&[][..], &[1], &[1, 2], &[1, 0, 0], &[1, 128], &[1, 128, 128]]
        {
            assert_eq!(
                ToRoom::decode(frame),
                Err(FrameError::Malformed),
                "{frame:?}"
            );
        }
        for frame in
            [&[][..], &[1], &[1, 0], &[1, 1, 0], &[1, 0, 128], &[1, 0, 0, 0]]
        {
            let decoded = FromRoom::decode(frame);
            assert_eq!(decoded, Err(FrameError::Malformed), "{frame:?}");
        }
        // An i64 that would have 65 bits.
        let mut large = [255; FRAME_MAX];
        (large[0], large[1], large[11]) = (VERSION, 0, 2);
        assert_eq!(FromRoom::decode(&large), Err(FrameError::Malformed));
    }

    #[test]
    fn another_version_is_told_whatever_follows_it() {
        for frame in [&[2][..], &[0, 0], &[255, 1, 2, 3], &[2; 1000]] {
            let version = FrameError::Version(frame[0]);
            assert_eq!(ToRoom::decode(frame), Err(version));
            assert_eq!(FromRoom::decode(frame), Err(version));
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_looked_into() {
        let mut frame = vec![0; FRAME_MAX + 1];
        frame[0] = VERSION;
        assert_eq!(ToRoom::decode(&frame), Err(FrameError::TooLong(13)));
        assert_eq!(FromRoom::decode(&frame), Err(FrameError::TooLong(13)));
    }

    #[test]
    fn each_error_says_why_in_a_line_that_fits_into_a_close_frame() {
        let errors = [
            (
                FrameError::Version(2),
                1002,
                "a frame of version 2; this is version 1",
            ),
            (FrameError::Malformed, 1007, "no message of counter.v1"),
            (
                FrameError::TooLong(usize::MAX),
                1009,
                "a frame of 18446744073709551615 bytes; at most 12 are right",
            ),
        ];
        for (error, code, line) in errors {
            assert_eq!(
                (error.close_code(), error.to_string().as_str()),
                (code, line)
            );
            assert!(line.len() <= 123, "RFC 6455 leaves 123 bytes for a reason");
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value: i64) {
            let message = FromRoom::Value(value);
            let frame = message.encode()?;
            prop_assert!(frame.len() <= FRAME_MAX);
            prop_assert_eq!(FromRoom::decode(&frame), Ok(message));
            // Broken off anywhere, or with something behind it, it is no message.
            for end in 0..frame.len() {
                prop_assert_eq!(
                    FromRoom::decode(&frame[..end]),
                    Err(FrameError::Malformed)
                );
            }
            prop_assert!(FromRoom::decode(&[frame, vec![0]].concat()).is_err());
        }

        /// Whatever comes, decoding ends with a message or an error: it does not
        /// panic.
        #[test]
        fn any_bytes_are_a_message_or_an_error(
            mut frame in prop::collection::vec(any::<u8>(), 0..40),
            ours in any::<bool>(),
        ) {
            if let (true, Some(version)) = (ours, frame.first_mut()) {
                *version = VERSION;
            }
            let to_room = ToRoom::decode(&frame);
            let from_room = FromRoom::decode(&frame);
            match frame.first() {
                Some(&version) if version != VERSION => {
                    prop_assert_eq!(to_room, Err(FrameError::Version(version)));
                    prop_assert_eq!(from_room, Err(FrameError::Version(version)));
                }
                // postcard also takes a number that was filled up with zeros, and so
                // longer than need be. It never makes one.
                _ => {
                    if let Ok(message) = to_room {
                        prop_assert!(message.encode()?.len() <= frame.len());
                    }
                    if let Ok(message) = from_room {
                        prop_assert!(message.encode()?.len() <= frame.len());
                        prop_assert!(frame.len() <= FRAME_MAX);
                    }
                }
            }
        }
    }

    /// Every frame of two and three bytes.
    #[test]
    fn every_short_frame() {
        let mut understood = 0;
        for body in 0..=u16::MAX {
            let [first, second] = body.to_be_bytes();
            for frame in [&[VERSION, first][..], &[VERSION, first, second]] {
                let _ = ToRoom::decode(frame).map(|_| understood += 1);
                let _ = FromRoom::decode(frame).map(|_| understood += 1);
            }
        }
        // Two changes, 256 times each; each again, filled up; 128 short numbers.
        assert_eq!(understood, 2 * 256 + 2 + 128);
    }
}
