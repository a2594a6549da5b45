//! Key-value storage: the durable counter of the official docs, and an address book
//! that shows the rest.
#![deny(clippy::await_holding_refcell_ref)]

mod book;
mod counter;
mod keys;
mod missing;
mod query;
mod rules;
mod transaction;
mod web;

use worker::js_sys::Uint8Array;
use worker::web_sys::{self, RequestInit};
use worker::{Context, Env, Request, Response, event};

use rules::{Refusal, Route};
use web::Failure;

const USAGE: &str = "Say which counter: add ?name=A to the address, for example.\n";

const HELP: &str = "\
GET    /?name=<name>                      the count; /increment and /decrement change it
GET    /books/<book>                      its title, who was written last, its visits
DELETE /books/<book>                      empties it
GET    /books/<book>/title                its title; PUT sets it, DELETE drops it
GET    /books/<book>/people               a page: ?prefix= start= startAfter= end= reverse= limit=
POST   /books/<book>/people               puts several people at once, [[\"<key>\", {..}], ..]
GET    /books/<book>/people/<key>         a person; PUT writes one, DELETE deletes one
POST   /books/<book>/people/<key>/move    gives a person another key: ?to=
GET    /books/<book>/keys                 a page of keys: ?prefix= start= end= reverse= limit=
POST   /books/<book>/lookup               several people, [\"<key>\", ..]
POST   /books/<book>/remove               deletes several people, [\"<key>\", ..]
POST   /books/<book>/redial               changes how numbers begin: ?from= to=
POST   /books/<book>/visits               counts a visit; ?sure waits for the disk; DELETE forgets them
POST   /books/<book>/publish              copies the people to Workers KV
GET    /published/<book>                  that copy
";

// ANCHOR: fetch
/// The Worker: it makes sense of the request and passes the question on.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    web::answer(respond(req, &env).await)
}

async fn respond(mut req: Request, env: &Env) -> Result<Response, Failure> {
    let body = web::body(&mut req).await?;
    let (method, url) = (req.inner().method(), req.inner().url());
    match Route::parse(&method, &req.path(), &url, &body)? {
        Route::Usage => Ok(Response::ok(USAGE)?),
        Route::Help => Ok(Response::ok(HELP)?),
        Route::Count { name, by } => count(env, &name, by).await,
        Route::Book { name, .. } => ask_book(env, &name, &req, &body).await,
        Route::Published { name } => published(env, &name).await,
    }
}
// ANCHOR_END: fetch

// ANCHOR: count
/// Answers as the official example does, to the letter.
async fn count(env: &Env, name: &str, by: i64) -> Result<Response, Failure> {
    let counter = env.durable_object("COUNTERS")?.get_by_name(name)?;
    let mut answer =
        counter.fetch_with_str(&format!("https://object/{by}")).await?;
    if answer.status_code() != 200 {
        return Ok(answer);
    }
    let count = answer.text().await?;
    Ok(Response::ok(format!("Durable Object '{name}' count: {count}"))?)
}
// ANCHOR_END: count

// ANCHOR: ask_book
/// Sends the question on to the book, as it came. The body has been read, so it is
/// wrapped again.
async fn ask_book(
    env: &Env,
    name: &str,
    req: &Request,
    body: &[u8],
) -> Result<Response, Failure> {
    let book = env.durable_object("BOOKS")?.get_by_name(name)?;
    let init = RequestInit::new();
    init.set_method(&req.inner().method());
    if !body.is_empty() {
        init.set_body(&Uint8Array::from(body));
    }
    let url = req.inner().url();
    let question = web_sys::Request::new_with_str_and_init(&url, &init)
        .map_err(worker::Error::from)?;
    Ok(book.fetch_with_request(question.into()).await?)
}
// ANCHOR_END: ask_book

// ANCHOR: published
/// The copy in Workers KV. This wakes no object.
async fn published(env: &Env, name: &str) -> Result<Response, Failure> {
    let id = env.durable_object("BOOKS")?.id_from_name(name)?.to_string();
    let copy = env.kv("PUBLISHED")?.get(&id).text().await;
    let copy = copy.map_err(worker::Error::from)?.ok_or(Refusal::Unpublished)?;
    let answer = Response::ok(copy)?;
    answer.headers().set("Content-Type", "application/json")?;
    Ok(answer)
}
// ANCHOR_END: published
