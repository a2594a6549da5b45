//! The texts of appendix D that compiler, worker-build and wrangler say. The headings
//! there are these texts, letter for letter: when a tool puts it differently, the
//! test fails, and the page gets better.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Copy, Dev, free_port, kill_group, npx};

/// How long a tool may take until it says what is expected of it.
const LIMIT: Duration = Duration::from_secs(180);
/// Where nobody is: port 9 is for throwing things away, and hardly ever open.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A chapter in which one text has been replaced.
fn changed(chapter: &str, file: &str, from: &str, to: &str) -> Result<Copy> {
    let copy = Copy::of(chapter)?;
    copy.change(file, from, to)?;
    Ok(copy)
}

/// Runs a program until it has said all of it, or ends; it is ended then.
fn expect_of(command: &mut Command, texts: &[&str]) -> Result<String> {
    let log = tempfile::NamedTempFile::new()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.as_file().try_clone()?)
        .stderr(log.as_file().try_clone()?)
        .process_group(0)
        .spawn()?;
    let begin = Instant::now();
    let said = loop {
        let over = child.try_wait()?.is_some() || begin.elapsed() > LIMIT;
        let said = String::from_utf8_lossy(&fs::read(log.path())?).into_owned();
        if over || texts.iter().all(|text| said.contains(text)) {
            break said;
        }
        sleep(Duration::from_millis(50));
    };
    kill_group(&mut child);
    for text in texts {
        ensure!(said.contains(text), "no {text:?} in:\n{said}");
    }
    Ok(said)
}

/// `npx wrangler dev` in a copy, as its reader types it.
fn wrangler_dev(copy: &Copy, options: &[&str]) -> Command {
    let mut wrangler = npx(&copy.dir());
    wrangler.args(["wrangler", "dev"]).args(options).envs(copy.envs());
    wrangler
}

/// Mistakes of the first day are told by the compiler or by worker-build.
#[test]
fn mistakes_that_do_not_compile() -> Result<()> {
    let lib = "src/lib.rs";
    let object = "impl DurableObject for Counter";
    let id = "let id = self.state.id();";
    for (file, from, to, text) in [
        (
            lib,
            "self.count.set(count);",
            "self.count = Cell::new(count);",
            "cannot assign to `self.count`, which is behind a `&` reference",
        ),
        (
            lib,
            "async fn fetch(&self",
            "async fn fetch(&mut self",
            "method `fetch` has an incompatible type for trait",
        ),
        (
            lib,
            "event, wasm_bindgen,",
            "event,",
            "cannot find module or crate `wasm_bindgen` in this scope",
        ),
        (
            lib,
            object,
            &format!("#[durable_object]\n{object}"),
            "The #[durable_object] macro is no longer required for `impl` blocks, and can be removed",
        ),
        (
            lib,
            "#[durable_object(fetch)]",
            "#[durable_object(fetch, alarm)]",
            "error: unexpected token",
        ),
        (
            lib,
            id,
            "let id = self.state.clone().id();",
            "no method named `clone` found for struct `State`",
        ),
        (
            lib,
            id,
            "let id = self.state.id(); self.state.abort();",
            "no method named `abort` found for struct `State`",
        ),
        (
            lib,
            id,
            "let id = self.state.id();
             let storage = self.state.storage();
             let _ = storage.transaction(|_| async { self.count.set(1); Ok(()) });",
            "borrowed data escapes outside of method",
        ),
        (
            "Cargo.toml",
            "crate-type = [\"cdylib\"]",
            "",
            "crate-type must be cdylib to compile to wasm32-unknown-unknown",
        ),
    ] {
        let copy = changed("ch02", file, from, to)?;
        let (good, said) =
            copy.run(npx(&copy.dir()).args(["worker-build", "--dev"]))?;
        ensure!(!good && said.contains(text), "no {text:?} in:\n{said}");
    }
    Ok(())
}

