//! What goes wrong with sockets that sleep: the traps of ch07. Do not copy it.

use std::cell::Cell;
use std::time::Duration;

use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, WebSocketRequestResponsePair,
    durable_object, wasm_bindgen,
};

#[durable_object(websocket)]
pub struct Ch07Trap {
    state: State,
    env: Env,
    calls: Cell<u32>,
}

impl DurableObject for Ch07Trap {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, calls: Cell::new(0) }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        self.calls.set(self.calls.get() + 1);
        let state = &self.state;
        match req.path().as_str() {
            "/ch07/attachment" => return attachment(),
            "/ch07/bare" => {
                let namespace = self.env.durable_object("CH07_BARE")?;
                let bare = namespace.get_by_name("bare")?;
                return bare.fetch_with_request(req).await;
            }
            "/ch07/calls" => {
                return Response::ok(format!("{}\n", self.calls.get()));
            }
            "/ch07/sockets" => {
                let sockets = state.get_websockets().len();
                return Response::ok(format!("{sockets}\n"));
            }
            _ => {}
        }
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        match req.path().as_str() {
            "/ch07/socket" => state.accept_web_socket(&server),
            "/ch07/silent" => {
                state.accept_websocket_with_tags(&server, &["silent"])
            }
            "/ch07/echo" => state.accept_websocket_with_tags(&server, &["echo"]),
            "/ch07/many-tags" => tags(state, &server, 11),
            "/ch07/ten-tags" => tags(state, &server, 10),
            "/ch07/long-tag" => long_tag(state, &server, 257),
            "/ch07/full-tag" => long_tag(state, &server, 256),
            "/ch07/twice" => twice(state, &server),
            "/ch07/tags-of-plain" => tags_of_plain(state, &server)?,
            "/ch07/long-pair" => long_pair(state, &server, 2_049)?,
            "/ch07/full-pair" => long_pair(state, &server, 2_048)?,
            "/ch07/ghost" => ghost(state, &server, &req)?,
            _ => return Response::error("no such trap", 404),
        }
        Response::from_websocket(client)
    }

    async fn websocket_message(
        &self,
        socket: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        self.calls.set(self.calls.get() + 1);
        let WebSocketIncomingMessage::String(text) = message else {
            return socket.send_with_str("bytes");
        };
        match text.as_str() {
            "calls" => socket.send_with_str(self.calls.get().to_string()),
            "slow" => slow(&socket).await,
            "refuse" => Err(Error::from("you may not")),
            "wait" => wait().await,
            "1000" | "4000" | "999" | "1004" | "1005" | "1006" | "1015"
            | "5000" => {
                let closed = socket.close(text.parse().ok(), Some("so there"));
                // Whoever is closed hears no more.
                closed.or_else(|error| socket.send_with_str(error.to_string()))
            }
            "long reason" => socket
                .close(Some(4000), Some("x".repeat(124)))
                .or_else(|error| socket.send_with_str(error.to_string())),
            other => socket.send_with_str(other),
        }
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        let listed = self.state.get_websockets().contains(&socket);
        let sent = socket.send_with_str("are you there?").is_ok();
        let closed = match self.state.get_tags(&socket).first().map(String::as_str)
        {
            // A code that tells how a line was lost is not one to say goodbye with.
            Some("echo") => socket.close(u16::try_from(code).ok(), Some(reason)),
            // Nobody answers for you.
            Some("silent") => Ok(()),
            _ => socket.close(Some(1000), Some("goodbye")),
        };
        let closed =
            closed.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
        for other in self.state.get_websockets() {
            if other != socket {
                let said =
                    format!("{code}: listed {listed}, sent {sent}, {closed}");
                let _ = other.send_with_str(said);
            }
        }
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

/// What fits into an attachment, and what does not.
fn attachment() -> Result<Response> {
    let socket = WebSocketPair::new()?.server;
    let bytes = vec![7_u8; 16_000];
    let tries = [
        ("16379 x", socket.serialize_attachment("x".repeat(16_379))),
        ("16380 x", socket.serialize_attachment("x".repeat(16_380))),
        ("8190 €", socket.serialize_attachment("€".repeat(8_190))),
        ("16000 bytes in a Vec", socket.serialize_attachment(&bytes)),
        (
            "16000 bytes in a ByteBuf",
            socket.serialize_attachment(serde_bytes::Bytes::new(&bytes)),
        ),
        ("2^53 + 1", socket.serialize_attachment((1_u64 << 53) + 1)),
    ];
    let mut out = String::new();
    for (name, outcome) in tries {
        let said =
            outcome.map_or_else(|error| error.to_string(), |()| "fits".to_owned());
        // The first line: the rest is a stack.
        out += &format!("{name}: {}\n", said.lines().next().unwrap_or_default());
    }
    Response::ok(out)
}

fn tags(state: &State, server: &WebSocket, count: usize) {
    let tags: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    state.accept_websocket_with_tags(server, &tags);
}

fn long_tag(state: &State, server: &WebSocket, length: usize) {
    state.accept_websocket_with_tags(server, &[&"x".repeat(length)]);
}

fn twice(state: &State, server: &WebSocket) {
    state.accept_web_socket(server);
    state.accept_web_socket(server);
}

fn tags_of_plain(state: &State, server: &WebSocket) -> Result<()> {
    server.accept()?;
    server.send(&state.get_tags(server))
}

fn long_pair(state: &State, server: &WebSocket, length: usize) -> Result<()> {
    state.accept_web_socket(server);
    // The pair does not mind. Setting it does.
    let pair = WebSocketRequestResponsePair::new(&"x".repeat(length), "y")?;
    state.set_websocket_auto_response(&pair);
    Ok(())
}

// ANCHOR: ghost
/// Accepted first, looked at later: whoever is turned away now stays among the guests.
fn ghost(state: &State, server: &WebSocket, req: &Request) -> Result<()> {
    state.accept_web_socket(server);
    let ticket = req.headers().get("Ticket")?;
    ticket.map(drop).ok_or_else(|| Error::from("no ticket"))
}
// ANCHOR_END: ghost

// ANCHOR: slow
/// Whoever comes during the await is served first.
async fn slow(socket: &WebSocket) -> Result<()> {
    Delay::from(Duration::from_millis(300)).await;
    socket.send_with_str("slow")
}
// ANCHOR_END: slow

async fn wait() -> Result<()> {
    Delay::from(Duration::from_secs(60)).await;
    Ok(())
}

// ANCHOR: bare
/// A class that takes sockets and has no handlers for them. `#[durable_object]`
/// exports those that panic.
#[durable_object]
pub struct Bare {
    state: State,
}

impl DurableObject for Bare {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, _req: Request) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        Response::from_websocket(client)
    }
}
// ANCHOR_END: bare
