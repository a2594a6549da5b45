//! ch07 from outside: a real `npx wrangler dev`, real sockets, a real browser, a real
//! `kill -9`.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outside::{Closed, Dev, Socket, drive, times};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// After this long without an event an object with hibernating sockets is out of
/// memory: the runtime waits ten seconds.
const ASLEEP: Duration = Duration::from_secs(15);

/// How long anything may take that should come at once: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// The chat, where everybody may talk as fast as he can.
fn chat() -> Result<Dev> {
    chat_with(&[("SECONDS_PER_MESSAGE", "0")])
}

fn chat_with(vars: &[(&str, &str)]) -> Result<Dev> {
    let mut dev = Dev::prepare(&ledger::root().join("chapters-code/ch07"), &[])?;
    for (name, value) in vars {
        dev.set_var(name, value);
    }
    dev.up()?;
    Ok(dev)
}

/// A socket into a room, without a word said. `address` is the IP address that the
/// limiter sees.
fn knock(dev: &Dev, room: &str, address: &str) -> Result<Socket> {
    let path = format!("/api/room/{room}/websocket");
    let mut socket =
        Socket::open_with(dev, &path, &[("CF-Connecting-IP", address)])?;
    socket.patience(PATIENCE)?;
    Ok(socket)
}

/// What a socket hears next.
fn next(socket: &mut Socket) -> Result<Value> {
    Ok(serde_json::from_str(&socket.text()?)?)
}

/// Says hello; returns what the room tells until it is ready.
fn hello(socket: &mut Socket, hello: &Value) -> Result<Vec<Value>> {
    socket.say(hello.to_string())?;
    let mut heard = Vec::new();
    loop {
        let said = next(socket)?;
        if said["ready"] == true {
            return Ok(heard);
        }
        ensure!(said["error"].is_null(), "{said}");
        heard.push(said);
    }
}

/// A socket of somebody with a name.
fn enter(dev: &Dev, room: &str, name: &str) -> Result<Socket> {
    let mut socket = knock(dev, room, "10.0.0.1")?;
    hello(&mut socket, &json!({ "name": name }))?;
    Ok(socket)
}

/// Who is in a room and what was said in it, as a newcomer hears it. He leaves before
/// this returns.
fn look(dev: &Dev, room: &str) -> Result<(Vec<String>, Vec<Value>)> {
    let mut socket = knock(dev, room, "10.0.0.2")?;
    let heard = hello(&mut socket, &json!({ "name": "a stranger", "since": 0 }))?;
    socket.close(1000, "bye")?;
    let mut present: Vec<String> = heard
        .iter()
        .filter_map(|said| Some(said["joined"].as_str()?.to_owned()))
        .filter(|name| name != "a stranger")
        .collect();
    present.sort();
    let said =
        heard.into_iter().filter(|said| !said["message"].is_null()).collect();
    Ok((present, said))
}

/// Reads on until somebody says this.
fn hears(socket: &mut Socket, message: &str) -> Result<()> {
    while next(socket)?["message"] != message {}
    Ok(())
}

/// Reads on until this guest has left.
fn hears_quit(socket: &mut Socket, name: &str) -> Result<()> {
    while next(socket)?["quit"] != name {}
    Ok(())
}

fn say(socket: &mut Socket, message: &str) -> Result<()> {
    socket.say(json!({ "message": message }).to_string())
}

