//! What goes wrong with WebSockets: the traps of ch06. Do not copy it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, WebsocketEvent, durable_object,
    wasm_bindgen, web_sys,
};

/// What was seen, for the test to read: `/ch06/notes`.
type Notes = Rc<RefCell<Vec<String>>>;

#[durable_object(websocket)]
pub struct Ch06Trap {
    state: State,
    notes: Notes,
    inside: Rc<Cell<u32>>,
}

impl DurableObject for Ch06Trap {
    fn new(state: State, _env: Env) -> Self {
        Self { state, notes: Rc::default(), inside: Rc::default() }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        let path = req.path();
        match path.as_str() {
            "/ch06/notes" => return Response::ok(self.notes.take().join("\n")),
            "/ch06/inside" => return Response::ok(self.inside.get().to_string()),
            _ => {}
        }
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let (notes, inside) = (self.notes.clone(), self.inside.clone());
        match path.as_str() {
            "/ch06/bytes" => spawn_local(bytes(server)),
            "/ch06/array-buffer" => spawn_local(array_buffer(server)),
            "/ch06/accept-then-hibernate" => accept_first(&self.state, &server)?,
            "/ch06/hibernate-then-accept" => {
                let outcome = hibernate_first(&self.state, &server);
                note(&notes, format!("{}", outcome.is_err()));
                spawn_local(listen_to_nothing(server, notes));
            }
            "/ch06/late" => spawn_local(late(server)),
            "/ch06/early" => spawn_local(early(server)),
            "/ch06/dropped" => spawn_local(dropped(server)),
            "/ch06/ghost" => {
                spawn_local(async move { ghost(&server, &inside).await });
            }
            "/ch06/no-ghost" => {
                spawn_local(async move { no_ghost(&server, &inside).await });
            }
            "/ch06/expect" => {
                inside.set(inside.get() + 1);
                spawn_local(async move { expecting(&server).await });
            }
            "/ch06/gone" => spawn_local(gone(server, notes)),
            "/ch06/same-code" => spawn_local(same_code(server, notes)),
            "/ch06/reason-only" => spawn_local(reason_only(server)),
            _ => return Response::error("no such trap", 404),
        }
        Response::from_websocket(client)
    }

    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> Result<()> {
        note(&self.notes, "the handler heard it");
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

fn note(notes: &Notes, text: impl Into<String>) {
    notes.borrow_mut().push(text.into());
}

/// Listens, accepts, and answers each message with what `answer` makes of it.
async fn converse(
    server: WebSocket,
    answer: impl Fn(&worker::MessageEvent) -> String,
) {
    let Ok(mut events) = server.events() else { return };
    if server.accept().is_err() {
        return;
    }
    while let Some(Ok(WebsocketEvent::Message(message))) = events.next().await {
        let _ = server.send_with_str(answer(&message));
    }
}

// ANCHOR: bytes
/// A binary message comes as a Blob, and `bytes` makes nothing of it.
fn length(message: &worker::MessageEvent) -> String {
    format!("{:?} bytes", message.bytes().map(|bytes| bytes.len()))
}
// ANCHOR_END: bytes

async fn bytes(server: WebSocket) {
    converse(server, length).await;
}

async fn array_buffer(server: WebSocket) {
    server.as_ref().set_binary_type(web_sys::BinaryType::Arraybuffer);
    converse(server, length).await;
}

// ANCHOR: mixed
/// The socket is taken twice, and `accept_web_socket` panics.
fn accept_first(state: &State, server: &WebSocket) -> Result<()> {
    server.accept()?;
    state.accept_web_socket(server);
    Ok(())
}
// ANCHOR_END: mixed

/// The other way round `accept` says no.
fn hibernate_first(state: &State, server: &WebSocket) -> Result<()> {
    state.accept_web_socket(server);
    server.accept()
}

/// And a stream of events is handed out, out of which nothing ever comes.
async fn listen_to_nothing(server: WebSocket, notes: Notes) {
    let Ok(mut events) = server.events() else { return };
    note(&notes, "there is a stream");
    while let Some(event) = events.next().await {
        note(&notes, format!("{event:?}"));
    }
}

fn heard(message: &worker::MessageEvent) -> String {
    format!("heard {}", message.text().unwrap_or_default())
}

/// Something that takes its time: a request, a query elsewhere.
async fn something_slow() {
    Delay::from(Duration::from_secs(2)).await;
}

// ANCHOR: late
/// The socket is accepted, something is waited for, and only then does somebody
/// listen.
async fn late(server: WebSocket) {
    let Ok(()) = server.accept() else { return };
    something_slow().await;
    let Ok(mut events) = server.events() else { return };
    let _ = server.send_with_str("I am all ears");
    while let Some(Ok(WebsocketEvent::Message(message))) = events.next().await {
        let _ = server.send_with_str(heard(&message));
    }
}
// ANCHOR_END: late

/// First the stream, then the accept: it keeps what comes while somebody waits.
async fn early(server: WebSocket) {
    let Ok(mut events) = server.events() else { return };
    let Ok(()) = server.accept() else { return };
    something_slow().await;
    let _ = server.send_with_str("I am all ears");
    while let Some(Ok(WebsocketEvent::Message(message))) = events.next().await {
        let _ = server.send_with_str(heard(&message));
    }
}

/// A stream for each message: what comes between two of them is lost.
async fn dropped(server: WebSocket) {
    let Ok(()) = server.accept() else { return };
    loop {
        let Ok(mut events) = server.events() else { return };
        let _ = server.send_with_str("I am all ears");
        let Some(Ok(WebsocketEvent::Message(message))) = events.next().await else {
            return;
        };
        drop(events);
        let _ = server.send_with_str(heard(&message));
        something_slow().await;
    }
}

// ANCHOR: ghost
/// Goes on after an error, because the docs promise a `Close` at the end.
async fn ghost(server: &WebSocket, inside: &Cell<u32>) {
    let (Ok(mut events), Ok(())) = (server.events(), server.accept()) else {
        return;
    };
    inside.set(inside.get() + 1);
    while let Some(event) = events.next().await {
        match event {
            Ok(WebsocketEvent::Message(_)) => {}
            Ok(WebsocketEvent::Close(_)) => break,
            Err(_) => {} // The Close comes next. Or so one thinks.
        }
    }
    inside.set(inside.get() - 1);
}
// ANCHOR_END: ghost

/// An error is an end too.
async fn no_ghost(server: &WebSocket, inside: &Cell<u32>) {
    let (Ok(mut events), Ok(())) = (server.events(), server.accept()) else {
        return;
    };
    inside.set(inside.get() + 1);
    while let Some(Ok(event)) = events.next().await {
        if let WebsocketEvent::Close(_) = event {
            break;
        }
    }
    inside.set(inside.get() - 1);
}

// ANCHOR: expecting
/// As the docs of `worker` have it. It is the client who decides whether there is
/// an error.
async fn expecting(server: &WebSocket) {
    let (Ok(mut events), Ok(())) = (server.events(), server.accept()) else {
        return;
    };
    while let Some(event) = events.next().await {
        if let WebsocketEvent::Message(message) =
            event.expect("received error in websocket")
        {
            let _ = server.send_with_str(heard(&message));
        }
    }
}
// ANCHOR_END: expecting

// ANCHOR: gone
/// The line broke, the runtime has said so, and `send` is content.
async fn gone(server: WebSocket, notes: Notes) {
    let (Ok(mut events), Ok(())) = (server.events(), server.accept()) else {
        return;
    };
    while let Some(Ok(event)) = events.next().await {
        if let WebsocketEvent::Close(close) = event {
            let sent = server.send_with_str("is anybody there?");
            note(&notes, format!("{}: {:?}", close.code(), sent.is_ok()));
        }
    }
}
// ANCHOR_END: gone

// ANCHOR: same_code
/// Gives the client its own code back. Not every code that one hears may be said.
async fn same_code(server: WebSocket, notes: Notes) {
    let (Ok(mut events), Ok(())) = (server.events(), server.accept()) else {
        return;
    };
    while let Some(Ok(event)) = events.next().await {
        if let WebsocketEvent::Close(close) = event {
            let closed = server.close(Some(close.code()), Some("goodbye"));
            note(&notes, format!("{}: {:?}", close.code(), closed.is_ok()));
        }
    }
}
// ANCHOR_END: same_code

/// A reason without a code is left out.
async fn reason_only(server: WebSocket) {
    let Ok(()) = server.accept() else { return };
    let _ = server.close(None, Some("the shop closes"));
}
