//! What goes wrong with alarms: the traps of ch05. Do not copy it.

use std::time::Duration;

use chrono::DateTime;
use worker::{
    Date, DurableObject, Env, Request, Response, Result, SetAlarmOptions, State,
    durable_object, wasm_bindgen,
};

#[durable_object(alarm)]
pub struct Ch05Trap {
    state: State,
    env: Env,
}

impl DurableObject for Ch05Trap {
    fn new(state: State, env: Env) -> Self {
        let storage = state.storage();
        let _ready = state.block_concurrency_while(async move {
            let alarm = storage.get_alarm().await?;
            storage.put("at the start", alarm.unwrap_or_default()).await
        });
        Self { state, env }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        match req.path().trim_start_matches("/ch05") {
            "/offset" => self.offset().await,
            "/clock" => self.clock().await,
            "/options" => self.options().await,
            class @ ("/silent" | "/deaf") => {
                let binding =
                    if class == "/deaf" { "CH05_DEAF" } else { "CH05_SILENT" };
                let object = self.env.durable_object(binding)?;
                object.get_by_name("trap")?.fetch_with_request(req).await
            }
            plan @ ("/early" | "/late" | "/answer") => {
                let storage = self.state.storage();
                storage.put("plan", plan).await?;
                storage.put("rings", 0).await?;
                storage.set_alarm(Duration::from_millis(100)).await?;
                Response::ok("set\n")
            }
            "/start" => {
                let storage = self.state.storage();
                let start: Option<i64> = storage.get("at the start").await?;
                let handler: Option<i64> = storage.get("in the handler").await?;
                Response::ok(format!(
                    "{} {}\n",
                    start.unwrap_or_default(),
                    handler.unwrap_or_default()
                ))
            }
            _ => {
                let rings: u32 =
                    self.state.storage().get("rings").await?.unwrap_or_default();
                Response::ok(format!("{rings}\n"))
            }
        }
    }

    async fn alarm(&self) -> Result<Response> {
        let storage = self.state.storage();
        let rings: u32 = storage.get("rings").await?.unwrap_or_default();
        storage.put("rings", rings + 1).await?;
        let alarm = storage.get_alarm().await?.unwrap_or_default();
        storage.put("in the handler", alarm).await?;
        let plan: String = storage.get("plan").await?.unwrap_or_default();
        match plan.as_str() {
            "/early" => self.ring_early().await,
            "/answer" => self.ring_with_answer(),
            _ => work(),
        }
    }
}

impl Ch05Trap {
    // ANCHOR: offset
    /// Meant is: in one second. An `i64` is a distance from now, though.
    async fn offset(&self) -> Result<Response> {
        let storage = self.state.storage();
        let time = Date::now().as_millis() as i64 + 1_000;
        storage.set_alarm(time).await?;
        let alarm = storage.get_alarm().await?.unwrap_or_default();
        let years = (alarm - time) / (365 * 24 * 3_600 * 1_000);
        Response::ok(format!("{years} years from now\n"))
    }
    // ANCHOR_END: offset

    /// What was meant. `worker` takes the times of chrono as times of the clock.
    async fn clock(&self) -> Result<Response> {
        let storage = self.state.storage();
        let time = Date::now().as_millis() as i64 + 60_000;
        let clock = DateTime::from_timestamp_millis(time)
            .ok_or("not a time of the clock")?;
        storage.set_alarm(clock).await?;
        let alarm = storage.get_alarm().await?.unwrap_or_default();
        Response::ok(format!("{} ms off\n", alarm - time))
    }

    // ANCHOR: options
    /// The runtime looks for `allowUnconfirmed`, and is sent `allow_unconfirmed`.
    async fn options(&self) -> Result<Response> {
        let options = SetAlarmOptions {
            allow_concurrency: Some(true),
            allow_unconfirmed: Some(true),
        };
        let storage = self.state.storage();
        storage.set_alarm_with_options(Duration::from_secs(60), options).await?;
        Response::ok("set\n")
    }
    // ANCHOR_END: options

    // ANCHOR: early
    /// An alarm is set, so the runtime does not see why it should try again. What
    /// `work` was to do waits for an hour.
    async fn ring_early(&self) -> Result<Response> {
        let next = Duration::from_secs(3_600);
        self.state.storage().set_alarm(next).await?;
        work()
    }
    // ANCHOR_END: early

    // ANCHOR: answer
    /// The answer of an alarm goes nowhere. To the runtime, `Ok` is success.
    fn ring_with_answer(&self) -> Result<Response> {
        Response::error("the work is not done", 500)
    }
    // ANCHOR_END: answer
}

fn work() -> Result<Response> {
    Err("the work is not done".into())
}

// ANCHOR: silent
/// Without a word in brackets the class has all handlers, those that panic included.
#[durable_object]
pub struct Silent {
    state: State,
}

impl DurableObject for Silent {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        self.state.storage().set_alarm(Duration::from_millis(100)).await?;
        Response::ok("set\n")
    }
}
// ANCHOR_END: silent

/// The same, with only the handlers that it has.
#[durable_object(fetch)]
pub struct Deaf {
    state: State,
}

impl DurableObject for Deaf {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        match self.state.storage().set_alarm(Duration::from_millis(100)).await {
            Ok(()) => Response::ok("set\n"),
            Err(error) => Response::ok(format!("{error}\n")),
        }
    }
}
