//! A stub of ch06.
#![deny(clippy::await_holding_refcell_ref)]

mod rules;

use worker::{
    Context, DurableObject, Env, Request, Response, Result, State, durable_object,
    event, wasm_bindgen,
};

use rules::Refusal;

#[event(fetch)]
async fn fetch(_req: Request, _env: Env, _ctx: Context) -> Result<Response> {
    Response::error(Refusal::Path.to_string(), 404)
}

#[durable_object(fetch)]
pub struct Room {}

impl DurableObject for Room {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        Response::error(Refusal::Path.to_string(), 404)
    }
}

#[durable_object(fetch)]
pub struct WebSocketServer {}

impl DurableObject for WebSocketServer {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        Response::error(Refusal::Path.to_string(), 404)
    }
}