/// A `put` that is not awaited is no error, but the compiler has a word about it.
#[test]
fn a_future_that_nobody_awaits_is_a_warning() -> Result<()> {
    let write =
        "self.count.set(count);\nself.state.storage().put(\"count\", count);";
    let copy = changed("ch02", "src/lib.rs", "self.count.set(count);", write)?;
    let (good, said) =
        copy.run(npx(&copy.dir()).args(["worker-build", "--dev"]))?;
    assert!(
        good && said
            .contains("futures do nothing unless you `.await` or poll them"),
        "{said}"
    );
    Ok(())
}

/// Without the target nothing compiles. (This one can be installed nowhere, so it is
/// missing on every machine.)
#[test]
fn a_target_that_is_not_installed() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let (good, said) = copy.run(Command::new("cargo").args([
        "build",
        "--target",
        "wasm64-unknown-unknown",
    ]))?;
    assert!(!good && said.contains("can't find crate for `core`"), "{said}");
    assert!(said.contains("target may not be installed"), "{said}");
    Ok(())
}

/// Where GitHub cannot be reached, worker-build does not get its tools.
#[test]
fn worker_build_without_a_network() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let cache = tempfile::tempdir()?;
    let tools = ledger::root().join(".tools/bin");
    let path = std::env::var("PATH")?;
    let mut build = Command::new("worker-build");
    build
        .arg("--dev")
        .current_dir(copy.dir())
        .envs(copy.envs())
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("XDG_CACHE_HOME", cache.path())
        .env("HTTPS_PROXY", NOWHERE)
        .env_remove("WASM_BINDGEN_BIN");
    expect_of(&mut build, &["Failed to download Wasm Bindgen"])?;
    Ok(())
}

/// wrangler tells what it misses, and ends.
#[test]
fn wrangler_does_not_start() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let elsewhere = copy.dir().with_file_name("elsewhere");
    fs::create_dir(&elsewhere)?;
    expect_of(
        npx(&elsewhere).args(["wrangler", "dev"]),
        &["Missing entry-point to Worker script or to assets directory"],
    )?;

    // An old Node.js, as far as wrangler can tell.
    let old = copy.dir().with_file_name("old.cjs");
    let version =
        "Object.defineProperty(process.versions, 'node', { value: '20.0.0' });";
    fs::write(&old, version)?;
    expect_of(
        wrangler_dev(&copy, &[]).env("NODE_OPTIONS", "--require ../old.cjs"),
        &["Wrangler requires at least Node.js"],
    )?;

    copy.change(
        "wrangler.toml",
        "class_name = \"Counter\"",
        "class_name = \"Tally\"",
    )?;
    expect_of(
        &mut wrangler_dev(&copy, &["--port", &free_port()?.to_string()]),
        &[
            "Your Worker depends on the following Durable Objects, which are not exported in your entrypoint file",
        ],
    )?;
    Ok(())
}

/// A port that was asked for must be free; if none was asked for, wrangler takes
/// another one.
/// runs: port 8787
#[test]
fn ports_that_are_taken() -> Result<()> {
    // If somebody else has them, so much the better.
    let _taken = [8787, 9229].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let copy = Copy::of("ch02")?;
    expect_of(
        &mut wrangler_dev(&copy, &["--port", "8787"]),
        &["Address already in use (localhost:8787)"],
    )?;
    let said =
        expect_of(&mut wrangler_dev(&copy, &[]), &["Ready on http://localhost:"])?;
    assert!(!said.contains("Ready on http://localhost:8787\n"), "{said}");

    let debugger = TcpListener::bind(("127.0.0.1", 0))?;
    let debugger = debugger.local_addr()?.port().to_string();
    expect_of(
        &mut wrangler_dev(
            &copy,
            &["--port", &free_port()?.to_string(), "--inspector-port", &debugger],
        ),
        &["Address already in use (socket \"direct:1:default\")"],
    )?;
    Ok(())
}

