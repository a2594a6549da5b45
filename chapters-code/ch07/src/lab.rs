//! Things to try with sockets that sleep. Each experiment answers with what it saw.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    Date, Delay, DurableObject, Env, Error, Headers, Request, RequestInit,
    Response, Result, State, Stub, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, console_error, durable_object,
    wasm_bindgen,
};

use crate::rules::{Refusal, Route};
use crate::web::{self, Failure};
use crate::{missing, sockets};

/// How long that lasts which may keep an object awake.
const LONG: Duration = Duration::from_secs(25);

/// A laboratory.
#[durable_object]
pub struct Lab {
    state: State,
    env: Env,
    made_at: u64,
    begun: Cell<bool>,
    sockets: RefCell<Vec<WebSocket>>,
}

impl DurableObject for Lab {
    fn new(state: State, env: Env) -> Self {
        sockets::keep_alive(&state);
        let made_at = Date::now().as_millis();
        let (begun, sockets) = (Cell::default(), RefCell::default());
        let lab = Self { state, env, made_at, begun, sockets };
        if let Err(error) = lab.count_start() {
            console_error!("this start is not counted: {error}");
        }
        lab
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        web::answer(self.respond(req).await)
    }

    // ANCHOR: message
    /// Tells a socket which of its messages this was. The attachment counts.
    async fn websocket_message(
        &self,
        socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> Result<()> {
        let before: Option<u32> = socket.deserialize_attachment()?;
        let count = before.unwrap_or(0) + 1;
        socket.serialize_attachment(count)?;
        socket.send_with_str(format!("message {count}, {}", self.starts()?))
    }
    // ANCHOR_END: message

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        sockets::answer_close(&socket, code, &reason);
        Ok(())
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        error: Error,
    ) -> Result<()> {
        console_error!("a socket broke: {error}");
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        Response::empty()
    }
}

