//! How the other objects post a letter to a mailbox.

use worker::{Env, Method, Request, RequestInit, Result};

/// The header that tells a receiver that two letters are one.
pub const KEY: &str = "Idempotency-Key";

/// A request to an object. Nobody looks up its host: the stub alone says where it
/// goes.
pub fn bare(method: Method, path: &str) -> Result<Request> {
    Request::new(&format!("https://object/{path}"), method)
}

/// The same with a body, and with a key if it has one.
pub fn with_body(
    method: Method,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Result<Request> {
    let mut init = RequestInit::new();
    init.with_method(method).with_body(Some(body.into()));
    if let Some(key) = key {
        init.headers.set(KEY, key)?;
    }
    Request::new_with_init(&format!("https://object/{path}"), &init)
}

// ANCHOR: deliver
/// Posts a letter to a mailbox. `Ok` means that the mailbox has it. An `Err` means
/// that it may have it or not: post it again, under the same key.
///
/// To post to another site, send the request with `Fetch::Request(request)`.
pub async fn deliver(env: &Env, to: &str, key: &str, letter: &str) -> Result<()> {
    let mailbox = env.durable_object("MAILBOXES")?.get_by_name(to)?;
    let request = with_body(Method::Post, "", Some(key), letter)?;
    let mut answer = mailbox.fetch_with_request(request).await?;
    let said = answer.text().await?;
    match answer.status_code() {
        200..=299 => Ok(()),
        status => Err(format!("{status}, {}", said.trim()).into()),
    }
}
// ANCHOR_END: deliver
