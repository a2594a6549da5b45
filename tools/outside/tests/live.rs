//! The chapters as visitors of the book play with them: apart from each other, and only
//! so much.
//! runs: live

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use outside::{Answer, Book, Closed, Dev, Socket, drive, send, send_with, times};
use sha2::Sha256;
use tungstenite::Message;

/// How long something that must come is waited for.
const MINUTE: Duration = Duration::from_secs(60);
/// From how many connections one asks for too much.
const GREEDY: usize = 8;
/// How many bodies come slowly, and within which time all have to be answered.
const SLOW: usize = 200;
const SLOW_LIMIT: Duration = Duration::from_secs(18);
/// How many sockets do not read, for how long they are sent to, how often, and by how
/// many bytes the runtime may grow.
const DEAF: usize = 20;
const DEAF_TIME: Duration = Duration::from_secs(12);
const DEAF_EVERY: Duration = Duration::from_millis(25);
const GROWTH: u64 = 200 * 1_000_000;
/// From how many networks of one provider somebody tries to become a visitor.
const NETWORKS: usize = 100;
/// Addresses that nobody has, for documentation.
const ELSEWHERE: &str = "192.0.2.";

/// Somebody with the book open.
struct Visitor<'a> {
    book: &'a Book,
    cookie: String,
    invitation: String,
    address: String,
}

impl<'a> Visitor<'a> {
    fn new(book: &'a Book) -> Result<Self> {
        Self::from(book, "127.0.0.1")
    }

    /// Somebody from elsewhere. On Cloudflare the network says from where; here, whoever
    /// asks can.
    fn from(book: &'a Book, address: &str) -> Result<Self> {
        let answer = visitor_from(&book.url(), address)?;
        ensure!(answer.status == 200, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let body: serde_json::Value = serde_json::from_str(&answer.body)?;
        let invitation =
            body["invite"].as_str().context("no invitation")?.to_owned();
        Ok(Self { book, cookie, invitation, address: address.to_owned() })
    }

    /// The same visitor with other credentials.
    fn as_if(&self, cookie: &str) -> Self {
        let (invitation, address) = (self.invitation.clone(), self.address.clone());
        Self { book: self.book, cookie: cookie.into(), invitation, address }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("Cookie", &self.cookie), ("CF-Connecting-IP", &self.address)]
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let url = format!("{}/live/{path}", self.book.url());
        send_with(method, &url, &self.headers(), body)
    }

    fn ask_with(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
    ) -> Result<Answer> {
        let url = format!("{}/live/{path}", self.book.url());
        send_with(method, &url, &[&self.headers(), more].concat(), b"")
    }

    fn post(&self, path: &str, body: &str) -> Result<Answer> {
        self.ask("POST", path, body.as_bytes())
    }

    fn get(&self, path: &str) -> Result<String> {
        let answer = self.ask("GET", path, b"")?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body.trim().to_owned())
    }

    fn socket(&self, path: &str) -> Result<Socket> {
        self.book.socket(&format!("/live/{path}"), &self.headers())
    }

    /// The id, which a cookie shows to whoever has it.
    fn id(&self) -> &str {
        let token = self.cookie.strip_prefix("live=").unwrap_or_default();
        token.split('.').next().unwrap_or_default()
    }
}

/// Asks to be a new visitor, from an address.
fn visitor_from(url: &str, address: &str) -> Result<Answer> {
    let from = [("CF-Connecting-IP", address)];
    send_with("POST", &format!("{url}/live/visitor"), &from, b"")
}