/// A hundred guests fall silent, and their room sleeps: its memory is empty
/// afterwards. All are still connected and still in the room, and the next message
/// reaches each of them.
/// proves: claim guests-asleep
/// runs: waits
#[test]
fn a_hundred_guests_outlast_the_sleep_of_their_room() -> Result<()> {
    let dev = chat()?;
    let names: Vec<String> = (0..100).map(|n| format!("guest {n:02}")).collect();
    let mut guests = names
        .iter()
        .map(|name| enter(&dev, "sleepers", name))
        .collect::<Result<Vec<_>>>()?;
    // A room sends those away whom it has refused 50 times in a row, and counts in its
    // memory.
    let refuse = |guest: &mut Socket| -> Result<()> {
        for _ in 0..40 {
            guest.say("nonsense")?;
            while next(guest)?["error"].is_null() {}
        }
        Ok(())
    };
    refuse(&mut guests[0])?;
    sleep(ASLEEP);
    refuse(&mut guests[0]).context(
        "the room counts on, so it has not slept, or it has forgotten him",
    )?;
    say(&mut guests[99], "Are you all there?")?;
    for guest in &mut guests {
        hears(guest, "Are you all there?")?;
    }
    let (present, said) = look(&dev, "sleepers")?;
    assert_eq!(present, names);
    assert_eq!(said.len(), 1);
    // Whoever leaves now leaves for all.
    guests[50].close(1000, "bye")?;
    hears_quit(&mut guests[7], "guest 50")?;
    assert_eq!(look(&dev, "sleepers")?.0.len(), 99);
    Ok(())
}

/// Somebody who talks without a pause, is cut off with the server, and comes back.
struct Talker {
    room: usize,
    name: String,
    /// What he has heard, in this order: the timestamp, and whose message it was.
    heard: Vec<(u64, String)>,
    /// The message that he has sent and not heard yet, or sends next.
    number: usize,
}

impl Talker {
    fn new(room: usize, number: usize) -> Self {
        let name = format!("talker {number}");
        Self { room, name, heard: Vec::new(), number: 0 }
    }

    /// Comes into the room again, and says which message he has heard last.
    fn enter(&mut self, dev: &Dev, round: usize) -> Result<Socket> {
        let mut socket = knock(dev, &format!("chatter-{}", self.room), "10.0.0.1")?;
        let since = self.heard.last().map(|(timestamp, _)| *timestamp);
        // One in two takes what he has missed in one frame.
        let wish = json!({
            "name": self.name, "key": format!("key of {}", self.name),
            "since": since.unwrap_or(0), "batch": (self.number + round).is_multiple_of(2),
        });
        for said in hello(&mut socket, &wish)? {
            let batch = said["batch"].as_array().cloned();
            for said in batch.unwrap_or_else(|| vec![said]) {
                self.hear(&said)?;
            }
        }
        Ok(socket)
    }

    /// Whether this was his own message, which he has waited for.
    fn hear(&mut self, said: &Value) -> Result<bool> {
        ensure!(said["error"].is_null() && said["gap"].is_null(), "{said}");
        let Some(timestamp) = said["timestamp"].as_u64() else { return Ok(false) };
        let id = said["id"].as_str().context("no id")?;
        let heard = (timestamp, format!("{}: {id}", said["name"]));
        if self.heard.last().is_some_and(|(last, _)| *last >= timestamp) {
            // What he has sent twice is told to him twice, with its old time.
            let mine = said["name"] == self.name.as_str();
            let again = mine && self.heard.contains(&heard);
            ensure!(again, "{} hears {said} out of order", self.name);
            return Ok(false);
        }
        self.heard.push(heard);
        let mine =
            said["name"] == self.name.as_str() && id == self.number.to_string();
        self.number += usize::from(mine);
        Ok(mine)
    }

    /// Sends a message, and waits until it comes back.
    fn talk(&mut self, socket: &mut Socket) -> Result<()> {
        let id = self.number.to_string();
        let message = json!({ "message": format!("number {id}"), "id": id });
        socket.say(message.to_string())?;
        if self.number.is_multiple_of(4) {
            // He is not sure, and sends it again.
            socket.say(message.to_string())?;
        }
        while !self.hear(&next(socket)?)? {}
        Ok(())
    }
}

