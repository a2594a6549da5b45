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

// ANCHOR: pace
/// How fast a socket speaks. Every host has a client some day that sends all it can,
/// and everybody else in the room would wait until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    per_second: u32,
    second: u64,
    said: u32,
}

impl Pace {
    /// At most `per_second` messages in each second.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, second: 0, said: 0 }
    }

    /// Counts one more message, which came in that second of the host's clock.
    /// Returns whether it may be listened to; if not, close the socket.
    pub fn allows(&mut self, second: u64) -> bool {
        if second != self.second {
            (self.second, self.said) = (second, 0);
        }
        self.said = self.said.saturating_add(1);
        self.said <= self.per_second
    }
}
// ANCHOR_END: pace

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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const ADA: SocketId = SocketId(1);
    const BOB: SocketId = SocketId(2);

    fn on(room: &mut Room, input: Input) -> Vec<Effect> {
        room.on(input).collect()
    }

    #[test]
    fn a_newcomer_is_told_the_number_and_a_change_is_told_to_all() {
        let mut room = Room::new(7, 10);
        assert_eq!(on(&mut room, Input::Joined(ADA)), [Effect::Tell(ADA, 7)]);
        assert_eq!(on(&mut room, Input::Joined(BOB)), [Effect::Tell(BOB, 7)]);
        assert_eq!(
            on(&mut room, Input::Said(BOB, Change::Decrement)),
            [Effect::Keep(6), Effect::TellAll(6)]
        );
        assert_eq!((room.value(), room.len()), (6, 2));
    }

    #[test]
    fn who_is_not_in_the_room_changes_nothing() {
        let mut room = Room::new(0, 1);
        assert_eq!(on(&mut room, Input::Said(ADA, Change::Increment)), []);
        let _ = room.on(Input::Joined(ADA));
        assert_eq!(on(&mut room, Input::Joined(ADA)), []);
        for _ in 0..2 {
            assert_eq!(on(&mut room, Input::Left(ADA)), []);
            assert!(room.is_empty());
        }
        assert_eq!(on(&mut room, Input::Said(ADA, Change::Increment)), []);
        assert_eq!(room, Room::new(0, 1));
    }

    #[test]
    fn a_full_room_turns_away() {
        let mut room = Room::new(0, 1);
        let _ = room.on(Input::Joined(ADA));
        assert_eq!(on(&mut room, Input::Joined(BOB)), [Effect::TurnAway(BOB)]);
        assert!(!room.has(BOB));
        let _ = room.on(Input::Left(ADA));
        assert_eq!(on(&mut room, Input::Joined(BOB)), [Effect::Tell(BOB, 0)]);
    }

    #[test]
    fn the_number_stops_at_both_ends() {
        for (end, further) in
            [(i64::MAX, Change::Increment), (i64::MIN, Change::Decrement)]
        {
            let mut room = Room::new(end, 10);
            let _ = room.on(Input::Joined(ADA));
            assert_eq!(on(&mut room, Input::Said(ADA, further)), []);
            assert_eq!(room.value(), end);
        }
    }

    #[test]
    fn each_second_has_its_messages() {
        let mut pace = Pace::new(3);
        for second in [0, 1, 5, 4] {
            for _ in 0..3 {
                assert!(pace.allows(second));
            }
            for _ in 0..2 {
                assert!(!pace.allows(second));
            }
        }
    }

    #[test]
    fn the_words_are_those_of_stateroom() {
        assert_eq!(Change::from_text("increment"), Some(Change::Increment));
        assert_eq!(Change::from_text("decrement"), Some(Change::Decrement));
        for other in
            ["", "Increment", " increment", "increment\n", "increments", "1"]
        {
            assert_eq!(Change::from_text(other), None, "{other:?}");
        }
        assert_eq!(told(3), "new value: 3");
        assert_eq!(told(i64::MIN), "new value: -9223372036854775808");
    }

    /// What may happen to a host and its clients.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Happens(Input),
        /// The oldest message that is under way to this client arrives.
        Arrives(SocketId),
        /// The next time the disk is asked to keep a number, it does not.
        DiskFails,
        /// The host dies. All sockets break, and what the disk has is what is left.
        Dies,
    }

    /// A few clients, so that they get into each other's way.
    fn socket() -> impl Strategy<Value = SocketId> {
        (0..6_u64).prop_map(SocketId)
    }

    fn step() -> impl Strategy<Value = Step> {
        let change = prop_oneof![Just(Change::Increment), Just(Change::Decrement)];
        prop_oneof![
            4 => socket().prop_map(|socket| Step::Happens(Input::Joined(socket))),
            8 => (socket(), change)
                .prop_map(|(socket, change)| Step::Happens(Input::Said(socket, change))),
            2 => socket().prop_map(|socket| Step::Happens(Input::Left(socket))),
            6 => socket().prop_map(Step::Arrives),
            1 => Just(Step::DiskFails),
            1 => Just(Step::Dies),
        ]
    }

    /// Where a number may be when a room comes up: also where it can go no further.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            -3..4_i64,
            i64::MAX - 2..=i64::MAX,
            i64::MIN..=i64::MIN + 2,
            any::<i64>(),
        ]
    }

    /// A host that does as it is told, on a disk that may fail and a network that
    /// takes its time, but keeps each client's messages in order.
    struct Host {
        room: Room,
        sockets_max: usize,
        disk: i64,
        disk_fails: bool,
        clients: BTreeMap<SocketId, Client>,
        /// What the number must be: counted without the room's help.
        expected: i128,
    }

    /// The other end of a socket.
    #[derive(Default)]
    struct Client {
        under_way: Vec<i64>,
        heard: Vec<i64>,
    }

    impl Client {
        fn arrives(&mut self) {
            if !self.under_way.is_empty() {
                self.heard.push(self.under_way.remove(0));
            }
        }
    }

    impl Host {
        fn new(disk: i64, sockets_max: usize) -> Self {
            Self {
                room: Room::new(disk, sockets_max),
                sockets_max,
                disk,
                disk_fails: false,
                clients: BTreeMap::new(),
                expected: disk.into(),
            }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Happens(input) => self.happens(input),
                Step::Arrives(socket) => {
                    if let Some(client) = self.clients.get_mut(&socket) {
                        client.arrives();
                    }
                }
                Step::DiskFails => self.disk_fails = true,
                Step::Dies => {
                    self.room = Room::new(self.disk, self.sockets_max);
                    self.clients.clear();
                }
            }
        }

        fn happens(&mut self, input: Input) {
            if let Input::Joined(socket) = input {
                self.clients.entry(socket).or_default();
            }
            if let Input::Left(socket) = input {
                self.clients.remove(&socket);
            }
            let counts = match input {
                Input::Said(socket, change)
                    if self.clients.contains_key(&socket) =>
                {
                    let after = match change {
                        Change::Increment => self.expected + 1,
                        Change::Decrement => self.expected - 1,
                    };
                    i64::try_from(after).is_ok().then_some(after)
                }
                _ => None,
            };
            let kept = self.follow(input);
            if let (Some(after), true) = (counts, kept) {
                self.expected = after;
            }
        }

        /// Does what the room says. Returns whether the disk kept what it had to.
        fn follow(&mut self, input: Input) -> bool {
            for effect in self.room.on(input) {
                match effect {
                    Effect::Keep(_) if self.disk_fails => {
                        self.disk_fails = false;
                        self.room.put_back(self.disk);
                        return false;
                    }
                    Effect::Keep(value) => self.disk = value,
                    Effect::Tell(socket, value) => self.tell(socket, value),
                    Effect::TellAll(value) => {
                        for client in self.clients.values_mut() {
                            client.under_way.push(value);
                        }
                    }
                    Effect::TurnAway(socket) => {
                        assert!(!self.room.has(socket));
                        self.clients.remove(&socket);
                    }
                }
            }
            true
        }

        fn tell(&mut self, socket: SocketId, value: i64) {
            let client = self.clients.get_mut(&socket).expect("tells nobody");
            client.under_way.push(value);
        }
    }

    proptest! {
        /// The promise of this crate: any order of messages from any clients leaves
        /// all clients agreeing with the room, and with what is written down.
        #[test]
        fn all_clients_agree_with_the_room(
            begin in number(),
            sockets_max in 1..6_usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut host = Host::new(begin, sockets_max);
            for step in steps {
                host.step(step);
                // A room has no other people than its host, and no other number than
                // the disk.
                prop_assert_eq!(host.room.value(), host.disk);
                prop_assert!(host.clients.len() <= sockets_max);
                prop_assert_eq!(host.room.len(), host.clients.len());
                for socket in host.clients.keys() {
                    prop_assert!(host.room.has(*socket));
                }
            }
            prop_assert_eq!(i128::from(host.disk), host.expected);
            for (socket, client) in &mut host.clients {
                while !client.under_way.is_empty() {
                    client.arrives();
                }
                prop_assert_eq!(client.heard.last(), Some(&host.disk), "{:?}", socket);
                // Nothing is told twice, and nothing left out.
                for pair in client.heard.windows(2) {
                    prop_assert_eq!(i128::from(pair[0]).abs_diff(pair[1].into()), 1);
                }
            }
        }

        /// In whatever order the messages of several clients come, the number is the
        /// same: the sum of what was said.
        #[test]
        fn the_order_of_the_clients_does_not_matter(
            (said, mixed) in prop::collection::vec((socket(), any::<bool>()), 0..100)
                .prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle())),
        ) {
            let sum = |said: &[(SocketId, bool)]| {
                let mut room = Room::new(0, 6);
                for socket in (0..6).map(SocketId) {
                    let _ = room.on(Input::Joined(socket));
                }
                for (socket, up) in said {
                    let change =
                        if *up { Change::Increment } else { Change::Decrement };
                    let _ = room.on(Input::Said(*socket, change));
                }
                room.value()
            };
            let ups = said.iter().filter(|(_, up)| *up).count();
            let expected = ups as i64 - (said.len() - ups) as i64;
            prop_assert_eq!(vec![sum(&said), sum(&mixed)], vec![expected; 2]);
        }
    }
}
