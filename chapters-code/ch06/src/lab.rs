//! An experiment: what a WebSocket says of itself while it is opened and closed.

use futures_util::StreamExt;
use worker::{Result, WebSocket, WebSocketPair, WebsocketEvent};

use crate::socket::accept_half_open;

// ANCHOR: states
/// Holds both ends of a pair, and asks our end for its state at each step.
pub async fn states() -> Result<String> {
    let mut seen = String::new();
    for half_open in [false, true] {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let mut see = |step: &str| {
            seen += &format!("{:<7} {step}\n", state(&server));
        };
        see("a new pair");
        see(&format!("send: {}", outcome(server.send_with_str("early"))));
        let mut events = server.events()?;
        if half_open {
            accept_half_open(&server)?;
            see("accepted, half-open");
        } else {
            server.accept()?;
            see("accepted");
        }
        client.accept()?;
        client.close(Some(4000), Some("bye"))?;
        if let Some(Ok(WebsocketEvent::Close(close))) = events.next().await {
            see(&format!("heard {}, {:?}", close.code(), close.reason()));
        }
        see(&format!("send: {}", outcome(server.send_with_str("late"))));
        let closed = server.close(Some(4001), Some("bye, too"));
        see(&format!("close: {}", outcome(closed)));
    }
    Ok(seen)
}

/// `socket.readyState`, by its name in the standard.
fn state(socket: &WebSocket) -> &'static str {
    match socket.as_ref().ready_state() {
        0 => "CONNECTING",
        1 => "OPEN",
        2 => "CLOSING",
        _ => "CLOSED",
    }
}
// ANCHOR_END: states

fn outcome(outcome: Result<()>) -> String {
    outcome.map_or_else(|error| error.to_string(), |()| "Ok".to_owned())
}
