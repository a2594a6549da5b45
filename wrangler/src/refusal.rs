//! What the front door says no to, in one line each.

use worker::{Error, Response, ResponseBuilder, Result};

use crate::gate::{BODY_MAX, BODY_SECONDS, No};
use crate::headers::SETTABLE;

/// Why a request does not get through to a chapter.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("nobody knows you here yet: POST /live/visitor gives you a cookie")]
    Nobody,
    #[error("this cookie is none of ours: POST /live/visitor gives you another")]
    Cookie,
    #[error("this cookie is too old: POST /live/visitor gives you another")]
    OldCookie,
    #[error("this invitation is none of ours: POST /live/visitor makes one")]
    Invitation,
    #[error("this invitation is too old: ask your host for another")]
    OldInvitation,
    #[error("only the owner of the objects can do this, not a guest")]
    Guest,
    #[error("on this machine, ask localhost or 127.0.0.1, and not another name")]
    Host,
    #[error(
        "a chapter answers to the pages of this book only, and to addresses that you \
         type yourself"
    )]
    Elsewhere,
    #[error("of a query, live.as and {} are for the front door", SETTABLE.join(", "))]
    Header,
    #[error("a body is at most {BODY_MAX} bytes long")]
    Size,
    #[error("say how long the body is, with Content-Length")]
    Length,
    #[error("the body did not come within {} s: send it faster", BODY_SECONDS)]
    Slow,
    #[error("{}: try again in {} s", .0.what, .0.ms.div_ceil(1_000))]
    Limit(No),
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
            Self::Cookie
            | Self::OldCookie
            | Self::Invitation
            | Self::OldInvitation => (403, "visitor"),
            Self::Guest => (403, "guest"),
            Self::Host | Self::Elsewhere => (403, "origin"),
            Self::Header => (400, "header"),
            Self::Size => (413, "size"),
            Self::Length => (411, "size"),
            Self::Slow => (408, "slow"),
            Self::Limit(No { budget: true, .. }) => (429, "budget"),
            Self::Limit(_) => (429, "limit"),
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
        let headers = response.headers();
        headers.set("Live-Refused", word)?;
        match self {
            Self::Method => headers.set("Allow", "POST")?,
            Self::Limit(no) => {
                headers.set("Retry-After", &no.ms.div_ceil(1_000).to_string())?;
            }
            _ => {}
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
