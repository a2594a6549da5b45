//! What goes wrong with storage: the traps of ch03. Do not copy it.

use worker::{
    DurableObject, Env, Request, Response, Result, State, durable_object,
    wasm_bindgen,
};

#[durable_object(fetch)]
pub struct Ch03Trap {
    state: State,
}

impl DurableObject for Ch03Trap {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        match req.path().as_str() {
            _ => Response::ok(format!("{}\n", self.state.id())),
        }
    }
}
