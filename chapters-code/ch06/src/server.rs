//! The official example "Build a WebSocket server".

use std::cell::Cell;
use std::rc::Rc;

use futures_util::StreamExt;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    DurableObject, Env, Request, Response, Result, State, WebSocket, WebSocketPair,
    WebsocketEvent, console_error, durable_object, wasm_bindgen,
};

use crate::socket::accept_half_open;
use crate::speech::echo;

// ANCHOR: server
/// Counts the sockets that are open, and tells whoever says anything.
#[durable_object(fetch)]
pub struct WebSocketServer {
    connected: Rc<Cell<usize>>,
}

impl DurableObject for WebSocketServer {
    fn new(_state: State, _env: Env) -> Self {
        Self { connected: Rc::default() }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        accept_half_open(&server)?;
        let connected = Rc::clone(&self.connected);
        connected.set(connected.get() + 1);
        spawn_local(async move {
            let served = serve(&server, &connected).await;
            connected.set(connected.get() - 1);
            if let Err(error) = served {
                console_error!("a socket broke: {error}");
            }
        });
        Response::from_websocket(client)
    }
}

async fn serve(server: &WebSocket, connected: &Cell<usize>) -> Result<()> {
    let mut events = server.events()?;
    while let Some(event) = events.next().await {
        match event? {
            WebsocketEvent::Message(_) => {
                let count = connected.get();
                server.send_with_str(format!(
                    "[Durable Object] currentlyConnectedWebSockets: {count}"
                ))?;
            }
            WebsocketEvent::Close(close) => server.close(
                echo(close.code()),
                Some("Durable Object is closing WebSocket"),
            )?,
        }
    }
    Ok(())
}
// ANCHOR_END: server
