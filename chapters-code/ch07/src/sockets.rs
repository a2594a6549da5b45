//! What every object with sockets does to them.

use worker::js_sys::JsString;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::{State, WebSocket, WebSocketRequestResponsePair, console_error};

use crate::missing::Wire;
use crate::protocol::{Farewell, REASON_MAX, sendable};

// ANCHOR: keep_alive
/// Has the runtime answer `ping` with `pong`, and nobody is woken for it.
pub fn keep_alive(state: &State) {
    match WebSocketRequestResponsePair::new("ping", "pong") {
        Ok(pair) => state.set_websocket_auto_response(&pair),
        Err(error) => console_error!("nobody answers pings: {error:?}"),
    }
}
// ANCHOR_END: keep_alive

// ANCHOR: send_all
/// Sends one text to many sockets, and returns the ids of those that take nothing
/// more.
///
/// `WebSocket::send_with_str` makes a JavaScript string of its text each time. Here
/// it is made once.
pub fn send_all<'a, Id>(
    sockets: impl Iterator<Item = (Id, &'a WebSocket)>,
    text: &str,
) -> Vec<Id> {
    let text = JsString::from(text);
    let send = |socket: &WebSocket| {
        let socket: &JsValue = socket.as_ref();
        socket.unchecked_ref::<Wire>().send(&text)
    };
    let closed = sockets.filter(|(_, socket)| send(socket).is_err());
    closed.map(|(id, _)| id).collect()
}
// ANCHOR_END: send_all

// ANCHOR: hang_up
/// Closes a socket.
pub fn hang_up(socket: &WebSocket, (code, reason): Farewell) {
    // An error means that it is closed already.
    let _ = socket.close(Some(code), Some(reason));
}

/// Answers the close of a client in its own words. The runtime does not do it, and
/// the client would wait, and then hear 1006, as if its line had broken.
pub fn answer_close(socket: &WebSocket, code: usize, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    // An error means that the line is gone.
    let _ = match sendable(code) {
        Some(code) => socket.close(Some(code), Some(reason)),
        None => socket.close(None, None::<&str>),
    };
}
// ANCHOR_END: hang_up
