//! What the JavaScript API has and `worker` does not bind yet, or binds under the
//! wrong names, in one file that you can copy.

use std::fmt;

use worker::js_sys::{Date, Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Result, ScheduledTime, Storage};

// ANCHOR: info
/// `alarmInfo`, what the runtime tells an alarm handler;
/// <https://developers.cloudflare.com/durable-objects/api/alarms/>.
#[derive(Debug, Clone, Copy)]
pub struct AlarmInfo {
    /// How often the runtime has tried again: 0 at the first time.
    pub retry_count: u32,
    /// Whether it is trying again.
    pub is_retry: bool,
    /// When the alarm was to ring, in milliseconds since 1970.
    pub scheduled_time: u64,
}

/// How often the runtime tries again before it gives up.
pub const RETRIES_MAX: u32 = 6;

impl AlarmInfo {
    /// Whether the runtime forgets the alarm if this try fails.
    pub fn is_last_try(&self) -> bool {
        self.retry_count >= RETRIES_MAX
    }
}

/// A test may call the handler with nothing; then it is the first try.
impl From<JsValue> for AlarmInfo {
    fn from(info: JsValue) -> Self {
        let get = |name: &str| match info.is_object() {
            true => Reflect::get(&info, &name.into()).unwrap_or_default(),
            false => JsValue::UNDEFINED,
        };
        Self {
            retry_count: get("retryCount").as_f64().unwrap_or_default() as u32,
            is_retry: get("isRetry").is_truthy(),
            scheduled_time: get("scheduledTime").as_f64().unwrap_or_else(Date::now)
                as u64,
        }
    }
}
// ANCHOR_END: info

/// For the log: which try it is, and how late.
impl fmt::Display for AlarmInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late =
            worker::Date::now().as_millis().saturating_sub(self.scheduled_time);
        if self.is_retry {
            write!(f, "retry {}, {late} ms after its time", self.retry_count)
        } else {
            write!(f, "first try, {late} ms after its time")
        }
    }
}

// ANCHOR: at
/// A time of the clock, in milliseconds since 1970, for [`Storage::set_alarm`]. A
/// bare number would be taken for a distance.
pub fn at(ms: u64) -> ScheduledTime {
    ScheduledTime::new(Date::new(&JsValue::from_f64(ms as f64)))
}
// ANCHOR_END: at

// ANCHOR: options
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/>
    type StorageView;
    #[wasm_bindgen(method, catch, js_name = getAlarm)]
    fn get_alarm(
        this: &StorageView,
        options: &JsValue,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    fn set_alarm(
        this: &StorageView,
        ms: f64,
        options: &JsValue,
    ) -> std::result::Result<Promise, JsValue>;
}

/// The options of the alarm methods, under the names that the runtime knows.
/// `deleteAlarm` takes them as `setAlarm` does.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlarmOptions {
    /// Other events may come in while this call waits.
    pub allow_concurrency: bool,
    /// Answers may go out before the write is safe on disk. (`getAlarm` does not
    /// know it.)
    pub allow_unconfirmed: bool,
}

fn view(storage: &Storage) -> &StorageView {
    storage.as_raw().unchecked_ref()
}

impl AlarmOptions {
    fn to_js(self) -> Result<JsValue> {
        let options = Object::new();
        let (concurrency, unconfirmed) =
            (self.allow_concurrency.into(), self.allow_unconfirmed.into());
        Reflect::set(&options, &"allowConcurrency".into(), &concurrency)?;
        Reflect::set(&options, &"allowUnconfirmed".into(), &unconfirmed)?;
        Ok(options.into())
    }

    /// `storage.getAlarm(options)`, in milliseconds since 1970.
    pub async fn get_alarm(self, storage: &Storage) -> Result<Option<u64>> {
        let at = view(storage).get_alarm(&self.to_js()?)?;
        Ok(JsFuture::from(at).await?.as_f64().map(|at| at as u64))
    }

    /// `storage.setAlarm(time, options)`, at a time of the clock.
    pub async fn set_alarm(self, storage: &Storage, at: u64) -> Result<()> {
        let set = view(storage).set_alarm(at as f64, &self.to_js()?)?;
        JsFuture::from(set).await?;
        Ok(())
    }
}
// ANCHOR_END: options