/// Modules that npm has installed for another system, say for the Mac that shares the
/// folder with a VM, bring a workerd that does not run here.
#[test]
fn modules_of_another_platform() -> Result<()> {
    let modules = tempfile::tempdir()?;
    let folder = |name: &str| modules.path().join("node_modules").join(name);
    fs::create_dir_all(folder("workerd/lib"))?;
    for file in ["workerd/package.json", "workerd/lib/main.js"] {
        fs::copy(ledger::root().join("node_modules").join(file), folder(file))?;
    }
    let here = (std::env::consts::OS, std::env::consts::ARCH);
    let other = match here {
        ("macos", "aarch64") => "@cloudflare/workerd-linux-64",
        _ => "@cloudflare/workerd-darwin-arm64",
    };
    fs::create_dir_all(folder(other))?;
    let mut node = npx(&ledger::root());
    node.args(["node", "-e", "require(process.argv[1])"])
        .arg(folder("workerd/lib/main.js"));
    let text = "You installed workerd on another platform than the one you're currently using.";
    expect_of(&mut node, &[text, other])?;
    Ok(())
}

/// `npx wrangler dev` listens to its own machine only; `--ip` says otherwise.
#[cfg(target_os = "linux")]
#[test]
fn a_server_is_not_heard_outside() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    let outside = ("127.0.0.2", dev.port());
    let refused = std::net::TcpStream::connect(outside).err();
    let refused = refused.context("the server listens there too")?.to_string();
    assert!(refused.contains("Connection refused"), "{refused}");
    drop(dev);

    let port = free_port()?.to_string();
    let inspector = free_port()?.to_string();
    expect_of(
        &mut wrangler_dev(
            &copy,
            &["--ip", "127.0.0.2", "--port", &port, "--inspector-port", &inspector],
        ),
        &["Ready on http://127.0.0.2:"],
    )?;
    Ok(())
}

/// A name that is in the code and not in `wrangler.toml` is a 500 with its reason in
/// the log. Without a network, the place of the caller is made up.
#[test]
fn a_binding_of_another_name() -> Result<()> {
    let copy = changed(
        "ch02",
        "wrangler.toml",
        "name = \"COUNTER\"",
        "name = \"COUNTERS\"",
    )?;
    let mut envs = copy.envs();
    envs.push(("HTTPS_PROXY", NOWHERE.to_owned()));
    let dev = Dev::start_in(&copy.dir(), &envs)?;
    assert_eq!(dev.get("/counters/kitchen")?.status, 500);
    dev.expect_log("Binding `COUNTER` is undefined.")?;
    dev.expect_log("Unable to fetch the `Request.cf` object!")
}

/// A class that was announced without SQLite has none; one that was not announced at
/// all neither.
#[test]
fn a_class_without_sqlite() -> Result<()> {
    let text = "SQL is not enabled for this Durable Object class.";
    let copy =
        changed("ch04", "wrangler.toml", "new_sqlite_classes", "new_classes")?;
    let mut dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.get("/seats?flightId=VL42")?.status, 500);
    dev.expect_log(text)?;

    copy.change("wrangler.toml", "new_classes", "# new_classes")?;
    copy.change("wrangler.toml", "tag =", "# tag =")?;
    copy.change("wrangler.toml", "[[migrations]]", "")?;
    dev.up()?;
    dev.expect_log("no live `exports` entry for them")?;
    assert_eq!(dev.get("/seats?flightId=VL42")?.status, 500);
    dev.expect_log(text)
}

/// A borrow that is held over an await is a panic of the next request, which gets no
/// answer; and so the log reads.
#[test]
fn a_borrow_over_an_await() -> Result<()> {
    let copy = changed(
        "ch02",
        "src/lib.rs",
        "let line = match",
        "let held = self.last_city.borrow_mut();
         worker::Delay::from(std::time::Duration::from_millis(500)).await;
         drop(held);
         let line = match",
    )?;
    copy.change("src/lib.rs", "#![deny(clippy::await_holding_refcell_ref)]", "")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| impatient(&dev, "/last-city"));
        }
    });
    dev.expect_log("RefCell already borrowed")?;
    dev.expect_log("Rust panic: panicked at")?;
    dev.expect_log("RuntimeError: unreachable")?;
    dev.get("/last-city")?;
    dev.expect_log("Reinitializing Wasm application")
}

