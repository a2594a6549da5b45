//! The chat room: an object that may sleep while its guests stay.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use worker::{
    Date, DurableObject, Env, Error, Request, Response, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, console_error, durable_object,
    wasm_bindgen,
};

use crate::cellar::{Cellar, GuestId, Place};
use crate::limiter;
use crate::pace::{self, Limits, NAME_WITHIN, Pace, Patience, Seen, TRIM_WITHIN};
use crate::protocol::{self, Complaint, Farewell, Hello, News, Speech};
use crate::{missing, sockets};

// ANCHOR: class
/// One room. It takes requests, sockets and an alarm.
#[durable_object]
pub struct ChatRoom {
    state: State,
    env: Env,
    cellar: worker::Result<Cellar>,
    limits: Limits,
    /// Everybody in the room. It is a copy: the truth is in the cellar and with the
    /// runtime, and outlasts this memory.
    guests: RefCell<BTreeMap<GuestId, Guest>>,
    /// The place of the latest message.
    last: Cell<Place>,
    /// When the alarm will ring, if this is known.
    rings_at: Cell<Option<u64>>,
}

/// Somebody in the room, or still in the door, without a name.
struct Guest {
    socket: WebSocket,
    name: Option<String>,
    joined: u64,
    /// The name of the limiter that their household shares, if that is known.
    limiter: Option<String>,
    pace: Pace,
    /// How many of their messages were refused since one was taken.
    refused: u32,
}
// ANCHOR_END: class

impl DurableObject for ChatRoom {
    // ANCHOR: new
    fn new(state: State, env: Env) -> Self {
        let cellar = Cellar::open(state.storage());
        // If the variables make no sense, the limiter says so when it is asked.
        let limits = limiter::limits(&env).unwrap_or_default();
        sockets::keep_alive(&state);
        let room = Self {
            state,
            env,
            cellar,
            limits,
            guests: RefCell::default(),
            last: Cell::default(),
            rings_at: Cell::default(),
        };
        if let Err(error) = room.wake() {
            console_error!("the room cannot recall who is in it: {error}");
        }
        room
    }
    // ANCHOR_END: new

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        match self.accept(&req).await {
            Err(error) => {
                console_error!("a guest could not come in: {error}");
                self.turn_away(Complaint::Broken)
            }
            response => response,
        }
    }

    // ANCHOR: message
    async fn websocket_message(
        &self,
        socket: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        let Some(id) = socket.deserialize_attachment()? else { return Ok(()) };
        match self.hear(id, message) {
            Ok(Taken::Message) => {
                self.ask_limiter(id).await;
                self.trim_soon().await?;
            }
            Ok(Taken::Other) => {}
            Err(error) => {
                console_error!("a message could not be taken: {error}");
                self.complain(id, Complaint::Broken, None)?;
            }
        }
        Ok(())
    }
    // ANCHOR_END: message

    // ANCHOR: close
    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        reason: String,
        _was_clean: bool,
    ) -> worker::Result<()> {
        sockets::answer_close(&socket, code, &reason);
        self.gone(&socket)
    }

    async fn websocket_error(
        &self,
        socket: WebSocket,
        error: Error,
    ) -> worker::Result<()> {
        console_error!("a socket broke: {error}");
        self.gone(&socket)
    }
    // ANCHOR_END: close

    // ANCHOR: alarm
    async fn alarm(&self) -> worker::Result<Response> {
        self.rings_at.set(None);
        self.cellar()?.trim()?;
        if let Some(next) = self.look_round(now())? {
            self.ring_at(next).await?;
        }
        Response::empty()
    }
    // ANCHOR_END: alarm
}

fn now() -> u64 {
    Date::now().as_millis()
}

/// What a message was.
enum Taken {
    /// Something for everybody.
    Message,
    /// Something else, or nothing.
    Other,
}

impl ChatRoom {
    /// The tables, unless they could not be brought up to date.
    fn cellar(&self) -> worker::Result<&Cellar> {
        self.cellar.as_ref().map_err(|error| Error::from(error.to_string()))
    }

