//! A Worker between a client and its room: it opens a socket of its own to the object,
//! and passes on what the room understands.

use futures_util::{StreamExt, future};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    CloseEvent, Error, Request, Response, Stub, WebSocket, WebSocketPair,
    WebsocketEvent, console_log,
};

use crate::socket::{accept_half_open, read, say_goodbye, send, want_bytes};
use crate::speech::{Goodbye, Speech, Words, cut, echo};
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
    let (code, reason) = match end {
        Ok(Some(close)) => (echo(close.code()), close.reason()),
        Ok(None) => (Some(1001), "the other side is broken".to_owned()),
        Err(goodbye) => {
            say_goodbye(from, &goodbye);
            (Some(1001), "the other side was shown the door".to_owned())
        }
    };
    // An error means that this side is closed already.
    let _ = to.close(code, Some(cut(&reason)));
}

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
// ANCHOR_END: pass