/// A token as the front door signs it on this machine, good for so many milliseconds
/// from now on, or until so many before now.
fn signed(purpose: &str, id: &str, good: i64) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let what = format!("{id}.{}", i64::try_from(now)? + good);
    let mac = Hmac::<Sha256>::new_from_slice(b"for-this-machine-only")?;
    let mac = mac.chain_update(format!("{purpose}\n{what}")).finalize();
    let hex: String =
        mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{what}.{hex}"))
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
    let signature = ada.cookie.rsplit('.').next().unwrap_or_default();
    let until = ada.cookie.split('.').nth(1).unwrap_or_default();
    for forged in [
        format!("live={}", ada.id()),
        format!("live={}.", ada.id()),
        format!("live={}.{until}.{}", ada.id(), "0".repeat(64)),
        format!("live={}.{signature}", ada.id()),
        format!("live={}.{until}0.{signature}", ada.id()),
        format!("live={}.{until}.{signature}", bob.id()),
        format!("live={}", ada.invitation),
        "live=".to_owned(),
    ] {
        let answer = bob.as_if(&forged).ask("GET", "ch03/?name=A", b"")?;
        refused(&answer, 403, "visitor", "this cookie is none of ours")?;
        let mut socket = bob.as_if(&forged).socket("ch06/ws/plaza");
        assert!(socket.as_mut().is_err(), "{forged}");
    }
    for forged in [ada.id().to_owned(), format!("{}.{until}.{signature}", ada.id())]
    {
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
    refused(&judged, 403, "here", "for the pages of this book only")?;

    events_are_their_senders(&book)?;
    ids_are_their_makers(&book)?;
    invitations_end(&book)?;
    other_sites_are_refused(&book)
}

/// What ch01 puts into its store, and onto its queue, is seen by who did it.
fn events_are_their_senders(book: &Book) -> Result<()> {
    let (ada, bob) = (Visitor::new(book)?, Visitor::new(book)?);
    let diary = |visitor: &Visitor| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&visitor.get("ch01/diary")?)?)
    };
    for visitor in [&ada, &bob] {
        assert_eq!(visitor.post("ch01/later", "")?.status, 202);
        let job = format!("of {}", visitor.id());
        assert_eq!(visitor.post("ch01/jobs", &job)?.status, 202);
    }
    for visitor in [&ada, &bob] {
        let begin = Instant::now();
        let job = format!("of {}", visitor.id());
        while diary(visitor)?["queue"] != job.as_str() {
            ensure!(begin.elapsed() < MINUTE, "{}", diary(visitor)?);
            sleep(Duration::from_millis(200));
        }
    }
    let eve = Visitor::new(book)?;
    let seen = diary(&eve)?;
    ensure!(seen["queue"].is_null() && seen["later"].is_null(), "{seen}");
    Ok(())
}

