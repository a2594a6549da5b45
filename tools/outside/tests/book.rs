//! What concerns no single chapter: the front door, chapters that were copied out,
//! and traps of the build.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outside::{Book, Copy, Dev, cargo, npx, send};

/// Every chapter builds and packs outside the repository, in a folder whose name
/// has a space.
/// runs: copy
#[test]
fn copied_out_chapters_can_be_deployed() -> Result<()> {
    for chapter in ledger::chapters()? {
        let copy = Copy::of(&chapter.name)?;
        let (good, text) = copy.run(npx(&copy.dir()).args([
            "wrangler",
            "deploy",
            "--dry-run",
            "--outdir",
            "dist",
        ]))?;
        assert!(good && text.contains("Total Upload"), "{}:\n{text}", chapter.name);
        assert!(
            !copy.dir().join("../Cargo.toml").exists(),
            "the copy is not alone"
        );
    }
    Ok(())
}

/// `cargo xtask serve` shows the book with a chapter running behind it, answers what
/// is nobody's with the book's own 404 page, and ends all that it started on Ctrl-C.
/// runs: serve
#[test]
fn the_book_is_served_with_its_chapters() -> Result<()> {
    let mut book = Book::serve(&[])?;
    let http = book.url();
    let url = |path: &str| format!("{http}{path}");
    let count = send("POST", &url("/live/ch02/counters/guest"), b"5")?;
    assert_eq!(count.body.trim(), "5");
    assert_eq!(send("GET", &url("/live/ch01"), b"")?.body, "OK\n");
    let count = send("GET", &url("/live/ch03/increment?name=guest"), b"")?;
    assert_eq!(count.body, "Durable Object 'guest' count: 1");
    let page = send("GET", &url("/live/ch04/"), b"")?.body;
    assert!(page.contains("Book a seat"), "{page}");
    assert_eq!(send("GET", &url("/live/ch04/app.js"), b"")?.status, 200);
    let mut socket = book.socket("/live/ch04/ws?flightId=VL42", &[])?;
    assert!(socket.text()?.contains(r#""seatNumber":"10F""#));
    let letters = send("GET", &url("/live/ch05/mailboxes/guest"), b"")?;
    assert_eq!(letters.body, "[]");
    let mut room = book.socket("/live/ch06/ws/guest", &[])?;
    assert_eq!(room.text()?, "new value: 0");
    // Without its secret it would answer 503.
    let ticket = send("POST", &url("/live/ch06/tickets/guest"), b"")?;
    assert_eq!(ticket.status, 401, "{}", ticket.body);
    let mut room = book.socket("/live/ch07/api/room/guest/websocket", &[])?;
    room.say(r#"{"name":"Ada"}"#)?;
    room.until(|text| text == r#"{"ready":true}"#)?;
    let line = br#"{"name":"Ada","text":"Hello."}"#;
    let signed = send("POST", &url("/live/ch08/books/guest"), line)?;
    assert_eq!(signed.status, 201, "{}", signed.body);
    assert_eq!(send("GET", &url("/live/ch08/app.js"), b"")?.status, 200);
    assert!(send("GET", &url("/"), b"")?.body.contains("A book you can touch"));
    let page = send("GET", &url("/ch02-a-first-object.html"), b"")?;
    assert!(page.body.contains("Last verified with"));
    for path in ["/nowhere", "/live/ch99/counters/a", "/live/ch02x/"] {
        let answer = send("GET", &url(path), b"")?;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("There is no such page"), "{path}");
    }
    book.stop();
    assert!(send("GET", &url("/"), b"").is_err(), "something still listens");
    Ok(())
}

/// The front Worker and every chapter, with what keeps its visitors apart, pack for a
/// deployment; only the front Worker can be reached from outside.
#[test]
fn all_of_it_can_be_deployed() -> Result<()> {
    let output = cargo().args(["xtask", "publish", "--dry-run"]).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("env.CH02") && text.contains("env.GATES"), "{text}");
    let chapters = ledger::chapters()?;
    assert_eq!(text.matches("--dry-run: exiting now").count(), chapters.len() + 1);
    let folder = ledger::root().join("target/publish");
    for chapter in chapters {
        let config = folder.join(&chapter.name).join("wrangler.toml");
        let config = fs::read_to_string(config)?;
        assert!(config.contains("workers_dev = false"), "{config}");
    }
    let front = fs::read_to_string(folder.join("wrangler/wrangler.toml"))?;
    assert!(!front.contains("workers_dev"), "{front}");
    for name in ["VISITOR_KEY", "WITHOUT_COOKIE", "VISITORS_AT_ONCE"] {
        assert!(!front.contains(name), "{name} is for one machine:\n{front}");
    }
    Ok(())
}

/// A mistake in the command line is one sentence and a failure.
#[test]
fn xtask_explains_a_wrong_command() -> Result<()> {
    for (words, says) in [
        (["test", "ch99"], "there is no chapter \"ch99\""),
        (["serv", "ch01"], "unrecognized subcommand 'serv'"),
        (["exercise", "two"], "there is no chapter \"two\""),
    ] {
        let output = cargo().arg("xtask").args(words).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains(says),
            "{words:?}: {text}"
        );
    }
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port().to_string();
    let output = cargo().args(["xtask", "serve", "--port", &port]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("port {port} is taken")), "{text}");
    Ok(())
}

