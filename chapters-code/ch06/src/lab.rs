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
        let mut see = |when: &str| {
            seen += &format!("{:<28} {}\n", when, state(&server));
        };
        see(if half_open { "a new pair, half-open" } else { "a new pair" });
        let mut events = server.events()?;
        if half_open {
            accept_half_open(&server)?
        } else {
            server.accept()?
        }
        client.accept()?;
        see("accepted");
        client.close(Some(3000), Some("bye"))?;
        let last = events.next().await;
        see("the other end has closed");
        if let Some(Ok(WebsocketEvent::Close(close))) = last {
            let (code, clean) = (close.code(), close.was_clean());
            see(&format!("{code} {:?}, clean: {clean}", close.reason()));
        }
        let sent = server.send_with_str("too late");
        see(&format!("send: {}", outcome(sent)));
        let closed = server.close(Some(3001), Some("bye, too"));
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