    // ANCHOR: wake
    /// Brings back what memory has lost: who is here by a socket **and** by the
    /// cellar. Guests without a socket are struck out; they went when the whole
    /// server did. Sockets without a guest are about to close.
    fn wake(&self) -> worker::Result<()> {
        let cellar = self.cellar()?;
        self.last.set(cellar.last()?.unwrap_or_default());
        let mut sockets = BTreeMap::new();
        for socket in self.state.get_websockets() {
            if let Ok(Some(id)) = socket.deserialize_attachment::<GuestId>() {
                sockets.insert(id, socket);
            }
        }
        let rows = cellar.guests()?;
        let written = rows.len();
        let mut guests = self.guests.borrow_mut();
        for row in rows {
            if let Some(socket) = sockets.remove(&row.id) {
                let guest = Guest {
                    socket,
                    name: row.name,
                    joined: row.joined,
                    limiter: row.limiter,
                    pace: Pace::default(),
                    refused: 0,
                };
                guests.insert(row.id, guest);
            }
        }
        if guests.len() < written {
            cellar.keep_only(&guests.keys().copied().collect::<Vec<_>>())?;
        }
        Ok(())
    }
    // ANCHOR_END: wake

    // ANCHOR: accept
    /// Takes one more socket. Its guest has a number, and half a minute to say a
    /// name.
    async fn accept(&self, req: &Request) -> worker::Result<Response> {
        let now = now();
        // This waits. Nothing that comes after it does.
        self.ring_at(now + NAME_WITHIN).await?;
        if self.guests.borrow().len() >= protocol::GUESTS_MAX {
            return self.turn_away(Complaint::Full);
        }
        let address = req.headers().get("CF-Connecting-IP")?;
        let limiter = address.and_then(|address| pace::household(&address));
        let id = self.cellar()?.enter(limiter.as_deref(), now)?;
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        server.serialize_attachment(id)?;
        self.state.accept_websocket_with_tags(&server, &[&tag(id)]);
        let guest = Guest {
            socket: server,
            name: None,
            joined: now,
            limiter,
            pace: Pace::default(),
            refused: 0,
        };
        self.guests.borrow_mut().insert(id, guest);
        Response::from_websocket(client)
    }

