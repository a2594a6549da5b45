//! Seats on a flight, kept in SQLite, and shown to everybody who watches: the seat
//! booking tutorial of the official docs.
#![deny(clippy::await_holding_refcell_ref)]

mod entries;
mod flight;
mod lab;
mod logbook;
mod migrations;
mod missing;
mod query;
mod rules;
mod seats;
mod transaction;
mod web;

use worker::{Context, Env, Request, Response, event};

use rules::{BODY_MAX, Refusal, Route};
use web::Failure;

const HELP: &str = "\
GET  /                                   the page on which to book
GET  /seats?flightId=<id>                the seats, as JSON
POST /book-seat?flightId=<id>            book one: {\"seatNumber\":\"3B\",\"name\":\"Ada\"}
GET  /ws?flightId=<id>                   a WebSocket that tells the seats when they change

GET  /logbooks/<name>?after=<n>&limit=<n>  entries, as JSON
POST /logbooks/<name>                    write one: {\"text\":\"Fog\",\"details\":{\"wind\":3}}
GET  /logbooks/<name>/search?q=<words>   entries with those words
GET  /logbooks/<name>/tally/<detail>     how often each value of a detail stands there
GET  /logbooks/<name>/<n>/photo          the photo of an entry
PUT  /logbooks/<name>/<n>/photo          add one

GET  /lab/types, /lab/cursors, /lab/costs, /lab/extensions, /lab/transactions, /lab/recovery
";

// ANCHOR: fetch
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
    let (binding, name) = match Route::parse(&req.inner().method(), &path, &url)? {
        Route::Help => return Ok(Response::ok(HELP)?),
        Route::Live { .. } if !upgrades(&req)? => {
            return Err(Refusal::Upgrade.into());
        }
        Route::Seats { flight }
        | Route::Book { flight }
        | Route::Live { flight } => ("FLIGHTS", flight),
        Route::Page { logbook, .. }
        | Route::Write { logbook }
        | Route::Search { logbook, .. }
        | Route::Tally { logbook, .. }
        | Route::Photo { logbook, .. }
        | Route::SetPhoto { logbook, .. } => ("LOGBOOKS", logbook),
        Route::Lab { .. } => ("LOGBOOKS", "lab".to_owned()),
    };
    let stub = env.durable_object(binding)?.get_by_name(&name)?;
    Ok(stub.fetch_with_request(req).await?)
}

/// How long the body is said to be. The object would refuse it too, but then it
/// would be on its way already.
fn length(req: &Request) -> worker::Result<usize> {
    let length = req.headers().get("Content-Length")?;
    Ok(length.and_then(|length| length.parse().ok()).unwrap_or(0))
}

/// Whether this is the beginning of a WebSocket.
fn upgrades(req: &Request) -> worker::Result<bool> {
    let upgrade = req.headers().get("Upgrade")?.unwrap_or_default();
    Ok(upgrade.eq_ignore_ascii_case("websocket"))
}
// ANCHOR_END: fetch