/// Built as for a deployment, the log says less: what JavaScript has thrown is not
/// in it.
#[test]
fn what_tears_through_wasm_in_a_release() -> Result<()> {
    let copy = changed(
        "ch02",
        "src/lib.rs",
        "let id = self.state.id();",
        "let id = self.state.id();
         self.state.storage().sql().exec(\"SELECT 1 WHERE 0\", None)?.one::<u8>()?;",
    )?;
    copy.change("wrangler.toml", "worker-build --dev", "worker-build --release")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert!(!impatient(&dev, "/counters/kitchen/about"), "there is an answer");
    dev.expect_log("Uncaught Error: Critical error")
}

/// A Worker that will never answer is found out by the runtime.
#[test]
fn a_request_that_hangs() -> Result<()> {
    let dev = Dev::wrangler(&ledger::root().join("traps"), &[])?;
    let answer = dev.get("/clock")?;
    let text = "The Workers runtime canceled this request because it detected that your Worker's code had hung and would never generate a response.";
    assert!(answer.status == 500 && answer.body.contains(text), "{}", answer.body);
    Ok(())
}

/// While the last edit does not compile there are no answers; the next good one is
/// served.
#[test]
fn an_edit_that_does_not_compile() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    copy.change("src/lib.rs", "use rules::", "use rulez::")?;
    let text = "failed. There are likely more logs from your build command above.";
    dev.expect_log(text)?;
    assert!(!impatient(&dev, "/counters/kitchen"), "there is an answer");
    copy.change("src/lib.rs", "use rulez::", "use rules::")?;
    copy.change("src/lib.rs", "the count\n", "the whole count\n")?;
    let begin = Instant::now();
    while !dev.get("/").is_ok_and(|help| help.body.contains("the whole count\n")) {
        ensure!(begin.elapsed() < LIMIT, "the edit is not served:\n{}", dev.log());
    }
    Ok(())
}

/// On this machine data belongs to a Worker and a class, by their names: under
/// another name there is none, whatever the migrations say. Nothing is deleted.
#[test]
fn another_name_has_other_data() -> Result<()> {
    let copy = Copy::of("ch03")?;
    let mut dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    let count = |dev: &Dev| -> Result<String> {
        let line = dev.get("/?name=A")?.body;
        let (_, count) = line.rsplit_once(' ').context("no count")?;
        Ok(count.to_owned())
    };
    dev.get("/increment?name=A")?;
    assert_eq!(count(&dev)?, "1");

    copy.change("wrangler.toml", "name = \"ch03\"", "name = \"renamed\"")?;
    dev.up()?;
    assert_eq!(count(&dev)?, "0", "another Worker");

    copy.change("wrangler.toml", "name = \"renamed\"", "name = \"ch03\"")?;
    dev.up()?;
    assert_eq!(count(&dev)?, "1", "the first one again");

    copy.change("src/counter.rs", "Counter", "Tally")?;
    copy.change(
        "wrangler.toml",
        "class_name = \"Counter\"",
        "class_name = \"Tally\"",
    )?;
    let migration = "[[migrations]]
tag = \"v2\"
renamed_classes = [{ from = \"Counter\", to = \"Tally\" }]
";
    let toml = copy.dir().join("wrangler.toml");
    fs::write(&toml, fs::read_to_string(&toml)? + migration)?;
    dev.up()?;
    assert_eq!(count(&dev)?, "0", "another class");
    Ok(())
}

/// Without a token and without a terminal, whatever needs Cloudflare ends at once.
#[test]
fn wrangler_is_not_logged_in() -> Result<()> {
    let copy = Copy::of("ch02")?;
    let home = tempfile::tempdir()?;
    let mut wrangler = npx(&copy.dir());
    wrangler
        .args(["wrangler", "deployments", "list"])
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path());
    for name in ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY", "CLOUDFLARE_EMAIL"] {
        wrangler.env_remove(name);
    }
    expect_of(
        &mut wrangler,
        &[
            "In a non-interactive environment, it's necessary to set a CLOUDFLARE_API_TOKEN environment variable for wrangler to work.",
        ],
    )?;
    Ok(())
}

/// Asks, waits for three seconds and no longer, and says whether there was an answer.
fn impatient(dev: &Dev, path: &str) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        .http_status_as_error(false)
        .build()
        .into();
    agent.get(format!("{}{path}", dev.url())).call().is_ok()
}
