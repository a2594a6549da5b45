//! ch07 from outside: a real `npx wrangler dev`, real sockets, a real browser, a real
//! `kill -9`.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use outside::{Dev, Socket};

/// After this long without an event an object with hibernating sockets is out of
/// memory: the runtime waits ten seconds.
const ASLEEP: Duration = Duration::from_secs(15);

/// The Worker of traps, on empty state.
fn traps() -> Result<Dev> {
    Dev::start_in(&ledger::root().join("traps"), &[])
}

/// How many events the object with the traps has seen, by its memory.
fn calls(dev: &Dev) -> Result<u32> {
    // The first request after a panic may be cancelled along with it.
    for _ in 0..5 {
        let answer = dev.get("/ch07/calls")?;
        if answer.status == 200 {
            return Ok(answer.body.trim().parse()?);
        }
    }
    bail!("the object does not answer:\n{}", dev.log())
}

/// A request that panics gets no answer, and the object forgets what it knew.
fn panics(dev: &Dev, path: &str) -> Result<()> {
    for _ in 0..3 {
        calls(dev)?;
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        .http_status_as_error(false)
        .build();
    let agent: ureq::Agent = config.into();
    if let Ok(answer) = agent.get(format!("{}{path}", dev.url())).call() {
        bail!("{path} answered {}", answer.status());
    }
    let calls = calls(dev)?;
    ensure!(calls < 4, "after {path} the object remembers {calls} calls");
    dev.expect_log("Reinitializing Wasm application")
}

/// A message to a class without handlers, and the close of a socket too: every object
/// of the isolate loses its memory, one of another class among them.
/// proves: trap T5
#[test]
fn missing_handlers_reset_the_isolate() -> Result<()> {
    for how in ["message", "close"] {
        let dev = traps()?;
        for n in 1..=5 {
            assert_eq!(calls(&dev)?, n);
        }
        let mut socket = Socket::open(&dev, "/ch07/bare")?;
        assert_eq!(calls(&dev)?, 7, "opening it is no fault yet");
        if how == "message" {
            socket.say("hello")?;
        } else {
            assert!(socket.close(1000, "bye").is_err(), "nobody says goodbye");
        }
        dev.expect_log("handler not implemented")?;
        let calls = calls(&dev)?;
        assert!(
            calls < 4,
            "after a {how} the other object remembers {calls} calls"
        );
        dev.expect_log("Reinitializing Wasm application")?;
    }
    Ok(())
}

/// Eleven tags, or one of 257 bytes: a panic. Ten tags of 256 are well.
/// proves: trap T57
#[test]
fn tags_over_the_limit_panic() -> Result<()> {
    let dev = traps()?;
    for path in ["/ch07/ten-tags", "/ch07/full-tag"] {
        let mut socket = Socket::open(&dev, path)?;
        socket.say("hello")?;
        assert_eq!(socket.text()?, "hello");
    }
    panics(&dev, "/ch07/many-tags")?;
    panics(&dev, "/ch07/long-tag")
}

/// A socket is accepted once. Twice is a panic, and so is to ask for the tags of a
/// socket that does not hibernate.
/// proves: trap T58
#[test]
fn a_socket_accepted_twice_panics() -> Result<()> {
    let dev = traps()?;
    panics(&dev, "/ch07/twice")?;
    panics(&dev, "/ch07/tags-of-plain")
}

/// The pair for auto-response is measured when it is set, and the setter unwraps.
/// proves: trap T59
#[test]
fn a_long_auto_response_panics() -> Result<()> {
    let dev = traps()?;
    let mut socket = Socket::open(&dev, "/ch07/full-pair")?;
    socket.say("x".repeat(2_048))?;
    assert_eq!(socket.text()?, "y");
    panics(&dev, "/ch07/long-pair")
}

/// A client says goodbye, and nobody answers unless `websocket_close` does.
/// proves: trap T60
#[test]
fn a_close_is_not_answered_by_itself() -> Result<()> {
    let dev = traps()?;
    let mut answered = Socket::open(&dev, "/ch07/socket")?;
    assert_eq!(answered.close(1000, "bye")?.reason, "goodbye");
    let mut silent = Socket::open(&dev, "/ch07/silent")?;
    silent.patience(Duration::from_secs(5))?;
    if let Ok(closed) = silent.close(1000, "bye") {
        bail!("somebody answers: {closed:?}");
    }
    Ok(())
}

/// In `websocket_close` the socket that goes is still one of `get_websockets`, and a
/// message to it is no error, even if its line is long dead.
/// proves: trap T64
#[test]
fn a_socket_that_goes_is_still_listed() -> Result<()> {
    let dev = traps()?;
    let mut stays = Socket::open(&dev, "/ch07/socket")?;
    Socket::open(&dev, "/ch07/socket")?.close(1000, "bye")?;
    assert_eq!(stays.text()?, "1000: listed true, sent true, closed");
    drop(Socket::open(&dev, "/ch07/socket")?);
    assert_eq!(stays.text()?, "1006: listed true, sent true, closed");
    assert_eq!(dev.get("/ch07/sockets")?.body, "1\n");
    Ok(())
}

/// An object whose handler waits for a `Delay` does not sleep. Without it, it does.
/// proves: trap T65
#[test]
fn a_delay_keeps_an_object_awake() -> Result<()> {
    let dev = traps()?;
    let mut socket = Socket::open(&dev, "/ch07/socket")?;
    let mut calls = || -> Result<u32> {
        socket.say("calls")?;
        Ok(socket.text()?.parse()?)
    };
    assert_eq!(calls()?, 2);
    sleep(ASLEEP);
    assert_eq!(calls()?, 1, "the object did not sleep");
    let mut waits = Socket::open(&dev, "/ch07/socket")?;
    waits.say("wait")?;
    sleep(ASLEEP);
    assert_eq!(calls()?, 4, "the object slept");
    Ok(())
}