/// Many talk in several rooms at once, and the server is killed under them,
/// again and again. Whatever came back to its sender is in the history, in order and once; who
/// comes back hears each message once, in the same order.
/// proves: claim chatter-killed
#[test]
fn chatter_outlasts_kills() -> Result<()> {
    const ROOMS: usize = 3;
    let mut dev = chat()?;
    let mut talkers: Vec<_> = (0..12).map(|n| Talker::new(n % ROOMS, n)).collect();
    let mut unheard = 0;
    let rounds = times(3, 10);
    for round in 0..rounds {
        let before: usize = talkers.iter().map(|talker| talker.number).sum();
        let mut sockets = talkers
            .iter_mut()
            .map(|talker| talker.enter(&dev, round))
            .collect::<Result<Vec<_>>>()?;
        // Kept before the kill, and told only after it.
        let after: usize = talkers.iter().map(|talker| talker.number).sum();
        unheard += after - before;
        let echoed = AtomicUsize::new(0);
        let wrong = scope(|scope| {
            let threads: Vec<_> = talkers
                .iter_mut()
                .zip(&mut sockets)
                .map(|(talker, socket)| {
                    let echoed = &echoed;
                    scope.spawn(move || {
                        loop {
                            let said = talker.talk(socket);
                            match said {
                                Ok(()) => echoed.fetch_add(1, Ordering::Relaxed),
                                // The kill, or a fault of the room.
                                Err(error) => break error,
                            };
                        }
                    })
                })
                .collect();
            let begin = Instant::now();
            while echoed.load(Ordering::Relaxed) < 300 && begin.elapsed() < PATIENCE
            {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(300).mul_f64(fastrand::f64()));
            dev.kill();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        for error in wrong {
            let error = error.ok().context("a talker panicked")?;
            ensure!(error.is::<tungstenite::Error>(), "round {round}: {error:?}");
        }
        ensure!(echoed.into_inner() >= 300, "too few messages came back");
        dev.up()?;
    }

    // The last words, so that everybody knows when he has heard all.
    let mut sockets = talkers
        .iter_mut()
        .map(|talker| talker.enter(&dev, 0))
        .collect::<Result<Vec<_>>>()?;
    for (talker, socket) in talkers.iter_mut().zip(&mut sockets) {
        talker.talk(socket)?;
    }
    for room in 0..ROOMS {
        let place = format!("chatter-{room}");
        let mut last = knock(&dev, &place, "10.0.0.1")?;
        hello(&mut last, &json!({ "name": "the last" }))?;
        last.say(json!({ "message": "Good night.", "id": "0" }).to_string())?;
    }
    let mut echoed = 0;
    let mut histories = HashMap::new();
    for (talker, socket) in talkers.iter_mut().zip(&mut sockets) {
        while talker.heard.last().is_none_or(|(_, id)| id != "\"the last\": 0") {
            talker.hear(&next(socket)?)?;
        }
        let history = match histories.get(&talker.room) {
            Some(history) => history,
            None => {
                let said = look(&dev, &format!("chatter-{}", talker.room))?.1;
                let history: Vec<_> = said
                    .iter()
                    .filter_map(|said| {
                        let id =
                            format!("{}: {}", said["name"], said["id"].as_str()?);
                        Some((said["timestamp"].as_u64()?, id))
                    })
                    .collect();
                ensure!(history.len() == said.len(), "a message without an id");
                histories.entry(talker.room).or_insert(history)
            }
        };
        assert_eq!(&talker.heard, history, "{} has missed some", talker.name);
        let ids: HashSet<_> = history.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), history.len(), "a message stands twice");
        for number in 0..talker.number {
            let id = format!("{:?}: {number}", talker.name);
            assert!(ids.contains(&id), "{id} came back, and is lost");
        }
        echoed += talker.number;
    }
    println!(
        "{rounds} kills, 12 talkers in {ROOMS} rooms: {echoed} messages came back to their \
         senders, {unheard} of them only after the kill"
    );
    Ok(())
}

