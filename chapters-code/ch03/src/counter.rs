//! The counter of the official example "Build a counter".

use worker::{
    DurableObject, Env, Request, Response, State, durable_object, wasm_bindgen,
};

use crate::rules::{self, Refusal};
use crate::web::{self, Failure};

// ANCHOR: class
/// One counter. Its count lies in storage, and nowhere else.
#[durable_object(fetch)]
pub struct Counter {
    state: State,
}

impl DurableObject for Counter {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        web::answer(self.count(req.path().trim_start_matches('/')).await)
    }
}
// ANCHOR_END: class

impl Counter {
    // ANCHOR: count
    /// Adds a number, which may be negative or 0, and answers the count.
    async fn count(&self, by: &str) -> Result<Response, Failure> {
        let storage = self.state.storage();
        let by = by.parse().map_err(|_| Refusal::Path)?;
        let count = storage.get("value").await?.unwrap_or(0);
        let sum = rules::add(count, by)?;
        if sum != count {
            storage.put("value", sum).await?;
        }
        Ok(Response::ok(sum.to_string())?)
    }
    // ANCHOR_END: count
}
