//! Many sockets: what holds of a full room, whatever chapter it is from. How fast it
//! is, `cargo run --release -p load -- chapters` measures.

use std::time::Duration;

use anyhow::{Result, ensure};
use load::{Crowd, Load, Protocol};
use outside::{Dev, times};

/// A busy machine may take its time; it must only not be for ever.
const LIMIT: Duration = Duration::from_secs(300);

/// Rooms in which anybody may say any number of things.
fn unlimited(chapter: &str, variable: &str, value: &str) -> Result<Dev> {
    let dir = ledger::root().join("chapters-code").join(chapter);
    let mut dev = Dev::prepare(&dir, &[])?;
    dev.set_var(variable, value);
    dev.up()?;
    Ok(dev)
}

fn counter() -> Result<Dev> {
    unlimited("ch06", "MESSAGES_PER_SECOND", "1000000")
}

/// All clients come from one address, which is what the chat limits.
fn chat() -> Result<Dev> {
    unlimited("ch07", "SECONDS_PER_MESSAGE", "0")
}

fn load(dev: &Dev, protocol: Protocol, rooms: usize, sockets: usize) -> Load {
    let path = match protocol {
        Protocol::Counter => "/ws/{room}",
        Protocol::Chat => "/api/room/{room}/websocket",
    };
    let url = format!("ws://localhost:{}{path}", dev.port());
    Load { protocol, url, rooms, sockets, greets: true, limit: LIMIT }
}

/// All come in, talk one after the other and then eight at a time, and leave. The
/// crowd sees to it that each hears everything, once, in one order. First in one room,
/// then in rooms of ten.
fn join_talk_leave(dev: &Dev, protocol: Protocol) -> Result<()> {
    let sockets = times(200, 1_000);
    for rooms in [1, sockets / 10] {
        let load = load(dev, protocol, rooms, sockets / rooms);
        let (mut crowd, joined) = Crowd::join(&load)?;
        let slow = crowd.talk(10, 1)?;
        let fast = crowd.talk(40, 8)?;
        crowd.leave()?;
        assert_eq!(joined.sockets, sockets);
        assert_eq!(slow.deliveries + fast.deliveries, 50 * sockets);
    }
    Ok(())
}

/// A thousand sockets in one room of ch06, and in a hundred rooms of ten: each hears
/// every change of its room, once, in the same order as the others.
/// proves: claim thousand-agree
#[test]
fn a_thousand_counters_agree() -> Result<()> {
    join_talk_leave(&counter()?, Protocol::Counter)
}

/// The same for the chat of ch07.
/// proves: claim thousand-guests
#[test]
fn a_thousand_guests_hear_all() -> Result<()> {
    join_talk_leave(&chat()?, Protocol::Chat)
}

/// What the isolate's heap keeps for a socket: of a room of ch07, which may sleep, less
/// than a third of what it is of one of ch06, which may not.
/// proves: claim sockets-light
#[test]
fn sockets_that_may_sleep_are_light() -> Result<()> {
    let sockets = times(300, 1_000);
    let each = |dev: &Dev, protocol| -> Result<u64> {
        Crowd::join(&load(dev, protocol, 1, 1))?.0.leave()?;
        let before = dev.heap()?;
        let (crowd, _) = Crowd::join(&load(dev, protocol, 1, sockets))?;
        let after = dev.heap()?;
        crowd.leave()?;
        Ok(after.saturating_sub(before) / sockets as u64)
    };
    let light = each(&chat()?, Protocol::Chat)?;
    let heavy = each(&counter()?, Protocol::Counter)?;
    println!("{sockets} sockets: {light} bytes each; where none may sleep {heavy}");
    // The debugger itself takes some kilobytes.
    ensure!((1_000..10_000).contains(&heavy) && light < heavy / 3);
    Ok(())
}
