//! Reading requests with care, and turning what goes wrong into an answer.

use futures_util::TryStreamExt;
use worker::{Error, Request, Response, ResponseBuilder, Result};

use crate::rules::{BODY_MAX, Refusal};

// ANCHOR: failure
/// Why there is no answer: the caller's request was wrong, or the runtime failed.
pub enum Failure {
    /// The caller gets to know what would be right.
    Refused(Refusal),
    /// The caller gets a plain 500; the log has the details.
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
// ANCHOR_END: failure

/// Turns a refusal into its 4xx answer. An error of the runtime stays an error.
pub fn answer(outcome: std::result::Result<Response, Failure>) -> Result<Response> {
    match outcome {
        Ok(response) => Ok(response),
        Err(Failure::Refused(refusal)) => refuse(&refusal),
        Err(Failure::Broken(error)) => Err(error),
    }
}

/// One line of plain text that says what was wrong and what would be right.
pub fn refuse(refusal: &Refusal) -> Result<Response> {
    let response = ResponseBuilder::new()
        .with_status(refusal.status())
        .ok(format!("{refusal}\n"))?;
    if let Refusal::Method(allow) = refusal {
        response.headers().set("Allow", allow)?;
    }
    Ok(response)
}

// ANCHOR: body
/// Reads the body of a request, and refuses one that is larger than [`BODY_MAX`]
/// bytes: at once if its length is declared, else at its end.
///
/// `Request::bytes` would hold all of it in memory, however large it is. What is too
/// much is read all the same, but not kept: a client that is still sending would not
/// hear the answer.
pub async fn body(req: &mut Request) -> std::result::Result<Vec<u8>, Failure> {
    let declared = req.headers().get("Content-Length")?;
    let declared = declared.and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length > BODY_MAX) {
        return Err(Refusal::BodySize.into());
    }
    let mut body = Vec::new();
    if req.inner().body().is_none() {
        return Ok(body);
    }
    let mut fits = true;
    let mut stream = req.stream()?;
    while let Some(chunk) = stream.try_next().await? {
        fits &= body.len() + chunk.len() <= BODY_MAX;
        if fits {
            body.extend(chunk);
        }
    }
    if fits { Ok(body) } else { Err(Refusal::BodySize.into()) }
}
// ANCHOR_END: body
