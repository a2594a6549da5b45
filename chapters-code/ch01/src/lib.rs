//! A first Worker in Rust: every kind of event, every argument, one page of code.
#![deny(clippy::await_holding_refcell_ref)]

mod rules;
mod web;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream;
use serde::Serialize;
use worker::{
    Context, Delay, Env, Error, MessageBatch, MessageExt, Request, Response,
    RouteContext, Router, ScheduleContext, ScheduledEvent, console_error,
    console_log, event,
};

use rules::{Greeting, Refusal};
use web::Failure;

const HELP: &str = "\
GET  /                     OK
GET  /hello/<name>         a greeting, by a plain match
GET  /router/hello/<name>  the same, by worker::Router
POST /greetings            JSON in, JSON out
GET  /settings             what wrangler.toml and .dev.vars gave us
GET  /countdown            a streamed answer
POST /later                answers first, works afterwards
POST /jobs                 puts a line on the queue
GET  /diary                what the events wrote down
GET  /open                 an error, with pass_through_on_exception
";

// ANCHOR: start
/// How often this isolate has started the Wasm module.
static STARTS: AtomicU32 = AtomicU32::new(0);

#[event(start)]
fn start() {
    let count = STARTS.fetch_add(1, Ordering::Relaxed) + 1;
    console_log!("start number {count}");
}
// ANCHOR_END: start

// ANCHOR: fetch
#[event(fetch)]
async fn fetch(req: Request, env: Env, ctx: Context) -> worker::Result<Response> {
    web::answer(respond(req, env, ctx).await)
}
// ANCHOR_END: fetch

// ANCHOR: respond
async fn respond(
    mut req: Request,
    env: Env,
    ctx: Context,
) -> Result<Response, Failure> {
    let path = req.path();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (req.inner().method().as_str(), segments.as_slice()) {
        ("GET" | "HEAD", [""]) => Ok(Response::ok("OK\n")?),
        ("GET" | "HEAD", ["help"]) => Ok(Response::ok(HELP)?),
        ("GET" | "HEAD", ["hello", name]) => hello(&env, name),
        ("GET" | "HEAD", ["router", ..]) => Ok(router().run(req, env).await?),
        ("POST", ["greetings"]) => {
            let body = web::body(&mut req).await?;
            let words = env.var("GREETING")?.to_string();
            Ok(Response::from_json(&Greeting::parse(&words, &body)?)?)
        }
        ("GET" | "HEAD", ["settings"]) => settings(&env),
        ("GET" | "HEAD", ["countdown"]) => countdown(),
        ("POST", ["later"]) => later(env, &ctx),
        ("POST", ["jobs"]) => {
            let job = rules::job(&web::body(&mut req).await?)?;
            env.queue("JOBS")?.send(job).await?;
            Ok(Response::ok("queued\n")?.with_status(202))
        }
        ("GET" | "HEAD", ["diary"]) => diary(&env).await,
        ("GET" | "HEAD", ["open"]) => open(&ctx),

        (_, ["greetings" | "later" | "jobs"]) => {
            Err(Refusal::Method("POST").into())
        }
        (_, ["" | "help" | "settings" | "countdown" | "diary" | "open"])
        | (_, ["hello", _] | ["router", ..]) => {
            Err(Refusal::Method("GET, HEAD").into())
        }
        _ => Err(Refusal::Path.into()),
    }
}
// ANCHOR_END: respond

// ANCHOR: hello
fn hello(env: &Env, name: &str) -> Result<Response, Failure> {
    let name = percent_decoded(name)?;
    let line = rules::greet(&env.var("GREETING")?.to_string(), &name)?;
    Ok(Response::ok(line + "\n")?)
}
// ANCHOR_END: hello

/// A path comes as it was sent: `Ada%20L.` for `Ada L.`
fn percent_decoded(segment: &str) -> Result<String, Refusal> {
    worker::js_sys::decode_uri_component(segment)
        .map(String::from)
        .map_err(|_| Refusal::Name)
}

// ANCHOR: router
/// The same greeting by `worker::Router`, whose patterns name their parts. It
/// treats HEAD as a method of its own.
fn router() -> Router<'static, ()> {
    let pattern = "/router/hello/:name";
    Router::new().get(pattern, hello_by_router).head(pattern, hello_by_router)
}

