//! A queue that is posted in batches: the "Use the Alarms API" example of the
//! official docs, with an outbox that loses nothing and doubles nothing.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::future::{try_join, try_join3};
use serde::Serialize;
use worker::js_sys::Map;
use worker::wasm_bindgen::prelude::*;
use worker::{
    DurableObject, Env, ListOptions, Method, Request, Response, Result, State,
    console_warn, durable_object, wasm_bindgen,
};

use crate::book::{Book, item_key};
use crate::missing::AlarmInfo;
use crate::{post, web};

/// How long a batch gathers items before it is posted.
const GATHER: Duration = Duration::from_secs(5);
/// How long to leave a mailbox in peace when the runtime has no retries left.
const PATIENCE: Duration = Duration::from_secs(15);
/// Where the [`Book`] is stored.
const BOOK: &str = "book";

// ANCHOR: class
/// One queue. The macro leaves the name `alarm` free for a method of our own.
#[durable_object(fetch)]
pub struct Batcher {
    state: State,
    env: Env,
    /// Whether a batch is being posted just now.
    posting: Cell<bool>,
}

#[wasm_bindgen(
    wasm_bindgen = worker::wasm_bindgen,
    wasm_bindgen_futures = worker::wasm_bindgen_futures,
    js_sys = worker::js_sys
)]
impl Batcher {
    /// `alarm(alarmInfo)`, which the macro would export without its argument.
    #[wasm_bindgen(js_name = alarm)]
    pub async fn alarm_with_info(
        &self,
        info: JsValue,
    ) -> std::result::Result<(), JsValue> {
        self.post(info.into()).await.map_err(JsValue::from)
    }
}
// ANCHOR_END: class

impl DurableObject for Batcher {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, posting: Cell::new(false) }
    }

    async fn fetch(&self, mut req: Request) -> Result<Response> {
        match req.method() {
            Method::Post => {
                let item = req.text().await?;
                self.queue(item).await
            }
            _ => self.about().await,
        }
    }
}

impl Batcher {
    // ANCHOR: queue
    /// Takes an item, and sees to it that the alarm will ring. While a batch is being
    /// posted, `post` does that.
    async fn queue(&self, item: String) -> Result<Response> {
        let storage = self.state.storage();
        let mut book = self.book().await?;
        let number = match book.queue() {
            Ok(number) => number,
            Err(refusal) => return web::refuse(&refusal),
        };
        let key = item_key(number);
        let item = storage.put(&key, item);
        if self.posting.get() || storage.get_alarm().await?.is_some() {
            try_join(item, storage.put(BOOK, &book)).await?;
        } else {
            let alarm = storage.set_alarm(GATHER);
            try_join3(item, storage.put(BOOK, &book), alarm).await?;
        }
        Response::from_json(&Queued { queued: book.queued() })
    }
    // ANCHOR_END: queue

    // ANCHOR: post
    /// Posts a batch. Whatever fails here, and wherever the process dies: the same
    /// batch is posted again, under the same key.
    async fn post(&self, info: AlarmInfo) -> Result<()> {
        let storage = self.state.storage();
        let name = self.state.id().name().unwrap_or_default();

        // 1. Close the batch, and write down which items are in it.
        let mut book = self.book().await?;
        let Some(batch) = book.seal() else { return Ok(()) };
        storage.put(BOOK, &book).await?;

        // 2. Post it. The key names these items and no others, for ever.
        let key = format!("batch/{name}/{}-{}", batch.start(), batch.end());
        let letter = serde_json::to_string(&self.items(&batch).await?)?;
        self.posting.set(true);
        let posted = post::deliver(&self.env, &name, &key, &letter).await;
        self.posting.set(false);

        // 3. Write down how it went. Others have queued items meanwhile, so read the
        // book again.
        let mut book = self.book().await?;
        if let Err(error) = posted {
            book.failed();
            storage.put(BOOK, &book).await?;
            console_warn!("{key}, {info}: {error}");
            if !info.is_last_try() {
                return Err(error);
            }
            // The runtime would forget the alarm now.
            return storage.set_alarm(PATIENCE).await;
        }
        book.delivered();
        let done: Vec<String> = batch.map(item_key).collect();
        try_join(storage.delete_multiple(done), storage.put(BOOK, &book)).await?;

        // 4. Set the alarm again, last of all, if there is more to post.
        if book.queued() > 0 && storage.get_alarm().await?.is_none() {
            storage.set_alarm(Duration::ZERO).await?;
        }
        Ok(())
    }
    // ANCHOR_END: post

    async fn book(&self) -> Result<Book> {
        Ok(self.state.storage().get(BOOK).await?.unwrap_or_default())
    }

    // ANCHOR: items
    /// The items of a batch, in order: `list` sorts by key.
    async fn items(&self, batch: &RangeInclusive<u64>) -> Result<Vec<String>> {
        let (start, end) = (item_key(*batch.start()), item_key(batch.end() + 1));
        let range = ListOptions::new().start(&start).end(&end);
        let found: Map = self.state.storage().list_with_options(range).await?;
        let mut items = Vec::new();
        found.for_each(&mut |item, _key| items.extend(item.as_string()));
        Ok(items)
    }
    // ANCHOR_END: items

    async fn about(&self) -> Result<Response> {
        let book = self.book().await?;
        Response::from_json(&About {
            queued: book.queued(),
            posted: book.sent,
            tries: book.tries,
            alarm: self.state.storage().get_alarm().await?,
        })
    }
}

#[derive(Serialize)]
struct Queued {
    queued: u64,
}

#[derive(Serialize)]
struct About {
    queued: u64,
    posted: u64,
    tries: u32,
    alarm: Option<i64>,
}
