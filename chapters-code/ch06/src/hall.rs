//! A room on an object: the rules come from the crate `room`, and here are the
//! sockets to tell, and the disk to keep the number on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::StreamExt;
use room::{Effect, Effects, Input, Pace, SocketId};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    Date, DurableObject, Env, Error, Request, Response, State, WebSocket,
    WebSocketPair, WebsocketEvent, console_error, durable_object, wasm_bindgen,
};

use crate::number::Number;
use crate::rules::{Refusal, SOCKETS_MAX, messages_per_second};
use crate::socket::{read, say_goodbye, send, want_bytes};
use crate::speech::{Goodbye, Speech};
use crate::web::{self, Failure};

// ANCHOR: class
/// One room: a number on disk, and everybody who hears of it.
#[durable_object(fetch)]
pub struct Room {
    hall: worker::Result<Rc<Hall>>,
}

/// What the tasks that listen to the sockets share.
struct Hall {
    number: Number,
    rules: RefCell<room::Room>,
    guests: RefCell<BTreeMap<SocketId, Guest>>,
    newest: Cell<u64>,
    /// The pace of a socket that has said nothing yet.
    pace: Pace,
}

/// A socket, and how it speaks.
struct Guest {
    socket: WebSocket,
    speech: Speech,
}
// ANCHOR_END: class

// ANCHOR: object
impl DurableObject for Room {
    fn new(state: State, env: Env) -> Self {
        let limit = env.var("MESSAGES_PER_SECOND").map(|limit| limit.to_string());
        let pace = Pace::new(messages_per_second(limit.ok().as_deref()));
        let hall = Number::open(state.storage().sql()).map(|number| {
            Rc::new(Hall {
                rules: RefCell::new(room::Room::new(number.get(), SOCKETS_MAX)),
                number,
                guests: RefCell::default(),
                newest: Cell::new(0),
                pace,
            })
        });
        Self { hall }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        let hall = self.hall.as_ref();
        let hall = hall.map_err(|error| Error::from(error.to_string()))?;
        web::answer(hall.upgrade(&req))
    }
}
// ANCHOR_END: object

impl Hall {
    // ANCHOR: upgrade
    /// Opens one more socket, and leaves a task behind that listens to it.
    fn upgrade(self: &Rc<Self>, req: &Request) -> Result<Response, Failure> {
        let offered = req.headers().get("Sec-WebSocket-Protocol")?;
        let speech = Speech::choose(offered.as_deref())?;
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let response = Response::from_websocket(client)?;
        if let Some(protocol) = speech.protocol() {
            response.headers().set("Sec-WebSocket-Protocol", protocol)?;
        }
        let id = self.welcome(server.clone(), speech)?;
        // Nothing has been waited for since `accept`. So the task listens before the
        // first message can come.
        spawn_local(Rc::clone(self).listen(id, server, speech));
        Ok(response)
    }

    /// Lets a socket in, if there is room, and tells it the number.
    fn welcome(
        &self,
        socket: WebSocket,
        speech: Speech,
    ) -> Result<SocketId, Failure> {
        let id = SocketId(self.newest.get() + 1);
        self.newest.set(id.0);
        let effects = self.rules.borrow_mut().on(Input::Joined(id));
        if effects.clone().any(|effect| effect == Effect::TurnAway(id)) {
            return Err(Refusal::Crowded.into());
        }
        want_bytes(&socket);
        let joined = socket.accept().and_then(|()| {
            self.guests.borrow_mut().insert(id, Guest { socket, speech });
            self.carry_out(effects)
        });
        if let Err(error) = joined {
            self.forget(id);
            return Err(error.into());
        }
        Ok(id)
    }
    // ANCHOR_END: upgrade

    // ANCHOR: listen
    /// Listens to a socket until one of the two sides closes it.
    async fn listen(
        self: Rc<Self>,
        id: SocketId,
        socket: WebSocket,
        speech: Speech,
    ) {
        let heard = self.hear_out(id, &socket, speech).await;
        self.forget(id);
        if let Err(goodbye) = heard {
            say_goodbye(&socket, &goodbye);
        }
    }

    async fn hear_out(
        &self,
        id: SocketId,
        socket: &WebSocket,
        speech: Speech,
    ) -> Result<(), Goodbye> {
        let mut events = socket.events().map_err(broken)?;
        let mut pace = self.pace;
        // The last event is a close, or the error of a connection that broke.
        while let Some(Ok(WebsocketEvent::Message(message))) = events.next().await {
            if !pace.allows(Date::now().as_millis() / 1_000) {
                return Err(Goodbye::TooFast);
            }
            if let Some(change) = speech.understand(&read(&message)?)? {
                let effects = self.rules.borrow_mut().on(Input::Said(id, change));
                self.carry_out(effects).map_err(broken)?;
            }
        }
        Ok(())
    }
    // ANCHOR_END: listen

    // ANCHOR: carry_out
    /// Does what the rules say, in their order. Nothing here waits, so nothing gets
    /// in between; and no borrow outlasts its line.
    fn carry_out(&self, effects: Effects) -> worker::Result<()> {
        for effect in effects {
            match effect {
                Effect::Keep(value) => {
                    if let Err(error) = self.number.set(value) {
                        self.rules.borrow_mut().put_back(self.number.get());
                        return Err(error);
                    }
                }
                Effect::Tell(id, value) => self.tell(Some(id), value)?,
                Effect::TellAll(value) => self.tell(None, value)?,
                Effect::TurnAway(id) => self.forget(id),
            }
        }
        Ok(())
    }
    // ANCHOR_END: carry_out

    // ANCHOR: tell
    /// Tells the number to one guest, or to all.
    fn tell(&self, only: Option<SocketId>, value: i64) -> worker::Result<()> {
        let say = |speech: Speech| {
            speech.tell(value).map_err(|error| Error::from(error.to_string()))
        };
        let (text, binary) = (say(Speech::Text)?, say(Speech::Binary)?);
        let mut gone = Vec::new();
        let guests = self.guests.borrow();
        let chosen = match only {
            Some(id) => guests.range(id..=id),
            None => guests.range(..),
        };
        for (&id, guest) in chosen {
            let words = match guest.speech {
                Speech::Text => &text,
                Speech::Binary => &binary,
            };
            if send(&guest.socket, words).is_err() {
                gone.push(id);
            }
        }
        drop(guests);
        // A socket that takes nothing any more is closed, and its task hears of it.
        gone.into_iter().for_each(|id| self.forget(id));
        Ok(())
    }

    /// To forget a socket twice does no harm.
    fn forget(&self, id: SocketId) {
        self.guests.borrow_mut().remove(&id);
        // Nobody is told who has left: there is nothing to carry out.
        let _ = self.rules.borrow_mut().on(Input::Left(id));
    }
    // ANCHOR_END: tell
}

fn broken(error: Error) -> Goodbye {
    console_error!("a room is broken: {error}");
    Goodbye::Broken
}
