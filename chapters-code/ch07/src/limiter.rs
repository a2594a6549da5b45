//! How fast the guests of one address may talk, in whatever rooms they are.

use std::cell::Cell;

use worker::{
    Date, DurableObject, Env, Error, Method, Request, RequestInit, Response,
    Result, State, durable_object, wasm_bindgen,
};

use crate::pace::{Limits, Tab};

/// What is meant where `wrangler.toml` says nothing: as in the public demo.
const PER_MESSAGE: &str = "5";
const GRACE: &str = "20";

// ANCHOR: limits
/// The limits, as `wrangler.toml` sets them.
///
/// # Errors
/// If they make no sense; then the text says what would.
pub fn limits(env: &Env) -> Result<Limits> {
    let var = |name, default: &str| match env.var(name) {
        Ok(value) => value.to_string(),
        Err(_) => default.to_owned(),
    };
    let per_message = var("SECONDS_PER_MESSAGE", PER_MESSAGE);
    let grace = var("GRACE_SECONDS", GRACE);
    Limits::parse(&per_message, &grace).map_err(Error::from)
}
// ANCHOR_END: limits

// ANCHOR: class
/// The limiter of one address. It keeps in memory what that address owes: an object
/// that is evicted had nothing to do for a while, and the debt would be paid.
#[durable_object(fetch)]
pub struct RateLimiter {
    limits: Result<Limits>,
    tab: Cell<Tab>,
}

impl DurableObject for RateLimiter {
    fn new(_state: State, env: Env) -> Self {
        Self { limits: limits(&env), tab: Cell::default() }
    }

    /// `POST` writes a message down, `GET` only looks. The answer is how many
    /// seconds to wait.
    async fn fetch(&self, req: Request) -> Result<Response> {
        let limits = self.limits.as_ref();
        let limits = limits.map_err(|error| Error::from(error.to_string()))?;
        let mut tab = self.tab.get();
        let messages = u64::from(req.method() == Method::Post);
        let wait = tab.charge(messages, limits, Date::now().as_millis());
        self.tab.set(tab);
        Response::ok(wait.div_ceil(1_000).to_string())
    }
}
// ANCHOR_END: class

// ANCHOR: charge
/// Tells the limiter of this name about a message. Returns for how long its address
/// is to be silent, in milliseconds.
///
/// # Errors
/// If the limiter cannot be reached, or says something else.
pub async fn charge(env: &Env, name: &str) -> Result<u64> {
    let limiter = env.durable_object("LIMITERS")?.get_by_name(name)?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post);
    // The host is not looked at, but there must be one.
    let req = Request::new_with_init("https://limiter/", &init)?;
    let answer = limiter.fetch_with_request(req).await?.text().await?;
    let seconds: u64 = answer
        .parse()
        .map_err(|_| Error::from(format!("{answer:?} are no seconds")))?;
    Ok(seconds * 1_000)
}
// ANCHOR_END: charge
