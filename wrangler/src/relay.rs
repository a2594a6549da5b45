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
use worker::{Date, Delay, MessageEvent, WebSocket, WebsocketEvent};

use crate::gate::SOCKET_MS;
use crate::pace::Pace;
use crate::price::{MESSAGES, MESSAGES_COST, SOCKET, SOCKET_SECONDS};

/// How long a message of a visitor may be: bytes, or UTF-16 units of text.
const FRAME_MAX: u32 = 64 * 1024;
/// Messages in each direction: 500 at once, then 50 a second from the visitor, and
/// 2,000, then 200 a second to them.
const FRAMES: Pace = Pace { ms: 20, burst: 500 };
const FRAMES_BACK: Pace = Pace { ms: 5, burst: 2_000 };
/// KiB that were begun, in each direction: 1 MiB at once, then 62 KiB a second. The
/// runtime keeps what a client does not read, without a limit and without a way to ask
/// how much it is; with this it cannot become much.
const BYTES: Pace = Pace { ms: 16, burst: 1_024 };
/// Whoever has used no more than this of it gives the place back at once.
const FREE_MS: u64 = 1_000;
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
    fn accept(socket: &JsValue) -> Result<(), JsValue>;
}

/// Why a socket is closed: the code and the reason that its client is told.
struct Close(u16, String);

/// How one direction ended: closed by its sender, or because of what was sent.
type Passed = Result<Close, Close>;

/// Takes both sockets, so that [`relay`] can listen to them.
///
/// # Errors
/// If one has been taken before.
pub fn take(visitor: &WebSocket, chapter: &WebSocket) -> worker::Result<()> {
    for socket in [visitor, chapter] {
        // Else bytes would come as a `Blob`.
        socket.as_ref().set_binary_type(BinaryType::Arraybuffer);
        accept(socket.as_ref())?;
    }
    Ok(())
}

/// Passes on what comes, until one side closes or the time is over; then closes
/// both. `pay` pays for what comes next, or says in one line why it cannot. Returns for
/// how long the place is to be kept, for whoever comes again has the same bytes.
pub async fn relay(
    visitor: &WebSocket,
    chapter: &WebSocket,
    pay: impl AsyncFn(u64) -> Option<String>,
) -> Duration {
    let (Ok(from_visitor), Ok(from_chapter)) = (visitor.events(), chapter.events())
    else {
        return Duration::ZERO;
    };
    let pay = async |cost| match pay(cost).await {
        None => Ok(()),
        // What comes after the colon is too much for the reason of a close.
        Some(why) => {
            let why = why.split(':').next().unwrap_or_default().to_owned();
            Err(Close(1013, why))
        }
    };
    let (sent, heard) = (Meter::new(FRAMES), Meter::new(FRAMES_BACK));
    let said = Cell::new(0);
    let mut out = pin!(pass(from_visitor, chapter, async |length| {
        if length > FRAME_MAX {
            let reason = format!("a message is at most {FRAME_MAX} long here");
            return Err(Close(1009, reason));
        }
        sent.take(length)?;
        said.set(said.get() + 1);
        if said.get() % MESSAGES == 1 { pay(MESSAGES_COST).await } else { Ok(()) }
    }));
    let mut back =
        pin!(pass(from_chapter, visitor, async |length| heard.take(length)));
    let end = pin!(clock(&pay));
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
        Either::Right((close, _)) => {
            shut(visitor, &close);
            shut(chapter, &Close(1001, "the visitor's time is over".into()));
        }
    }
    let until = sent.bytes.get().max(heard.bytes.get());
    let kept = until.saturating_sub(Date::now().as_millis());
    Duration::from_millis(kept.saturating_sub(FREE_MS))
}

/// What the other side says to a close; or the same, if it says nothing for long.
async fn answer(rest: impl Future<Output = Passed> + Unpin, close: Close) -> Close {
    let late = pin!(Delay::from(ANSWER));
    match select(rest, late).await {
        Either::Left((Ok(answer), _)) => answer,
        _ => close,
    }
}

/// Pays for the socket while it is open. Returns why it may no longer be.
async fn clock(pay: &impl AsyncFn(u64) -> Result<(), Close>) -> Close {
    for _ in 1..SOCKET_MS / 1_000 / SOCKET_SECONDS {
        Delay::from(Duration::from_secs(SOCKET_SECONDS)).await;
        if let Err(close) = pay(SOCKET).await {
            return close;
        }
    }
    Delay::from(Duration::from_secs(SOCKET_SECONDS)).await;
    let minutes = SOCKET_MS / 60_000;
    Close(1001, format!("{minutes} minutes are over; open another"))
}

/// Passes on what the rule lets through, by its length. Returns why no more comes.
async fn pass(
    mut from: impl Stream<Item = worker::Result<WebsocketEvent>> + Unpin,
    to: &WebSocket,
    rule: impl AsyncFn(u32) -> Result<(), Close>,
) -> Passed {
    while let Some(Ok(event)) = from.next().await {
        match event {
            WebsocketEvent::Message(message) => {
                rule(length(&message)).await?;
                send(to, &message);
            }
            WebsocketEvent::Close(close) => {
                return Ok(Close(close.code(), close.reason()));
            }
        }
    }
    Ok(Close(1012, "the object was restarted: open another".to_owned()))
}

/// What has gone through in one direction.
struct Meter {
    pace: Pace,
    frames: Cell<u64>,
    bytes: Cell<u64>,
}

impl Meter {
    fn new(pace: Pace) -> Self {
        Self { pace, frames: Cell::default(), bytes: Cell::default() }
    }

    /// Lets one message through, or says why it is one too many.
    fn take(&self, length: u32) -> Result<(), Close> {
        let now = Date::now().as_millis();
        let kib = u64::from(length).div_ceil(1_024);
        for (used, pace, units, what) in [
            (&self.frames, self.pace, 1, "messages"),
            (&self.bytes, BYTES, kib, "bytes"),
        ] {
            let paid = pace.take(used.get(), units, now);
            used.set(paid.map_err(|_| Close(1008, format!("too many {what}")))?);
        }
        Ok(())
    }
}

/// How long a message is: bytes, or UTF-16 units of text.
fn length(message: &MessageEvent) -> u32 {
    let data = message.as_ref().data();
    match data.dyn_ref::<ArrayBuffer>() {
        Some(bytes) => bytes.byte_length(),
        None => data.dyn_ref::<JsString>().map_or(0, JsString::length),
    }
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
