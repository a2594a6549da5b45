//! ch04 from outside: a real `npx wrangler dev`, real clients, a real browser, a real
//! `kill -9`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Ask, Copy, Dev, Socket, crowd, drive, storm, times};
use serde_json::{Value, json};

const LETTERS: [char; 6] = ['A', 'B', 'C', 'D', 'E', 'F'];

fn seat(number: usize) -> String {
    format!("{}{}", number / 6 % 10 + 1, LETTERS[number % 6])
}

fn booking(flight: &str, seat: &str, name: &str) -> Ask {
    let body = json!({ "seatNumber": seat, "name": name });
    Ask::post(format!("/book-seat?flightId={flight}"), body.to_string())
}

fn book(dev: &Dev, flight: &str, seat: &str, name: &str) -> Result<u16> {
    let Ask { method, path, body } = booking(flight, seat, name);
    Ok(dev.send(method, &path, body.as_bytes())?.status)
}

/// Who sits where: the seats that are taken.
fn occupants(dev: &Dev, flight: &str) -> Result<HashMap<String, String>> {
    let seats = dev.get(&format!("/seats?flightId={flight}"))?.body;
    taken(&serde_json::from_str(&seats)?)
}

fn taken(seats: &Value) -> Result<HashMap<String, String>> {
    let seats = seats.as_array().context("no array")?;
    ensure!(seats.len() == 60, "{} seats", seats.len());
    let text = |seat: &Value, key: &str| seat[key].as_str().map(str::to_owned);
    Ok(seats
        .iter()
        .filter_map(|seat| {
            Some((text(seat, "seatNumber")?, text(seat, "occupant")?))
        })
        .collect())
}

/// Opens a socket that listens to a flight.
fn listen(dev: &Dev, flight: &str) -> Result<Socket> {
    Socket::open(dev, &format!("/ws?flightId={flight}"))
}

/// The next seats that a socket hears.
fn heard(socket: &mut Socket) -> Result<Value> {
    Ok(serde_json::from_str(&socket.text()?)?)
}

/// 200 clients want 60 seats: each seat is sold once, whoever was told so sits there,
/// and every socket ends up with the same seats.
/// proves: claim seats-sold-once
#[test]
fn a_storm_sells_each_seat_once() -> Result<()> {
    let dev = Dev::start("ch04")?;
    let mut sockets =
        (0..10).map(|_| listen(&dev, "STORM")).collect::<Result<Vec<_>>>()?;
    let ask = |n| booking("STORM", &seat(n), &format!("client {n}"));
    let answers = crowd(&dev, 200, 200, ask)?;
    let told: HashMap<_, _> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.status == 200)
        .map(|(n, _)| (seat(n), format!("client {n}")))
        .collect();
    let count =
        |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(409)), (60, 140));
    assert_eq!(told.len(), 60, "a seat was sold twice");
    assert_eq!(occupants(&dev, "STORM")?, told);
    for socket in &mut sockets {
        while taken(&heard(socket)?)? != told {}
    }
    Ok(())
}

/// What was acknowledged before the server died under load is there afterwards, and
/// nothing is there twice; each kill has bookings and entries in flight.
/// proves: claim booking-killed
#[test]
fn no_acknowledged_write_is_lost() -> Result<()> {
    let mut dev = Dev::start("ch04")?;
    let (mut bookings, mut entries) = (0, 0);
    for run in 0..times(3, 20) {
        // Even requests book a seat on one of many flights, odd ones write an entry.
        let flight = |n: usize| format!("R{run}-{}", n / 2 / 60);
        let ask = |n: usize| match n % 2 {
            0 => booking(&flight(n), &seat(n / 2), &format!("passenger {n}")),
            _ => Ask::post(
                format!("/logbooks/R{run}"),
                json!({ "text": format!("entry {n}") }).to_string(),
            ),
        };
        let heard = storm(&mut dev, 16, 200, ask)?;
        dev.up()?;
        let mut flights = HashMap::new();
        let written = texts(&dev, &format!("R{run}"))?;
        let distinct: HashSet<_> = written.iter().collect();
        assert_eq!(
            distinct.len(),
            written.len(),
            "run {run}: an entry stands twice"
        );
        for (n, answer) in &heard.answers {
            if n % 2 == 0 {
                assert_eq!(answer.status, 200, "run {run}, {n}: {}", answer.body);
                let flight = flight(*n);
                if !flights.contains_key(&flight) {
                    flights.insert(flight.clone(), occupants(&dev, &flight)?);
                }
                let sits = flights[&flight].get(&seat(n / 2));
                let expected = format!("passenger {n}");
                assert_eq!(sits, Some(&expected), "run {run}: {n} was lost");
                bookings += 1;
            } else {
                assert_eq!(answer.status, 201, "run {run}, {n}: {}", answer.body);
                let text = format!("entry {n}");
                assert!(distinct.contains(&text), "run {run}: {text} was lost");
                entries += 1;
            }
        }
    }
    println!("20 kills: {bookings} bookings and {entries} entries acknowledged");
    Ok(())
}

