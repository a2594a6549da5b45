//! Rooms with a number that everybody sees: the shared counter, over WebSockets.
#![deny(clippy::await_holding_refcell_ref)]

mod hall;
mod lab;
mod number;
mod proxy;
mod query;
mod rules;
mod server;
mod socket;
mod speech;
mod ticket;
mod web;

use worker::{Context, Date, Env, Request, Response, Stub, event};

use rules::{Refusal, Route, check_origin, check_upgrade};
use speech::Speech;
use web::Failure;

const HELP: &str = "\
GET  /status                          ok
GET  /ws, /ws/<room>                  a WebSocket in room 1, or in that one
GET  /proxy/<room>                    the same, with a Worker in between
POST /tickets/<room>                  a ticket for a room of the members
GET  /members/<room>?ticket=<ticket>  a WebSocket in it
GET  /websocket                       a WebSocket of the official example
GET  /lab/states                      what an experiment saw

In a room, say increment or decrement.
";

// ANCHOR: fetch
/// The Worker: it looks who is at the door, finds the object, and passes the request
/// on.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    let outcome = respond(req, &env).await;
    let unknown =
        matches!(&outcome, Err(Failure::Refused(Refusal::Key | Refusal::Ticket)));
    let answer = web::answer(outcome)?;
    if unknown {
        answer.headers().set("WWW-Authenticate", r#"Bearer realm="members""#)?;
    }
    Ok(answer)
}

async fn respond(mut req: Request, env: &Env) -> Result<Response, Failure> {
    let (path, url) = (req.path(), req.inner().url());
    match Route::parse(&req.inner().method(), &path)? {
        Route::Help => Ok(Response::ok(HELP)?),
        Route::Status => Ok(Response::ok("ok")?),
        Route::States => Ok(Response::ok(lab::states().await?)?),
        Route::Ticket(room) => {
            let key = members_key(env)?;
            let bearer = req.headers().get("Authorization")?;
            ticket::check_key(&key, bearer.as_deref())?;
            if !web::body(&mut req).await?.is_empty() {
                return Err(Refusal::Body.into());
            }
            let ticket = ticket::issue(&key, &room, now())?;
            Ok(Response::ok(ticket)?)
        }
        Route::Room(room) => {
            admit(&req, &url, env)?;
            Ok(object(env, "ROOMS", &room)?.fetch_with_request(req).await?)
        }
        Route::Members(room) => {
            admit(&req, &url, env)?;
            let ticket = query::parameter(&url, "ticket");
            ticket::check(&members_key(env)?, &room, now(), ticket.as_deref())?;
            // No name of an open room has a '/' in it.
            let room = format!("members/{room}");
            Ok(object(env, "ROOMS", &room)?.fetch_with_request(req).await?)
        }
        Route::Proxy(room) => {
            let speech = admit(&req, &url, env)?;
            proxy::open(&object(env, "ROOMS", &room)?, req, speech).await
        }
        Route::WebSocketServer => {
            admit(&req, &url, env)?;
            let stub = object(env, "WEBSOCKET_SERVER", "foo")?;
            Ok(stub.fetch_with_request(req).await?)
        }
    }
}
// ANCHOR_END: fetch

// ANCHOR: admit
/// What every socket has to pass before any object hears of it.
fn admit(req: &Request, url: &str, env: &Env) -> Result<Speech, Failure> {
    let headers = req.headers();
    check_upgrade(headers.get("Upgrade")?.as_deref())?;
    let allowed = env.var("ALLOWED_ORIGINS").map(|list| list.to_string());
    let allowed = allowed.unwrap_or_default();
    check_origin(headers.get("Origin")?.as_deref(), url, &allowed)?;
    let offered = headers.get("Sec-WebSocket-Protocol")?;
    Ok(Speech::choose(offered.as_deref())?)
}
// ANCHOR_END: admit

fn object(env: &Env, binding: &str, name: &str) -> worker::Result<Stub> {
    env.durable_object(binding)?.get_by_name(name)
}

/// The key of the members, if there is one.
fn members_key(env: &Env) -> Result<String, Refusal> {
    let key = env.secret("MEMBERS_KEY").map(|key| key.to_string());
    key.ok().filter(|key| !key.is_empty()).ok_or(Refusal::NoKey)
}

/// Seconds since 1970.
fn now() -> u64 {
    Date::now().as_millis() / 1_000
}