    /// Says why not, over a socket: a browser shows its page neither the status nor
    /// the body of an upgrade that failed.
    fn turn_away(&self, complaint: Complaint) -> worker::Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        let _ = server.send_with_str(protocol::error(complaint, None)?);
        let farewell = complaint.farewell().unwrap_or(protocol::BROKEN);
        sockets::hang_up(&server, farewell);
        Response::from_websocket(client)
    }
    // ANCHOR_END: accept

    // ANCHOR: hear
    /// What a guest says. Nothing in here waits, so nobody gets in between.
    fn hear(
        &self,
        id: GuestId,
        message: WebSocketIncomingMessage,
    ) -> worker::Result<Taken> {
        let guests = self.guests.borrow();
        // Somebody whom the room has sent away may still be talking.
        let Some(guest) = guests.get(&id) else { return Ok(Taken::Other) };
        let (name, pace) = (guest.name.clone(), guest.pace);
        drop(guests);
        let WebSocketIncomingMessage::String(text) = message else {
            return self.complain(id, Complaint::Binary, None);
        };
        let Some(name) = name else {
            return match Hello::parse(&text) {
                Ok(hello) => self.welcome(id, &hello),
                Err(complaint) => self.complain(id, complaint, None),
            };
        };
        match Speech::parse(&text) {
            Ok(speech) if pace.allows(&self.limits, now()) => {
                self.say(id, &name, &speech)
            }
            Ok(Speech { id: mark, .. }) => {
                self.complain(id, Complaint::RateLimited, mark.as_deref())
            }
            Err(complaint) => self.complain(id, complaint, None),
        }
    }
    // ANCHOR_END: hear

    // ANCHOR: welcome
    /// Somebody has said a name.
    fn welcome(&self, id: GuestId, hello: &Hello) -> worker::Result<Taken> {
        let cellar = self.cellar()?;
        let bearer = cellar.bearer(&hello.name)?;
        let again = match &bearer {
            Some(bearer) if hello.key.is_none() || bearer.key != hello.key => {
                return self.complain(id, Complaint::NameTaken, None);
            }
            bearer => bearer.is_some(),
        };
        let past = cellar.past(hello.since)?;
        cellar.name(id, hello, bearer.as_ref())?;
        if let Some(bearer) = bearer {
            self.close(bearer.id, protocol::ELSEWHERE);
        }

        // The copy in memory follows the cellar.
        let mut guests = self.guests.borrow_mut();
        let mut texts = Vec::new();
        for name in guests.values().filter_map(|guest| guest.name.as_deref()) {
            texts.push(protocol::json(&News::Joined(name))?);
        }
        let Some(guest) = guests.get_mut(&id) else { return Ok(Taken::Other) };
        guest.name = Some(hello.name.clone());
        guest.refused = 0;
        let socket = guest.socket.clone();
        drop(guests);

        if past.gap {
            texts.push(protocol::json(&News::Gap(true))?);
        }
        for said in &past.said {
            texts.push(protocol::json(said)?);
        }
        for text in protocol::pack(texts, hello.batch) {
            let _ = socket.send_with_str(text);
        }
        let joined = protocol::json(&News::Joined(&hello.name))?;
        if again {
            let _ = socket.send_with_str(joined);
        } else {
            self.tell_all(&joined)?;
        }
        let _ = socket.send(&News::Ready(true));
        Ok(Taken::Other)
    }
    // ANCHOR_END: welcome

    // ANCHOR: say
    /// Keeps a message and passes it on; or, if it is here already, tells its sender
    /// once more how it was kept.
    fn say(
        &self,
        id: GuestId,
        name: &str,
        speech: &Speech,
    ) -> worker::Result<Taken> {
        let cellar = self.cellar()?;
        let before = match &speech.id {
            Some(mark) => cellar.said(name, mark)?,
            None => None,
        };
        if let Some(said) = before {
            self.tell(id, &protocol::json(&said)?);
        } else {
            let Place { timestamp, number } = self.last.get();
            let place =
                Place { timestamp: now().max(timestamp + 1), number: number + 1 };
            let said = cellar.say(name, speech, place)?;
            self.last.set(place);
            self.tell_all(&protocol::json(&said)?)?;
        }
        if let Some(guest) = self.guests.borrow_mut().get_mut(&id) {
            guest.refused = 0;
            guest.pace.ask();
        }
        Ok(Taken::Message)
    }
    // ANCHOR_END: say

    // ANCHOR: tell_all
    /// Sends a text to everybody who has a name. The output gate holds it back until
    /// all that was written before is on disk.
    fn tell_all(&self, text: &str) -> worker::Result<()> {
        let mut texts = vec![text.to_owned()];
        while let Some(text) = texts.pop() {
            // A socket that takes nothing more is closed. Its guest has left, whether
            // or not the runtime has come to say so.
            for id in self.send_to_named(&text) {
                if let Some(name) = self.strike_out(id)? {
                    texts.push(protocol::json(&News::Quit(&name))?);
                }
            }
        }
        Ok(())
    }

    fn send_to_named(&self, text: &str) -> Vec<GuestId> {
        let guests = self.guests.borrow();
        let named = guests.iter().filter(|(_, guest)| guest.name.is_some());
        sockets::send_all(named.map(|(id, guest)| (*id, &guest.socket)), text)
    }

    /// Sends a text to one guest.
    fn tell(&self, id: GuestId, text: &str) {
        if let Some(guest) = self.guests.borrow().get(&id) {
            // An error means that they have just left.
            let _ = guest.socket.send_with_str(text);
        }
    }
    // ANCHOR_END: tell_all

    // ANCHOR: complain
    /// Tells a guest what was wrong, and sends them away if that cannot be mended, or
    /// was wrong too often.
    fn complain(
        &self,
        id: GuestId,
        complaint: Complaint,
        mark: Option<&str>,
    ) -> worker::Result<Taken> {
        self.tell(id, &protocol::error(complaint, mark)?);
        let mut guests = self.guests.borrow_mut();
        let Some(guest) = guests.get_mut(&id) else { return Ok(Taken::Other) };
        guest.refused += 1;
        let too_many = guest.refused >= protocol::REFUSED_MAX;
        drop(guests);
        let farewell =
            complaint.farewell().or(too_many.then_some(protocol::TOO_MANY));
        if let Some(farewell) = farewell {
            self.dismiss(id, farewell)?;
        }
        Ok(Taken::Other)
    }
    // ANCHOR_END: complain

    // ANCHOR: leave
    /// The runtime says that a socket is closed. The room may have closed it itself,
    /// and know.
    fn gone(&self, socket: &WebSocket) -> worker::Result<()> {
        match socket.deserialize_attachment()? {
            Some(id) => self.leave(id),
            None => Ok(()),
        }
    }

    /// Closes a guest's socket, and everybody hears that they left.
    fn dismiss(&self, id: GuestId, farewell: Farewell) -> worker::Result<()> {
        if let Some(guest) = self.guests.borrow().get(&id) {
            sockets::hang_up(&guest.socket, farewell);
        }
        self.leave(id)
    }

    /// Closes a guest's socket, and nobody hears of it.
    fn close(&self, id: GuestId, farewell: Farewell) {
        if let Some(guest) = self.guests.borrow_mut().remove(&id) {
            sockets::hang_up(&guest.socket, farewell);
        }
    }

    /// A guest is gone, and everybody hears it: once, however many say so.
    fn leave(&self, id: GuestId) -> worker::Result<()> {
        match self.strike_out(id)? {
            Some(name) => self.tell_all(&protocol::json(&News::Quit(&name))?),
            None => Ok(()),
        }
    }

    /// Takes a guest out of the copy and the cellar, and returns the name, if they
    /// were still here and had one.
    fn strike_out(&self, id: GuestId) -> worker::Result<Option<String>> {
        let left = self.guests.borrow_mut().remove(&id);
        let Some(guest) = left else { return Ok(None) };
        self.cellar()?.leave(id)?;
        Ok(guest.name)
    }
    // ANCHOR_END: leave

    // ANCHOR: ask_limiter
    /// Asks the limiter of a guest's address what a message has cost. The message
    /// has been sent already: only the next one may have to wait. A limiter that
    /// does not answer must not silence the room.
    async fn ask_limiter(&self, id: GuestId) {
        let limiter = match self.guests.borrow().get(&id) {
            Some(guest) if self.limits.apply() => guest.limiter.clone(),
            _ => return,
        };
        // Nobody shall pay for others whose address is unknown as well.
        let limiter =
            limiter.unwrap_or_else(|| format!("{} {}", self.state.id(), tag(id)));
        let wait = limiter::charge(&self.env, &limiter).await;
        if let Err(error) = &wait {
            console_error!("no answer from the limiter: {error}");
        }
        if let Some(guest) = self.guests.borrow_mut().get_mut(&id) {
            guest.pace.answered(wait.ok(), now());
        }
    }
    // ANCHOR_END: ask_limiter

    // ANCHOR: look_round
    /// Sends those away whose time is up, and returns when to look again.
    fn look_round(&self, now: u64) -> worker::Result<Option<u64>> {
        let mut over = Vec::new();
        let mut next: Option<u64> = None;
        for (id, guest) in self.guests.borrow().iter() {
            let pinged =
                missing::auto_response_timestamp(&self.state, &guest.socket);
            let seen = Seen {
                joined: guest.joined,
                named: guest.name.is_some(),
                // One socket that cannot tell must not stop the round.
                pinged: pinged.unwrap_or_default(),
            };
            match seen.patience(now) {
                Patience::Endless => {}
                Patience::Until(at) => {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
                Patience::Nameless => over.push((*id, protocol::NAMELESS)),
                Patience::Silent => over.push((*id, protocol::SILENT)),
            }
        }
        for (id, farewell) in over {
            self.dismiss(id, farewell)?;
        }
        Ok(next)
    }
    // ANCHOR_END: look_round

    // ANCHOR: ring_at
    /// Has the alarm ring at this time, or earlier. An object has one alarm; whoever
    /// would move it away from somebody else's time leaves it where it is.
    async fn ring_at(&self, at: u64) -> worker::Result<()> {
        let storage = self.state.storage();
        if self.rings_at.get().is_none() {
            let found = storage.get_alarm().await?.map(|at| at as u64);
            // Somebody else may have set it while this one was looking.
            self.rings_at.set(self.rings_at.get().or(found));
        }
        if self.rings_at.get().is_some_and(|rings_at| rings_at <= at) {
            return Ok(());
        }
        self.rings_at.set(Some(at));
        let set = storage.set_alarm(missing::at(at)).await;
        if set.is_err() {
            self.rings_at.set(None);
        }
        set
    }

    /// Has the alarm ring if there are more messages than are kept.
    async fn trim_soon(&self) -> worker::Result<()> {
        if self.cellar()?.excess()? > 0 {
            self.ring_at(now() + TRIM_WITHIN).await?;
        }
        Ok(())
    }
    // ANCHOR_END: ring_at
}

/// The tag of a guest's socket.
fn tag(id: GuestId) -> String {
    format!("guest-{id}")
}
