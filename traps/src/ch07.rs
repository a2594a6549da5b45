//! What goes wrong with sockets that sleep: the traps of ch07. Do not copy it.

use worker::{
    DurableObject, Env, Request, Response, Result, State, durable_object,
    wasm_bindgen,
};

#[durable_object(fetch)]
pub struct Ch07Trap {}

impl DurableObject for Ch07Trap {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        Response::error("no such trap", 404)
    }
}

/// A class that takes sockets and has no handlers for them.
#[durable_object(fetch)]
pub struct Bare {}

impl DurableObject for Bare {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        Response::error("no such trap", 404)
    }
}
