//! A stub.

/// Why a request is turned down.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET / lists them")]
    Path,
}