/// An edit in `src` is built and served without a restart; an edit anywhere else is
/// not noticed.
/// proves: trap T26
/// runs: copy
#[test]
fn only_edits_in_src_are_noticed() -> Result<()> {
    let copy = Copy::of("ch01")?;
    let answer = copy.dir().join("answer.txt");
    fs::write(&answer, "first\n")?;
    copy.change("src/lib.rs", "\"OK\\n\"", "include_str!(\"../answer.txt\")")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.get("/")?.body, "first\n");

    fs::write(&answer, "second\n")?;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(dev.get("/")?.body, "first\n");

    copy.change("src/lib.rs", "//! A first Worker", "//! A first, edited Worker")?;
    let begin = Instant::now();
    while dev.get("/").map(|answer| answer.body).ok().as_deref() != Some("second\n")
    {
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "the edit is not served:\n{}",
            dev.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `strip` alone takes away what wasm-bindgen needs to know.
/// proves: trap T25
/// runs: copy
#[test]
fn strip_alone_breaks_the_build() -> Result<()> {
    let copy = Copy::of("ch01")?;
    copy.change(".cargo/config.toml", "rustflags", "# rustflags")?;
    let (good, text) =
        copy.run(npx(&copy.dir()).args(["worker-build", "--release"]))?;
    assert!(!good && text.contains("externref table required"), "{text}");
    Ok(())
}

/// With Node's timers `setTimeout` answers with an object, and `Delay` wants a
/// number.
/// proves: trap T27
/// runs: copy
#[test]
fn delay_panics_on_timers_of_node() -> Result<()> {
    let copy = Copy::of("ch01")?;
    copy.change(
        "wrangler.toml",
        "compatibility_flags = [\"no_nodejs_global_timers\"]",
        "",
    )?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.post("/later", "")?.status, 202);
    dev.expect_log("expected a number argument, found object")?;
    assert!(dev.get("/diary")?.body.contains("\"later\":null"));
    Ok(())
}

/// There is no clock in std: asking for the time is a panic, and the runtime cancels
/// the request. The next one finds a Wasm module that was started anew.
/// proves: trap T21
#[test]
fn the_clock_of_std_panics() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    assert_eq!(dev.get("/clock")?.status, 500);
    dev.expect_log("time not implemented on this platform")?;
    assert_eq!(dev.send("PURGE", "/method", b"")?.body, "PURGE is taken for GET\n");
    dev.expect_log("Reinitializing Wasm application")
}
