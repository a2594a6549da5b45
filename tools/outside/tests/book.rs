//! What concerns no single chapter: the front door, chapters that were copied out,
//! and traps of the build.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use outside::{Book, Copy, Dev, cargo, npx, send, stop_group, times, within};

/// Every chapter builds outside the repository, in a folder whose name has a space, and
/// packs for a deployment there.
#[test]
fn copied_out_chapters_can_be_deployed() -> Result<()> {
    // To pack one takes a build for a deployment, which takes half a minute.
    let packed = times(2, 99);
    for (number, chapter) in ledger::chapters()?.into_iter().enumerate() {
        let copy = Copy::of(&chapter.name)?;
        let (good, text) = if number < packed {
            let mut wrangler = npx(&copy.dir());
            wrangler.args(["wrangler", "deploy", "--dry-run", "--outdir", "dist"]);
            let (good, text) = copy.run(&mut wrangler)?;
            (good && text.contains("Total Upload"), text)
        } else {
            let target = ["--target", "wasm32-unknown-unknown"];
            copy.run(cargo().args(["build", "--lib"]).args(target))?
        };
        assert!(good, "{}:\n{text}", chapter.name);
        assert!(
            !copy.dir().join("../Cargo.toml").exists(),
            "the copy is not alone"
        );
    }
    Ok(())
}

/// `cargo xtask serve` shows the book with a chapter running behind it, answers what
/// is nobody's with the book's own 404 page, and ends all that it started on Ctrl-C.
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

/// A second `cargo xtask serve` on the same storage is refused with one sentence, and
/// the first goes on. What it writes is for its owner's eyes alone. When it is killed
/// without a word of warning, all that it has started ends with it.
#[cfg(target_os = "linux")]
#[test]
fn the_book_is_served_once_and_leaves_nothing() -> Result<()> {
    let mut book = Book::serve(&[])?;
    let own = book.state().join("serve");
    assert_eq!(fs::metadata(&own)?.permissions().mode() & 0o777, 0o700);
    let judged = fs::read_to_string(own.join("wrangler/wrangler.toml"))?;
    assert!(judged.contains("EXERCISES"), "the token is elsewhere:\n{judged}");

    // Were it not refused for the storage, it would be for the port.
    let port: u16 = book.url().rsplit(':').next().unwrap_or_default().parse()?;
    let second = cargo()
        .args(["xtask", "serve", "--port", &port.to_string(), "--persist-to"])
        .arg(book.state())
        .output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    let expected =
        format!("serves the book at {}/ already: end that one", book.url());
    assert!(!second.status.success() && said.contains(&expected), "{said}");
    let url = format!("{}/live/ch02/counters/guest", book.url());
    assert_eq!(send("POST", &url, b"5")?.body.trim(), "5");

    let started = book.started()?;
    let name = |process: &Path| fs::read_to_string(process.join("comm"));
    let runtimes = started
        .iter()
        .filter(|process| name(process).is_ok_and(|name| name.trim() == "workerd"));
    assert!(runtimes.count() > 0, "there is no workerd among {started:?}");
    book.kill()?;
    within(Duration::from_secs(5), "all of it has ended", || {
        // One that has ended has no command line, even if nobody has asked how.
        let line = |process: &Path| fs::read(process.join("cmdline"));
        Ok(started
            .iter()
            .all(|process| line(process).unwrap_or_default().is_empty()))
    })?;
    within(Duration::from_secs(5), "its port is free", || Ok(are_free(&[port])))?;
    File::open(own.join("lock"))?.try_lock()?;
    Ok(())
}

