//! A socket of a visitor, with a limit to what goes through.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt};
use worker::js_sys::{ArrayBuffer, JsString, Uint8Array};
use worker::wasm_bindgen::JsCast;
use worker::wasm_bindgen::prelude::*;
use worker::web_sys::BinaryType;
use worker::{Date, Delay, MessageEvent, Result, WebSocket, WebsocketEvent};

use crate::gate::SOCKET_MS;
use crate::pace::Pace;

/// How long a message of a visitor may be: bytes, or UTF-16 units of text.
const FRAME_MAX: u32 = 64 * 1024;
/// 500 messages at once, then 50 a second.
const FRAMES: Pace = Pace { ms: 20, burst: 500 };
/// How long the other end may take to answer a close.
const ANSWER: Duration = Duration::from_secs(3);

#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen, inline_js = "
    export function accept_half_open(socket) {
        socket.accept({ allowHalfOpen: true });
    }
")]
extern "C" {
    /// `socket.accept({ allowHalfOpen: true })`: when the other end closes, we still
    /// have to, so that the code and the reason go through.
    #[wasm_bindgen(catch, js_name = accept_half_open)]
    fn accept(socket: &JsValue) -> std::result::Result<(), JsValue>;
}

/// Why a socket is closed: the code and the reason that its client is told.
struct Close(u16, String);

/// How one direction ended: closed by its sender, or because of what was sent.
type Passed = std::result::Result<Close, Close>;

/// Takes both sockets, so that [`relay`] can listen to them.
///
/// # Errors
/// If one has been taken before.
pub fn take(visitor: &WebSocket, chapter: &WebSocket) -> Result<()> {
    for socket in [visitor, chapter] {
        // Else bytes would come as a `Blob`.
        socket.as_ref().set_binary_type(BinaryType::Arraybuffer);
        accept(socket.as_ref())?;
    }
    Ok(())
}

/// Passes on what comes, until one side closes or the time is over; then closes
/// both.
pub async fn relay(visitor: &WebSocket, chapter: &WebSocket) {
    let (Ok(from_visitor), Ok(from_chapter)) = (visitor.events(), chapter.events())
    else {
        return;
    };
    let paid = Cell::new(0);
    let mut out = pin!(pass(from_visitor, chapter, |data| check(data, &paid)));
    let mut back = pin!(pass(from_chapter, visitor, |_| Ok(())));
    let end = pin!(Delay::from(Duration::from_millis(SOCKET_MS)));
    match select(select(&mut out, &mut back), end).await {
        // Whoever begins to close hears what the other side answers.
        Either::Left((Either::Left((Ok(close), _)), _)) => {
            shut(chapter, &close);
            shut(visitor, &answer(back, close).await);
        }
        Either::Left((Either::Right((Ok(close), _)), _)) => {
            shut(visitor, &close);
            shut(chapter, &answer(out, close).await);
        }
        Either::Left((
            Either::Left((Err(close), _)) | Either::Right((Err(close), _)),
            _,
        )) => {
            shut(visitor, &close);
            shut(chapter, &Close(1001, "the visitor was shown the door".into()));
        }
        Either::Right(_) => {
            let minutes = SOCKET_MS / 60_000;
            let reason = format!("{minutes} minutes are over; open another");
            shut(visitor, &Close(1001, reason));
            shut(chapter, &Close(1001, "the visitor's time is over".into()));
        }
    }
}

/// What the other side says to a close; or the same, if it says nothing for long.
async fn answer(rest: impl Future<Output = Passed> + Unpin, close: Close) -> Close {
    let late = pin!(Delay::from(ANSWER));
    match select(rest, late).await {
        Either::Left((Ok(answer), _)) => answer,
        _ => close,
    }
}

/// Passes on what the rule lets through. Returns why no more comes.
async fn pass(
    mut from: impl Stream<Item = Result<WebsocketEvent>> + Unpin,
    to: &WebSocket,
    rule: impl Fn(&MessageEvent) -> std::result::Result<(), Close>,
) -> Passed {
    while let Some(Ok(event)) = from.next().await {
        match event {
            WebsocketEvent::Message(message) => {
                rule(&message)?;
                send(to, &message);
            }
            WebsocketEvent::Close(close) => {
                return Ok(Close(close.code(), close.reason()));
            }
        }
    }
    Ok(Close(1012, "the object was restarted: open another".to_owned()))
}

/// What a visitor may send.
fn check(
    message: &MessageEvent,
    paid: &Cell<u64>,
) -> std::result::Result<(), Close> {
    let data = message.as_ref().data();
    let length = match data.dyn_ref::<ArrayBuffer>() {
        Some(bytes) => bytes.byte_length(),
        None => data.dyn_ref::<JsString>().map_or(0, JsString::length),
    };
    if length > FRAME_MAX {
        return Err(Close(
            1009,
            format!("a message is at most {FRAME_MAX} long here"),
        ));
    }
    match FRAMES.take(paid.get(), 1, Date::now().as_millis()) {
        Ok(after) => paid.set(after),
        Err(_) => return Err(Close(1008, "too many messages".to_owned())),
    }
    Ok(())
}

/// Sends a message on as it came. An error means that `to` is closed; whoever listens
/// to it will hear of that.
fn send(to: &WebSocket, message: &MessageEvent) {
    let data = message.as_ref().data();
    let _ = match data.dyn_ref::<ArrayBuffer>() {
        Some(bytes) => to.as_ref().send_with_js_u8_array(&Uint8Array::new(bytes)),
        None => to.as_ref().send_with_str(&data.as_string().unwrap_or_default()),
    };
}

/// Closes a socket, with the code if it is one that may be sent. An error means that
/// it is closed already.
fn shut(socket: &WebSocket, Close(code, reason): &Close) {
    let _ = match code {
        1005 | 1006 | 1015 => socket.close(None, None::<&str>),
        code => socket.close(Some(*code), Some(reason)),
    };
}
