//! ch03 from outside: a real server, many real clients, a real `kill -9`, and a new
//! deployment on the state that is there.

use std::collections::BTreeMap;
use std::thread::scope;

use anyhow::{Context, Result, ensure};
use outside::{
    Acknowledged, Ask, Base, Copy, Dev, crowd, fresh, served, storm, times,
};
use serde_json::{Value, json};

/// How many writes of each kind are acknowledged before each kill, at the least.
const ENOUGH: usize = 200;
/// How many counters take the load.
const COUNTERS: usize = 8;

/// What a storm sends: one third increments, one third people, one third visits.
enum Sent {
    Increment(usize),
    Person(String),
    Visit,
}

fn sent(number: usize) -> Sent {
    match number % 3 {
        0 => Sent::Increment(number / 3 % COUNTERS),
        1 => Sent::Person(format!("p{number}")),
        _ => Sent::Visit,
    }
}

fn person(key: &str) -> Value {
    json!({
        "name": format!("Person {key}"),
        "kind": { "work": { "company": "Mill" } },
        "phones": ["+44 113"],
        "born": 1815,
        "note": "x".repeat(200),
    })
}

fn ask(run: usize, number: usize) -> Ask {
    match sent(number) {
        Sent::Increment(counter) => Ask::get(format!("/increment?name=c{counter}")),
        Sent::Person(key) => Ask::put(
            format!("/books/run{run}/people/{key}"),
            person(&key).to_string(),
        ),
        Sent::Visit => Ask::post(format!("/books/run{run}/visits?sure"), ""),
    }
}

fn count(dev: &Base, name: &str) -> Result<usize> {
    let body = dev.get(&format!("/?name={name}"))?.body;
    let count = body.rsplit(' ').next().unwrap_or_default().parse();
    count.with_context(|| format!("no count in {body:?}"))
}

