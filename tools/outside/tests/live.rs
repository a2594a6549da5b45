//! The chapters as visitors of the book play with them: apart from each other, and only
//! so much.
//! runs: serve

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Answer, Book, Closed, Dev, Socket, send, send_with};
use tungstenite::Message;

/// How many come at once, and for how long.
const CROWD: usize = 50;
const MINUTE: Duration = Duration::from_secs(60);

/// Somebody with the book open.
struct Visitor<'a> {
    book: &'a Book,
    cookie: String,
    invitation: String,
}

impl<'a> Visitor<'a> {
    fn new(book: &'a Book) -> Result<Self> {
        let answer = send("POST", &format!("{}/live/visitor", book.url()), b"")?;
        ensure!(answer.status == 200, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let body: serde_json::Value = serde_json::from_str(&answer.body)?;
        let invitation =
            body["invite"].as_str().context("no invitation")?.to_owned();
        Ok(Self { book, cookie, invitation })
    }

    /// The same visitor with other credentials.
    fn as_if(&self, cookie: &str) -> Self {
        let invitation = self.invitation.clone();
        Self { book: self.book, cookie: cookie.into(), invitation }
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let url = format!("{}/live/{path}", self.book.url());
        send_with(method, &url, &[("Cookie", &self.cookie)], body)
    }

    fn get(&self, path: &str) -> Result<String> {
        let answer = self.ask("GET", path, b"")?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body.trim().to_owned())
    }

    fn socket(&self, path: &str) -> Result<Socket> {
        self.book.socket(&format!("/live/{path}"), &[("Cookie", &self.cookie)])
    }

    /// The id, which a cookie shows to whoever has it.
    fn id(&self) -> &str {
        let token = self.cookie.strip_prefix("live=").unwrap_or_default();
        token.split('.').next().unwrap_or_default()
    }
}

/// What the front door says no to: the status, one line, and a word for scripts.
fn refused(answer: &Answer, status: u16, word: &str, line: &str) -> Result<()> {
    let said = answer.headers.get("live-refused").and_then(|it| it.to_str().ok());
    ensure!(
        answer.status == status
            && said == Some(word)
            && answer.body.lines().count() == 1
            && answer.body.contains(line),
        "{status} {word} {line}? {answer:?}"
    );
    Ok(())
}

