//! WebSockets as the runtime has them: what `worker` lacks, and how a message is read.

use worker::js_sys::{ArrayBuffer, JsString};
use worker::wasm_bindgen::JsCast;
use worker::wasm_bindgen::prelude::*;
use worker::web_sys::BinaryType;
use worker::{MessageEvent, Result, WebSocket};

use crate::speech::{Goodbye, MESSAGE_MAX, Words};

// ANCHOR: extern
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen, inline_js = "
    export function accept_half_open(socket) {
        socket.accept({ allowHalfOpen: true });
    }
")]
extern "C" {
    #[wasm_bindgen(catch, js_name = accept_half_open)]
    fn accept_with_option(socket: &JsValue) -> std::result::Result<(), JsValue>;
}

/// `socket.accept({ allowHalfOpen: true })`: when the other end closes, we still have
/// to. A plain `accept` has the runtime answer at once.
///
/// See <https://developers.cloudflare.com/workers/runtime-apis/websockets/#accept>.
///
/// # Errors
/// If the socket has been accepted before.
pub fn accept_half_open(socket: &WebSocket) -> Result<()> {
    Ok(accept_with_option(socket.as_ref())?)
}
// ANCHOR_END: extern

// ANCHOR: read
/// Has binary messages arrive as bytes. Else they would arrive as a `Blob`, of which
/// `MessageEvent::bytes` makes nothing.
pub fn want_bytes(socket: &WebSocket) {
    socket.as_ref().set_binary_type(BinaryType::Arraybuffer);
}

/// Takes the words out of a message, unless they are too long.
///
/// Wasm memory grows and never shrinks, and a message may be 32 MiB long. So its
/// length is looked at before it is copied.
///
/// # Errors
/// [`Goodbye::TooLong`].
pub fn read(message: &MessageEvent) -> std::result::Result<Words, Goodbye> {
    let data = message.as_ref().data();
    // In a text these are units of UTF-16, each of which is at least a byte.
    let length = match data.dyn_ref::<ArrayBuffer>() {
        Some(bytes) => bytes.byte_length(),
        None => data.dyn_ref::<JsString>().map_or(0, JsString::length),
    };
    if length as usize > MESSAGE_MAX {
        return Err(Goodbye::TooLong);
    }
    match message.text() {
        Some(text) if text.len() > MESSAGE_MAX => Err(Goodbye::TooLong),
        Some(text) => Ok(Words::Text(text)),
        None => Ok(Words::Binary(message.bytes().unwrap_or_default())),
    }
}
// ANCHOR_END: read

/// Sends words, of whichever kind.
///
/// # Errors
/// If the socket has been closed.
pub fn send(socket: &WebSocket, words: &Words) -> Result<()> {
    match words {
        Words::Text(text) => socket.send_with_str(text),
        Words::Binary(bytes) => socket.send_with_bytes(bytes),
    }
}

/// Closes a socket with a code and a reason that tell the client why.
pub fn say_goodbye(socket: &WebSocket, goodbye: &Goodbye) {
    // An error means that the socket is closed already.
    let _ = socket.close(Some(goodbye.code()), Some(goodbye.to_string()));
}
