//! What goes wrong with storage, and what becomes of values there: ch03. Do not copy
//! the traps.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Write};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use worker::js_sys::{Function, Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{
    Delay, DurableObject, Env, Request, Response, Result, State, Storage,
    durable_object, wasm_bindgen,
};

#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    type StorageView;
    #[wasm_bindgen(method, catch)]
    fn get(
        this: &StorageView,
        key: &str,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = deleteAll)]
    fn delete_all(
        this: &StorageView,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
}

#[durable_object(fetch)]
pub struct Ch03Trap {
    state: State,
    env: Env,
    loaded: Rc<Cell<bool>>,
}

impl DurableObject for Ch03Trap {
    // ANCHOR: loaded
    fn new(state: State, env: Env) -> Self {
        let loaded = Rc::new(Cell::new(false));
        let (done, storage) = (loaded.clone(), state.storage());
        let _gate = state.block_concurrency_while(async move {
            storage.get::<u32>("settings").await?;
            done.set(true);
            Ok(())
        });
        Self { state, env, loaded }
    }
    // ANCHOR_END: loaded

    async fn fetch(&self, req: Request) -> Result<Response> {
        let path = req.path();
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        let storage = self.state.storage();
        match *parts.as_slice() {
            ["loaded"] => told(Ok(self.loaded.get())),
            ["panic"] => panic!("as you like"),
            ["serde"] => Response::ok(trips(&storage).await?),
            ["none"] => told(none(&storage).await),
            ["large-number"] => told(large_number(&storage).await),
            ["hash-map"] => told(hash_map(&storage).await),
            ["forgotten"] => told(forgotten(&storage)),
            ["missing"] => told(missing(&storage).await),
            ["published"] => told(self.published().await),
            ["gated"] => told(gated(&storage).await),
            ["lossy"] => told(lossy(&storage).await),
            ["lossy-kv"] => told(self.lossy_kv(&storage).await),
            ["concurrent"] => told(concurrent(&storage).await),
            ["count"] => told(storage.get::<u32>("count").await),
            ["delete-all"] => told(delete_all(&storage).await),
            ["delete-all-in-transaction"] => {
                let txn = storage
                    .transaction(|txn| async move { txn.delete_all().await });
                told(txn.await)
            }
            ["keys"] => {
                let found = storage.list().await?;
                let keys = found
                    .keys()
                    .into_iter()
                    .filter_map(|key| key.ok()?.as_string());
                told(Ok(keys.collect::<Vec<_>>()))
            }
            ["abort", how] => self.abort_after(how).await,
            ["key", length] => {
                told(storage.put(&"k".repeat(number(length)?), 1).await)
            }
            ["value", length] => {
                told(storage.put("value", "v".repeat(number(length)?)).await)
            }
            ["array", length] => {
                told(storage.put("value", vec![255_u8; number(length)?]).await)
            }
            ["bytes", length] => {
                let bytes = ByteBuf::from(vec![255; number(length)?]);
                told(storage.put("value", bytes).await)
            }
            ["put-multiple", count] => {
                let entries = Object::new();
                for key in 0..number(count)? {
                    Reflect::set(&entries, &key.to_string().into(), &1.into())?;
                }
                told(storage.put_multiple_raw(entries).await)
            }
            _ => Response::error("no such trap", 404),
        }
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| "not a number".into())
}

fn told<T: Debug>(outcome: Result<T>) -> Result<Response> {
    match outcome {
        Ok(value) => Response::ok(format!("Ok({value:?})\n")),
        Err(error) => Response::ok(format!("Err({error})\n")),
    }
}

// ANCHOR: none
/// `None` alone is JavaScript's `undefined`, and storage takes no `undefined`.
async fn none(storage: &Storage) -> Result<()> {
    storage.put("nickname", None::<String>).await
}
// ANCHOR_END: none

