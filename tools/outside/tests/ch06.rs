//! ch06 from outside: a real server, real WebSocket clients, hostile ones
//! among them, a real `kill -9`.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use outside::{Base, Dev, Served, Socket, cargo, fresh, served, times};
use sha2::Sha256;
use tungstenite::Message;
use wire::{FRAME_MAX, FromRoom, PROTOCOL, ToRoom, VERSION};

/// How long something that comes by itself is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// Where text, binary and a close stand in the first byte of a frame.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The chapter, and a room in which nobody has been.
fn start() -> Result<(Served, String)> {
    Ok((served("ch06")?, fresh("plaza")))
}

/// Somebody in a room, who speaks text or frames.
struct Guest {
    socket: Socket,
    binary: bool,
}

impl Guest {
    /// Comes in, in text.
    fn text(dev: &Base, room: &str) -> Result<Self> {
        Ok(Self {
            socket: Socket::open(dev, &format!("/ws/{room}"))?,
            binary: false,
        })
    }

    /// Comes in, in frames.
    fn binary(dev: &Base, room: &str) -> Result<Self> {
        let headers = [("Sec-WebSocket-Protocol", PROTOCOL)];
        let socket = Socket::open_with(dev, &format!("/ws/{room}"), &headers)?;
        Ok(Self { socket, binary: true })
    }

    fn say(&mut self, change: ToRoom) -> Result<()> {
        let message = match (self.binary, change) {
            (true, change) => Message::binary(change.encode()?),
            (false, ToRoom::Increment) => Message::text("increment"),
            (false, ToRoom::Decrement) => Message::text("decrement"),
        };
        self.socket.send(message)
    }

    /// The next number.
    fn hears(&mut self) -> Result<i64> {
        match (self.binary, self.socket.message()?) {
            (true, Message::Binary(frame)) => {
                let FromRoom::Value(value) = FromRoom::decode(&frame)?;
                Ok(value)
            }
            (false, Message::Text(text)) => {
                let value = text.strip_prefix("new value: ");
                Ok(value.with_context(|| format!("heard {text:?}"))?.parse()?)
            }
            (_, message) => bail!("heard {message:?}"),
        }
    }
}

/// What the server answers instead of an upgrade: the status, and one line.
fn refusal(
    dev: &Base,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, String)> {
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut request = agent().get(format!("{}{path}", dev.url()));
    for (name, value) in upgrade.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let mut answer = request.call()?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

/// A client that takes any status for an answer.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Stateroom's counter, word for word, by real clients; and each room for itself.
#[test]
fn the_counter_of_stateroom() -> Result<()> {
    let (dev, elsewhere) = start()?;
    assert_eq!(dev.get("/status")?.body, "ok");
    // `/ws` is room 1.
    let mut ada = Socket::open(&dev, "/ws")?;
    let greeting = ada.text()?;
    let number = greeting.strip_prefix("new value: ").context("no greeting")?;
    let first: i64 = number.parse()?;
    assert!(first == 0 || !dev.is_new(), "{greeting}");
    let mut bob = Socket::open(&dev, "/ws/1")?;
    assert_eq!(bob.text()?, greeting);
    let mut cleo = Socket::open(&dev, &format!("/ws/{elsewhere}"))?;
    assert_eq!(cleo.text()?, "new value: 0");
    ada.say("increment")?;
    bob.say("increment")?;
    for words in ["hello", "", "Increment", "increment ", "{}", "new value: 7"] {
        ada.say(words)?;
    }
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.text()?, format!("new value: {}", first + 1));
        assert_eq!(socket.text()?, format!("new value: {}", first + 2));
    }
    for number in [first + 1, first, first - 1] {
        bob.say("decrement")?;
        for socket in [&mut ada, &mut bob] {
            assert_eq!(socket.text()?, format!("new value: {number}"));
        }
    }
    cleo.say("increment")?;
    assert_eq!(cleo.text()?, "new value: 1");
    let last = format!("new value: {}", first - 1);
    assert_eq!(Socket::open(&dev, "/ws/1")?.text()?, last);
    assert!(ada.silent(Duration::from_millis(300))?);
    let closed = ada.close(1000, "goodbye")?;
    assert_eq!((closed.code, closed.reason.as_str()), (1000, "goodbye"));
    Ok(())
}

