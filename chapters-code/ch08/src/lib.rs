//! A guest book that shows what is kept where: in the object's memory, or in its
//! cellar, which is SQLite.
#![deny(clippy::await_holding_refcell_ref)]

mod book;
mod lines;
mod migrations;
mod query;
mod rules;
mod transaction;
mod web;

use worker::{Context, Env, Request, Response, event};

use rules::{BODY_MAX, Refusal, Route};
use web::Failure;

const HELP: &str = "\
GET  /                                  the page on which to read and sign
GET  /books/<name>?after=<n>&limit=<n>  lines, oldest first, as JSON
POST /books/<name>                      sign: {\"name\":\"Ada\",\"text\":\"Lovely cellar.\"}
GET  /books/<name>/where                what is kept where, as JSON
";

/// The Worker: it makes sense of the address, finds the object, and passes the
/// request on. The body goes through unread: the object decides about it.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    web::answer(respond(req, &env).await)
}

async fn respond(req: Request, env: &Env) -> Result<Response, Failure> {
    let (path, url) = (req.path(), req.inner().url());
    if length(&req)? > BODY_MAX {
        return Err(Refusal::BodySize.into());
    }
    let book = match Route::parse(&req.inner().method(), &path, &url)? {
        Route::Help => return Ok(Response::ok(HELP)?),
        Route::Read { book, .. } | Route::Sign { book } | Route::Where { book } => {
            book
        }
    };
    let stub = env.durable_object("GUEST_BOOKS")?.get_by_name(&book)?;
    Ok(stub.fetch_with_request(req).await?)
}

/// How long the body is said to be. The object would refuse it too, but then it
/// would be on its way already.
fn length(req: &Request) -> worker::Result<usize> {
    let length = req.headers().get("Content-Length")?;
    Ok(length.and_then(|length| length.parse().ok()).unwrap_or(0))
}