// ANCHOR: large_number
/// Numbers in JavaScript are exact up to 2^53 - 1. What is larger is refused.
async fn large_number(storage: &Storage) -> Result<()> {
    storage.put("number", 1_u64 << 53).await
}
// ANCHOR_END: large_number

// ANCHOR: hash_map
/// A map becomes a JavaScript `Map`, which has entries but no properties. There
/// is nothing to put, and that worked.
async fn hash_map(storage: &Storage) -> Result<()> {
    storage.put_multiple(HashMap::from([("ada", 1), ("ben", 2)])).await
}
// ANCHOR_END: hash_map

// ANCHOR: forgotten
/// A future that nobody awaits does nothing. In JavaScript this would write.
#[expect(clippy::let_underscore_future)]
fn forgotten(storage: &Storage) -> Result<()> {
    let _ = storage.put("forgotten", 1);
    Ok(())
}
// ANCHOR_END: forgotten

// ANCHOR: missing
/// Outside of a transaction a key that is not there is `Ok(None)`. In here it is an
/// `Err`, which rolls the whole transaction back.
async fn missing(storage: &Storage) -> Result<()> {
    storage
        .transaction(|txn| async move {
            txn.put("seen", true).await?;
            let _count: u32 = txn.get("count").await?;
            Ok(())
        })
        .await
}
// ANCHOR_END: missing

impl Ch03Trap {
    // ANCHOR: published
    /// What lands in Workers KV is `{}`: a map goes there by way of
    /// `JSON.stringify`, which sees no properties either.
    async fn published(&self) -> Result<String> {
        let kv = self.env.kv("CH03_KV")?;
        kv.put("ages", HashMap::from([("ada", 36)]))?.execute().await?;
        Ok(kv.get("ages").text().await?.unwrap_or_default())
    }
    // ANCHOR_END: published

    /// As `lossy`, with Workers KV instead of the timer.
    async fn lossy_kv(&self, storage: &Storage) -> Result<u32> {
        let count = storage.get("count").await?.unwrap_or(0) + 1;
        self.env.kv("CH03_KV")?.put("count", count.to_string())?.execute().await?;
        storage.put("count", count).await?;
        Ok(count)
    }
}

// ANCHOR: gated
/// Nothing is lost: while storage is awaited, nobody else gets in.
async fn gated(storage: &Storage) -> Result<u32> {
    let count = storage.get("count").await?.unwrap_or(0) + 1;
    storage.put("count", count).await?;
    Ok(count)
}
// ANCHOR_END: gated

// ANCHOR: lossy
/// The timer is not storage. While it runs the gate is open, and everybody who
/// comes in reads the same count.
async fn lossy(storage: &Storage) -> Result<u32> {
    let count = storage.get("count").await?.unwrap_or(0) + 1;
    Delay::from(Duration::from_millis(100)).await;
    storage.put("count", count).await?;
    Ok(count)
}
// ANCHOR_END: lossy

/// As `gated`, with a gate that stays open during the `get`.
async fn concurrent(storage: &Storage) -> Result<u32> {
    let options = Object::new();
    Reflect::set(&options, &"allowConcurrency".into(), &true.into())?;
    let view: &StorageView = storage.as_raw().unchecked_ref();
    let count = JsFuture::from(view.get("count", &options)?).await?;
    let count = count.as_f64().unwrap_or(0.0) + 1.0;
    storage.put("count", count).await?;
    Ok(count as u32)
}

/// `deleteAll` with options.
async fn delete_all(storage: &Storage) -> Result<()> {
    let options = Object::new();
    Reflect::set(&options, &"noCache".into(), &true.into())?;
    let view: &StorageView = storage.as_raw().unchecked_ref();
    JsFuture::from(view.delete_all(&options)?).await?;
    Ok(())
}

