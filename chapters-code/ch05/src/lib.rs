//! A skeleton.
#![deny(clippy::await_holding_refcell_ref)]
#![allow(dead_code)]

mod query;
mod rules;
mod transaction;
mod web;

use worker::{
    Context, DurableObject, Env, Request, Response, State, durable_object, event,
    wasm_bindgen,
};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    env.durable_object("SKELETON")?.get_by_name("a")?.fetch_with_request(req).await
}

#[durable_object(fetch)]
pub struct Skeleton {
    state: State,
}

impl DurableObject for Skeleton {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        let storage = self.state.storage();
        let sql = storage.sql();
        sql.exec("CREATE TABLE IF NOT EXISTS t (n INTEGER) STRICT", None)?;
        let outcome = transaction::transaction_sync(&storage, || {
            sql.exec("INSERT INTO t VALUES (1)", None)?;
            if query::parameter(&req.inner().url(), "fail").is_some() {
                return Err(worker::Error::from("as you like"));
            }
            Ok(7)
        });
        let rows = sql.exec("SELECT n FROM t", None)?.raw().count();
        Response::ok(format!("{outcome:?} {rows}\n"))
    }
}
