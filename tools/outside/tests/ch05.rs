//! ch05 from outside: alarms that really ring, real retries, a real `kill -9`.

use std::collections::HashMap;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Ask, Copy, Dev, storm, times, within};
use serde_json::Value;

const CLIENTS: usize = 8;
const ENOUGH: usize = 200;

fn json(dev: &Dev, path: &str) -> Result<Value> {
    Ok(serde_json::from_str(&dev.get(path)?.body)?)
}

/// All letters of a mailbox.
fn letters(dev: &Dev, mailbox: &str) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map_or(0, |letter| number(letter, "letter"));
        let path = format!("/mailboxes/{mailbox}/after/{after}");
        let page: Vec<Value> = serde_json::from_str(&dev.get(&path)?.body)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Waits for at most so many seconds until something is so, and returns how long it took.
fn until(
    limit: u64,
    what: &str,
    so: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    within(Duration::from_secs(limit), what, so)
}

/// A mailbox turns the first three posts away, another keeps them and its answer is
/// lost. The runtime tries again after about 2, 4 and 8 seconds; then the batch is in
/// each mailbox exactly once.
/// proves: claim effect-once, trap T22
/// runs: waits
#[test]
fn three_failures_and_then_once() -> Result<()> {
    let dev = Dev::start("ch05")?;
    dev.post("/mailboxes/closed/closed", "3")?;
    dev.post("/mailboxes/mute/mute", "3")?;
    dev.post("/batches/closed", "bread")?;
    dev.post("/batches/mute", "milk")?;
    let mut waited = Vec::new();
    for tries in 1..=3 {
        waited.push(until(15, "the next try", || {
            Ok(number(&json(&dev, "/batches/mute")?, "tries") == tries)
        })?);
    }
    waited.push(until(15, "the last try", || {
        Ok(number(&json(&dev, "/batches/mute")?, "queued") == 0)
    })?);
    println!("after {waited:.1?}");
    for (waited, expected) in waited[1..].iter().zip([2.0, 4.0, 8.0]) {
        let ratio = waited.as_secs_f64() / expected;
        assert!((0.7..1.6).contains(&ratio), "{waited:?} for {expected} s");
    }
    until(15, "the other one", || {
        Ok(number(&json(&dev, "/batches/closed")?, "queued") == 0)
    })?;
    for (mailbox, came, body) in
        [("closed", 1, r#"["bread"]"#), ("mute", 4, r#"["milk"]"#)]
    {
        let letters = letters(&dev, mailbox)?;
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(number(&letters[0], "came"), came);
        assert_eq!(text(&letters[0], "body"), body);
    }
    dev.expect_log("batch/closed/1-1, first try")?;
    dev.expect_log("batch/closed/1-1, retry 2")
}

/// Alarms that were set before `kill -9` ring after the restart: those whose time
/// came while nobody was there at once, the others at their time. Nobody has to call
/// the objects.
/// proves: claim alarm-killed
/// runs: waits
#[test]
fn alarms_ring_after_a_kill() -> Result<()> {
    let mut dev = Dev::start("ch05")?;
    let set = |id: &str, ms: u32| {
        let timer = format!(r#"{{"in": {ms}, "say": "{id}"}}"#);
        dev.send("PUT", &format!("/schedules/day/{id}"), timer.as_bytes())
    };
    let begin = Instant::now();
    let rings = Duration::from_secs(25);
    assert_eq!(set("later", 25_000)?.status, 201);
    assert_eq!(set("missed", 1_500)?.status, 201);
    assert_eq!(dev.post("/batches/shop", "bread")?.status, 200);
    assert_eq!(dev.post("/guests/ada", "")?.body, "visit 1\n");
    dev.kill();
    sleep(Duration::from_secs(6));
    dev.up()?;
    until(5, "the missed timer", || Ok(letters(&dev, "day")?.len() == 1))?;
    until(5, "the batch", || Ok(letters(&dev, "shop")?.len() == 1))?;
    until(5, "the guest", || {
        Ok(number(&json(&dev, "/guests/ada")?, "visits") == 0)
    })?;
    assert_eq!(text(&letters(&dev, "day")?[0], "body"), "missed");
    assert!(begin.elapsed() < rings, "too slow to see the later timer");
    until(30, "the later timer", || Ok(letters(&dev, "day")?.len() == 2))?;
    assert!(begin.elapsed() >= rings, "after {:?}", begin.elapsed());
    assert_eq!(text(&letters(&dev, "day")?[1], "body"), "later");
    Ok(())
}

/// Again and again the server is killed with requests and deliveries in flight. Each
/// item and each timer that was acknowledged is delivered, and nothing is delivered
/// twice.
fn storm_of_kills() -> Result<()> {
    let runs = times(3, 20);
    let chapter = ledger::root().join("chapters-code/ch05");
    let mut dev = Dev::prepare(&chapter, &[])?;
    dev.up()?;
    let mut acknowledged = Vec::new();
    let mut sent = 0;
    for run in 0..runs {
        // Some letters are turned away; others are kept, and their answers are lost.
        dev.post("/mailboxes/storm/closed", "1")?;
        dev.post("/mailboxes/storm/mute", "1")?;
        dev.post(&format!("/mailboxes/storm-{run}/closed"), "10")?;
        dev.post(&format!("/mailboxes/storm-{run}/mute"), "10")?;
        let heard = storm(&mut dev, CLIENTS, ENOUGH, |number| {
            let item = format!("{run}-{number}");
            if number % 2 == 0 {
                Ask::post("/batches/storm", item)
            } else {
                let timer = format!(r#"{{"in": 0, "say": "{item}"}}"#);
                Ask::put(format!("/schedules/storm-{run}/t{number}"), timer)
            }
        })?;
        for (number, answer) in &heard.answers {
            let (status, body) = (answer.status, &answer.body);
            ensure!(status < 300, "{number}: {status} {body}");
            acknowledged.push(format!("{run}-{number}"));
        }
        sent += heard.sent;
        dev.up()?;
    }
    until(60, "the queue is posted", || {
        Ok(number(&json(&dev, "/batches/storm")?, "queued") == 0)
    })?;
    let mut delivered: HashMap<String, u32> = HashMap::new();
    let mut doubles = 0;
    for letter in letters(&dev, "storm")? {
        doubles += number(&letter, "came") - 1;
        for item in serde_json::from_str::<Vec<String>>(text(&letter, "body"))? {
            *delivered.entry(item).or_default() += 1;
        }
    }
    for run in 0..runs {
        let schedule = format!("/schedules/storm-{run}");
        until(60, "the timers have rung", || {
            Ok(json(&dev, &schedule)?["timers"]
                .as_array()
                .is_some_and(Vec::is_empty))
        })?;
        for letter in letters(&dev, &format!("storm-{run}"))? {
            doubles += number(&letter, "came") - 1;
            *delivered.entry(text(&letter, "body").to_owned()).or_default() += 1;
        }
    }
    println!(
        "{runs} kills: {sent} sent, {} acknowledged, {} delivered; {doubles} letters came \
         again and were dropped",
        acknowledged.len(),
        delivered.len()
    );
    let lost: Vec<_> =
        acknowledged.iter().filter(|item| !delivered.contains_key(*item)).collect();
    let twice: Vec<_> = delivered.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    ensure!(twice.is_empty(), "delivered twice: {twice:?}");
    ensure!(doubles > 0, "no letter came twice, so nothing was shown");
    Ok(())
}

/// A mailbox stays closed longer than the runtime has patience: six retries. Then the
/// batcher sets the alarm anew, and when the mailbox opens, the batch arrives.
///
/// A copy, because the restarts of the storm build the chapter again and again, and a
/// server loads what is built in its folder.
fn outlast_the_retries() -> Result<()> {
    let copy = Copy::of("ch05")?;
    let mut dev = Dev::prepare(&copy.dir(), &copy.envs())?;
    dev.up()?;
    dev.post("/mailboxes/shop/closed", "7")?;
    dev.post("/batches/shop", "bread")?;
    let begin = Instant::now();
    let mut times = Vec::new();
    for tries in 1..=7 {
        until(100, "the next try", || {
            Ok(number(&json(&dev, "/batches/shop")?, "tries") == tries)
        })?;
        times.push(begin.elapsed());
    }
    println!("tries after {times:.1?}");
    dev.expect_log("batch/shop/1-1, retry 6")?;
    until(40, "the batch", || {
        Ok(number(&json(&dev, "/batches/shop")?, "queued") == 0)
    })?;
    println!("delivered after {:.1?}", begin.elapsed());
    assert_eq!(letters(&dev, "shop")?.len(), 1);
    Ok(())
}

/// Kills under load lose nothing and double nothing; and an outage longer than
/// the runtime's six retries loses nothing either. Both take two minutes, so they run
/// side by side.
/// proves: claim kill-storm, claim retries-run-out
/// runs: waits
#[test]
fn kills_and_outages_lose_nothing() -> Result<()> {
    scope(|scope| {
        let outage = scope.spawn(outlast_the_retries);
        let storm = storm_of_kills();
        let outage = outage.join().expect("the outage panicked");
        storm.context("the storm")?;
        outage.context("the outage")
    })
}

/// What was acknowledged is delivered after a restart, and by the code of a new
/// deployment on the same state.
/// proves: claim redeployed
#[test]
fn a_new_deployment_delivers_what_the_old_one_took() -> Result<()> {
    let copy = Copy::of("ch05")?;
    let mut dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    let put = |dev: &Dev, id: &str| {
        let timer = format!(r#"{{"in": 2000, "say": "{id}"}}"#);
        dev.send("PUT", &format!("/schedules/shop/{id}"), timer.as_bytes())
    };
    dev.post("/batches/shop", "bread")?;
    put(&dev, "tea")?;
    dev.down();
    dev.up()?;
    until(10, "both letters", || Ok(letters(&dev, "shop")?.len() == 2))?;

    dev.post("/batches/shop", "milk")?;
    put(&dev, "coffee")?;
    dev.down();
    copy.change("src/batcher.rs", "batch/{name}", "parcel/{name}")?;
    copy.change("src/scheduler.rs", "timer/{name}", "bell/{name}")?;
    dev.up()?;
    until(10, "all four letters", || Ok(letters(&dev, "shop")?.len() == 4))?;
    let letters = letters(&dev, "shop")?;
    let mut said: Vec<(String, &str)> = letters
        .iter()
        .map(|letter| {
            let kind = text(letter, "key").split('/').next().unwrap_or_default();
            (kind.to_owned(), text(letter, "body"))
        })
        .collect();
    said[..2].sort();
    said[2..].sort();
    let expected = [
        ("batch", r#"["bread"]"#),
        ("timer", "tea"),
        ("bell", "coffee"),
        ("parcel", r#"["milk"]"#),
    ];
    assert_eq!(said, expected.map(|(kind, body)| (kind.to_owned(), body)));
    Ok(())
}

/// Bad input over a real connection: a clear 4xx, and nothing is set.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let dev = Dev::start("ch05")?;
    let huge = "x".repeat(10_000_000);
    let long = format!("/batches/{}", "x".repeat(10_000));
    let past = r#"{"at": 1000, "say": "tea"}"#;
    let cases: [(&str, &str, &str, u16); 9] = [
        ("GET", "/nowhere", "", 404),
        ("PURGE", "/guests/ada", "", 405),
        ("POST", "/guests/Ada", "", 400),
        ("POST", &long, "bread", 400),
        ("POST", "/batches/shop", &huge, 413),
        ("PUT", "/schedules/shop/tea", "tea", 400),
        ("PUT", "/schedules/shop/tea", past, 400),
        ("PUT", "/schedules/shop/tea", &huge, 413),
        ("DELETE", "/schedules/shop/tea", "", 404),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        assert_eq!(answer.status, status, "{method}: {}", answer.body);
        assert_eq!(answer.body.trim().lines().count(), 1, "{}", answer.body);
    }
    let head = dev.send("HEAD", "/schedules/shop", b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(dev.get("/schedules/shop")?.body, r#"{"alarm":null,"timers":[]}"#);
    assert_eq!(number(&json(&dev, "/batches/shop")?, "queued"), 0);
    Ok(())
}

/// A class that is exported with all handlers takes an alarm; the default handler
/// panics, and what other objects had in memory is gone with it. A class that is
/// exported without `alarm` cannot set one.
/// proves: trap T41
#[test]
fn a_missing_handler_panics() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    assert_eq!(
        dev.get("/ch05/deaf")?.body,
        "TypeError: Your Durable Object class must have an alarm() handler in order to call setAlarm()\n",
        "a class without alarm may set one"
    );
    assert_eq!(dev.post("/lossy", "")?.body, "1\n");
    assert_eq!(dev.get("/ch05/silent")?.body, "set\n");
    dev.expect_log("alarm() handler not implemented")?;
    until(10, "the memory of another object is gone", || {
        Ok(dev.get("/count")?.body == "0\n")
    })?;
    Ok(())
}
