//! What goes wrong with WebSockets: the traps of ch06. Do not copy it.

use worker::{
    DurableObject, Env, Request, Response, Result, State, durable_object,
    wasm_bindgen,
};

#[durable_object(fetch)]
pub struct Ch06Trap {}

impl DurableObject for Ch06Trap {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        Response::error("no such trap", 404)
    }
}
