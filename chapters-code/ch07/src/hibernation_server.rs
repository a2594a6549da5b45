//! The official example, in Rust.

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, WebSocketRequestResponsePair,
    durable_object, wasm_bindgen,
};

// ANCHOR: class
/// Says to everybody what one of them has said;
/// <https://developers.cloudflare.com/durable-objects/examples/websocket-hibernation-server/>.
#[durable_object(websocket)]
pub struct HibernationServer {
    state: State,
}
// ANCHOR_END: class

impl DurableObject for HibernationServer {
    fn new(state: State, _env: Env) -> Self {
        if let Ok(pair) = WebSocketRequestResponsePair::new("ping", "pong") {
            state.set_websocket_auto_response(&pair);
        }
        Self { state }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        Response::from_websocket(client)
    }

    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        _socket: WebSocket,
        _code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        _error: Error,
    ) -> Result<()> {
        Ok(())
    }
}
