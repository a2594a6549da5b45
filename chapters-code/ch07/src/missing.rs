//! What the JavaScript API has and `worker` does not bind yet, in one file that you
//! can copy.

use worker::js_sys::{Array, Date, JsString};
use worker::wasm_bindgen::prelude::*;
use worker::{
    Result, ScheduledTime, State, WebSocket, WebSocketRequestResponsePair,
};

type Outcome<T> = std::result::Result<T, JsValue>;

// ANCHOR: extern
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/state/>
    type Sockets;
    #[wasm_bindgen(method, catch, js_name = acceptWebSocket)]
    fn accept(this: &Sockets, socket: &JsValue, tags: Array) -> Outcome<()>;
    #[wasm_bindgen(method, catch, js_name = setWebSocketAutoResponse)]
    fn set_auto_response(this: &Sockets, pair: &JsValue) -> Outcome<()>;
    #[wasm_bindgen(method, catch, js_name = setWebSocketAutoResponse)]
    fn unset_auto_response(this: &Sockets) -> Outcome<()>;
    #[wasm_bindgen(method, catch, js_name = getWebSocketAutoResponseTimestamp)]
    fn auto_response_timestamp(
        this: &Sockets,
        socket: &JsValue,
    ) -> Outcome<Option<Date>>;
    #[wasm_bindgen(method, catch, js_name = setHibernatableWebSocketEventTimeout)]
    fn set_event_timeout(this: &Sockets, ms: Option<u32>) -> Outcome<()>;
    #[wasm_bindgen(method, catch, js_name = getHibernatableWebSocketEventTimeout)]
    fn event_timeout(this: &Sockets) -> Outcome<Option<u32>>;

    #[wasm_bindgen(catch, js_namespace = crypto, js_name = randomUUID)]
    fn uuid() -> Outcome<String>;

    /// A socket that takes a JavaScript string as it is.
    pub type Wire;
    #[wasm_bindgen(method, catch, js_name = send)]
    pub fn send(this: &Wire, text: &JsString) -> Outcome<()>;
}
// ANCHOR_END: extern

fn sockets(state: &State) -> &Sockets {
    state.as_raw().unchecked_ref()
}

// ANCHOR: timestamp
/// `ctx.getWebSocketAutoResponseTimestamp(ws)`: when the runtime has last answered
/// this socket by itself, in milliseconds since 1970; `None` if it never has.
///
/// # Errors
/// If this is no hibernatable socket of this object.
pub fn auto_response_timestamp(
    state: &State,
    socket: &WebSocket,
) -> Result<Option<u64>> {
    let time = sockets(state).auto_response_timestamp(socket.as_ref())?;
    Ok(time.map(|time| time.get_time() as u64))
}
// ANCHOR_END: timestamp

/// A time of the clock, in milliseconds since 1970, for `Storage::set_alarm`. A bare
/// number would be taken for a distance.
pub fn at(ms: u64) -> ScheduledTime {
    ScheduledTime::new(Date::new(&JsValue::from_f64(ms as f64)))
}

// ANCHOR: others
/// `ctx.setWebSocketAutoResponse()` without a pair: nobody answers by himself any
/// more.
pub fn unset_auto_response(state: &State) -> Result<()> {
    Ok(sockets(state).unset_auto_response()?)
}

/// `ctx.setWebSocketAutoResponse(pair)`, with `catch`.
///
/// # Errors
/// If a text of the pair is longer than 2,048 characters.
pub fn set_auto_response(
    state: &State,
    pair: &WebSocketRequestResponsePair,
) -> Result<()> {
    Ok(sockets(state).set_auto_response(pair)?)
}

/// `ctx.acceptWebSocket(ws, tags)`, with `catch`.
///
/// # Errors
/// If it is accepted already, or the tags are too many or too long.
pub fn accept(state: &State, socket: &WebSocket, tags: &[String]) -> Result<()> {
    let tags = tags.iter().map(JsValue::from).collect();
    Ok(sockets(state).accept(socket.as_ref(), tags)?)
}

/// `ctx.setHibernatableWebSocketEventTimeout(ms)`: how long a handler of a socket may
/// take; `None` for as long as it likes.
///
/// # Errors
/// If it is longer than a week.
pub fn set_event_timeout(state: &State, ms: Option<u32>) -> Result<()> {
    Ok(sockets(state).set_event_timeout(ms)?)
}

/// `ctx.getHibernatableWebSocketEventTimeout()`, in milliseconds.
///
/// # Errors
/// None that is known.
pub fn event_timeout(state: &State) -> Result<Option<u32>> {
    Ok(sockets(state).event_timeout()?)
}
// ANCHOR_END: others

/// `crypto.randomUUID()`.
///
/// # Errors
/// None that is known.
pub fn random_uuid() -> Result<String> {
    Ok(uuid()?)
}
