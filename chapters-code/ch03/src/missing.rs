//! What the JavaScript API of key-value storage has and `worker` does not bind yet,
//! in one file that you can copy.
//!
//! When a later `worker` binds one of them, delete it here.

use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::js_sys::{Iterator, Map, Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Result, Storage};

// ANCHOR: extern
type Js<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/>
    type StorageView;
    #[wasm_bindgen(method, getter)]
    fn kv(this: &StorageView) -> Kv;
    #[wasm_bindgen(method, catch)]
    fn get(this: &StorageView, key: &str, options: &JsValue) -> Js<Promise>;
    #[wasm_bindgen(method, catch)]
    fn put(
        this: &StorageView,
        key: &str,
        value: &JsValue,
        options: &JsValue,
    ) -> Js<Promise>;
    #[wasm_bindgen(method, catch)]
    fn delete(this: &StorageView, key: &str, options: &JsValue) -> Js<Promise>;
    #[wasm_bindgen(method, catch)]
    fn list(this: &StorageView, options: &JsValue) -> Js<Promise>;

    type Kv;
    #[wasm_bindgen(method, catch)]
    fn get(this: &Kv, key: &str) -> Js<JsValue>;
    #[wasm_bindgen(method, catch)]
    fn put(this: &Kv, key: &str, value: &JsValue) -> Js<()>;
    #[wasm_bindgen(method, catch)]
    fn delete(this: &Kv, key: &str) -> Js<bool>;
    #[wasm_bindgen(method, catch)]
    fn list(this: &Kv, options: &JsValue) -> Js<Iterator>;
}
// ANCHOR_END: extern

// ANCHOR: options
/// The options of `get`, `put` and `delete`. Each looks only at those that it knows.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Other events may come in while this one waits: the input gate stays open.
    pub allow_concurrency: bool,
    /// Answers may leave before this write is on disk: the output gate stays open.
    pub allow_unconfirmed: bool,
    /// Do not keep the value in memory for the next reader.
    pub no_cache: bool,
}

/// The options of `list`.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListOptions {
    /// Only keys that begin with this.
    pub prefix: Option<String>,
    /// Only this key and those after it. Not together with `start_after`.
    pub start: Option<String>,
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// Only keys before this one.
    pub end: Option<String>,
    /// The last key first.
    pub reverse: bool,
    /// At most so many.
    pub limit: Option<usize>,
    /// As in [`Options`].
    pub allow_concurrency: bool,
    /// As in [`Options`].
    pub no_cache: bool,
}
// ANCHOR_END: options

impl ListOptions {
    /// Everything under keys that begin with this.
    pub fn beginning_with(prefix: &str) -> Self {
        Self { prefix: Some(prefix.to_owned()), ..Self::default() }
    }
}

fn view(storage: &Storage) -> &StorageView {
    storage.as_raw().unchecked_ref()
}

/// A value of JavaScript as a Rust value; `undefined` is nothing.
///
/// # Errors
/// If the value is not a `T`.
pub fn decode<T: DeserializeOwned>(value: JsValue) -> Result<Option<T>> {
    if value.is_undefined() {
        return Ok(None);
    }
    Ok(serde_wasm_bindgen::from_value(value)?)
}

// ANCHOR: asynchronous
/// `storage.get(key, options)`
///
/// # Errors
/// If the value is not a `T`.
pub async fn get<T: DeserializeOwned>(
    storage: &Storage,
    key: &str,
    options: Options,
) -> Result<Option<T>> {
    let options = serde_wasm_bindgen::to_value(&options)?;
    decode(JsFuture::from(view(storage).get(key, &options)?).await?)
}

/// `storage.put(key, value, options)`
///
/// # Errors
/// If the value cannot be stored.
pub async fn put<T: Serialize>(
    storage: &Storage,
    key: &str,
    value: &T,
    options: Options,
) -> Result<()> {
    let value = serde_wasm_bindgen::to_value(value)?;
    let options = serde_wasm_bindgen::to_value(&options)?;
    JsFuture::from(view(storage).put(key, &value, &options)?).await?;
    Ok(())
}
// ANCHOR_END: asynchronous

/// `storage.delete(key, options)`: whether there was something.
///
/// # Errors
/// Only those of the runtime.
pub async fn delete(
    storage: &Storage,
    key: &str,
    options: Options,
) -> Result<bool> {
    let options = serde_wasm_bindgen::to_value(&options)?;
    let deleted = JsFuture::from(view(storage).delete(key, &options)?).await?;
    Ok(deleted.is_truthy())
}

/// `storage.list(options)`: keys and values, in the order of the keys.
///
/// # Errors
/// Only those of the runtime.
pub async fn list(storage: &Storage, options: &ListOptions) -> Result<Map> {
    let options = serde_wasm_bindgen::to_value(options)?;
    let found = JsFuture::from(view(storage).list(&options)?).await?;
    Ok(found.unchecked_into())
}

// ANCHOR: sync_kv
/// `ctx.storage.kv`: the same keys and values, without an `.await`.
pub struct SyncKv(Kv);

impl SyncKv {
    /// The synchronous side of this storage.
    pub fn of(storage: &Storage) -> Self {
        Self(view(storage).kv())
    }

    /// `kv.get(key)`
    ///
    /// # Errors
    /// If the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        decode(self.0.get(key)?)
    }

    /// `kv.put(key, value)`
    ///
    /// # Errors
    /// If the value cannot be stored.
    pub fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<()> {
        Ok(self.0.put(key, &serde_wasm_bindgen::to_value(value)?)?)
    }

    /// `kv.delete(key)`: whether there was something.
    ///
    /// # Errors
    /// Only those of the runtime.
    pub fn delete(&self, key: &str) -> Result<bool> {
        Ok(self.0.delete(key)?)
    }

    /// `kv.list(options)`: keys and values, in the order of the keys.
    ///
    /// # Errors
    /// If a value is not a `T`.
    pub fn list<T: DeserializeOwned>(
        &self,
        options: &ListOptions,
    ) -> Result<Vec<(String, T)>> {
        entries(&self.0.list(&serde_wasm_bindgen::to_value(options)?)?)
    }
}
// ANCHOR_END: sync_kv

/// Reads `[key, value]` pairs to their end.
///
/// # Errors
/// If a value is not a `T`.
pub fn entries<T: DeserializeOwned>(pairs: &Iterator) -> Result<Vec<(String, T)>> {
    let mut found = Vec::new();
    for pair in pairs {
        found.push(serde_wasm_bindgen::from_value(pair?)?);
    }
    Ok(found)
}

/// Sets a property of a JavaScript object.
///
/// # Errors
/// If the value cannot be stored.
pub fn set<T: Serialize>(object: &Object, key: &str, value: &T) -> Result<()> {
    Reflect::set(object, &key.into(), &serde_wasm_bindgen::to_value(value)?)?;
    Ok(())
}
