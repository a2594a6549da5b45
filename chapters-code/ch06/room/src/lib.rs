//! What a message does to a room: inputs in, effects out.
//!
//! These are the rules of the shared counter and nothing else. No socket, no
//! storage, no clock, no `async`: whoever runs a room (the host) tells it what
//! happened, and then does what it is told. So the same rules run in a Durable
//! Object, in a server of your own, and in a test.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

// ANCHOR: inputs
/// One socket of a room. The host gives out the numbers, and no number twice as long
/// as the room is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A socket wants to come in.
    Joined(SocketId),
    /// A socket wants the number changed.
    Said(SocketId, Change),
    /// A socket is gone, for whatever reason. To say so twice does no harm.
    Left(SocketId),
}

/// What one can say in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One more.
    Increment,
    /// One less.
    Decrement,
}
// ANCHOR_END: inputs

// ANCHOR: effects
/// What the host is to do, in the order in which it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Write the number down. If that fails, do nothing of what follows, and give the
    /// room the number that is written down: [`Room::put_back`].
    Keep(i64),
    /// Tell one socket the number.
    Tell(SocketId, i64),
    /// Tell every socket of the room the number.
    TellAll(i64),
    /// The room is full: close this socket. It is not in the room.
    TurnAway(SocketId),
}
// ANCHOR_END: effects

// ANCHOR: words
impl Change {
    /// What a text asks for, if anything: a room ignores all other texts.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "increment" => Some(Self::Increment),
            "decrement" => Some(Self::Decrement),
            _ => None,
        }
    }
}

/// How a number is told in text.
pub fn told(value: i64) -> String {
    format!("new value: {value}")
}
// ANCHOR_END: words

// ANCHOR: room
/// A room: a number, and the sockets that hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    value: i64,
    sockets: BTreeSet<SocketId>,
    sockets_max: usize,
}

impl Room {
    /// An empty room with the number that was kept, or 0 in a new one. At most
    /// `sockets_max` sockets fit in.
    pub fn new(value: i64, sockets_max: usize) -> Self {
        Self { value, sockets: BTreeSet::new(), sockets_max }
    }

    /// Takes one thing that happened, and returns what to do about it.
    pub fn on(&mut self, input: Input) -> Effects {
        match input {
            Input::Joined(socket) if self.has(socket) => Effects::NONE,
            Input::Joined(socket) if self.sockets.len() >= self.sockets_max => {
                Effects::one(Effect::TurnAway(socket))
            }
            Input::Joined(socket) => {
                self.sockets.insert(socket);
                Effects::one(Effect::Tell(socket, self.value))
            }
            Input::Said(socket, change) if self.has(socket) => self.change(change),
            Input::Said(..) => Effects::NONE,
            Input::Left(socket) => {
                self.sockets.remove(&socket);
                Effects::NONE
            }
        }
    }

    /// At either end of the range the number stays as it is, and nobody is told.
    fn change(&mut self, change: Change) -> Effects {
        let changed = match change {
            Change::Increment => self.value.checked_add(1),
            Change::Decrement => self.value.checked_sub(1),
        };
        let Some(value) = changed else { return Effects::NONE };
        self.value = value;
        Effects::two(Effect::Keep(value), Effect::TellAll(value))
    }
}
// ANCHOR_END: room

impl Room {
    /// The number.
    pub fn value(&self) -> i64 {
        self.value
    }

    /// How many sockets are in the room.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nobody is in the room.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether this socket is in the room.
    pub fn has(&self, socket: SocketId) -> bool {
        self.sockets.contains(&socket)
    }

    /// Takes the number back that is written down, after an [`Effect::Keep`] that
    /// failed. Nobody has heard of the other one.
    pub fn put_back(&mut self, value: i64) {
        self.value = value;
    }
}

/// What to do about one input: two effects at most, in their order. An iterator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a room does nothing by itself"]
pub struct Effects([Option<Effect>; 2]);

impl Effects {
    const NONE: Self = Self([None, None]);

    fn one(effect: Effect) -> Self {
        Self([Some(effect), None])
    }

    fn two(first: Effect, second: Effect) -> Self {
        Self([Some(first), Some(second)])
    }
}

impl Iterator for Effects {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        let [first, second] = &mut self.0;
        first.take().or_else(|| second.take())
    }
}
