//! One flight: its seats in SQLite, and everybody who watches them.

use worker::{
    DurableObject, Env, Error, Request, Response, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, console_error, durable_object,
    wasm_bindgen,
};

use crate::rules::{Booking, Refusal, Route, WATCHERS_MAX};
use crate::seats::{SeatError, SeatRow, Seats};
use crate::web::{self, Failure};

// ANCHOR: class
/// One flight. It takes requests and WebSockets.
#[durable_object(websocket)]
pub struct Flight {
    state: State,
    seats: worker::Result<Seats>,
}
// ANCHOR_END: class

// ANCHOR: object
impl DurableObject for Flight {
    fn new(state: State, _env: Env) -> Self {
        let seats = Seats::open(state.storage());
        Self { state, seats }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        web::answer(self.respond(req).await)
    }

    /// This socket only tells. Whoever talks into it has mistaken it for another.
    async fn websocket_message(
        &self,
        socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        socket.close(Some(1003), Some("to book, POST to /book-seat"))
    }

    /// Answers the close. The runtime does not: without an answer the browser sees
    /// 1006, as if its line had broken.
    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> worker::Result<()> {
        socket.close(Some(1000), Some("goodbye"))
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        error: Error,
    ) -> worker::Result<()> {
        console_error!("a socket broke: {error}");
        Ok(())
    }
}
// ANCHOR_END: object

impl Flight {
    // ANCHOR: respond
    async fn respond(&self, mut req: Request) -> Result<Response, Failure> {
        let (path, url) = (req.path(), req.inner().url());
        match Route::parse(&req.inner().method(), &path, &url)? {
            Route::Seats { .. } => Ok(Response::from_json(&self.seats()?.all()?)?),
            Route::Book { .. } => {
                let booking = Booking::parse(&web::body(&mut req).await?)?;
                self.seats()?.book(&booking)?;
                self.tell_all(&self.seats()?.all()?)?;
                let Booking { seat, name } = booking;
                Ok(Response::ok(format!("{seat} is booked for {name}\n"))?)
            }
            Route::Live { .. } => self.accept(),
            _ => Err(Refusal::Path.into()),
        }
    }
    // ANCHOR_END: respond

    /// The seats, unless their table could not be brought up to date.
    fn seats(&self) -> worker::Result<&Seats> {
        self.seats.as_ref().map_err(|error| Error::from(error.to_string()))
    }

    // ANCHOR: accept
    /// Takes one more socket. It hears at once how things stand, so it has missed
    /// nothing, however long it was away.
    fn accept(&self) -> Result<Response, Failure> {
        if self.state.get_websockets().len() >= WATCHERS_MAX {
            return Err(Refusal::Crowded.into());
        }
        let seats = self.seats()?.all()?;
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        server.send(&seats)?;
        Ok(Response::from_websocket(client)?)
    }
    // ANCHOR_END: accept

    // ANCHOR: tell_all
    /// Sends the seats to every socket. The output gate holds the messages back
    /// until the booking is on disk.
    fn tell_all(&self, seats: &[SeatRow]) -> worker::Result<()> {
        let message = serde_json::to_string(seats)?;
        for socket in self.state.get_websockets() {
            // An error means that this one has just closed. The others go on.
            let _ = socket.send_with_str(&message);
        }
        Ok(())
    }
    // ANCHOR_END: tell_all
}

// ANCHOR: failure
impl From<SeatError> for Failure {
    fn from(error: SeatError) -> Self {
        match error {
            SeatError::Taken(seat) => Self::Refused(Refusal::Taken(seat)),
            SeatError::Sql(error) => Self::Broken(error),
        }
    }
}
// ANCHOR_END: failure