/// An id leads to an object only for those whose object it is, however it was made.
fn ids_are_their_makers(book: &Book) -> Result<()> {
    let (ada, bob) = (Visitor::new(book)?, Visitor::new(book)?);
    let id = |answer: &str| -> Result<String> {
        let card: serde_json::Value = serde_json::from_str(answer)?;
        let card = if card.is_array() { &card[0] } else { &card };
        Ok(card["id"].as_str().context("no id")?.to_owned())
    };
    // Of a name that was not asked for yet, of one that was, and of none.
    ada.post("ch02/counters/used", "1")?;
    let ids = [
        id(&ada.get("ch02/counters/unused/id")?)?,
        id(&ada.get("ch02/counters/used/id")?)?,
        id(&ada.post("ch02/ids", "")?.body)?,
    ];
    for (id, count) in ids.iter().zip(["5", "6", "5"]) {
        let path = format!("ch02/ids/{id}");
        let not_yours = "no object of yours has this id";
        refused(&bob.post(&path, "9")?, 404, "id", not_yours)?;
        refused(&bob.ask("GET", &path, b"")?, 404, "id", not_yours)?;
        assert_eq!(ada.post(&path, "5")?.body.trim(), count);
    }
    let room = ada.post("ch07/api/room", "")?.body.trim().to_owned();
    let path = format!("ch07/api/room/{room}/websocket");
    let error = bob.socket(&path).err().context("another's room is open")?;
    assert!(error.to_string().contains("404"), "{error:#}");
    let mut socket = ada.socket(&path)?;
    socket.say(r#"{"name":"ada"}"#)?;
    socket.until(|text| text == r#"{"ready":true}"#)?;

    // Neither Reset nor Restart of one does anything to what is another's.
    for act in ["reset", "restart"] {
        for chapter in ["ch02", "ch07"] {
            assert_eq!(bob.post(&format!("{act}/{chapter}"), "")?.status, 200);
        }
    }
    for (id, count) in ids.iter().zip(["5", "6", "5"]) {
        assert_eq!(ada.get(&format!("ch02/ids/{id}"))?, count);
    }
    socket.say(r#"{"message":"still here"}"#)?;
    assert!(socket.text()?.contains("still here"));
    // One's own does, and the ids stay good.
    assert_eq!(ada.post("reset/ch02", "")?.status, 200);
    for id in &ids {
        assert_eq!(ada.get(&format!("ch02/ids/{id}"))?, "0");
    }
    Ok(())
}

/// An invitation ends by itself and by a Reset of its host, and its guest can do
/// neither Reset nor Restart. A cookie ends by itself.
fn invitations_end(book: &Book) -> Result<()> {
    let (ada, bob) = (Visitor::new(book)?, Visitor::new(book)?);
    ada.get("ch03/increment?name=A")?;
    let path = |token: &str| format!("ch03/?name=A&live.as={token}");
    assert_eq!(bob.get(&path(&ada.invitation))?, "Durable Object 'A' count: 1");
    for act in ["reset", "restart"] {
        let act = format!("{act}/ch03?live.as={}", ada.invitation);
        refused(&bob.post(&act, "")?, 403, "guest", "only the owner")?;
    }
    let valid = signed("invitation", ada.id(), 1_000)?;
    assert_eq!(bob.get(&path(&valid))?, "Durable Object 'A' count: 1");
    let old = signed("invitation", ada.id(), -1)?;
    let answer = bob.ask("GET", &path(&old), b"")?;
    refused(&answer, 403, "visitor", "this invitation is too old")?;

    assert_eq!(ada.post("reset/ch03", "")?.status, 200);
    let answer = bob.ask("GET", &path(&ada.invitation), b"")?;
    refused(&answer, 403, "visitor", "this invitation was withdrawn")?;
    let answer = ada.post("visitor", "")?;
    let new: serde_json::Value = serde_json::from_str(&answer.body)?;
    let new = new["invite"].as_str().context("no invitation")?;
    assert_eq!(bob.get(&path(new))?, "Durable Object 'A' count: 0");

    for (good, status) in [(1_000, 200), (-1, 403)] {
        let cookie = format!("live={}", signed("cookie", ada.id(), good)?);
        let answer = ada.as_if(&cookie).ask("GET", "ch03/?name=A", b"")?;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 403 {
            refused(&answer, 403, "visitor", "this cookie is too old")?;
        }
    }
    Ok(())
}

/// A page of another site can neither send a form, nor open a socket, nor have a link
/// that changes something; nor can one whose name was made to lead to this machine.
fn other_sites_are_refused(book: &Book) -> Result<()> {
    let ada = Visitor::new(book)?;
    let host = format!("localhost:{}", book.port());
    let own = format!("http://{host}");
    let reader = |method, path: &str, headers: &[(&str, &str)]| {
        send_with(method, &format!("{}/live/{path}", book.url()), headers, b"")
    };
    let get = "ch03/increment?name=A";
    let evil = [("Origin", "https://evil.example")];
    let sites: [&[(&str, &str)]; 5] = [
        &evil,
        &[("Origin", "http://localhost:1")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
    ];
    for site in sites {
        for (method, path) in [
            ("GET", get),
            ("POST", "ch02/counters/a"),
            ("POST", "reset/ch03"),
            ("POST", "restart/ch03"),
            ("POST", "visitor"),
            ("POST", "exercise/ch02"),
        ] {
            let line = "the pages of this book only";
            let with_cookie = ada.ask_with(method, path, site)?;
            refused(&with_cookie, 403, "origin", line)?;
            refused(&reader(method, path, site)?, 403, "origin", line)?;
        }
    }
    let opened = book.socket("/live/ch07/websocket", &evil);
    let error = opened.err().context("a socket of another site is open")?;
    assert!(error.to_string().contains("403"), "{error:#}");
    for (method, path) in
        [("GET", get), ("POST", "visitor"), ("POST", "reset/ch03")]
    {
        let request = format!(
            "{method} /live/{path} HTTP/1.1\r\nHost: evil.example:{}\r\n\
             Origin: http://evil.example:{0}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            book.port()
        );
        let mut stream = TcpStream::connect(("localhost", book.port()))?;
        stream.set_read_timeout(Some(MINUTE))?;
        stream.write_all(request.as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
        assert!(said.contains("ask localhost or 127.0.0.1"), "{said}");
    }
    // The book's own pages may, and so may who types an address, and `curl`.
    for (count, headers) in [
        [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none"), ("Accept", "*/*")],
        [("User-Agent", "curl/8"), ("Accept", "*/*")],
    ]
    .iter()
    .enumerate()
    {
        let expected = format!("Durable Object 'A' count: {}", count + 1);
        let mut answer = ada.ask_with("GET", get, headers)?;
        assert_eq!(answer.body.trim(), expected);
        answer = reader("GET", get, headers)?;
        assert_eq!(answer.body.trim(), expected);
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.to_str()?.contains("img-src 'self' data:;"), "{policy:?}");
    }
    let url = format!("http://127.0.0.1:{}/live/{get}", book.port());
    assert_eq!(send("GET", &url, b"")?.body.trim(), "Durable Object 'A' count: 4");
    Ok(())
}

/// A page of a name that leads to this machine runs nothing, in a real browser; and a
/// chapter's page shows its icon.
#[test]
#[ignore = "wants Chromium"]
fn a_name_that_leads_here_runs_nothing() -> Result<()> {
    let book = Book::serve(&[])?;
    let said = drive("rebind.ts", &[&book.port().to_string()])?;
    ensure!(said.contains("all as it should be"), "{said}");
    Ok(())
}

/// Sockets that do not read make the runtime grow by a bounded number of bytes, though
/// they are sent as much as is let through.
fn who_does_not_read_is_bounded(book: &Book) -> Result<()> {
    let visitor = Visitor::from(book, "198.51.100.5")?;
    let open = || visitor.socket("ch07/websocket");
    let mut deaf = (0..DEAF).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let before = book.memory()?;
    let (mut most, mut sent, mut again) = (before, 0, Vec::new());
    let text = "x".repeat(64 * 1_024);
    let begin = Instant::now();
    while begin.elapsed() < DEAF_TIME {
        for socket in &mut deaf {
            // Whoever was shown the door has not read that either.
            sent += usize::from(socket.say(text.as_str()).is_ok());
            sleep(DEAF_EVERY);
        }
        most = most.max(book.memory()?);
        // Those who come again do not give up what they have not read.
        for socket in &mut deaf {
            let Ok(new) = open() else { break };
            again.push(std::mem::replace(socket, new));
        }
    }
    println!(
        "{sent} messages of 64 KiB, {} sockets came again: {} MB, then at most {} MB",
        again.len(),
        before / 1_000_000,
        most / 1_000_000
    );
    ensure!(most < before + GROWTH, "{before} grew to {most}");
    assert_eq!(visitor.get("ch02/counters/a")?, "0");
    Ok(())
}

/// Many addresses of one network are no way to more visitors, nor to more money.
#[test]
fn a_network_is_bounded() -> Result<()> {
    let mut front = Dev::prepare(&ledger::root().join("wrangler"), &[])?;
    front.set_var("VISITORS_AT_ONCE", "30");
    front.up()?;
    let mut let_in = 0;
    for number in 0..NETWORKS {
        let address = format!("2001:db8:7:{number:x}::1");
        let answer = visitor_from(&front.url(), &address)?;
        if answer.status == 200 {
            let_in += 1;
        } else {
            let line = "too many new visitors from your address";
            refused(&answer, 429, "limit", line)?;
        }
    }
    // One more may come while this runs, each two minutes.
    ensure!((30..33).contains(&let_in), "{let_in} visitors of one network");
    for other in ["2001:db8:8::1", "192.0.2.1"] {
        assert_eq!(visitor_from(&front.url(), other)?.status, 200, "{other}");
    }
    Ok(())
}

/// Whoever does too much is told so, in one line and with the time to wait. Others go
/// on meanwhile.
#[test]
fn what_is_too_much_is_refused() -> Result<()> {
    let book = Book::serve(&[("LIVE_DAY_BUDGET", "150000000")])?;
    let saver = Visitor::from(&book, "198.51.100.1")?;
    saver.get("ch03/increment?name=A")?;
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
    // The places are free as soon as the gate has heard of it.
    let begin = Instant::now();
    let mut socket = loop {
        match greedy.socket("ch07/api/room/a/websocket") {
            Err(_) if begin.elapsed() < Duration::from_secs(5) => {}
            socket => break socket?,
        }
    };
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

    // Requests, from several connections so that a slow machine is fast enough. Who
    // waits as long as is said is let in again.
    let flood = || -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let answer = greedy.ask("GET", "ch02/counters/a", b"")?;
            if answer.status != 200 {
                break limit(&answer, "too many requests");
            }
            ensure!(begin.elapsed() < MINUTE, "there is no limit");
        }
    };
    let wait = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..GREEDY).map(|_| scope.spawn(flood)).collect();
        let waits = threads.into_iter().map(|thread| match thread.join() {
            Ok(wait) => wait,
            Err(_) => anyhow::bail!("a panic"),
        });
        waits.collect::<Result<Vec<_>>>()
    })?[0];
    assert_eq!(wait, Duration::from_secs(1));
    assert_eq!(honest.get("ch02/counters/a")?, "0");
    sleep(wait);
    assert_eq!(greedy.get("ch02/counters/a")?, "0");

    slow_bodies_end(&book)?;
    sockets_of_an_address_are_bounded(&book)?;

    who_does_not_read_is_bounded(&book)?;
    money_runs_out(&book, &saver)
}

