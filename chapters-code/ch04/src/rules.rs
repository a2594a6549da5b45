//! The rules.

/// The longest request body, in bytes.
pub const BODY_MAX: usize = 64;

/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET / lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method(_) => 405,
            Self::BodySize => 413,
        }
    }
}