/// Six clients in text and six in frames say 50 things each, all at once: each of the
/// twelve hears all 600 changes, in one order, and the room ends where they sum up.
/// proves: claim all-agree
#[test]
fn text_and_binary_clients_agree() -> Result<()> {
    const EACH: usize = 50;
    let (dev, plaza) = start()?;
    let mut guests = Vec::new();
    for _ in 0..6 {
        guests.push(Guest::text(&dev, &plaza)?);
        guests.push(Guest::binary(&dev, &plaza)?);
    }
    for guest in &mut guests {
        assert_eq!(guest.hears()?, 0);
    }
    let sum = AtomicI64::new(0);
    let changes = guests.len() * EACH;
    let talk = |guest: &mut Guest| -> Result<Vec<i64>> {
        for _ in 0..EACH {
            let up = fastrand::bool();
            sum.fetch_add(if up { 1 } else { -1 }, Ordering::Relaxed);
            guest.say(if up { ToRoom::Increment } else { ToRoom::Decrement })?;
        }
        (0..changes).map(|_| guest.hears()).collect()
    };
    let heard = scope(|scope| {
        let threads: Vec<_> =
            guests.iter_mut().map(|guest| scope.spawn(|| talk(guest))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a client panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    for values in &heard {
        assert_eq!(values, &heard[0], "two clients heard different things");
        for pair in values.windows(2) {
            assert_eq!(pair[0].abs_diff(pair[1]), 1, "a change was left out");
        }
    }
    let sum = sum.into_inner();
    assert_eq!(heard[0].last(), Some(&sum));
    assert_eq!(Guest::text(&dev, &plaza)?.hears()?, sum);
    assert_eq!(Guest::binary(&dev, &plaza)?.hears()?, sum);
    Ok(())
}

/// The client that the page shows, run as its reader runs it.
#[test]
fn the_client_of_the_page() -> Result<()> {
    let (dev, plaza) = start()?;
    let client = |arguments: &[&str]| -> Result<(bool, String, String)> {
        let output = cargo()
            .current_dir(ledger::root().join("chapters-code/ch06"))
            .args(["run", "--quiet", "--locked", "--manifest-path"])
            .args(["wire/Cargo.toml", "--example", "client", "--"])
            .args(arguments)
            .output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    };
    let url = dev.url().replacen("http", "ws", 1);
    let here = format!("{url}/ws/{plaza}");
    let (fine, said, error) =
        client(&[&here, "increment", "increment", "decrement"])?;
    ensure!(fine, "{error}");
    assert_eq!(said, "0\n1\n2\n1\nclosed: 1000 goodbye\n");
    assert_eq!(Guest::text(&dev, &plaza)?.hears()?, 1);
    // What it is refused with, it says.
    let (fine, said, error) = client(&[&format!("{url}/members/{plaza}")])?;
    assert_eq!((fine, said.as_str()), (false, ""));
    assert_eq!(error, "401 Unauthorized\n");
    let (fine, _, error) = client(&[&format!("{url}/status")])?;
    assert_eq!((fine, error.as_str()), (false, "200 OK\n"));
    Ok(())
}

/// Eight clients count up as fast as they can, and the server dies among them, again
/// and again: what anybody heard is not lost, and nothing is counted twice.
/// proves: claim number-killed
#[test]
fn no_number_that_was_heard_is_lost() -> Result<()> {
    const CLIENTS: usize = 8;
    let mut dev = Dev::start("ch06")?;
    let (mut number, mut all) = (0, 0);
    let runs = times(3, 10);
    for run in 0..runs {
        let mut guests = Vec::new();
        for n in 0..CLIENTS {
            let come = if n % 2 == 0 { Guest::text } else { Guest::binary };
            guests.push(come(&dev, "plaza")?);
        }
        for guest in &mut guests {
            assert_eq!(guest.hears()?, number, "run {run}");
        }
        let (sent, heard) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let highest = AtomicI64::new(number);
        // Until the line breaks. Whoever hears anything out of order says so.
        let count = |mut guest: Guest| -> Result<()> {
            let mut last = number;
            loop {
                // Whoever speaks faster than 100 times a second is thrown out.
                sleep(Duration::from_millis(12));
                sent.fetch_add(1, Ordering::Relaxed);
                if guest.say(ToRoom::Increment).is_err() {
                    return Ok(());
                }
                // As many as all of them say in the meantime.
                for _ in 0..CLIENTS {
                    let Ok(value) = guest.hears() else { return Ok(()) };
                    ensure!(value == last + 1, "{value} came after {last}");
                    last = value;
                    highest.fetch_max(value, Ordering::Relaxed);
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        scope(|scope| {
            let threads: Vec<_> = guests
                .into_iter()
                .map(|guest| scope.spawn(|| count(guest)))
                .collect();
            let begin = Instant::now();
            while heard.load(Ordering::Relaxed) < 1_000 && begin.elapsed() < LIMIT {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(fastrand::u64(..100)));
            dev.kill();
            threads.into_iter().try_for_each(|thread| {
                thread.join().ok().context("a client panicked")?
            })
        })?;
        let (sent, heard) = (sent.into_inner(), heard.into_inner());
        ensure!(heard >= 1_000, "run {run}: only {heard} were heard");
        dev.up()?;
        let kept = Guest::text(&dev, "plaza")?.hears()?;
        let highest = highest.into_inner();
        assert!(kept >= highest, "run {run}: {highest} was heard, {kept} is kept");
        let most = number + i64::try_from(sent)?;
        assert!(kept <= most, "run {run}: {kept} is kept, at most {most} was said");
        number = kept;
        all += sent;
    }
    println!("{runs} kills: {all} increments sent, the number is {number}");
    Ok(())
}

/// The number is there after the server was ended and started again, and the sockets
/// are not.
/// proves: claim number-restarted
#[test]
fn the_number_outlasts_a_restart() -> Result<()> {
    let mut dev = Dev::start("ch06")?;
    let mut ada = Guest::text(&dev, "plaza")?;
    ada.say(ToRoom::Decrement)?;
    assert_eq!((ada.hears()?, ada.hears()?), (0, -1));
    dev.down();
    assert!(ada.hears().is_err(), "the socket of an ended server still talks");
    dev.up()?;
    assert_eq!(Guest::binary(&dev, "plaza")?.hears()?, -1);
    Ok(())
}

/// A frame as a client sends it, with a mask that changes nothing. Its payload may be
/// anything; `length` is what the frame says of it.
fn frame(first: u8, payload: &[u8], length: u64) -> Vec<u8> {
    let head = [&[first, 0xFF][..], &length.to_be_bytes(), &[0; 4]].concat();
    [&head, payload].concat()
}

/// Two who behave, and who look after each other: what one says, both hear.
struct Neighbours([Guest; 2], i64);

impl Neighbours {
    fn move_in(dev: &Base, room: &str) -> Result<Self> {
        let mut both = [Guest::text(dev, room)?, Guest::binary(dev, room)?];
        let number = both[0].hears()?;
        ensure!(both[1].hears()? == number);
        Ok(Self(both, number))
    }

    /// Both say one thing, and hear two, at once.
    fn greet(&mut self) -> Result<()> {
        for speaker in 0..2 {
            self.0[speaker].say(ToRoom::Increment)?;
            self.1 += 1;
            for guest in &mut self.0 {
                let heard = guest.hears()?;
                ensure!(heard == self.1, "heard {heard} instead of {}", self.1);
            }
        }
        Ok(())
    }
}

/// Each offender is told why, in a close frame, and the others go on.
/// proves: claim offenders-told
#[test]
fn offenders_are_told_why_and_the_others_go_on() -> Result<()> {
    let (dev, plaza) = start()?;
    let mut neighbours = Neighbours::move_in(&dev, &plaza)?;
    let long = "x".repeat(1_025);
    let huge = vec![b'x'; 30 << 20];
    let raw = |first: u8, payload: &[u8]| {
        frame(first, payload, payload.len().try_into().unwrap_or(u64::MAX))
    };
    let too_long = "a message is at most 1024 bytes long";
    // Who speaks (text or frames), what they send, and what they are told.
    let cases: Vec<(&str, bool, Vec<u8>, u16, &str)> = vec![
        ("long", false, raw(TEXT, long.as_bytes()), 1009, too_long),
        ("long, in frames", true, raw(BINARY, long.as_bytes()), 1009, too_long),
        ("30 MiB", false, raw(TEXT, &huge), 1009, too_long),
        ("30 MiB, in frames", true, raw(BINARY, &huge), 1009, too_long),
        (
            "33 MiB, announced",
            false,
            frame(TEXT, b"x", 33 << 20),
            1009,
            "Message is too large",
        ),
        (
            "all there is, announced",
            true,
            frame(BINARY, b"x", i64::MAX.cast_unsigned()),
            1009,
            "Message is too large",
        ),
        (
            "binary into text",
            false,
            raw(BINARY, &[VERSION, 0]),
            1003,
            "this socket speaks text",
        ),
        (
            "text into binary",
            true,
            raw(TEXT, b"increment"),
            1003,
            "this socket speaks counter.v1, in binary",
        ),
        (
            "a newer version",
            true,
            raw(BINARY, &[VERSION + 1, 0]),
            1002,
            "a frame of version 2; this is version 1",
        ),
        ("empty", true, raw(BINARY, &[]), 1007, "no message of counter.v1"),
        ("garbage", true, raw(BINARY, &[1, 200]), 1007, "no message of counter.v1"),
        (
            "a frame with something behind it",
            true,
            raw(BINARY, &[1, 0, 0]),
            1007,
            "no message of counter.v1",
        ),
        (
            "a byte too many",
            true,
            raw(BINARY, &[VERSION; FRAME_MAX + 1]),
            1009,
            "a frame of 13 bytes; at most 12 are right",
        ),
        ("an opcode of the future", false, raw(0x83, b"x"), 1002, "opcode"),
        ("the end of nothing", false, raw(0x80, b"x"), 1002, "continuation"),
    ];
    for (offence, binary, bytes, code, reason) in cases {
        let come = if binary { Guest::binary } else { Guest::text };
        let mut offender = come(&dev, &plaza)?;
        let mut stream = offender.socket.stream();
        stream.write_all(&bytes).with_context(|| offence)?;
        let closed = offender.socket.closed().with_context(|| offence)?;
        assert_eq!(closed.code, code, "{offence}: {closed:?}");
        assert!(closed.reason.contains(reason), "{offence}: {closed:?}");
        neighbours.greet().with_context(|| format!("after {offence}"))?;
    }

    // The runtime puts a mark in the place of each byte that is no UTF-8, and what
    // results is a text like any other, which is ignored.
    let mut offender = Guest::text(&dev, &plaza)?;
    offender.hears()?;
    offender.socket.stream().write_all(&raw(TEXT, b"increment\xFF"))?;
    neighbours.greet()?;
    assert_eq!(offender.hears()?, neighbours.1 - 1);
    assert_eq!(offender.hears()?, neighbours.1);
    Ok(())
}

/// One sends 10,000 messages as fast as it can, while 50 others neither speak nor
/// read: it is told why it is thrown out, and the neighbours hear of each other.
/// proves: claim flood
#[test]
fn a_flood_stops_nobody() -> Result<()> {
    let (dev, plaza) = start()?;
    let mut neighbours = Neighbours::move_in(&dev, &plaza)?;
    let mut deaf =
        (0..50).map(|_| Guest::text(&dev, &plaza)).collect::<Result<Vec<_>>>()?;
    let greeting = |neighbours: &mut Neighbours| -> Result<Duration> {
        let begin = Instant::now();
        neighbours.greet()?;
        Ok(begin.elapsed())
    };
    let calm = greeting(&mut neighbours)?;
    let mut flood = Guest::text(&dev, &plaza)?;
    for _ in 0..10_000 {
        // An error means that it is thrown out already.
        if flood.say(ToRoom::Increment).is_err() {
            break;
        }
    }
    let closed = flood.socket.closed()?;
    assert_eq!(closed.code, 1008, "{closed:?}");
    assert_eq!(closed.reason, "too many messages in one second");
    // Whatever was listened to counts, and is told to all.
    let begin = Instant::now();
    let mut newcomer = Guest::text(&dev, &plaza)?;
    let number = newcomer.hears()?;
    let delay = begin.elapsed();
    let counted = number - neighbours.1;
    assert!((100..10_000).contains(&counted), "{counted} messages counted");
    for guest in &mut neighbours.0 {
        while guest.hears()? != number {}
    }
    neighbours.1 = number;
    let after = greeting(&mut neighbours)?;
    println!(
        "{counted} of 10000 messages counted; a newcomer waited {delay:?}; \
         neighbours greet in {calm:?} before and {after:?} after"
    );
    // Without the limit a newcomer waits for 10,000 messages to go to 53 sockets.
    assert!(delay < Duration::from_secs(8), "a newcomer waited {delay:?}");
    // The deaf have missed nothing, once they listen.
    for guest in deaf.iter_mut().take(3) {
        while guest.hears()? != neighbours.1 {}
    }
    Ok(())
}

/// Whoever comes and goes without a word leaves no ghost behind: more come than fit
/// into the room, and at its end it is empty again.
/// proves: claim no-ghosts
#[test]
fn who_comes_and_drops_leaves_no_ghost() -> Result<()> {
    // More than the thousand that fit in.
    let rounds = times(21, 66);
    let (dev, plaza) = start()?;
    let mut neighbours = Neighbours::move_in(&dev, &plaza)?;
    for round in 0..rounds {
        let crowd =
            (0..50).map(|_| Guest::text(&dev, &plaza)).collect::<Result<Vec<_>>>();
        let mut crowd = crowd.with_context(|| format!("round {round}"))?;
        // A third goes with a bad frame, a third in the middle of one, a third just so.
        for (n, guest) in crowd.iter_mut().enumerate() {
            match n % 3 {
                0 => guest.socket.stream().write_all(&frame(0x83, b"x", 1))?,
                1 => guest.socket.stream().write_all(&frame(TEXT, b"x", 900))?,
                _ => {}
            }
        }
        drop(crowd);
        neighbours.greet().with_context(|| format!("round {round}"))?;
    }
    println!("{} came and went, into a room for 1000", rounds * 50);
    Ok(())
}

/// Who may not come in is told so before any socket is opened.
#[test]
fn the_door() -> Result<()> {
    let mut dev = Dev::prepare(&ledger::root().join("chapters-code/ch06"), &[])?;
    dev.set_var("ALLOWED_ORIGINS", "https://village.example");
    dev.up()?;
    let own = dev.url();
    for good in [own.as_str(), "https://village.example"] {
        Socket::open_with(&dev, "/ws/plaza", &[("Origin", good)])?;
    }
    let sockets =
        ["/ws", "/ws/plaza", "/proxy/plaza", "/members/plaza", "/websocket"];
    for path in sockets {
        for origin in ["https://evil.example", "null", "http://village.example"] {
            let (status, line) = refusal(&dev, path, &[("Origin", origin)])?;
            assert_eq!((status, line.lines().count()), (403, 1), "{path}: {line}");
        }
        // Without Upgrade. The answer says which one is missing.
        let answer = dev.get(path)?;
        assert_eq!(answer.status, 426, "{path}: {}", answer.body);
        assert!(answer.body.contains("Upgrade: websocket"), "{}", answer.body);
    }
    for offered in ["counter.v2", "chat", ","] {
        let headers = [("Sec-WebSocket-Protocol", offered)];
        let (status, line) = refusal(&dev, "/ws/plaza", &headers)?;
        assert_eq!(status, 400, "{line}");
        assert!(line.contains(PROTOCOL), "{line}");
    }
    let offered = [("Sec-WebSocket-Protocol", "counter.v2, counter.v1")];
    let chosen = Socket::open_with(&dev, "/ws/plaza", &offered)?.response;
    assert_eq!(chosen.headers()["Sec-WebSocket-Protocol"], PROTOCOL);
    Ok(())
}

/// A ticket opens one room of the members, as long as it is good. Its form is made
/// here once more, without the chapter's code, so that one can be made that is old.
#[test]
fn tickets() -> Result<()> {
    let (dev, plaza) = start()?;
    let tickets = format!("/tickets/{plaza}");
    let secrets = ledger::root().join("chapters-code/ch06/.dev.vars");
    let secrets = fs::read_to_string(secrets)?;
    let key = secrets.lines().find_map(|line| line.strip_prefix("MEMBERS_KEY="));
    let key = key.context("no MEMBERS_KEY")?;
    let post = |path: &str, bearer: &str| -> Result<(u16, String)> {
        let url = format!("{}{path}", dev.url());
        let mut answer =
            agent().post(url).header("Authorization", bearer).send_empty()?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    };
    for bearer in ["", "Bearer ", "Bearer wrong", key, &format!("Basic {key}")] {
        let (status, line) = post(&tickets, bearer)?;
        assert_eq!((status, line.lines().count()), (401, 1), "{bearer:?}: {line}");
    }
    assert_eq!(dev.post(&tickets, "")?.status, 401);
    let (status, ticket) = post(&tickets, &format!("Bearer {key}"))?;
    assert_eq!(status, 200, "{ticket}");

    let path =
        |room: &str, ticket: &str| format!("/members/{room}?ticket={ticket}");
    let mut member = Socket::open(&dev, &path(&plaza, &ticket))?;
    assert_eq!(member.text()?, "new value: 0");
    member.say("increment")?;
    assert_eq!(member.text()?, "new value: 1");
    // The open room of that name is another one.
    assert_eq!(
        Socket::open(&dev, &format!("/ws/{plaza}"))?.text()?,
        "new value: 0"
    );

    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let make = |key: &str, until: u64| -> Result<String> {
        let mut signature = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
        signature.update(format!("ticket\n{until}\n{plaza}").as_bytes());
        let signature = signature.finalize().into_bytes();
        let hex: String =
            signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{until}.{hex}"))
    };
    Socket::open(&dev, &path(&plaza, &make(key, now + 30)?))?;
    let (until, signature) = ticket.split_once('.').context("no '.'")?;
    let later = format!("{}.{signature}", until.parse::<u64>()? + 3_600);
    for (what, bad) in [
        ("none", String::new()),
        ("half of one", until.to_owned()),
        ("an old one", make(key, now - 30)?),
        ("one made longer", later),
        ("one with another key", make("another key", now + 30)?),
        ("noise", "0.%00%ff".to_owned()),
    ] {
        let (status, line) = refusal(&dev, &path(&plaza, &bad), &[])?;
        assert_eq!((status, line.lines().count()), (401, 1), "{what}: {line}");
    }
    assert_eq!(refusal(&dev, &format!("/members/{plaza}"), &[])?.0, 401);
    assert_eq!(refusal(&dev, &path("mill", &ticket), &[])?.0, 401, "another room");
    Ok(())
}

/// Bad input over a real connection: a clear 4xx, and the number stays.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let (dev, plaza) = start()?;
    let mut ada = Guest::text(&dev, &plaza)?;
    ada.say(ToRoom::Increment)?;
    let long = format!("/ws/{}", "x".repeat(65));
    let longest = format!("/ws/{}", "x".repeat(64));
    let cases: [(&str, &str, u16); 14] = [
        ("GET", "/nowhere", 404),
        ("GET", "/ws/plaza/more", 404),
        ("GET", "/ws/", 400),
        ("GET", &long, 400),
        ("GET", "/ws/two%20words", 400),
        ("GET", "/ws/a%2e%2e", 400),
        ("GET", "/ws/members%2Fplaza", 400),
        ("GET", "/ws/%ff", 400),
        ("GET", &longest, 426),
        ("POST", "/ws/plaza", 405),
        ("PURGE", "/ws/plaza", 405),
        ("DELETE", "/status", 405),
        ("GET", "/tickets/plaza", 405),
        ("POST", "/tickets/a+b", 400),
    ];
    for (method, path, status) in cases {
        let answer = dev.send(method, path, b"")?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body.trim().lines().count(), 1, "{}", answer.body);
    }
    let head = dev.send("HEAD", "/status", b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for odd in [long.as_str(), "/ws/two%20words", "/ws/caf%C3%A9", "/WS/plaza"] {
        let (status, line) = refusal(&dev, odd, &[])?;
        assert!((400..500).contains(&status), "{odd}: {status} {line}");
    }
    Socket::open(&dev, &longest)?;
    assert_eq!(Guest::text(&dev, &plaza)?.hears()?, 1);
    Ok(())
}

/// The rules need nothing: they depend on no crate, and compile for a computer, for a
/// Worker, and for a server of Wasm.
#[test]
fn the_rules_need_nothing() -> Result<()> {
    let run = |arguments: &[&str]| -> Result<String> {
        let output = cargo()
            .current_dir(ledger::root().join("chapters-code/ch06/room"))
            .env("CARGO_TARGET_DIR", ledger::root().join("target/copies"))
            .args(arguments)
            .args(["--locked", "--package", "room"])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo {arguments:?}:\n{error}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let tree = run(&["tree", "--edges", "normal,build", "--target", "all"])?;
    assert_eq!(tree.lines().count(), 1, "{tree}");
    assert!(tree.starts_with("room v"), "{tree}");
    run(&["build", "--lib"])?;
    for target in ["wasm32-unknown-unknown", "wasm32-wasip1"] {
        run(&["build", "--lib", "--target", target])?;
    }
    Ok(())
}

fn traps() -> Result<Dev> {
    Dev::start_in(&ledger::root().join("traps"), &[])
}

/// Sends a frame that the protocol does not allow, and hears so.
fn offend(socket: &mut Socket) -> Result<()> {
    socket.stream().write_all(&frame(0x83, b"x", 1))?;
    let closed = socket.closed()?;
    ensure!(closed.code == 1002, "{closed:?}");
    Ok(())
}

/// Asks until the answer is the right one.
fn expect(dev: &Dev, path: &str, body: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let answer = dev.get(path)?.body;
        if answer == body {
            return Ok(());
        }
        ensure!(begin.elapsed() < LIMIT, "{path} says {answer:?}, not {body:?}");
        sleep(Duration::from_millis(50));
    }
}

/// `accept_web_socket` on a socket that was accepted already: a panic, and no answer.
/// proves: trap T48
#[test]
fn a_socket_that_is_accepted_twice_panics() -> Result<()> {
    let dev = traps()?;
    expect(&dev, "/ch06/inside", "0")?;
    let socket = std::thread::spawn({
        let url =
            format!("ws://localhost:{}/ch06/accept-then-hibernate", dev.port());
        move || tungstenite::connect(url).is_ok()
    });
    dev.expect_log("was already accepted via `accept()`")?;
    dev.expect_log("panicked at")?;
    expect(&dev, "/ch06/inside", "0")?;
    drop(dev);
    assert!(!socket.join().unwrap_or(true), "the socket was opened");
    Ok(())
}

/// After an error the stream of events neither gives a `Close` nor ends: whoever
/// waits for one keeps the socket forever.
/// proves: trap T49
#[test]
fn after_an_error_there_is_no_close() -> Result<()> {
    let dev = traps()?;
    let mut good = Socket::open(&dev, "/ch06/ghost")?;
    let mut bad = Socket::open(&dev, "/ch06/ghost")?;
    expect(&dev, "/ch06/inside", "2")?;
    good.close(1000, "goodbye")?;
    expect(&dev, "/ch06/inside", "1")?;
    offend(&mut bad)?;
    drop(bad);
    // With an error taken for the end, the same offender is out.
    let mut bad = Socket::open(&dev, "/ch06/no-ghost")?;
    expect(&dev, "/ch06/inside", "2")?;
    offend(&mut bad)?;
    expect(&dev, "/ch06/inside", "1")?;
    sleep(Duration::from_secs(2));
    expect(&dev, "/ch06/inside", "1")
}

/// `expect` on an event lets one client with one bad frame reset everybody; and those
/// who only listen are not told.
/// proves: trap T50, trap T54
#[test]
fn one_bad_frame_resets_the_isolate() -> Result<()> {
    let dev = traps()?;
    let mut bad = Socket::open(&dev, "/ch06/expect")?;
    let mut speaker = Socket::open(&dev, "/ch06/expect")?;
    let mut listener = Socket::open(&dev, "/ch06/expect")?;
    expect(&dev, "/ch06/inside", "3")?;
    speaker.say("hello")?;
    assert_eq!(speaker.text()?, "heard hello");
    offend(&mut bad)?;
    // The memory is gone, and the sockets stay open.
    expect(&dev, "/ch06/inside", "0")?;
    dev.expect_log("received error in websocket")?;
    assert!(speaker.silent(Duration::from_secs(1))?);
    assert!(listener.silent(Duration::from_secs(1))?);
    // Who speaks finds out: the line breaks, without a close frame.
    speaker.say("hello")?;
    let error = format!("{:?}", speaker.message().err().context("an answer")?);
    assert!(!error.contains("WouldBlock"), "no answer, and no end: {error}");
    assert!(listener.silent(Duration::from_secs(5))?);
    Ok(())
}

/// The line broke without a close frame, the runtime has said so, and `send` still
/// says `Ok`.
/// proves: trap T52
#[test]
fn send_is_content_though_nobody_is_there() -> Result<()> {
    let dev = traps()?;
    let socket = Socket::open(&dev, "/ch06/gone")?;
    drop(socket);
    expect(&dev, "/ch06/notes", "1006: true")
}