/// After a restart nobody is in the room, and what was said is.
/// proves: claim room-restarted
#[test]
fn a_restart_empties_the_room_and_keeps_its_history() -> Result<()> {
    let mut dev = chat()?;
    let mut ada = enter(&dev, "village", "Ada")?;
    let _bob = enter(&dev, "village", "Bob")?;
    say(&mut ada, "Good evening.")?;
    hears(&mut ada, "Good evening.")?;
    assert_eq!(look(&dev, "village")?.0, ["Ada", "Bob"]);
    dev.down();
    dev.up()?;
    let (present, said) = look(&dev, "village")?;
    assert_eq!(present, [""; 0]);
    assert_eq!(said.len(), 1);
    assert_eq!(
        (&said[0]["name"], &said[0]["message"]),
        (&json!("Ada"), &json!("Good evening."))
    );
    // The name is free.
    enter(&dev, "village", "Ada")?;
    Ok(())
}

/// Bad requests over a real connection: a clear 4xx of one line.
#[test]
fn bad_input_is_told() -> Result<()> {
    let dev = chat()?;
    let long = format!("/api/room/{}/websocket", "x".repeat(33));
    let id = format!("/api/room/{}/websocket", "0".repeat(64));
    let huge = "x".repeat(1_000_000);
    let cases: [(&str, &str, &str, u16); 10] = [
        ("GET", "/nowhere", "", 404),
        ("GET", "/api", "", 404),
        ("GET", "/api/room", "", 405),
        ("PURGE", "/api/room", "", 405),
        ("GET", "/api/room/village", "", 404),
        ("GET", "/api/room/village/websocket", "", 400),
        ("POST", "/api/room/village/websocket", &huge, 405),
        ("GET", &long, "", 404),
        ("GET", &id, "", 400),
        ("GET", "/websocket", "", 426),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body.trim().lines().count(), 1, "{}", answer.body);
    }
    // An id of nobody's namespace, and a name that is too long, with an upgrade.
    for path in [&id, &long] {
        let refused = Socket::open(&dev, path).err().context("it opened")?;
        let refused = refused.downcast::<tungstenite::Error>()?;
        let tungstenite::Error::Http(answer) = refused else { bail!("{refused}") };
        assert_eq!(answer.status(), 404, "{path}");
    }
    let room = dev.post("/api/room", "")?;
    assert_eq!((room.status, room.body.trim().len()), (200, 64));
    assert_eq!(room.headers["access-control-allow-origin"], "*");
    let mut ada = enter(&dev, room.body.trim(), "Ada")?;
    say(&mut ada, "Found it.")?;
    hears(&mut ada, "Found it.")
}

/// What two guests say to each other while others misbehave: how long each message
/// took to reach the other one. One message every `pause`, from one and the other in
/// turn, until `over`, and at least 30.
fn small_talk(
    pair: &mut [Socket; 2],
    topic: &str,
    pause: Duration,
    over: &AtomicBool,
) -> Result<Vec<Duration>> {
    let mut delays = Vec::new();
    let [ada, bob] = pair;
    // Not for ever: who waits for something that does not come hears them talk.
    while delays.len() < 30 || (delays.len() < 220 && !over.load(Ordering::Relaxed))
    {
        let message = format!("{topic} {}", delays.len());
        let (speaker, listener) = match delays.len() % 2 {
            0 => (&mut *ada, &mut *bob),
            _ => (&mut *bob, &mut *ada),
        };
        let begin = Instant::now();
        say(speaker, &message)?;
        hears(listener, &message)?;
        delays.push(begin.elapsed());
        hears(speaker, &message)?;
        sleep(pause);
    }
    Ok(delays)
}

fn median_and_worst(mut delays: Vec<Duration>) -> String {
    delays.sort();
    let worst = delays[delays.len() - 1];
    format!("{:.1?}, {worst:.1?} at worst", delays[delays.len() / 2])
}

/// The next message must be an error with this text.
fn scolded(socket: &mut Socket, text: &str) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let said = next(socket)?;
        if let Some(error) = said["error"].as_str() {
            ensure!(error.contains(text), "{error:?} instead of {text:?}");
            return Ok(());
        }
    }
    bail!("nobody said {text:?}")
}

/// The socket must be closed like this.
fn ends(socket: &mut Socket, code: u16, reason: &str) -> Result<()> {
    let right = Closed { code, reason: reason.to_owned() };
    let closed = socket.closed()?;
    ensure!(closed == right, "{closed:?} instead of {right:?}");
    Ok(())
}

