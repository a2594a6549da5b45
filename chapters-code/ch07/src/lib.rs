//! A chat room whose object sleeps while its guests stay, in the protocol of the
//! public chat demo.
#![deny(clippy::await_holding_refcell_ref)]

mod cellar;
mod hibernation_server;
mod lab;
mod limiter;
mod migrations;
mod missing;
mod pace;
mod protocol;
mod room;
mod rules;
mod sockets;
mod transaction;
mod web;

use worker::{
    Context, Env, Request, Response, ResponseBuilder, Result as WorkerResult, event,
};

use rules::{Refusal, Route};
use web::Failure;

const HELP: &str = "\
GET  /                           the page to chat on
POST /api/room                   the id of a new room that only you know
GET  /api/room/<name>/websocket  a WebSocket into a room, by its name or its id

GET  /websocket                  the official example of a hibernating server

GET  /lab/websocket/<tag>,<tag>  a WebSocket of the lab, with tags
GET  /lab/sockets                what there is to know about each of them
POST /lab/tell/<tag>             tells the body to those with a tag
GET  /lab/auto-response, /lab/timeout, /lab/limits
POST /lab/awake                  begins what may keep objects awake; GET: did it?
";

// ANCHOR: fetch
/// The Worker: it makes sense of the address, finds the object, and passes the
/// request on.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> WorkerResult<Response> {
    web::answer(respond(req, &env).await)
}

async fn respond(req: Request, env: &Env) -> Result<Response, Failure> {
    let rooms = || env.durable_object("ROOMS");
    let room = match Route::parse(&req.inner().method(), &req.path())? {
        Route::Help => return Ok(Response::ok(HELP)?),
        Route::NewRoom => {
            let id = rooms()?.unique_id()?.to_string();
            return Ok(ResponseBuilder::new()
                .with_header("Access-Control-Allow-Origin", "*")?
                .ok(id)?);
        }
        Route::Room { .. } | Route::PrivateRoom { .. } if !upgrades(&req)? => {
            return Err(Refusal::Websocket.into());
        }
        Route::Room { name } => rooms()?.get_by_name(&name)?,
        Route::PrivateRoom { id } => {
            // Most numbers of 64 digits are no ids, and those of other namespaces
            // are not ours.
            let rooms = rooms()?;
            let id = rooms.id_from_string(&id).map_err(|_| Refusal::RoomId)?;
            id.get_stub()?
        }
        Route::Example if !upgrades(&req)? => return Err(Refusal::Upgrade.into()),
        Route::Example => {
            env.durable_object("HIBERNATION_SERVER")?.get_by_name("village")?
        }
        Route::LabSocket { .. } if !upgrades(&req)? => {
            return Err(Refusal::Upgrade.into());
        }
        Route::LabAwake { begin } => {
            return Ok(Response::ok(lab::awake(env, begin).await?)?);
        }
        Route::LabInside { .. } => return Err(Refusal::Path.into()),
        Route::Lab { .. }
        | Route::LabSocket { .. }
        | Route::LabSockets
        | Route::LabTell { .. } => env.durable_object("LAB")?.get_by_name("lab")?,
    };
    Ok(room.fetch_with_request(req).await?)
}

/// Whether this is the beginning of a WebSocket.
fn upgrades(req: &Request) -> WorkerResult<bool> {
    let upgrade = req.headers().get("Upgrade")?.unwrap_or_default();
    Ok(upgrade.eq_ignore_ascii_case("websocket"))
}
// ANCHOR_END: fetch
