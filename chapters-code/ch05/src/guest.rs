//! A guest who is forgotten when he stays away: the "Durable Object TTL" example of
//! the official docs.

use std::time::Duration;

use futures_util::future::try_join;
use serde::Serialize;
use worker::{
    Date, DurableObject, Env, Method, Request, Response, Result, State,
    durable_object, wasm_bindgen,
};

use crate::missing::AlarmOptions;

// ANCHOR: class
/// How long a guest is remembered after a visit.
const STAY: Duration = Duration::from_secs(5);

/// One guest, who is remembered for a while after each visit.
#[durable_object(alarm)]
pub struct Guest {
    state: State,
}

impl DurableObject for Guest {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        match req.method() {
            Method::Post => self.visit().await,
            Method::Put if req.path() == "/wave" => self.wave().await,
            Method::Put => self.stay().await,
            Method::Delete => self.check_out().await,
            _ => self.about().await,
        }
    }

    /// The time is over: nothing of the guest stays. What is returned goes nowhere.
    async fn alarm(&self) -> Result<Response> {
        self.state.storage().delete_all().await?;
        Response::empty()
    }
}
// ANCHOR_END: class

impl Guest {
    // ANCHOR: visit
    /// Counts the visit and pushes the end ahead. Both are begun before either is
    /// waited for, so they are written together or not at all.
    async fn visit(&self) -> Result<Response> {
        let storage = self.state.storage();
        let visits: u32 = storage.get("visits").await?.unwrap_or_default();
        let visits = visits.saturating_add(1);
        try_join(storage.put("visits", visits), storage.set_alarm(STAY)).await?;
        Response::ok(format!("visit {visits}\n"))
    }
    // ANCHOR_END: visit

    // ANCHOR: wave
    /// Pushes the end ahead without a visit. If the process dies before this is on
    /// disk, nothing is lost but a few seconds, so the answer need not wait for it.
    async fn wave(&self) -> Result<Response> {
        let end = Date::now().as_millis() + STAY.as_millis() as u64;
        let options =
            AlarmOptions { allow_unconfirmed: true, ..AlarmOptions::default() };
        options.set_alarm(&self.state.storage(), end).await?;
        Response::ok("seen\n")
    }
    // ANCHOR_END: wave

    // ANCHOR: stay
    /// Takes the end away: the guest stays until after the next visit.
    async fn stay(&self) -> Result<Response> {
        self.state.storage().delete_alarm().await?;
        Response::ok("stays\n")
    }
    // ANCHOR_END: stay

    // ANCHOR: about
    async fn about(&self) -> Result<Response> {
        let storage = self.state.storage();
        let visits: u32 = storage.get("visits").await?.unwrap_or_default();
        let options =
            AlarmOptions { allow_concurrency: true, ..AlarmOptions::default() };
        let alarm = options.get_alarm(&storage).await?;
        let now = Date::now().as_millis();
        Response::from_json(&About {
            visits,
            forgotten_in_ms: alarm.map(|at| at.saturating_sub(now)),
        })
    }
    // ANCHOR_END: about

    // ANCHOR: check_out
    /// `delete_all` takes the alarm along.
    async fn check_out(&self) -> Result<Response> {
        self.state.storage().delete_all().await?;
        Response::ok("forgotten\n")
    }
    // ANCHOR_END: check_out
}

#[derive(Serialize)]
struct About {
    visits: u32,
    forgotten_in_ms: Option<u64>,
}