const HOSTILES: &str = "hostiles";

/// Never says his name.
fn nameless(dev: &Dev) -> Result<()> {
    ends(&mut knock(dev, HOSTILES, "10.2.0.1")?, 1008, "say your name")
}

/// Says more than is looked at.
fn huge(dev: &Dev) -> Result<()> {
    let mut huge = knock(dev, HOSTILES, "10.2.0.2")?;
    hello(&mut huge, &json!({ "name": "Huge" }))?;
    huge.say("x".repeat(9_000))?;
    scolded(&mut huge, "At most 8192 bytes")?;
    ends(&mut huge, 1009, "too long")
}

/// Says more than the runtime takes. It stops reading, the room hears of it, and the
/// others hear that he has left. He is told as soon as the room has been quiet for ten
/// seconds, which is not this one's case, but that of another.
fn vast(dev: &Dev) -> Result<()> {
    let mut watcher = knock(dev, HOSTILES, "10.2.0.3")?;
    hello(&mut watcher, &json!({ "name": "Watch 1" }))?;
    let mut sockets = Vec::new();
    for room in [HOSTILES, "a quiet room"] {
        let mut vast = knock(dev, &room.replace(' ', "-"), "10.2.0.3")?;
        hello(&mut vast, &json!({ "name": "Vast" }))?;
        vast.stream().set_write_timeout(Some(Duration::from_secs(2)))?;
        // An error means that nobody reads it any more.
        let _ = vast.say("x".repeat(33 * 1024 * 1024));
        sockets.push(vast);
    }
    hears_quit(&mut watcher, "Vast")?;
    let closed = sockets[1].closed()?;
    ensure!(closed.code == 1009, "{closed:?}");
    watcher.close(1000, "bye").map(drop)
}

/// Sends a frame of a kind that does not exist. The runtime calls `websocket_error`,
/// and the others hear that he has left.
/// proves: api 7
#[test]
fn a_broken_frame_is_an_error_of_its_socket() -> Result<()> {
    let dev = chat()?;
    let mut watcher = enter(&dev, "village", "Watch")?;
    let broken = enter(&dev, "village", "Broken")?;
    // Kind 3, the end of its message, masked, empty.
    broken.stream().write_all(&[0x83, 0x80, 0, 0, 0, 0])?;
    hears_quit(&mut watcher, "Broken")?;
    dev.expect_log("Unknown opcode 3")?;
    assert_eq!(look(&dev, "village")?.0, ["Watch"]);
    Ok(())
}