fn hello_by_router(
    _req: Request,
    ctx: RouteContext<()>,
) -> worker::Result<Response> {
    let name = ctx.param("name").map_or("", String::as_str);
    web::answer(hello(&ctx.env, name))
}
// ANCHOR_END: router

// ANCHOR: settings
#[derive(Serialize)]
struct Settings {
    greeting: String,
    api_key: &'static str,
}

fn settings(env: &Env) -> Result<Response, Failure> {
    Ok(Response::from_json(&Settings {
        greeting: env.var("GREETING")?.to_string(),
        // Whether there is a secret may be told, the secret may not.
        api_key: if env.secret("API_KEY").is_ok() { "set" } else { "not set" },
    })?)
}
// ANCHOR_END: settings

// ANCHOR: countdown
/// Sends a line every quarter of a second, as it comes about.
fn countdown() -> Result<Response, Failure> {
    let lines = stream::unfold(Some(3u8), |next| async move {
        let line = match next? {
            0 => return Some((Ok::<_, Error>(b"lift-off\n".to_vec()), None)),
            n => format!("{n}\n"),
        };
        Delay::from(Duration::from_millis(250)).await;
        Some((Ok(line.into_bytes()), next.and_then(|n| n.checked_sub(1))))
    });
    let response = Response::from_stream(lines)?;
    response.headers().set("Content-Type", "text/plain; charset=utf-8")?;
    Ok(response)
}
// ANCHOR_END: countdown

// ANCHOR: later
/// Answers at once. The work goes on after the answer has left.
fn later(env: Env, ctx: &Context) -> Result<Response, Failure> {
    ctx.wait_until(async move {
        Delay::from(Duration::from_millis(100)).await;
        write_down(&env, "later", "written after the answer").await;
    });
    Ok(Response::ok("answered\n")?.with_status(202))
}
// ANCHOR_END: later

// ANCHOR: diary
/// Notes an event in Workers KV, so that a later request can show it.
///
/// Who calls this has nobody left to answer to, so a failure goes to the log.
async fn write_down(env: &Env, event: &str, line: &str) -> bool {
    let written = async {
        env.kv("DIARY")?.put(event, line)?.execute().await?;
        Ok::<_, Error>(())
    };
    written
        .await
        .inspect_err(|error| {
            console_error!("the diary did not take {event}: {error}")
        })
        .is_ok()
}

#[derive(Serialize)]
struct Diary {
    starts: u32,
    scheduled: Option<String>,
    queue: Option<String>,
    later: Option<String>,
}

async fn diary(env: &Env) -> Result<Response, Failure> {
    let diary = env.kv("DIARY")?;
    let read = async |event| diary.get(event).text().await.map_err(Error::from);
    Ok(Response::from_json(&Diary {
        starts: STARTS.load(Ordering::Relaxed),
        scheduled: read("scheduled").await?,
        queue: read("queue").await?,
        later: read("later").await?,
    })?)
}
// ANCHOR_END: diary

// ANCHOR: scheduled
#[event(scheduled)]
async fn scheduled(event: ScheduledEvent, env: Env, _ctx: ScheduleContext) {
    write_down(&env, "scheduled", &event.cron()).await;
}
// ANCHOR_END: scheduled

// ANCHOR: queue
#[event(queue)]
async fn queue(
    batch: MessageBatch<String>,
    env: Env,
    _ctx: Context,
) -> worker::Result<()> {
    for message in batch.iter() {
        // A message that is no text will be none the next time either: log it and
        // let it go.
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                console_error!("a message that is no text: {error}");
                continue;
            }
        };
        if write_down(&env, "queue", message.body()).await {
            message.ack();
        } else {
            message.retry();
        }
    }
    Ok(())
}
// ANCHOR_END: queue

// ANCHOR: open
/// Asks the runtime to send the request on to the origin if this Worker throws, and
/// then fails.
fn open(ctx: &Context) -> Result<Response, Failure> {
    ctx.pass_through_on_exception();
    Err(Failure::Broken(Error::RustError("the roof is leaking".into())))
}
// ANCHOR_END: open
