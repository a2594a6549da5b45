//! A Worker between a client and its room: it opens a socket of its own to the object,
//! and passes on what the room understands.

use futures_util::{StreamExt, future};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    CloseEvent, Error, Request, Response, Stub, WebSocket, WebSocketPair,
    WebsocketEvent, console_log,
};

use crate::socket::{accept_half_open, read, say_goodbye, send, want_bytes};
use crate::speech::{Goodbye, Speech, Words};
use crate::web::Failure;

// ANCHOR: open
/// Opens two sockets: one to the room, with the client's request, and one to the
/// client. A task passes on what comes, until both are closed.
pub async fn open(
    stub: &Stub,
    req: Request,
    speech: Speech,
) -> Result<Response, Failure> {
    let answer = stub.fetch_with_request(req).await?;
    if answer.status_code() != 101 {
        return Ok(answer);
    }
    let protocol = answer.headers().get("Sec-WebSocket-Protocol")?;
    let room = answer.websocket().ok_or_else(|| Error::from("no socket"))?;
    let WebSocketPair { client, server } = WebSocketPair::new()?;
    let response = Response::from_websocket(client)?;
    if let Some(protocol) = protocol {
        response.headers().set("Sec-WebSocket-Protocol", &protocol)?;
    }
    for socket in [&room, &server] {
        want_bytes(socket);
        accept_half_open(socket)?;
    }
    spawn_local(async move {
        let mut noise = 0;
        let to_room = pass(&server, &room, |words| {
            let asks = speech.understand(words)?.is_some();
            noise += u64::from(!asks);
            Ok(asks)
        });
        let to_client = pass(&room, &server, |_| Ok(true));
        future::join(to_room, to_client).await;
        console_log!("the room was spared {noise} messages");
    });
    Ok(response)
}
// ANCHOR_END: open

// ANCHOR: pass
/// Passes on the messages that the rule lets through, until `from` is closed or has
/// to be; then closes `to`.
async fn pass(
    from: &WebSocket,
    to: &WebSocket,
    rule: impl FnMut(&Words) -> Result<bool, Goodbye>,
) {
    let end = relay(from, to, rule).await;
    // An error means that this side is closed already.
    let _ = match end {
        Ok(Some(close)) => pass_on_close(&close, to),
        Ok(None) => to.close(Some(1001), Some(GONE)),
        Err(goodbye) => {
            say_goodbye(from, &goodbye);
            to.close(Some(1001), Some("the other side was shown the door"))
        }
    };
}

const GONE: &str = "the other side is gone";

/// Returns how `from` was closed, or nothing if it broke.
async fn relay(
    from: &WebSocket,
    to: &WebSocket,
    mut rule: impl FnMut(&Words) -> Result<bool, Goodbye>,
) -> Result<Option<CloseEvent>, Goodbye> {
    let Ok(mut events) = from.events() else { return Ok(None) };
    while let Some(Ok(event)) = events.next().await {
        match event {
            WebsocketEvent::Message(message) => {
                let words = read(&message)?;
                if rule(&words)? {
                    // An error means that `to` is closed. The task that listens to
                    // it closes `from`, which ends this one.
                    let _ = send(to, &words);
                }
            }
            WebsocketEvent::Close(close) => return Ok(Some(close)),
        }
    }
    Ok(None)
}

/// Closes one side as the other was closed. Some codes only tell what was seen and
/// cannot be sent: 1005, a close without a code, 1006, an end without a close, and
/// what no client should have sent.
fn pass_on_close(close: &CloseEvent, to: &WebSocket) -> worker::Result<()> {
    match close.code() {
        1005 => to.close(None, None::<&str>),
        1006 => to.close(Some(1001), Some(GONE)),
        code => to
            .close(Some(code), Some(close.reason()))
            .or_else(|_| to.close(Some(1002), Some("no code that one sends"))),
    }
}
// ANCHOR_END: pass