/// What everybody may cost in a day is used up: each address is given some, until there
/// is no more. The pages go on, nothing is lost, and what was given can be used up.
fn money_runs_out(book: &Book, saver: &Visitor) -> Result<()> {
    let begin = Instant::now();
    let mut last = 0;
    let answer = loop {
        last += 1;
        let answer = visitor_from(&book.url(), &format!("{ELSEWHERE}{last}"))?;
        if answer.status != 200 {
            break answer;
        }
        ensure!(begin.elapsed() < MINUTE && last < 250, "there is no budget");
    };
    refused(&answer, 429, "budget", "the play area has used up what it may cost")?;
    let wait: u64 = answer.headers["retry-after"].to_str()?.parse()?;
    assert!(wait <= 86_400, "{wait} s");
    assert_eq!(
        send("GET", &format!("{}/index.html", book.url()), b"")?.status,
        200
    );
    let count = saver.get("ch03/increment?name=A")?;
    assert_eq!(count, "Durable Object 'A' count: 2");
    Ok(())
}

/// Bodies that do not come end in time, and keep nobody else waiting.
fn slow_bodies_end(book: &Book) -> Result<()> {
    let visitor = Visitor::from(book, "198.51.100.2")?;
    let head = format!(
        "POST /live/ch02/counters/slow HTTP/1.1\r\nHost: localhost:{}\r\n\
         Cookie: {}\r\nCF-Connecting-IP: {}\r\nContent-Length: 100\r\n\r\n1",
        book.port(),
        visitor.cookie,
        visitor.address
    );
    let begin = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(("localhost", book.port()))?;
        stream.write_all(head.as_bytes())?;
        streams.push(stream);
    }
    assert_eq!(visitor.get("ch02/counters/slow")?, "0");
    let mut told = 0;
    for mut stream in streams {
        let left = SLOW_LIMIT.saturating_sub(begin.elapsed());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut said = [0; 4_096];
        let length = stream.read(&mut said).context("a slow body is waited for")?;
        let said = String::from_utf8_lossy(&said[..length]);
        told += usize::from(said.starts_with("HTTP/1.1 408"));
    }
    println!("{SLOW} slow bodies: {told} told so, all after {:?}", begin.elapsed());
    ensure!(told * 2 > SLOW, "only {told} of {SLOW} were told why");
    Ok(())
}

