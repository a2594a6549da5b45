//! What the JavaScript API has and `worker` does not bind yet, in one file that you
//! can copy.

use worker::js_sys::{Array, Date, Promise};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Error, Result, SqlStorage, SqlStorageValue, Storage};

type Outcome<T> = std::result::Result<T, JsValue>;

// ANCHOR: extern
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api>
    type Recovery;
    #[wasm_bindgen(method, catch, js_name = getCurrentBookmark)]
    fn current(this: &Recovery) -> Outcome<Promise>;
    #[wasm_bindgen(method, catch, js_name = getBookmarkForTime)]
    fn for_time(this: &Recovery, time: &Date) -> Outcome<Promise>;
    #[wasm_bindgen(method, catch, js_name = onNextSessionRestoreBookmark)]
    fn restore(this: &Recovery, bookmark: &str) -> Outcome<Promise>;

    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#exec>
    type Sql;
    #[wasm_bindgen(method, catch, variadic)]
    fn exec(this: &Sql, query: &str, values: Array) -> Outcome<Cursor>;
    type Cursor;
    #[wasm_bindgen(method, catch)]
    fn one(this: &Cursor) -> Outcome<JsValue>;
}
// ANCHOR_END: extern

fn recovery(storage: &Storage) -> &Recovery {
    storage.as_raw().unchecked_ref()
}

async fn text(promise: Outcome<Promise>) -> Result<String> {
    let answer = JsFuture::from(promise?).await?;
    answer.as_string().ok_or_else(|| Error::from("the answer is no text"))
}

// ANCHOR: recovery
/// `storage.getCurrentBookmark()`: a name for the database as it is now.
pub async fn current_bookmark(storage: &Storage) -> Result<String> {
    text(recovery(storage).current()).await
}

/// `storage.getBookmarkForTime(time)`: a name for the database as it was then, in
/// milliseconds since 1970. The last 30 days can be named.
///
/// # Errors
/// The local runtime keeps no history: there it always fails and says so.
pub async fn bookmark_for_time(storage: &Storage, millis: f64) -> Result<String> {
    text(recovery(storage).for_time(&Date::new(&millis.into()))).await
}

/// `storage.onNextSessionRestoreBookmark(bookmark)`: when the object starts again,
/// its database will be what it was then. Returns a bookmark that undoes it.
///
/// # Errors
/// As [`bookmark_for_time`].
pub async fn restore_bookmark(storage: &Storage, bookmark: &str) -> Result<String> {
    text(recovery(storage).restore(bookmark)).await
}
// ANCHOR_END: recovery

// ANCHOR: one
/// `cursor.one()`, with `catch`: the one row of a query, as JavaScript sees it.
///
/// # Errors
/// If there is no row, or more than one.
pub fn one(
    sql: &SqlStorage,
    query: &str,
    values: Vec<SqlStorageValue>,
) -> Result<JsValue> {
    let sql: &JsValue = sql.as_ref();
    let values = values.into_iter().map(JsValue::from).collect();
    let cursor = sql.unchecked_ref::<Sql>().exec(query, values)?;
    Ok(cursor.one()?)
}
// ANCHOR_END: one