/// Each visitor has objects of their own, under the same names, in HTTP and in sockets;
/// whoever is invited sees those of the other. Neither names, nor headers, nor paths,
/// nor forged cookies lead to somebody else's.
#[test]
fn visitors_play_apart() -> Result<()> {
    let book = Book::serve(&[])?;
    let (ada, bob) = (Visitor::new(&book)?, Visitor::new(&book)?);
    let count = "ch03/increment?name=A";
    assert_eq!(ada.get(count)?, "Durable Object 'A' count: 1");
    assert_eq!(ada.get(count)?, "Durable Object 'A' count: 2");
    assert_eq!(bob.get(count)?, "Durable Object 'A' count: 1");

    // An invitation is for the objects, not for the name.
    let invited = format!("ch03/?name=A&live.as={}", ada.invitation);
    assert_eq!(bob.get(&invited)?, "Durable Object 'A' count: 2");
    assert_eq!(bob.get("ch03/?name=A")?, "Durable Object 'A' count: 1");

    let mut room = ada.socket("ch06/ws/plaza")?;
    assert_eq!(room.text()?, "new value: 0");
    let mut other = bob.socket("ch06/ws/plaza")?;
    let invited = format!("ch06/ws/plaza?live.as={}", ada.invitation);
    let mut guest = bob.socket(&invited)?;
    guest.say("increment")?;
    assert_eq!(room.text()?, "new value: 1");
    assert_eq!(other.text()?, "new value: 0");
    assert!(other.silent(Duration::from_millis(500))?, "another's room was heard");
    for socket in [room, other, guest] {
        drop(socket);
    }

    // Forged cookies and invitations.
    let signature = ada.cookie.split('.').nth(1).unwrap_or_default();
    for forged in [
        format!("live={}", ada.id()),
        format!("live={}.", ada.id()),
        format!("live={}.{}", ada.id(), "0".repeat(64)),
        format!("live={}.{signature}", bob.id()),
        format!("live={}", ada.invitation),
        "live=".to_owned(),
    ] {
        let answer = bob.as_if(&forged).ask("GET", "ch03/?name=A", b"")?;
        refused(&answer, 403, "visitor", "this cookie is none of ours")?;
        let mut socket = bob.as_if(&forged).socket("ch06/ws/plaza");
        assert!(socket.as_mut().is_err(), "{forged}");
    }
    for forged in [ada.id().to_owned(), format!("{}.{signature}", ada.id())] {
        let path = format!("ch03/?name=A&live.as={forged}");
        let answer = bob.ask("GET", &path, b"")?;
        refused(&answer, 403, "visitor", "this invitation is none of ours")?;
    }

    // Headers between our Workers, names as they are inside, other chapters' paths.
    let url = format!("{}/live/ch03/?name=A", book.url());
    let headers = [
        ("Cookie", bob.cookie.as_str()),
        ("Live-Visitor", ada.id()),
        ("Live-Act", "reset"),
    ];
    let answer = send_with("GET", &url, &headers, b"")?;
    assert_eq!(answer.body.trim(), "Durable Object 'A' count: 1");
    for (path, status) in [
        (format!("ch03/?name={}~A", ada.id()), 200),
        ("ch02/..%2fch03/increment?name=A".to_owned(), 404),
        ("ch02/%2e%2e%2fch03/increment?name=A".to_owned(), 404),
        ("ch02//live/ch03/increment?name=A".to_owned(), 404),
        ("ch02/..%5Cch03/increment?name=A".to_owned(), 404),
        ("reset/ch03%2f..".to_owned(), 404),
        (format!("ch03/?live.Live-Visitor={}", ada.id()), 400),
    ] {
        let answer = bob.ask("GET", &path, b"")?;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(!answer.body.contains("count: 2"), "{path}: {}", answer.body);
    }
    assert_eq!(ada.get("ch03/?name=A")?, "Durable Object 'A' count: 2");

    // What is done to all objects is done to one's own.
    assert_eq!(bob.ask("POST", "reset/ch03", b"")?.body, "reset\n");
    assert_eq!(bob.get("ch03/?name=A")?, "Durable Object 'A' count: 0");
    assert_eq!(ada.get("ch03/?name=A")?, "Durable Object 'A' count: 2");
    assert_eq!(ada.ask("POST", "ch02/counters/a", b"7")?.body.trim(), "7");
    assert_eq!(bob.ask("POST", "restart/ch02", b"")?.body, "restarted\n");
    assert_eq!(ada.get("ch02/counters/a")?, "7");
    assert_eq!(ada.ask("POST", "restart/ch02", b"")?.body, "restarted\n");
    assert_eq!(ada.get("ch02/counters/a")?, "0");
    assert_eq!(ada.get("ch03/?name=A")?, "Durable Object 'A' count: 2");
    refused(&ada.ask("GET", "reset/ch03", b"")?, 405, "method", "takes POST")?;

    // No page of another site can have an exercise judged.
    let judged = ada.ask("POST", "exercise/ch02", b"")?;
    refused(&judged, 403, "here", "for the pages of this book only")
}

