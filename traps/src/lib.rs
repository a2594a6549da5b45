//! Code that goes wrong, so that a test can show how. Do not copy it.

mod ch03;
mod ch04;
mod ch05;
mod ch06;
mod ch07;

use std::cell::Cell;
use std::time::Duration;

use worker::{
    Context, Delay, DurableObject, Env, Request, Response, Result, Router, State,
    durable_object, event, wasm_bindgen,
};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    match req.path().as_str() {
        "/clock" => clock(),
        "/method" => method(&req),
        "/router" => {
            Router::new()
                .get("/router", |_, _| Response::ok("found\n"))
                .run(req, env)
                .await
        }
        // One class per chapter, so that a reset of one chapter's is not another's.
        path => {
            let binding = match path.split('/').nth(1) {
                Some("ch03") => "CH03_TRAP",
                Some("ch04") => "CH04_TRAP",
                Some("ch05") => "CH05_TRAP",
                Some("ch06") => "CH06_TRAP",
                Some("ch07") => "CH07_TRAP",
                _ => "TRAP",
            };
            env.durable_object(binding)?
                .get_by_name("trap")?
                .fetch_with_request(req)
                .await
        }
    }
}

// ANCHOR: clock
/// Wasm without an operating system has no clock, and std panics when it is asked
/// for one.
fn clock() -> Result<Response> {
    let now = std::time::SystemTime::now();
    Response::ok(format!("{now:?}\n"))
}
// ANCHOR_END: clock

// ANCHOR: method
/// A method that `worker` does not know turns into GET.
fn method(req: &Request) -> Result<Response> {
    Response::ok(format!(
        "{} is taken for {}\n",
        req.inner().method(),
        req.method()
    ))
}
// ANCHOR_END: method

#[durable_object(fetch)]
pub struct Trap {
    state: State,
    count: Cell<u32>,
}

impl DurableObject for Trap {
    fn new(state: State, _env: Env) -> Self {
        Self { state, count: Cell::new(0) }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        match req.path().as_str() {
            "/own-stub" => self.own_stub(),
            "/lossy" => self.lossy().await,
            _ => Response::ok(format!("{}\n", self.count.get())),
        }
    }
}

impl Trap {
    // ANCHOR: own_stub
    /// An id that the object has of itself has no namespace, and without one there
    /// is no stub.
    fn own_stub(&self) -> Result<Response> {
        match self.state.id().get_stub() {
            Ok(_) => Response::ok("a stub\n"),
            Err(error) => Response::ok(format!("{error}\n")),
        }
    }
    // ANCHOR_END: own_stub

    // ANCHOR: lossy
    /// Whoever comes during the await reads the same count, and one of the two
    /// additions is lost.
    async fn lossy(&self) -> Result<Response> {
        let count = self.count.get();
        Delay::from(Duration::from_millis(20)).await;
        self.count.set(count + 1);
        Response::ok(format!("{}\n", count + 1))
    }
    // ANCHOR_END: lossy
}
