//! Many sockets: what holds of a full room, whatever chapter it is from. How fast it
//! is, `cargo run --release -p load -- chapters` measures.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use load::{Crowd, Load, Protocol};
use outside::{Dev, times, within};

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

/// A room of ch07 that falls asleep leaves the isolate's heap, though its thousand
/// sockets stay open; one of ch06 stays.
/// proves: claim asleep-light
/// runs: waits
#[test]
fn a_room_that_sleeps_leaves_the_heap() -> Result<()> {
    // A socket that is awake takes some kilobytes; a tenth of a megabyte for all of
    // them is as good as nothing.
    const NOTHING: u64 = 100_000;
    let sockets = times(300, 1_000);
    for (protocol, sleeps) in [(Protocol::Chat, true), (Protocol::Counter, false)] {
        let dev = if sleeps { chat()? } else { counter()? };
        let one = load(&dev, protocol, 1, 1);
        Crowd::join(&one)?.0.leave()?;
        let before = settled(&dev, |_| true)?;
        let (mut crowd, _) = Crowd::join(&load(&dev, protocol, 1, sockets))?;
        // On a busy machine it may be asleep again when it is looked at.
        let mut awake = 0;
        let full = || {
            crowd.talk(1, 1)?;
            awake = dev.heap()?;
            Ok(awake > before + 10 * NOTHING)
        };
        within(LIMIT, "a full room takes some heap", full).with_context(|| {
            format!(
                "{protocol:?}: {before} bytes without sockets, {awake} with them"
            )
        })?;
        let asleep = settled(&dev, |heap| sleeps && heap < before + NOTHING)?;
        assert_eq!(
            asleep < before + NOTHING,
            sleeps,
            "{protocol:?}: {before} bytes without sockets, {awake} with them awake, {asleep} after a while"
        );
        // Nobody has lost the line.
        crowd.talk(1, 1)?;
        crowd.leave()?;
    }
    Ok(())
}

/// The heap after 20 s in which nothing happened, or as soon as it is as expected,
/// but not later than after a minute.
fn settled(dev: &Dev, expected: impl Fn(u64) -> bool) -> Result<u64> {
    let begin = Instant::now();
    sleep(Duration::from_secs(20));
    loop {
        let heap = dev.heap()?;
        if expected(heap) || begin.elapsed() > Duration::from_secs(60) {
            return Ok(heap);
        }
        sleep(Duration::from_secs(2));
    }
}