/// Everybody in a book, page by page.
fn everybody(dev: &Base, book: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    loop {
        let after = match all.last_key_value() {
            None => String::new(),
            Some((last, _)) => format!("&startAfter={last}"),
        };
        let page = dev.get(&format!("/books/{book}/people?limit=100{after}"))?;
        let page: Vec<(String, Value)> = serde_json::from_str(&page.body)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The server dies under load, again and again. Whatever it has acknowledged is there
/// afterwards, exactly once, and nothing that was never sent.
/// proves: claim kept-killed
#[test]
fn no_acknowledged_write_is_lost_by_a_kill() -> Result<()> {
    let runs = times(3, 20);
    let mut dev = Dev::start("ch03")?;
    let (mut least, mut most) = ([0; COUNTERS], [0; COUNTERS]);
    let (mut acknowledged, mut in_flight) = (0, 0);
    for run in 0..runs {
        let heard = storm(&mut dev, 24, 3 * ENOUGH + 30, |n| ask(run, n))?;
        acknowledged += heard.answers.len();
        in_flight += heard.sent - heard.answers.len();
        dev.up()?;
        check_counters(&dev, &heard, &mut least, &mut most)?;
        check_book(&dev, run, &heard)?;
    }
    println!("{runs} kills: {acknowledged} acknowledged, {in_flight} in flight");
    Ok(())
}

/// No counter is below what was acknowledged, or above what was sent.
fn check_counters(
    dev: &Base,
    heard: &Acknowledged,
    least: &mut [usize; COUNTERS],
    most: &mut [usize; COUNTERS],
) -> Result<()> {
    let mut increments = 0;
    for (number, answer) in &heard.answers {
        ensure!((200..300).contains(&answer.status), "{answer:?}");
        if let Sent::Increment(counter) = sent(*number) {
            least[counter] += 1;
            increments += 1;
        }
    }
    ensure!(increments >= ENOUGH, "only {increments} increments");
    for number in 0..heard.sent {
        if let Sent::Increment(counter) = sent(number) {
            most[counter] += 1;
        }
    }
    for counter in 0..COUNTERS {
        let count = count(dev, &format!("c{counter}"))?;
        let (least, most) = (&mut least[counter], &mut most[counter]);
        ensure!(
            (*least..=*most).contains(&count),
            "counter {counter} is {count}, of {least} to {most}"
        );
        // Whatever was in flight has been decided: the next run begins here.
        (*least, *most) = (count, count);
    }
    Ok(())
}

/// Everybody acknowledged stands in the book with just that value, and nobody else
/// but those in flight.
fn check_book(dev: &Base, run: usize, heard: &Acknowledged) -> Result<()> {
    let book = format!("run{run}");
    let there = everybody(dev, &book)?;
    let (mut people, mut visits) = (0, 0);
    for (number, _) in &heard.answers {
        match sent(*number) {
            Sent::Person(key) => {
                ensure!(there.get(&key) == Some(&person(&key)), "{key} is lost");
                people += 1;
            }
            Sent::Visit => visits += 1,
            Sent::Increment(_) => {}
        }
    }
    ensure!(
        people >= ENOUGH && visits >= ENOUGH,
        "{people} people, {visits} visits"
    );
    for (key, value) in &there {
        let number: usize = key[1..].parse()?;
        ensure!(number < heard.sent && *value == person(key), "{key} is odd");
    }
    let about: Value =
        serde_json::from_str(&dev.get(&format!("/books/{book}"))?.body)?;
    let last = about["last"].as_str().context("nobody was written last")?;
    ensure!(there.contains_key(last), "{last} came last, but is not there");
    let stored = about["visits"].as_u64().context("no visits")? as usize;
    let sent = (0..heard.sent).filter(|n| matches!(sent(*n), Sent::Visit)).count();
    ensure!(
        (visits..=sent).contains(&stored),
        "{stored} visits, of {visits} to {sent}"
    );
    Ok(())
}

/// One thousand increments at once, from a hundred clients, end at one thousand.
#[test]
fn a_thousand_increments_end_at_a_thousand() -> Result<()> {
    let dev = served("ch03")?;
    let name = fresh("crowd");
    let answers =
        crowd(&dev, 100, 1000, |_| Ask::get(format!("/increment?name={name}")))?;
    let mut counts = answers
        .iter()
        .map(|answer| {
            Ok(answer.body.rsplit(' ').next().unwrap_or_default().parse()?)
        })
        .collect::<Result<Vec<usize>>>()?;
    counts.sort_unstable();
    ensure!(counts == (1..=1000).collect::<Vec<_>>(), "up to {:?}", counts.last());
    assert_eq!(count(&dev, &name)?, 1000);
    Ok(())
}

/// Fills a counter and a book of this name.
fn fill(dev: &Base, name: &str) -> Result<()> {
    for _ in 0..3 {
        dev.get(&format!("/increment?name={name}"))?;
    }
    let put = dev.send(
        "PUT",
        &format!("/books/{name}/people/ada"),
        person("ada").to_string().as_bytes(),
    )?;
    assert_eq!(put.status, 201, "{}", put.body);
    let title = dev.send("PUT", &format!("/books/{name}/title"), b"Us")?;
    assert_eq!(title.body, "Us\n");
    Ok(())
}

/// Storage outlives the server: it is there after a restart.
/// proves: claim kept-restarted
#[test]
fn a_restart_keeps_what_was_written() -> Result<()> {
    let mut dev = Dev::start("ch03")?;
    fill(&dev, "home")?;
    dev.down();
    dev.up()?;
    assert_eq!(count(&dev, "home")?, 3);
    assert_eq!(
        everybody(&dev, "home")?,
        BTreeMap::from([("ada".into(), person("ada"))])
    );
    assert_eq!(dev.get("/books/home/title")?.body, "Us\n");
    Ok(())
}

/// A new version of the class, whose people have one more field, finds everything
/// that the old one has written.
/// proves: claim kept-deployed
#[test]
fn a_new_version_finds_what_the_old_one_wrote() -> Result<()> {
    let copy = Copy::of("ch03")?;
    let mut dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    fill(&dev, "home")?;
    dev.down();
    copy.change(
        "src/rules.rs",
        "    pub note: Option<String>,\n",
        "    pub note: Option<String>,\n    #[serde(default)]\n    pub pets: Vec<String>,\n",
    )?;
    dev.up()?;
    assert_eq!(count(&dev, "home")?, 3);
    let mut ada = person("ada");
    ada["pets"] = json!([]);
    assert_eq!(
        everybody(&dev, "home")?,
        BTreeMap::from([("ada".into(), ada.clone())])
    );
    ada["pets"] = json!(["cat"]);
    let put =
        dev.send("PUT", "/books/home/people/ada", ada.to_string().as_bytes())?;
    assert_eq!(put.status, 200, "{}", put.body);
    assert_eq!(everybody(&dev, "home")?, BTreeMap::from([("ada".into(), ada)]));
    Ok(())
}

/// After a panic the Wasm module starts anew, and the first event finds nothing that
/// `new` has begun to load; the gate holds the next one.
/// proves: trap T4
/// runs: waits
#[test]
fn after_a_panic_the_gate_of_new_does_not_hold() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    assert_eq!(dev.get("/ch03/loaded")?.body, "Ok(true)\n");
    scope(|scope| {
        // It hangs until it gives up.
        scope.spawn(|| dev.get("/ch03/panic"));
        dev.expect_log("as you like")?;
        assert_eq!(dev.get("/ch03/loaded")?.body, "Ok(false)\n");
        assert_eq!(dev.get("/ch03/loaded")?.body, "Ok(true)\n");
        Ok(())
    })
}

/// Bad input over a real connection: a clear 4xx, and everything stays.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let dev = served("ch03")?;
    let home = fresh("home");
    fill(&dev, &home)?;
    let long = "x".repeat(10_000);
    let huge = "x".repeat(10_000_000);
    let name = format!("/increment?name={long}");
    let count_up = format!("/increment?name={home}");
    let book = format!("/books/{home}");
    let ada = format!("{book}/people/ada");
    let key = format!("{book}/people/{long}");
    let dots = format!("{book}/../../nowhere?name=A");
    let encoded = format!("{book}/%2e%2e/%2e%2e/nowhere?name=A");
    let people = format!("{book}/people");
    let limit = format!("{book}/people?limit=1e3");
    let cases: [(&str, &str, &str, u16); 15] = [
        ("GET", "/nowhere?name=A", "", 404),
        ("GET", &dots, "", 404),
        ("GET", &encoded, "", 404),
        ("GET", "/increment?name=", "", 400),
        ("GET", "/increment?name=a%0Ab", "", 400),
        ("GET", &name, "", 400),
        ("PURGE", &count_up, "", 405),
        ("POST", &count_up, &huge, 413),
        ("PUT", &ada, "", 400),
        ("PUT", &ada, "{", 400),
        ("PUT", &ada, &huge, 413),
        ("PUT", &key, r#"{"name":"Ada"}"#, 400),
        ("POST", &people, r#"{"ada":{}}"#, 400),
        ("PURGE", &book, "", 405),
        ("GET", &limit, "", 400),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        let about = format!("{method} {path:.60}: {}", answer.body);
        assert_eq!(answer.status, status, "{about}");
        assert_eq!(answer.body.trim().lines().count(), 1, "{about}");
    }
    let head = dev.send("HEAD", &format!("/?name={home}"), b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(count(&dev, &home)?, 3);
    assert_eq!(
        everybody(&dev, &home)?,
        BTreeMap::from([("ada".into(), person("ada"))])
    );
    Ok(())
}

/// Two servers on the state of one are in each other's way: writes fail, and say why.
/// Whoever works alone again finds the count of one of them, and goes on.
#[test]
fn two_servers_on_one_state_break_each_others_writes() -> Result<()> {
    let state = tempfile::tempdir()?;
    let mut both = Vec::new();
    for _ in 0..2 {
        let dir = ledger::root().join("chapters-code/ch03");
        let mut dev = Dev::prepare(&dir, &[])?;
        dev.persist_to(Some(state.path()));
        dev.up()?;
        both.push(dev);
    }
    let failed = scope(|scope| {
        let threads: Vec<_> = both
            .iter()
            .map(|dev| {
                scope
                    .spawn(|| crowd(dev, 4, 400, |_| Ask::get("/increment?name=A")))
            })
            .collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a client panicked")?);
        let answers = answers.collect::<Result<Vec<_>>>()?.concat();
        Ok::<_, anyhow::Error>(answers.iter().filter(|it| it.status == 500).count())
    })?;
    ensure!(failed > 0, "800 increments by two servers, and none failed");
    let busy = "database is locked: SQLITE_BUSY";
    ensure!(both.iter().any(|dev| dev.log().contains(busy)), "{}", both[0].log());
    println!("800 increments by two servers at once: {failed} failed");
    both.pop();
    let alone = &mut both[0];
    alone.down();
    alone.up()?;
    let kept = count(alone, "A")?;
    alone.get("/increment?name=A")?;
    assert_eq!(count(alone, "A")?, kept + 1);
    Ok(())
}