/// Beside the book, which has a port and a registry of running Workers of its own,
/// `npx wrangler dev` in a chapter is where the chapter's page says, and counts for
/// itself. The book's wrangler records no traces.
/// runs: port 8787
#[test]
fn a_chapter_runs_beside_the_book() -> Result<()> {
    const PORT: u16 = 8787;
    let free = || Ok(are_free(&[PORT, Book::PORT]));
    if let Err(error) = within(Duration::from_secs(60), "both ports are free", free)
    {
        ensure!(std::env::var_os("CI").is_none(), error);
        bail!("skipped: 8787 or 8700 is taken on this machine");
    }
    let machine = tempfile::tempdir()?;
    let registry = machine.path().to_string_lossy();
    let book = Book::serve_in_its_place(&[("WRANGLER_REGISTRY_PATH", &registry)])?;
    let own = ledger::list(&book.state().join("serve/registry"))?;
    assert!(own.iter().any(|file| file.ends_with("ch02")), "{own:?}");
    assert_eq!(ledger::list(machine.path())?, [] as [&Path; 0]);
    assert!(!book.state().join("v3/observability").exists(), "it records traces");

    let state = tempfile::tempdir()?;
    let log = state.path().join("log");
    let mut dev = npx(&ledger::root().join("chapters-code/ch02"))
        .args(["wrangler", "dev", "--show-interactive-dev-session=false"])
        .arg("--persist-to")
        .arg(state.path())
        .env("WRANGLER_REGISTRY_PATH", machine.path())
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .process_group(0)
        .spawn()?;
    let outcome = (|| {
        within(Duration::from_secs(120), "the chapter is ready", || {
            Ok(fs::read_to_string(&log)?.contains("Ready on"))
        })?;
        let said = fs::read_to_string(&log)?;
        ensure!(said.contains("Ready on http://localhost:8787\n"), "{said}");
        // As its page has it.
        let typed = ["-X", "POST", "localhost:8787/counters/kitchen", "-d", "5"];
        let curl = Command::new("curl").arg("-s").args(typed).output()?;
        ensure!(curl.stdout == b"5\n", "{curl:?}");
        let url = format!("{}/live/ch02/counters/kitchen", book.url());
        let answer = send("POST", &url, b"1")?;
        ensure!(answer.body.trim() == "1", "{answer:?}");
        Ok(())
    })();
    stop_group(&mut dev);
    outcome
}

/// Whether nobody listens at these ports of the loopback interface.
fn are_free(ports: &[u16]) -> bool {
    ports.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
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

/// A chapter's build takes the worker-build that its wrangler.toml names: another one
/// that comes first on PATH is asked for its version and for nothing else. If the right
/// one cannot be installed the build ends.
#[test]
fn a_build_takes_the_version_that_it_names() -> Result<()> {
    let copy = Copy::of("ch01")?;
    let config = fs::read_to_string(copy.dir().join("wrangler.toml"))?;
    let command = config.split("\"\"\"").nth(1).unwrap_or_default();
    let home = tempfile::tempdir()?;
    let write = |file: &str, script: &str| -> Result<()> {
        let file = home.path().join(file);
        fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
    };
    fs::create_dir_all(home.path().join(".cargo/bin"))?;
    // Each writes down how it was called. The right one takes minutes to compile, and so
    // `cargo` is not the real one.
    write("worker-build", "echo \"other $*\" >>\"$HOME/calls\"; echo 0.0.1")?;
    let right = "echo \"right $*\" >>\"$HOME/calls\"";
    let install = "echo \"cargo $*\" >>\"$HOME/calls\"; \
                   cp \"$HOME/right\" \"$HOME/.cargo/bin/worker-build\"";
    write("right", right)?;
    let path = format!("{}:/usr/bin:/bin", home.path().display());
    let build = || -> Result<(bool, String)> {
        let mut sh = Command::new("sh");
        sh.args(["-c", command]).env("WRANGLER_COMMAND", "dev");
        let (good, _) = copy.run(sh.env("HOME", home.path()).env("PATH", &path))?;
        let calls = home.path().join("calls");
        let said = fs::read_to_string(&calls)?;
        fs::remove_file(calls)?;
        Ok((good, said))
    };
    let versions = ledger::Versions::read()?;
    let version = versions.of("worker-build")?;
    let asked =
        format!("other --version\ncargo install --locked worker-build@{version}\n");
    write("cargo", "echo \"cargo $*\" >>\"$HOME/calls\"; exit 101")?;
    assert_eq!(build()?, (false, asked.clone()));
    write("cargo", install)?;
    assert_eq!(build()?, (true, asked + "right --dev\n"));
    write("worker-build", &format!("{right}; echo {version}"))?;
    assert_eq!(build()?, (true, "right --version\nright --dev\n".into()));
    Ok(())
}

/// An edit in `src` is built and served without a restart; an edit anywhere else is
/// not noticed.
/// proves: trap T26
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