/// The texts of a logbook, page by page.
fn texts(dev: &Dev, logbook: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut after = 0;
    loop {
        let page = dev.get(&format!("/logbooks/{logbook}?after={after}"))?.body;
        let page: Value = serde_json::from_str(&page)?;
        let Some(last) = page.as_array().and_then(|page| page.last()) else {
            return Ok(texts);
        };
        after = last["id"].as_u64().context("no id")?;
        texts.extend(
            page.as_array()
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry["text"].as_str()?.to_owned())),
        );
    }
}

/// A booking is there after the server was ended and started again.
/// proves: claim booking-restarted
#[test]
fn a_booking_outlasts_a_restart() -> Result<()> {
    let mut dev = Dev::start("ch04")?;
    assert_eq!(book(&dev, "VL42", "3B", "Ada")?, 200);
    dev.down();
    dev.up()?;
    assert_eq!(occupants(&dev, "VL42")?["3B"], "Ada");
    assert_eq!(book(&dev, "VL42", "3B", "Bob")?, 409);
    Ok(())
}

/// An object that was made by the first version of the schema comes up under the
/// second with its bookings, and a new deployment that cannot take its step keeps
/// them too.
/// proves: claim booking-deployed
#[test]
fn a_new_deployment_takes_the_bookings_along() -> Result<()> {
    let copy = Copy::of("ch04")?;
    let new = fs::read_to_string(copy.dir().join("src/seats.rs"))?;
    let begin = new.find("    // 2: ").context("no step 2")?;
    let end = begin + new[begin..].find("];").context("no end")?;
    copy.change("src/seats.rs", &new[begin..end], "")?;
    copy.change(
        "src/seats.rs",
        "occupant, cabin FROM",
        "occupant, 'economy' AS cabin FROM",
    )?;
    let mut dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(book(&dev, "VL42", "1A", "Ada")?, 200);
    assert_eq!(book(&dev, "VL42", "9F", "Bob")?, 200);
    let cabins = |dev: &Dev| -> Result<usize> {
        Ok(dev.get("/seats?flightId=VL42")?.body.matches("business").count())
    };
    assert_eq!(cabins(&dev)?, 0);

    dev.down();
    fs::write(copy.dir().join("src/seats.rs"), &new)?;
    dev.up()?;
    let both = occupants(&dev, "VL42")?;
    assert_eq!(
        (both["1A"].as_str(), both["9F"].as_str(), both.len()),
        ("Ada", "Bob", 2)
    );
    assert_eq!(cabins(&dev)?, 12);
    assert_eq!(book(&dev, "VL42", "9F", "Cleo")?, 409);

    // A step that fails is not taken, half of it neither, and nothing is lost.
    dev.down();
    let end = new.find("];\n// ANCHOR_END").context("no end")?;
    let mut broken = new.clone();
    broken
        .insert_str(end, "\"DELETE FROM seats; SELECT nonsense FROM nowhere;\",\n");
    fs::write(copy.dir().join("src/seats.rs"), broken)?;
    dev.up()?;
    assert_eq!(dev.get("/seats?flightId=VL42")?.status, 500);
    dev.down();
    fs::write(copy.dir().join("src/seats.rs"), &new)?;
    dev.up()?;
    assert_eq!(occupants(&dev, "VL42")?, both);
    Ok(())
}

/// Two real tabs see each other's bookings; one of them uses the keyboard alone, and
/// loses its line for a while.
#[test]
#[ignore = "wants Chromium"]
fn two_tabs_see_each_other() -> Result<()> {
    let dev = Dev::wrangler(&ledger::root().join("chapters-code/ch04"), &[])?;
    let said = drive("ch04.ts", &[&dev.url()])?;
    ensure!(said.contains("two tabs agree"), "{said}");
    Ok(())
}