impl Ch03Trap {
    /// Writes, and resets the object before anything else can happen.
    async fn abort_after(&self, how: &str) -> Result<Response> {
        let storage = self.state.storage();
        match how {
            "together" => {
                let (left, right) = together(&storage).await;
                left.and(right)?;
            }
            "one-by-one" => {
                storage.put("left", 1).await?;
                storage.put("right", 1).await?;
            }
            "with-a-timer" => {
                storage.put("left", 1).await?;
                Delay::from(Duration::from_millis(1)).await;
                storage.put("right", 1).await?;
            }
            _ => {
                storage.put("left", 1).await?;
                storage.sync().await?;
                storage.put("right", 1).await?;
            }
        }
        // From within Wasm `abort` would never come back: a promise calls it.
        let state: &JsValue = self.state.as_raw();
        let abort =
            Reflect::get(state, &"abort".into())?.unchecked_into::<Function>();
        let soon = Promise::resolve(&JsValue::from("reset"));
        let then =
            Reflect::get(&soon, &"then".into())?.unchecked_into::<Function>();
        let never =
            then.call1(&soon, &abort.bind0(state))?.unchecked_into::<Promise>();
        JsFuture::from(never).await?;
        Response::ok("not reset\n")
    }
}

// ANCHOR: together
/// Both writes are on their way before either is awaited.
async fn together(storage: &Storage) -> (Result<()>, Result<()>) {
    join(storage.put("left", 1), storage.put("right", 1)).await
}
// ANCHOR_END: together

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Metres(f64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct House {
    number: u16,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Friend,
    Neighbour(u16),
    Street(u16, bool),
    Work { company: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Work { company: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u16),
    Text(String),
}

/// Puts one value of each kind, reads it back, and says whether it is the same.
async fn trips(storage: &Storage) -> Result<String> {
    let mut out = String::new();
    macro_rules! trips {
        ($($value:expr),* $(,)?) => {$(
            let told = trip(storage, &$value).await;
            writeln!(out, "{}: {told}", stringify!($value).replace(['\n'], " "))
                .map_err(|error| error.to_string())?;
        )*};
    }
    let house = House { number: 7, note: None };
    let company = || String::from("Mill");
    trips!(
        true,
        'ä',
        String::from("Grüße, 世界 \0 💧"),
        u8::MAX,
        i32::MIN,
        (1_u64 << 53) - 1,
        1_u64 << 53,
        -(1_i64 << 53),
        u64::MAX.to_string(),
        u128::from(u64::MAX),
        i128::MIN,
        0.1_f32,
        0.1_f64,
        f64::INFINITY,
        f64::NAN,
        (),
        Nothing,
        None::<u8>,
        Some(None::<u8>),
        Some(7_u8),
        vec![Some(7_u8), None],
        house,
        vec![(House { number: 7, note: Some(company()) }, Kind::Friend)],
        Metres(2.5),
        (1_u8, 'b', true),
        Kind::Friend,
        Kind::Neighbour(7),
        Kind::Street(7, true),
        Kind::Work { company: company() },
        Tagged::Work { company: company() },
        Untagged::Number(7),
        Untagged::Text(company()),
        vec![1_u8, 2, 255],
        ByteBuf::from(vec![1, 2, 255]),
        HashMap::from([(company(), 1_u8)]),
        BTreeMap::from([(company(), 1_u8)]),
        BTreeMap::from([(7_u32, 1_u8)]),
        BTreeMap::from([((1_u8, 2_u8), 1_u8)]),
        Duration::from_millis(1500),
    );
    Ok(out)
}

async fn trip<T>(storage: &Storage, value: &T) -> String
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    if let Err(error) = storage.put("trip", value).await {
        return format!("refused: {error}");
    }
    match storage.get::<T>("trip").await {
        Ok(Some(back)) if back == *value => "same".into(),
        Ok(Some(back)) => format!("comes back as {back:?}"),
        Ok(None) => "comes back as nothing".into(),
        Err(error) => format!("not understood: {error}"),
    }
}