/// Says nothing that anybody understands.
fn babbling(dev: &Dev) -> Result<()> {
    let mut babbler = knock(dev, HOSTILES, "10.2.0.4")?;
    let key = json!({ "name": "x", "key": "k".repeat(65) }).to_string();
    for odd in ["", "{", "[]", "null", "5", r#"{"name":5}"#, r#"{"since":-1}"#] {
        babbler.say(odd)?;
        scolded(&mut babbler, r#"Begin with your name: {"name":"Ada"}"#)?;
    }
    babbler.say(r#"{"name":"bell \u0007"}"#)?;
    scolded(&mut babbler, "control characters")?;
    babbler.say(key)?;
    scolded(&mut babbler, "1 to 64 characters")?;
    hello(&mut babbler, &json!({ "name": "Babel" }))?;
    let deep = "[".repeat(8_000);
    for odd in ["", "hello", "[]", r#"{"message":5}"#, r#"{"mess":""}"#, &deep] {
        babbler.say(odd)?;
        scolded(&mut babbler, r#"A message looks like {"message":"Hello"}"#)?;
    }
    let no_text = b"{\"message\":\xc3\x28\"".to_vec();
    let text = OpCode::Data(Data::Text);
    babbler.send(Message::Frame(Frame::message(no_text, text, true)))?;
    scolded(&mut babbler, "A message looks like")?;
    say(&mut babbler, &"x".repeat(257))?;
    scolded(&mut babbler, "Message too long.")?;
    babbler.send(Message::binary(vec![1, 2, 3]))?;
    scolded(&mut babbler, "Text only")?;
    ends(&mut babbler, 1003, "text only")
}

/// Wants to be somebody else, or everybody.
fn impostor(dev: &Dev) -> Result<()> {
    for wish in [json!({ "name": "Ada" }), json!({ "name": "Ada", "key": "guess" })]
    {
        let mut impostor = knock(dev, HOSTILES, "10.2.0.5")?;
        impostor.say(wish.to_string())?;
        scolded(&mut impostor, "Name is taken.")?;
        ends(&mut impostor, 1008, "name is taken")?;
    }
    let mut long = knock(dev, HOSTILES, "10.2.0.5")?;
    long.say(json!({ "name": "x".repeat(33) }).to_string())?;
    scolded(&mut long, "Name too long.")?;
    ends(&mut long, 1009, "Name too long.")
}

/// Says ten thousand things without taking a breath.
fn flood(dev: &Dev) -> Result<()> {
    let mut flood = knock(dev, HOSTILES, "10.2.0.6")?;
    hello(&mut flood, &json!({ "name": "Flood" }))?;
    for n in 0..10_000 {
        if say(&mut flood, &format!("flood {n}")).is_err() {
            break;
        }
    }
    scolded(&mut flood, "rate-limited")?;
    ends(&mut flood, 1008, "too many messages")
}

/// Pings once, and is never heard of again: he neither reads nor answers.
fn half_open(dev: &Dev) -> Result<()> {
    let mut watcher = knock(dev, HOSTILES, "10.2.0.7")?;
    hello(&mut watcher, &json!({ "name": "Watch 2" }))?;
    watcher.patience(Duration::from_secs(60))?;
    let mut ghost = knock(dev, HOSTILES, "10.2.0.8")?;
    hello(&mut ghost, &json!({ "name": "Ghost" }))?;
    ghost.say("ping")?;
    let begin = Instant::now();
    hears_quit(&mut watcher, "Ghost")?;
    let waited = begin.elapsed();
    ensure!(waited > Duration::from_secs(80), "sent away after {waited:.0?}");
    ends(&mut ghost, 1001, "no ping for 90 seconds")?;
    watcher.close(1000, "bye").map(drop)
}

/// Comes and goes, with a name and without, and never says goodbye.
fn restless(dev: &Dev) -> Result<()> {
    for n in 0..200 {
        let mut restless = knock(dev, HOSTILES, "10.2.0.9")?;
        if n % 2 == 0 {
            restless.say(json!({ "name": format!("No {n}") }).to_string())?;
        }
        drop(restless);
    }
    Ok(())
}

/// Two guests talk to each other, and eight others do what they can to spoil it. Each
/// message arrives, and each offender is told what was wrong, or how it ends.
/// proves: claim hostile-guests
/// runs: waits
#[test]
fn hostile_guests_spoil_nothing() -> Result<()> {
    type Hostile = fn(&Dev) -> Result<()>;
    let hostiles: [(&str, Hostile); 8] = [
        ("nameless", nameless),
        ("huge", huge),
        ("vast", vast),
        ("babbling", babbling),
        ("impostor", impostor),
        ("flood", flood),
        ("half open", half_open),
        ("restless", restless),
    ];
    let dev = chat_with(&[("SECONDS_PER_MESSAGE", "1"), ("GRACE_SECONDS", "60")])?;
    let mut ada = knock(&dev, HOSTILES, "10.1.0.1")?;
    hello(&mut ada, &json!({ "name": "Ada", "key": "a secret" }))?;
    let mut bob = knock(&dev, HOSTILES, "10.1.0.2")?;
    hello(&mut bob, &json!({ "name": "Bob" }))?;
    let mut pair = [ada, bob];
    let over = AtomicBool::new(true);
    let pause = Duration::from_millis(700);
    let alone = small_talk(&mut pair, "alone", pause, &over)?;

    over.store(false, Ordering::Relaxed);
    let (dev, over) = (&dev, &over);
    let (talk, faults) = scope(|scope| {
        let talk = scope
            .spawn(move || (small_talk(&mut pair, "spoilt", pause, over), pair));
        let threads: Vec<_> = hostiles
            .map(|(name, hostile)| {
                let begin = Instant::now();
                let run = move || {
                    let outcome = hostile(dev);
                    println!("{name}: over after {:.1?}", begin.elapsed());
                    outcome
                };
                (name, scope.spawn(run))
            })
            .into_iter()
            .collect();
        let faults: Vec<_> = threads
            .into_iter()
            .filter_map(|(name, thread)| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: panicked")),
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        (talk.join(), faults)
    });
    let (spoilt, _pair) = talk.ok().context("the honest guests panicked")?;
    let spoilt = spoilt.context("the honest guests")?;
    ensure!(faults.is_empty(), "{}", faults.join("\n"));

    // Whoever has gone is gone, and what the two have said is all there.
    let begin = Instant::now();
    while look(dev, HOSTILES)?.0 != ["Ada", "Bob"] {
        ensure!(
            begin.elapsed() < PATIENCE,
            "there are still {:?}",
            look(dev, HOSTILES)?.0
        );
        sleep(Duration::from_millis(500));
    }
    let history = look(dev, HOSTILES)?.1;
    for (topic, count) in [("alone", alone.len()), ("spoilt", spoilt.len())] {
        let kept: Vec<_> = history
            .iter()
            .filter_map(|said| said["message"].as_str())
            .filter(|said| said.starts_with(topic))
            .collect();
        let right: Vec<_> = (0..count).map(|n| format!("{topic} {n}")).collect();
        assert_eq!(kept, right);
    }
    println!(
        "a message takes {} ({} of them); among hostiles {} ({} of them)",
        median_and_worst(alone.clone()),
        alone.len(),
        median_and_worst(spoilt.clone()),
        spoilt.len()
    );
    Ok(())
}

/// A guest who does not read while 5 MB are said holds nobody up. The runtime keeps
/// for him what he has not read: in the end he hears it all, in order.
/// proves: claim slow-reader
#[test]
fn a_slow_reader_holds_nobody_up() -> Result<()> {
    const COUNT: usize = 5_000;
    let dev = chat()?;
    let mut slow = enter(&dev, "slow", "Slow")?;
    let mut quick = enter(&dev, "slow", "Quick")?;
    let mut talker = enter(&dev, "slow", "Talker")?;
    let message = |n: usize| format!("{n} {}", "🐌".repeat(250));
    let begin = Instant::now();
    scope(|scope| -> Result<()> {
        let reader = scope
            .spawn(|| (0..COUNT).try_for_each(|n| hears(&mut quick, &message(n))));
        for n in 0..COUNT {
            say(&mut talker, &message(n))?;
            // A hundred are on their way at most.
            if n >= 100 {
                hears(&mut talker, &message(n - 100))?;
            }
        }
        reader.join().ok().context("the reader panicked")?
    })?;
    println!("{COUNT} messages of 1 kB, unread by one: {:.1?}", begin.elapsed());
    for n in 0..COUNT {
        let said = loop {
            let said = next(&mut slow)?;
            if !said["message"].is_null() {
                break said;
            }
        };
        assert_eq!(said["message"], message(n).as_str());
    }
    Ok(())
}

/// Two real tabs chat through the page; one is loaded again, one loses its line.
#[test]
#[ignore = "wants Chromium"]
fn two_tabs_chat() -> Result<()> {
    let dev = Dev::wrangler(&ledger::root().join("chapters-code/ch07"), &[])?;
    let said = drive("ch07.ts", &[&dev.url()])?;
    ensure!(said.contains("two tabs agree"), "{said}");
    Ok(())
}

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
    for (how, text) in [
        ("message", "websocket_message() handler not implemented"),
        ("close", "websocket_close() handler not implemented"),
    ] {
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
        dev.expect_log(text)?;
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
/// runs: waits
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