/// A socket dies with its server, and a new one hears how things stand.
#[test]
fn a_socket_comes_back_after_a_kill() -> Result<()> {
    let mut dev = Dev::start("ch04")?;
    let mut socket = listen(&dev, "VL42")?;
    assert_eq!(taken(&heard(&mut socket)?)?.len(), 0);
    assert_eq!(book(&dev, "VL42", "3B", "Ada")?, 200);
    assert_eq!(taken(&heard(&mut socket)?)?.len(), 1);
    dev.kill();
    assert!(socket.text().is_err(), "the socket of a dead server still talks");
    dev.up()?;
    assert_eq!(taken(&heard(&mut listen(&dev, "VL42")?)?)?["3B"], "Ada");
    Ok(())
}

/// A close is answered, whatever its code: the browser does not have to think that its
/// line broke.
/// runs: waits
#[test]
fn a_close_is_answered() -> Result<()> {
    let dev = Dev::start("ch04")?;
    for code in [1000, 1001, 4000] {
        let mut socket = listen(&dev, "VL42")?;
        heard(&mut socket)?;
        assert_eq!(socket.close(code, "enough seen")?.code, 1000);
    }
    // A line that breaks instead is forgotten.
    let broken = listen(&dev, "VL42")?;
    broken.stream().shutdown(std::net::Shutdown::Both)?;
    assert_eq!(book(&dev, "VL42", "3B", "Ada")?, 200);
    assert!(!dev.log().contains("ERROR"), "{}", dev.log());
    Ok(())
}

/// Bad input over a real connection: a clear 4xx, and the seats stay.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let dev = Dev::start("ch04")?;
    let at = "/book-seat?flightId=VL42";
    let body = |seat: &str, name: &str| {
        json!({ "seatNumber": seat, "name": name }).to_string()
    };
    let huge = body("3B", &"x".repeat(10_000_000));
    let long = body("3B", &"x".repeat(10_000));
    let cases: [(&str, &str, &str, u16); 10] = [
        ("GET", "/nowhere", "", 404),
        ("PURGE", "/seats?flightId=VL42", "", 405),
        ("GET", "/seats?flightId=%2e%2e", "", 400),
        ("GET", "/ws?flightId=VL42", "", 426),
        ("POST", at, "", 400),
        ("POST", at, "Ada", 400),
        ("POST", at, &body("11A", "Ada"), 404),
        ("POST", at, &body("3B", "a\u{7}b"), 400),
        ("POST", at, &long, 400),
        ("POST", at, &huge, 413),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body.trim().lines().count(), 1, "{}", answer.body);
    }
    let head = dev.send("HEAD", "/seats?flightId=VL42", b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(occupants(&dev, "VL42")?.is_empty());
    Ok(())
}

/// Asks the Worker of traps, and waits three seconds at most.
fn impatient(dev: &Dev, path: &str) -> Result<Duration> {
    let begin = Instant::now();
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        .http_status_as_error(false)
        .build();
    let agent: ureq::Agent = config.into();
    if let Ok(mut answer) = agent.get(format!("{}{path}", dev.url())).call() {
        let said = answer.body_mut().read_to_string()?;
        anyhow::bail!("{path} answered {}: {said}", answer.status());
    }
    Ok(begin.elapsed())
}

/// `one()` on no row, or on two: no answer ever comes, and every object of the isolate loses its
/// memory.
/// proves: trap T1
#[test]
fn one_without_a_row_hangs() -> Result<()> {
    // Only a build for development says in the log what has happened.
    let dev = Dev::wrangler(&ledger::root().join("traps"), &[])?;
    assert_eq!(dev.get("/ch04/calls")?.body, "1\n");
    assert_eq!(dev.get("/ch04/calls")?.body, "2\n");
    assert!(impatient(&dev, "/ch04/one")? >= Duration::from_secs(3));
    // The first request after it may be cancelled along with it.
    let mut calls = dev.get("/ch04/calls")?;
    for _ in 0..5 {
        if calls.status != 200 {
            calls = dev.get("/ch04/calls")?;
        }
    }
    let calls: u32 = calls.body.trim().parse()?;
    assert!(calls < 3, "the object remembers {calls} calls");
    dev.expect_log("Reinitializing Wasm application")?;
    assert!(impatient(&dev, "/ch04/two")? >= Duration::from_secs(3));
    Ok(())
}

/// A row that fails after the first: `to_array` hangs like `one`, `raw` gives an
/// `Err`.
/// proves: trap T38
#[test]
fn a_later_row_that_fails_hangs() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    let said = dev.get("/ch04/later-row-raw")?.body;
    assert!(said.contains("malformed JSON: SQLITE_ERROR"), "{said}");
    assert!(impatient(&dev, "/ch04/later-row")? >= Duration::from_secs(3));
    Ok(())
}
