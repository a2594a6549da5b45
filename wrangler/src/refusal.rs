//! What the front door says no to, in one line each.

use worker::{Error, Response, ResponseBuilder, Result};

use crate::gate::BODY_MAX;
use crate::headers::SETTABLE;

/// Why a request does not get through to a chapter.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("nobody knows you here yet: POST /live/visitor gives you a cookie")]
    Nobody,
    #[error("this cookie is none of ours: POST /live/visitor gives you another")]
    Cookie,
    #[error("this invitation is none of ours: POST /live/visitor makes one")]
    Invitation,
    #[error("of a query, live.as and {} are for the front door", SETTABLE.join(", "))]
    Header,
    #[error("a body is at most {BODY_MAX} bytes long")]
    Size,
    #[error("say how long the body is, with Content-Length")]
    Length,
    #[error("this chapter does not run just now; the pages do")]
    Down,
    #[error("the chapters do not run here: VISITOR_KEY is not set")]
    NoKey,
    #[error("exercises are judged where `cargo xtask serve` runs")]
    NotHere,
    #[error("exercises are judged for the pages of this book only")]
    NotThePage,
    #[error("this path takes POST")]
    Method,
}

impl Refusal {
    /// The status, and a word by which a script tells our refusals from a chapter's
    /// answers.
    fn kind(&self) -> (u16, &'static str) {
        match self {
            Self::Nobody => (401, "visitor"),
            Self::Cookie | Self::Invitation => (403, "visitor"),
            Self::Header => (400, "header"),
            Self::Size => (413, "size"),
            Self::Length => (411, "size"),
            Self::Down | Self::NoKey => (503, "down"),
            Self::NotHere => (404, "here"),
            Self::NotThePage => (403, "here"),
            Self::Method => (405, "method"),
        }
    }

    /// The refusal as the answer that the visitor gets.
    ///
    /// # Errors
    /// Only if the runtime cannot make an answer.
    pub fn answer(&self) -> Result<Response> {
        let (status, word) = self.kind();
        let response =
            ResponseBuilder::new().with_status(status).ok(format!("{self}\n"))?;
        response.headers().set("Live-Refused", word)?;
        if matches!(self, Self::Method) {
            response.headers().set("Allow", "POST")?;
        }
        Ok(response)
    }
}

/// Why there is no answer of a chapter.
#[derive(Debug)]
pub enum Failure {
    /// The visitor is told why.
    Refused(Refusal),
    /// The visitor gets a plain 500; the log has the details.
    Broken(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}
