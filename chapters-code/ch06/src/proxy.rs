//! A Worker between a client and its room: it opens a socket of its own to the object,
//! and passes on what the room understands.

use futures_util::{StreamExt, future};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    CloseEvent, Request, Response, Result, Stub, WebSocket, WebSocketPair,
    WebsocketEvent,
};

use crate::socket::{accept_half_open, read, say_goodbye, send, want_bytes};
use crate::speech::{Goodbye, Speech, Words};
use crate::web::Failure;

// ANCHOR: open
/// Opens both sockets: one to the room, which gets the client's request, and one to
/// the client.
pub async fn open(
    stub: &Stub,
    req: Request,
    speech: Speech,
) -> std::result::Result<Response, Failure> {
    let answer = stub.fetch_with_request(req).await?;
    if answer.status_code() != 101 {
        return Ok(answer);
    }
    let protocol = answer.headers().get("Sec-WebSocket-Protocol")?;
    let Some(room) = answer.websocket() else {
        return Err(worker::Error::from("101 without a socket").into());
    };
    let WebSocketPair { client, server } = WebSocketPair::new()?;
    for socket in [&room, &server] {
        want_bytes(socket);
        accept_half_open(socket)?;
    }
    spawn_local(async move {
        let to_room = pass(&server, &room, |words| {
            speech.understand(words).map(|change| change.is_some())
        });
        let to_client = pass(&room, &server, |_| Ok(true));
        future::join(to_room, to_client).await;
    });
    let response = Response::from_websocket(client)?;
    if let Some(protocol) = protocol {
        response.headers().set("Sec-WebSocket-Protocol", &protocol)?;
    }
    Ok(response)
}
// ANCHOR_END: open

// ANCHOR: pass
/// Passes messages on, those that the rule lets through, until `from` is closed or
/// has to be.
async fn pass(
    from: &WebSocket,
    to: &WebSocket,
    rule: impl Fn(&Words) -> std::result::Result<bool, Goodbye>,
) {
    let close = relay(from, to, rule).await;
    // An error means that this side is closed already.
    let _ = match close {
        Ok(Some(close)) => pass_on_close(&close, to),
        Ok(None) => to.close(Some(1001), Some("the other side is gone")),
        Err(goodbye) => {
            say_goodbye(from, &goodbye);
            to.close(Some(1001), Some("the other side was shown the door"))
        }
    };
}

/// Returns the close of `from`, or nothing if it broke.
async fn relay(
    from: &WebSocket,
    to: &WebSocket,
    rule: impl Fn(&Words) -> std::result::Result<bool, Goodbye>,
) -> std::result::Result<Option<CloseEvent>, Goodbye> {
    let Ok(mut events) = from.events() else { return Ok(None) };
    while let Some(Ok(event)) = events.next().await {
        match event {
            WebsocketEvent::Message(message) => {
                let words = read(&message)?;
                // What cannot be sent on is on its way to a socket that has just
                // closed, and the other task is telling this side so.
                if rule(&words)? && send(to, &words).is_err() {
                    break;
                }
            }
            WebsocketEvent::Close(close) => return Ok(Some(close)),
        }
    }
    Ok(None)
}

/// Closes one side as the other was closed. Two codes only say what was seen, and
/// cannot be sent: 1005, a close without a code, and 1006, an end without a close.
fn pass_on_close(close: &CloseEvent, to: &WebSocket) -> Result<()> {
    match close.code() {
        1005 => to.close(None, None::<&str>),
        1006 => to.close(Some(1001), Some("the other side is gone")),
        code => to.close(Some(code), Some(close.reason())),
    }
}
// ANCHOR_END: pass
