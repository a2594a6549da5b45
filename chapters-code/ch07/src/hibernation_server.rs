//! The official example, in Rust.

use std::cell::RefCell;

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, console_error, durable_object,
    wasm_bindgen,
};

use crate::{missing, sockets};

// ANCHOR: class
/// Says to everybody what one of them has said;
/// <https://developers.cloudflare.com/durable-objects/examples/websocket-hibernation-server/>.
#[durable_object(websocket)]
pub struct HibernationServer {
    state: State,
    /// Everybody who is connected, and the id of their session.
    sessions: RefCell<Vec<(WebSocket, String)>>,
}

impl DurableObject for HibernationServer {
    fn new(state: State, _env: Env) -> Self {
        // Who was connected before the object slept still is.
        let sockets = state.get_websockets().into_iter();
        let sessions = sockets
            .filter_map(|socket| {
                let id = socket.deserialize_attachment().ok()??;
                Some((socket, id))
            })
            .collect();
        sockets::keep_alive(&state);
        Self { state, sessions: RefCell::new(sessions) }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let id = missing::random_uuid()?;
        server.serialize_attachment(&id)?;
        self.state.accept_web_socket(&server);
        self.sessions.borrow_mut().push((server, id));
        Response::from_websocket(client)
    }

    async fn websocket_message(
        &self,
        socket: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        let message = match message {
            WebSocketIncomingMessage::String(text) => text,
            // What a template literal makes of an ArrayBuffer.
            WebSocketIncomingMessage::Binary(_) => "[object ArrayBuffer]".into(),
        };
        let Some(from) = socket.deserialize_attachment::<String>()? else {
            return Ok(());
        };
        let sessions = self.sessions.borrow();
        let text = format!(
            "[Durable Object] message: {message}, from: {from}. \
             Total connections: {}",
            sessions.len()
        );
        // To its sender, to everybody, and to everybody else: three loops show the
        // three ways.
        let _ = socket.send_with_str(&text);
        sockets::send_all(sessions.iter().map(|(other, id)| (id, other)), &text);
        let others = sessions.iter().filter(|(_, id)| *id != from);
        sockets::send_all(others.map(|(other, id)| (id, other)), &text);
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        let reason = "Durable Object is closing WebSocket";
        sockets::answer_close(&socket, code, reason);
        self.forget(&socket)
    }

    async fn websocket_error(&self, socket: WebSocket, error: Error) -> Result<()> {
        console_error!("a socket broke: {error}");
        self.forget(&socket)
    }
}

impl HibernationServer {
    fn forget(&self, socket: &WebSocket) -> Result<()> {
        if let Some(gone) = socket.deserialize_attachment::<String>()? {
            self.sessions.borrow_mut().retain(|(_, id)| *id != gone);
        }
        Ok(())
    }
}
// ANCHOR_END: class