impl Lab {
    /// A socket of the plain API.
    fn accept_plain(&self) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        server.accept()?;
        self.sockets.borrow_mut().push(server);
        Response::from_websocket(client)
    }

    async fn respond(
        &self,
        mut req: Request,
    ) -> std::result::Result<Response, Failure> {
        Ok(match Route::parse(&req.inner().method(), &req.path())? {
            Route::LabSocket { tags } => self.accept(&tags)?,
            Route::LabSockets => Response::ok(self.sockets()?)?,
            Route::LabTell { tag } => {
                let text = web::body(&mut req).await?;
                let text = String::from_utf8_lossy(&text);
                let told = self.tell(&tag, &text);
                Response::ok(format!("{told} have heard it\n"))?
            }
            Route::Lab { experiment } => Response::ok(match experiment.as_str() {
                "auto-response" => self.auto_response()?,
                "timeout" => self.timeout()?,
                _ => self.limits()?,
            })?,
            Route::LabInside { what } => match what.as_str() {
                "memory" => Response::ok(match self.begun.get() {
                    true => "was awake",
                    false => "slept",
                })?,
                "accept" => self.accept_plain()?,
                what => {
                    self.keep_awake(what).await?;
                    Response::empty()?
                }
            },
            _ => return Err(Refusal::Path.into()),
        })
    }

    /// Memory does not know how often it was lost. Storage does.
    fn count_start(&self) -> Result<()> {
        let sql = self.state.storage().sql();
        sql.exec("CREATE TABLE IF NOT EXISTS starts (at INTEGER)", None)?;
        let now = (self.made_at as f64).into();
        sql.exec("INSERT INTO starts VALUES (?)", vec![now]).map(drop)
    }

    fn starts(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Row {
            starts: u32,
        }
        let sql = self.state.storage().sql();
        // An aggregate always has its one row.
        let query = "SELECT count(*) AS starts FROM starts";
        let Row { starts } = sql.exec(query, None)?.one()?;
        Ok(format!("start {starts}"))
    }

    // ANCHOR: accept
    /// Takes a socket with tags. There may be 10, of up to 256 bytes: `worker`
    /// panics at more, so the router has counted them.
    fn accept(&self, tags: &[String]) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        self.state.accept_websocket_with_tags(&server, &tags);
        Response::from_websocket(client)
    }

    /// Tells all sockets with a tag something.
    fn tell(&self, tag: &str, text: &str) -> usize {
        let sockets = self.state.get_websockets_with_tag(tag);
        let told = sockets.iter().map(|socket| socket.send_with_str(text));
        told.filter(Result::is_ok).count()
    }
    // ANCHOR_END: accept

    // ANCHOR: sockets
    /// What there is to know about each socket.
    fn sockets(&self) -> Result<String> {
        let mut out = format!("{}\n", self.starts()?);
        for socket in self.state.get_websockets() {
            let tags = self.state.get_tags(&socket).join(",");
            let count: Option<u32> = socket.deserialize_attachment()?;
            let pinged = missing::auto_response_timestamp(&self.state, &socket)?;
            let pinged = match pinged {
                Some(_) => "has pinged",
                None => "has never pinged",
            };
            let count = count.unwrap_or(0);
            out += &format!("tags {tags}: {count} messages, {pinged}\n");
        }
        Ok(out)
    }
    // ANCHOR_END: sockets

    // ANCHOR: auto_response
    fn auto_response(&self) -> Result<String> {
        let state = &self.state;
        let tell = || match state.get_websocket_auto_response() {
            Some(pair) => format!("{} -> {}\n", pair.request(), pair.response()),
            None => "none\n".to_owned(),
        };
        let mut out = tell();
        missing::unset_auto_response(state)?;
        out += &tell();
        sockets::keep_alive(state);
        Ok(out + &tell())
    }
    // ANCHOR_END: auto_response

    // ANCHOR: timeout
    fn timeout(&self) -> Result<String> {
        let state = &self.state;
        let mut out = format!("{:?}\n", missing::event_timeout(state)?);
        for ms in [Some(5_000), Some(604_800_001), None] {
            out += &match missing::set_event_timeout(state, ms) {
                Ok(()) => format!("{:?}\n", missing::event_timeout(state)?),
                Err(error) => format!("{error}\n"),
            };
        }
        Ok(out)
    }
    // ANCHOR_END: timeout

    // ANCHOR: limits
    /// Goes to each limit, and one step beyond.
    fn limits(&self) -> Result<String> {
        let state = &self.state;
        let tag = |length: usize| "t".repeat(length);
        let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        let mut out = String::new();
        let mut line = |what: &str, done: Result<()>| {
            let done = match done {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            out += &format!("{what:28} {done}\n");
        };
        let socket = WebSocketPair::new()?.server;
        line("10 tags", missing::accept(state, &socket, &eleven[..10]));
        line("again", missing::accept(state, &socket, &[]));
        line("accept() as well", socket.accept());
        let fresh = || WebSocketPair::new().map(|pair| pair.server);
        line("11 tags", missing::accept(state, &fresh()?, &eleven));
        line("a tag of 256 characters", {
            missing::accept(state, &fresh()?, &[tag(256)])
        });
        line("a tag of 257 characters", {
            missing::accept(state, &fresh()?, &[tag(257)])
        });
        for length in [16_379, 16_380] {
            let text = "a".repeat(length);
            let what = format!("attach {length} letters");
            line(&what, socket.serialize_attachment(text));
        }
        for length in [2_048, 2_049] {
            let text = "p".repeat(length);
            let pair = WebSocketRequestResponsePair::new(&text, &text)?;
            let what = format!("auto-response of {length}");
            line(&what, missing::set_auto_response(state, &pair));
        }
        sockets::keep_alive(state);
        for socket in state.get_websockets_with_tag("0") {
            socket.close(Some(1000), Some("the experiment is over"))?;
        }
        Ok(out)
    }
    // ANCHOR_END: limits

    // ANCHOR: keep_awake
    /// Begins something that lasts, and answers before it is over. What it keeps in
    /// memory shows later whether the object slept.
    async fn keep_awake(&self, what: &str) -> Result<()> {
        let (state, env) = (&self.state, &self.env);
        self.begun.set(true);
        match what {
            "timer" => spawn_local(async { Delay::from(LONG).await }),
            "wait-until" => state.wait_until(async { Delay::from(LONG).await }),
            "promise" => state.wait_until(std::future::pending()),
            "request" => {
                // The other object answers after 25 s.
                let env = env.clone();
                state.wait_until(async move {
                    let _ = ask(&env, "slow", "inside/slow").await;
                });
            }
            "alarm" => state.storage().set_alarm(LONG).await?,
            "slow" => Delay::from(LONG).await,
            "outgoing" => self.connect_to("answers", "websocket/awake").await?,
            "client" => {
                self.connect_to("hibernatable", "websocket/awake").await?;
                self.connect_to("accepted", "inside/accept").await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Opens a socket to another object, and keeps it.
    async fn connect_to(&self, name: &str, path: &str) -> Result<()> {
        let headers = Headers::new();
        headers.set("Upgrade", "websocket")?;
        let mut init = RequestInit::new();
        init.with_headers(headers);
        let req = Request::new_with_init(&url(path), &init)?;
        let answer = awake_object(&self.env, name)?.fetch_with_request(req).await?;
        let socket = answer.websocket().ok_or("there is no socket")?;
        socket.accept()?;
        self.sockets.borrow_mut().push(socket);
        Ok(())
    }
    // ANCHOR_END: keep_awake
}

// ANCHOR: awake
/// What may keep an object awake.
const REASONS: [&str; 9] = [
    "nothing",
    "alarm",
    "hibernatable",
    "accepted",
    "outgoing",
    "timer",
    "wait-until",
    "promise",
    "request",
];

/// Gives each reason to an object of its own; or asks them whether they slept.
pub async fn awake(env: &Env, begin: bool) -> Result<String> {
    if begin {
        for reason in REASONS {
            ask(env, reason, &format!("inside/{reason}")).await?;
        }
        ask(env, "client", "inside/client").await?;
        return Ok("begun\n".to_owned());
    }
    let mut out = String::new();
    for reason in REASONS {
        let memory = ask(env, reason, "inside/memory").await?;
        out += &format!("{reason:12} {memory}\n");
    }
    Ok(out)
}
// ANCHOR_END: awake

fn awake_object(env: &Env, name: &str) -> Result<Stub> {
    env.durable_object("LAB")?.get_by_name(&format!("awake: {name}"))
}

fn url(path: &str) -> String {
    format!("https://lab/lab/{path}")
}

async fn ask(env: &Env, name: &str, path: &str) -> Result<String> {
    let stub = awake_object(env, name)?;
    stub.fetch_with_str(&url(path)).await?.text().await
}
