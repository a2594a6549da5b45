//! Alarms: a guest who is forgotten, a queue that is posted in batches, and many
//! timers on one alarm.
#![deny(clippy::await_holding_refcell_ref)]

mod batcher;
mod book;
mod guest;
mod mailbox;
mod missing;
mod post;
mod rules;
mod scheduler;
mod sql;
mod timer;
mod web;

use worker::Method::{Delete, Get, Post, Put};
use worker::{Context, Env, Request, Response, event};

use post::{bare, with_body};
use rules::Route;
use web::Failure;

const HELP: &str = "\
POST   /guests/<name>                    visit; forgotten 5 s after the last visit
GET    /guests/<name>                    how many visits, and when they are forgotten
PUT    /guests/<name>/wave               forgotten 5 s after this, too
PUT    /guests/<name>/stay               not forgotten, until after the next visit
DELETE /guests/<name>                    forgotten at once
POST   /batches/<name>                   queue the body; posted to the mailbox within 5 s
GET    /batches/<name>                   what waits
PUT    /schedules/<name>/<timer>         set a timer: {\"in\": 1500, \"every\": 60000, \"say\": \"text\"}
DELETE /schedules/<name>/<timer>         cancel it
GET    /schedules/<name>                 all timers
GET    /mailboxes/<name>                 the first 20 letters in the mailbox of that name
GET    /mailboxes/<name>/after/<number>  the next 20
POST   /mailboxes/<name>                 deliver a letter, with its Idempotency-Key
POST   /mailboxes/<name>/closed          turn away as many deliveries as the body says
POST   /mailboxes/<name>/mute            keep as many, and answer as if not
";

/// The Worker: it makes sense of the request, finds the object, and passes the
/// question on.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    web::answer(respond(req, &env).await)
}

// ANCHOR: respond
async fn respond(mut req: Request, env: &Env) -> Result<Response, Failure> {
    let path = req.path();
    let route = Route::parse(&req.inner().method(), &path)?;
    let body = web::body(&mut req).await?;
    let (village, name, request) = match route {
        Route::Help => return Ok(Response::ok(HELP)?),
        Route::Guest(name) => ("GUESTS", name, bare(Get, "")?),
        Route::Visit(name) => ("GUESTS", name, bare(Post, "")?),
        Route::CheckOut(name) => ("GUESTS", name, bare(Delete, "")?),
        Route::Wave(name) => ("GUESTS", name, bare(Put, "wave")?),
        Route::Stay(name) => ("GUESTS", name, bare(Put, "stay")?),
        Route::Batch(name) => ("BATCHERS", name, bare(Get, "")?),
        Route::Queue(name) => {
            let item = rules::text(body)?;
            ("BATCHERS", name, with_body(Post, "", None, &item)?)
        }
        Route::Schedule(name) => ("SCHEDULERS", name, bare(Get, "")?),
        Route::SetTimer { schedule, timer } => {
            let wish = rules::text(body)?;
            ("SCHEDULERS", schedule, with_body(Put, timer, None, &wish)?)
        }
        Route::Cancel { schedule, timer } => {
            ("SCHEDULERS", schedule, bare(Delete, timer)?)
        }
        Route::Letters { mailbox, after } => {
            ("MAILBOXES", mailbox, bare(Get, &format!("after/{after}"))?)
        }
        Route::Deliver(name) => {
            // Nobody outside may take a key that one of our own objects will use.
            let key = rules::key(req.headers().get(post::KEY)?)?;
            let (key, letter) = (format!("outside/{key}"), rules::text(body)?);
            ("MAILBOXES", name, with_body(Post, "", Some(&key), &letter)?)
        }
        Route::Trouble { mailbox, kind } => {
            let count = rules::trouble(&body)?;
            ("MAILBOXES", mailbox, bare(Post, &format!("{}/{count}", kind.name()))?)
        }
    };
    let object = env.durable_object(village)?.get_by_name(name)?;
    Ok(object.fetch_with_request(request).await?)
}
// ANCHOR_END: respond