/// Many visitors of one address have no more sockets open than it may have.
fn sockets_of_an_address_are_bounded(book: &Book) -> Result<()> {
    let mut sockets = Vec::new();
    for number in 0..4 {
        let visitor = Visitor::from(book, "198.51.100.3")?;
        for _ in 0..20 {
            match visitor.socket("ch07/lab/websocket/red") {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    ensure!(number == 3, "visitor {number}: {error:#}");
                    ensure!(error.to_string().contains("429"), "{error:#}");
                }
            }
        }
    }
    assert_eq!(sockets.len(), 60);
    Visitor::from(book, "198.51.100.4")?.socket("ch07/lab/websocket/red")?;
    Ok(())
}

/// Objects that nobody asks for are emptied by an alarm, with all that they would have
/// done by themselves. What is on the disk of a visitor who makes as many as they can,
/// as large as they can, is bounded.
#[test]
fn what_is_left_behind_is_bounded() -> Result<()> {
    // Longer than all of it takes to come.
    let seconds = times(30, 120);
    let idle = Duration::from_secs(seconds as u64);
    let book = Book::serve(&[("LIVE_IDLE_MS", &idle.as_millis().to_string())])?;
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
    let names = times(400, 2_000);
    for number in 1..=names {
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
        "{names} names, {refused} refused; databases and bytes: {before:?}, at most \
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

/// Many visitors count, share a number and chat, all under the same names, fifty of them
/// for a minute in the long run.
/// Nobody hears or sees anything of another, every answer is right, and the limit meets
/// only the one who does more than is allowed.
#[test]
fn fifty_visitors_for_a_minute() -> Result<()> {
    let crowd = times(12, 50);
    let seconds = times(15, 60);
    let lasts = Duration::from_secs(seconds as u64);
    let book = Book::serve(&[])?;
    let outcome = std::thread::scope(|scope| {
        let honest: Vec<_> = (0..crowd)
            .map(|number| {
                let book = &book;
                scope.spawn(move || {
                    play(book, number, lasts)
                        .with_context(|| format!("visitor {number}"))
                })
            })
            .collect();
        let greedy = scope.spawn(|| flood(&book, lasts));
        let mut delays = Vec::new();
        for visitor in honest {
            delays.extend(visitor.join().map_err(|_| anyhow::anyhow!("a panic"))??);
        }
        let flood = greedy.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        Ok::<_, anyhow::Error>((delays, flood))
    });
    let (mut delays, (let_in, refused, asked)) = outcome?;
    delays.sort();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "{crowd} visitors in {seconds} s, {} answers: median {:?}, p99 {:?}, worst {:?}; \
         the greedy one: {let_in} let in, {refused} refused",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    ensure!(refused > 0, "the limiter has met nobody");
    ensure!(let_in <= 300 + 10 * (asked + 10), "{let_in} were let in");
    Ok(())
}

/// One honest visitor: twice a second something, in three chapters. Returns
/// how long each answer took.
fn play(book: &Book, number: usize, lasts: Duration) -> Result<Vec<Duration>> {
    let visitor = Visitor::from(book, &format!("{ELSEWHERE}{number}"))?;
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
    while begin.elapsed() < lasts {
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

/// One who asks as fast as it goes, from several connections, until it was refused at
/// least once. Returns how often it was let in, and refused, and how many seconds it
/// took.
fn flood(book: &Book, lasts: Duration) -> Result<(usize, usize, usize)> {
    let visitor = Visitor::new(book)?;
    let begin = Instant::now();
    let ask = || -> Result<(usize, usize)> {
        let (mut let_in, mut refused) = (0, 0);
        while begin.elapsed() < lasts || (refused == 0 && begin.elapsed() < MINUTE)
        {
            match visitor.ask("GET", "ch03/increment?name=A", b"")?.status {
                200 => let_in += 1,
                429 => refused += 1,
                status => anyhow::bail!("{status}"),
            }
        }
        Ok((let_in, refused))
    };
    let (mut let_in, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..GREEDY).map(|_| scope.spawn(ask)).collect();
        for thread in threads {
            let (more, no) =
                thread.join().map_err(|_| anyhow::anyhow!("a panic"))??;
            (let_in, refused) = (let_in + more, refused + no);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let seconds = begin.elapsed().as_secs() as usize;
    let count = loop {
        let answer = visitor.ask("GET", "ch03/?name=A", b"")?;
        if answer.status == 200 {
            break answer.body;
        }
        sleep(Duration::from_millis(200));
    };
    ensure!(count == format!("Durable Object 'A' count: {let_in}"), "{count}");
    Ok((let_in, refused, seconds))
}
