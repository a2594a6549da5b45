//! What goes wrong with storage: the traps of ch05. Do not copy it.

use worker::{
    DurableObject, Env, Request, Response, Result, State, durable_object,
    wasm_bindgen,
};

#[durable_object(fetch)]
pub struct Ch05Trap {
    state: State,
}

impl DurableObject for Ch05Trap {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        match req.path().as_str() {
            _ => Response::ok(format!("{}\n", self.state.id())),
        }
    }
}