/// Whoever does too much is told so, in one line and with the time to wait. Others go
/// on meanwhile.
#[test]
fn what_is_too_much_is_refused() -> Result<()> {
    let book = Book::serve(&[])?;
    let (greedy, honest) = (Visitor::new(&book)?, Visitor::new(&book)?);
    let limit = |answer: &Answer, line: &str| {
        refused(answer, 429, "limit", line)?;
        let seconds = answer.headers["retry-after"].to_str()?.parse()?;
        Ok::<_, anyhow::Error>(Duration::from_secs(seconds))
    };

    // Objects.
    for number in 1..=50 {
        greedy.get(&format!("ch03/increment?name={number}"))?;
    }
    let wait = limit(
        &greedy.ask("GET", "ch03/increment?name=51", b"")?,
        "50 objects are all that you can have here",
    )?;
    assert_eq!(wait, Duration::from_secs(3_600));
    let count = greedy.get("ch03/increment?name=50")?;
    assert_eq!(count, "Durable Object '50' count: 2");

    // Bodies: too long, of a length that nobody says, too many.
    let body = vec![b'0'; 2 * 1024 * 1024 + 1];
    let answer = honest.ask("POST", "ch03/books/a/people", &body)?;
    refused(&answer, 413, "size", "a body is at most 2097152 bytes long")?;
    let mut chunks: &[u8] = b"1";
    let chunked = ureq::SendBody::from_reader(&mut chunks);
    let url = format!("{}/live/ch02/counters/a", book.url());
    let request = ureq::post(&url).config().http_status_as_error(false).build();
    let answer = request.header("Cookie", &honest.cookie).send(chunked)?;
    assert_eq!(answer.status().as_u16(), 411);
    let photo = vec![b'0'; 1_000_000];
    greedy.ask("POST", "ch04/logbooks/a", br#"{"text":"x"}"#)?;
    for number in 2..=4 {
        let entry = br#"{"text":"x"}"#;
        let answer = greedy.ask("POST", "ch04/logbooks/a", entry)?;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let path = format!("ch04/logbooks/a/{number}/photo");
        let answer = greedy.ask("PUT", &path, &photo)?;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let path = "ch04/logbooks/a/1/photo";
    assert_eq!(greedy.ask("PUT", path, &photo)?.status, 200);
    let answer = greedy.ask("POST", "ch04/logbooks/a", br#"{"text":"x"}"#)?;
    refused(&answer, 507, "size", "holds more than 4000000 bytes")?;
    assert_eq!(greedy.get("ch04/logbooks/a?limit=1")?.len(), 55);
    let wait = limit(&greedy.ask("PUT", path, &photo)?, "too many bytes")?;
    assert!(wait > Duration::from_secs(60), "{wait:?}");

    // Sockets: too many, and messages that are too long, or too many.
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(greedy.socket("ch06/ws/plaza")?);
    }
    let Err(error) = greedy.socket("ch06/ws/plaza") else {
        anyhow::bail!("there are 21 sockets");
    };
    assert!(error.to_string().contains("429"), "{error:#}");
    for mut socket in sockets.drain(..) {
        socket.close(1000, "bye")?;
    }
    let mut socket = greedy.socket("ch07/api/room/a/websocket")?;
    socket.send(Message::text("x".repeat(64 * 1024 + 1)))?;
    // The room has a limit, too.
    let reason = "a message is at most 65536 long here".to_owned();
    assert_eq!(socket.closed()?, Closed { code: 1009, reason });
    let mut socket = greedy.socket("ch07/lab/websocket/red")?;
    for _ in 0..600 {
        if socket.say("x").is_err() {
            break;
        }
    }
    assert_eq!(socket.closed()?.code, 1008);

    // Requests. Who waits as long as is said is let in again.
    let begin = Instant::now();
    let wait = loop {
        let answer = greedy.ask("GET", "ch02/counters/a", b"")?;
        if answer.status != 200 {
            break limit(&answer, "too many requests")?;
        }
        ensure!(begin.elapsed() < MINUTE, "there is no limit");
    };
    assert_eq!(wait, Duration::from_secs(1));
    assert_eq!(honest.get("ch02/counters/a")?, "0");
    sleep(wait);
    assert_eq!(greedy.get("ch02/counters/a")?, "0");
    Ok(())
}

/// Objects that nobody asks for are emptied by an alarm, with all that they would have
/// done by themselves. What is on the disk of a visitor who makes as many as they can,
/// as large as they can, is bounded.
#[test]
fn what_is_left_behind_is_bounded() -> Result<()> {
    let idle = Duration::from_secs(30);
    let book = Book::serve(&[("LIVE_IDLE_MS", "30000")])?;
    let (hostile, other) = (Visitor::new(&book)?, Visitor::new(&book)?);
    other.ask("GET", "ch03/increment?name=A", b"")?;
    let before = databases(book.state())?;
    let filled = vec![b'0'; 1_000_000];
    hostile.ask("POST", "ch04/logbooks/a", br#"{"text":"x"}"#)?;
    for _ in 0..6 {
        hostile.ask("PUT", "ch04/logbooks/a/1/photo", &filled)?;
    }
    let timer = br#"{"in": 100, "every": 1000, "say": "ding"}"#;
    hostile.ask("PUT", "ch05/schedules/day/bells", timer)?;
    let begin = Instant::now();
    let mut refused = 0;
    for number in 1..=2_000 {
        let path = format!("ch03/increment?name={number}");
        let answer = hostile.ask("GET", &path, b"")?;
        ensure!([200, 429].contains(&answer.status), "{}", answer.body);
        refused += usize::from(answer.status == 429);
        if number == 60 {
            ensure!(
                begin.elapsed() < idle,
                "too slow to tell: {:?}",
                begin.elapsed()
            );
            ensure!(refused == 10, "{refused} of 60 objects were refused");
        }
    }
    let most = databases(book.state())?;

    // An alarm rings when the first object may be idle, and then again.
    let begin = Instant::now();
    while begin.elapsed() < 2 * idle {
        // Somebody who goes on playing keeps what is theirs.
        other.ask("GET", "ch03/?name=A", b"")?;
        sleep(Duration::from_secs(1));
    }
    let left = databases(book.state())?;
    println!(
        "2,000 names, {refused} refused; databases and bytes: {before:?}, at most \
         {most:?}, then {left:?}"
    );
    ensure!(most.0 <= before.0 + 60, "{most:?}: more than a visitor may have");
    // An empty one is a page or two.
    ensure!(left.1 <= 8_192 * left.0 as u64, "{left:?}: they are not empty");
    assert_eq!(other.get("ch03/?name=A")?, "Durable Object 'A' count: 1");
    assert_eq!(hostile.get("ch03/?name=1")?, "Durable Object '1' count: 0");
    assert_eq!(hostile.get("ch05/schedules/day")?, r#"{"alarm":null,"timers":[]}"#);
    assert_eq!(hostile.get("ch05/mailboxes/day")?, "[]");
    sleep(Duration::from_secs(3));
    assert_eq!(hostile.get("ch05/mailboxes/day")?, "[]", "a dead timer rings");
    Ok(())
}

/// How many databases of the chapters' objects there are, and how many bytes are in
/// them. This runtime keeps the file of an object that is empty.
fn databases(state: &Path) -> Result<(usize, u64)> {
    let mut sum = (0, 0);
    for file in ledger::files(&state.join("v3/do"))? {
        let path = file.to_string_lossy();
        let is_object = path.contains("/ch0")
            && path.ends_with(".sqlite")
            && !path.ends_with("metadata.sqlite");
        // A file may go between the list and the look.
        if let Ok(meta) = file.metadata()
            && is_object
        {
            sum = (sum.0 + 1, sum.1 + meta.len());
        }
    }
    Ok(sum)
}

/// Where a chapter does not run, its routes say so, and the pages go on.
#[test]
fn a_chapter_that_is_down_says_so() -> Result<()> {
    let front = Dev::start_in(&ledger::root().join("wrangler"), &[])?;
    for path in ["/live/ch03/?name=A", "/live/ch06/ws/plaza?live.Upgrade=websocket"]
    {
        let line = "this chapter does not run just now; the pages do";
        refused(&front.get(path)?, 503, "down", line)?;
    }
    let answer = front.send("POST", "/live/reset/ch03", b"")?;
    refused(&answer, 503, "down", "does not run just now")?;
    let answer = front.send("POST", "/live/exercise/ch02", b"")?;
    refused(&answer, 404, "here", "where `cargo xtask serve` runs")?;
    assert_eq!(front.get("/ch03-key-value-storage.html")?.status, 200);
    Ok(())
}

/// Fifty visitors count, share a number and chat for a minute, all under the same names.
/// Nobody hears or sees anything of another, every answer is right, and the limit meets
/// only the one who does more than is allowed.
#[test]
fn fifty_visitors_for_a_minute() -> Result<()> {
    let book = Book::serve(&[])?;
    let outcome = std::thread::scope(|scope| {
        let honest: Vec<_> = (0..CROWD)
            .map(|number| {
                let book = &book;
                scope.spawn(move || {
                    play(book, number).with_context(|| format!("visitor {number}"))
                })
            })
            .collect();
        let greedy = scope.spawn(|| flood(&book));
        let mut times = Vec::new();
        for visitor in honest {
            times.extend(visitor.join().map_err(|_| anyhow::anyhow!("a panic"))??);
        }
        let flood = greedy.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        Ok::<_, anyhow::Error>((times, flood))
    });
    let (mut times, (let_in, refused)) = outcome?;
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{CROWD} visitors, {} answers: median {:?}, p99 {:?}, worst {:?}; \
         the greedy one: {let_in} let in, {refused} refused",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    ensure!(refused > 0, "the limiter has met nobody");
    let seconds = MINUTE.as_secs() as usize;
    ensure!(let_in <= 300 + 10 * (seconds + 10), "{let_in} were let in");
    Ok(())
}

/// One honest visitor for a minute: twice a second something, in three chapters. Returns
/// how long each answer took.
fn play(book: &Book, number: usize) -> Result<Vec<Duration>> {
    let visitor = Visitor::new(book)?;
    let me = format!("v{number}");
    let mut times = Vec::new();
    let mut room = visitor.socket("ch06/ws/plaza")?;
    ensure!(room.text()? == "new value: 0", "the room is not new");
    let mut chat = visitor.socket("ch07/api/room/tea/websocket")?;
    chat.say(format!(r#"{{"name":"{me}"}}"#))?;
    let joined = chat.until(|text| text == r#"{"ready":true}"#)?;
    let alone = format!(r#"{{"joined":"{me}"}}"#);
    ensure!(joined == [alone.as_str(), r#"{"ready":true}"#], "{joined:?}");
    let begin = Instant::now();
    let mut round = 0;
    while begin.elapsed() < MINUTE {
        round += 1;
        let asked = Instant::now();
        let count = visitor.get("ch03/increment?name=A")?;
        times.push(asked.elapsed());
        ensure!(count == format!("Durable Object 'A' count: {round}"), "{count}");

        let asked = Instant::now();
        room.say("increment")?;
        let value = room.text()?;
        times.push(asked.elapsed());
        ensure!(value == format!("new value: {round}"), "{value}");

        // The room allows a message each five seconds, and twenty seconds ahead.
        if round % 10 == 1 {
            let asked = Instant::now();
            chat.say(format!(r#"{{"message":"{round}"}}"#))?;
            let said = chat.text()?;
            times.push(asked.elapsed());
            let mine = format!(r#"{{"name":"{me}","message":"{round}","#);
            ensure!(said.starts_with(&mine), "{said}");
        }
        sleep(Duration::from_secs(1).saturating_sub(asked.elapsed()));
    }
    Ok(times)
}

/// One who asks as fast as it goes. Returns how often it was let in, and refused.
fn flood(book: &Book) -> Result<(usize, usize)> {
    let visitor = Visitor::new(book)?;
    let begin = Instant::now();
    let (mut let_in, mut refused) = (0, 0);
    while begin.elapsed() < MINUTE {
        match visitor.ask("GET", "ch03/increment?name=A", b"")?.status {
            200 => let_in += 1,
            429 => refused += 1,
            status => anyhow::bail!("{status}"),
        }
    }
    let count = loop {
        let answer = visitor.ask("GET", "ch03/?name=A", b"")?;
        if answer.status == 200 {
            break answer.body;
        }
        sleep(Duration::from_millis(200));
    };
    ensure!(count == format!("Durable Object 'A' count: {let_in}"), "{count}");
    Ok((let_in, refused))
}
