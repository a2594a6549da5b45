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
    let response =
        ResponseBuilder::new().with_status(refusal.status()).ok(format!("{refusal}\n"))?;
    if let Refusal::Method(allow) = refusal {
        response.headers().set("Allow", allow)?;
    }
    Ok(response)
}

// ANCHOR: body
/// Reads the body of a request, and stops as soon as it is larger than [`BODY_MAX`] bytes.
///
/// `Request::bytes` would hold all of it in memory first, however large it is.
pub async fn body(req: &mut Request) -> std::result::Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    if req.inner().body().is_none() {
        return Ok(body);
    }
    let mut stream = req.stream()?;
    while let Some(chunk) = stream.try_next().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(Refusal::BodySize.into());
        }
        body.extend(chunk);
    }
    Ok(body)
}
// ANCHOR_END: body
