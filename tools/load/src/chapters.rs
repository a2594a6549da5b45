//! The figures on the pages of ch06 and ch07.

use anyhow::Result;
use load::{Crowd, Load, Protocol, STEP_LIMIT};
use outside::{Copy, Dev};

/// Rooms, and sockets in each.
const SHAPES: [(usize, usize); 2] = [(1, 1_000), (100, 10)];
/// How many messages are sent in a room.
const MESSAGES: usize = 100;
/// How many of them are on their way at once, when the rate is measured.
const WINDOW: usize = 8;

/// Starts both chapters, as they are deployed (`worker-build --release`), on empty
/// state, and prints a line for each shape.
pub fn chapters() -> Result<()> {
    println!(
        "{:6}{:>11}{:>9}{:>11}{:>9}{:>10}{:>10}{:>12}",
        "",
        "rooms",
        "joins/s",
        "median ms",
        "p99 ms",
        "deliv./s",
        "heap KB",
        "process KB"
    );
    for (chapter, protocol, path) in [
        ("ch06", Protocol::Counter, "/ws/{room}"),
        ("ch07", Protocol::Chat, "/api/room/{room}/websocket"),
    ] {
        let copy = Copy::of(chapter)?;
        copy.change(
            "wrangler.toml",
            "worker-build --dev ;;",
            "worker-build --release ;;",
        )?;
        for (rooms, sockets) in SHAPES {
            let mut dev = Dev::prepare(&copy.dir(), &copy.envs())?;
            // All clients come from one address; it is not the limiter that is
            // measured.
            dev.set_var("SECONDS_PER_MESSAGE", "0");
            dev.set_var("MESSAGES_PER_SECOND", "1000000");
            dev.up()?;
            let url = format!("ws://localhost:{}{path}", dev.port());
            let (greets, limit) = (true, STEP_LIMIT);
            let load = Load { protocol, url, rooms, sockets, greets, limit };
            line(chapter, &dev, &load)?;
        }
    }
    Ok(())
}

fn line(chapter: &str, dev: &Dev, load: &Load) -> Result<()> {
    // One visit before, so that what is loaded once is not counted as a socket's.
    let once = Load { rooms: 1, sockets: 1, ..load.clone() };
    Crowd::join(&once)?.0.leave()?;
    let before = (dev.heap()?, dev.memory()?);
    let (mut crowd, joined) = Crowd::join(load)?;
    let slow = crowd.talk(MESSAGES, 1)?;
    let fast = crowd.talk(MESSAGES, WINDOW)?;
    let after = (dev.heap()?, dev.memory()?);
    crowd.leave()?;
    let each = |now: u64, before: u64| {
        now.saturating_sub(before) as f64 / 1e3 / joined.sockets as f64
    };
    println!(
        "{chapter:6}{:>11}{:>9.0}{:>11.1}{:>9.1}{:>10.0}{:>10.2}{:>12.0}",
        format!("{} x {}", load.rooms, load.sockets),
        joined.sockets as f64 / joined.took.as_secs_f64(),
        slow.millis(0.5),
        slow.millis(0.99),
        fast.rate(),
        each(after.0, before.0),
        each(after.1, before.1),
    );
    Ok(())
}
