//! The book and its chapters, running.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ledger::{Chapter, GENERATED, chapters_named, root};
use notify::{EventHandler, EventKind, PollWatcher, RecursiveMode, Watcher};

use crate::build::{worker, worker_if_changed};
use crate::fences::place;
use crate::judge::Judge;
use crate::live::{self, Where};
use crate::run::npx;
use crate::setup;

/// Where the book is served, unless another port is asked for. 8787 is left to the
/// chapters: their pages name it.
pub const PORT: u16 = 8700;
/// How often files are looked at where the system does not tell of changes.
const LOOK: Duration = Duration::from_secs(1);
/// Editors write a file in several steps; wait until they are done.
const SETTLE: Duration = Duration::from_millis(80);

/// What happens while the book is served.
enum Event {
    Changed(Vec<PathBuf>),
    Stop,
}

/// `cargo xtask serve`
pub fn serve(names: &[String], port: u16, state: &Path, trace: bool) -> Result<()> {
    let begin = Instant::now();
    let chapters = chapters_named(names)?;
    let state = root().join(state);
    let folder = own_folder(&state)?;
    let _alone = alone(&folder, port)?;
    if TcpListener::bind(("127.0.0.1", port)).is_err() {
        bail!(
            "port {port} is taken: end what listens there, or add `--port {}`",
            port + 1
        );
    }
    setup::setup(setup::For::Book)?;
    setup::print_book()?;
    let front = root().join("wrangler");
    for dir in chapters.iter().map(|chapter| &chapter.dir).chain([&front]) {
        worker_if_changed(dir)?;
    }

    let (send, events) = channel();
    let stop = send.clone();
    ctrlc::set_handler(move || drop(stop.send(Event::Stop)))?;
    let mut watcher = watcher(move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event
            && matches!(
                event.kind,
                EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
            )
        {
            // The receiver is gone only when the program ends.
            let _ = send.send(Event::Changed(event.paths));
        }
    })?;
    for folder in
        ["src", "theme", "data", "book.toml", "chapters-code", "wrangler/src"]
    {
        watcher.watch(&root().join(folder), RecursiveMode::Recursive)?;
    }

    let judge = Judge::start(&chapters)?;
    let vars = [("EXERCISES", judge.url())];
    let configs = live::configs(&folder, &chapters, Where::Here, &vars)?;
    let mut wrangler = npx(&root());
    wrangler
        .args(["wrangler", "dev", "--port", &port.to_string(), "--persist-to"])
        .arg(state)
        .args(["--show-interactive-dev-session=false", "--log-level", "warn"])
        .args(configs.iter().flat_map(|config| [Path::new("--config"), config]))
        // By default it is one for the machine: the front door would find the
        // chapters of another clone, and of who works on one, behind it.
        .env("WRANGLER_REGISTRY_PATH", folder.join("registry"))
        .env("X_LOCAL_OBSERVABILITY", trace.to_string());
    let mut server = Server::start(&mut wrangler, port)?;
    println!(
        "\nThe book is at http://localhost:{port}/ after {:.0} s. Ctrl-C ends it.",
        begin.elapsed().as_secs_f64()
    );
    for chapter in &chapters {
        println!("  http://localhost:{port}/live/{}/", chapter.name);
    }
    watch(&events, &chapters, &mut server)
}

/// The folder for what a server writes beside the storage of its objects. The judge's
/// token and the chapters' secrets are in it: they are for nobody else's eyes.
fn own_folder(state: &Path) -> Result<PathBuf> {
    let folder = state.join("serve");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Holds a lock until it is dropped: two servers on one storage lose what they have
/// acknowledged. The system releases it however this program ends.
fn alone(folder: &Path, port: u16) -> Result<File> {
    let file = folder.join("lock");
    let lock = File::options().append(true).create(true).open(&file)?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => bail!(
            "{} already: end that one with Ctrl-C, or give this one a storage of its own with `--persist-to`",
            fs::read_to_string(&file)?
        ),
        // Some mounts know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let pid = std::process::id();
    let who = format!("process {pid} serves the book at http://localhost:{port}/");
    fs::write(&file, who)?;
    Ok(lock)
}

/// What tells of changed files: the system, or a look at them every second if it is
/// to be so. The variable is the one that `wrangler dev` heeds too: a mount of a VM
/// tells of nothing.
fn watcher(hear: impl EventHandler) -> Result<Box<dyn Watcher>> {
    let polls = std::env::var("CHOKIDAR_USEPOLLING")
        .is_ok_and(|polls| !["", "0", "false"].contains(&polls.as_str()));
    Ok(if polls {
        let every = notify::Config::default().with_poll_interval(LOOK);
        Box::new(PollWatcher::new(hear, every)?)
    } else {
        Box::new(notify::recommended_watcher(hear)?)
    })
}

/// Rebuilds what changes, until Ctrl-C or the end of the server.
fn watch(
    events: &Receiver<Event>,
    chapters: &[Chapter],
    server: &mut Server,
) -> Result<()> {
    loop {
        let mut paths = match events.recv_timeout(Duration::from_millis(500)) {
            Ok(Event::Changed(paths)) => paths,
            Ok(Event::Stop) => {
                println!("\nending");
                return Ok(());
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the file watcher has ended")
            }
            Err(RecvTimeoutError::Timeout) => {
                server.check()?;
                continue;
            }
        };
        while let Ok(event) = events.recv_timeout(SETTLE) {
            match event {
                Event::Changed(more) => paths.extend(more),
                Event::Stop => return Ok(()),
            }
        }
        rebuild(&paths, chapters);
    }
}

/// A mistake in a page or a crate is told, and the last good state goes on being
/// served.
fn rebuild(paths: &[PathBuf], chapters: &[Chapter]) {
    let ours = |path: &&PathBuf| {
        !path
            .components()
            .any(|part| GENERATED.iter().any(|name| part.as_os_str() == *name))
    };
    let paths: Vec<&PathBuf> = paths.iter().filter(ours).collect();
    if paths.is_empty() {
        return;
    }
    let front = root().join("wrangler");
    let mut dirs: BTreeSet<&Path> = BTreeSet::new();
    for dir in chapters
        .iter()
        .map(|chapter| chapter.dir.as_path())
        .chain([front.as_path()])
    {
        // A chapter may have crates of its own in folders beside its `src/`.
        let source = |path: &&PathBuf| {
            path.strip_prefix(dir).is_ok_and(|path| {
                path.ends_with("Cargo.toml")
                    || path.components().any(|part| part.as_os_str() == "src")
            })
        };
        if paths.iter().any(source) {
            dirs.insert(dir);
        }
    }
    for dir in dirs {
        let begin = Instant::now();
        match worker(dir, "--dev") {
            Ok(()) => println!(
                "rebuilt {} in {:.1} s",
                place(dir),
                begin.elapsed().as_secs_f64()
            ),
            Err(error) => eprintln!("{error:#}"),
        }
    }
    let begin = Instant::now();
    match setup::print_book() {
        Ok(()) => {
            println!("printed the book in {:.1} s", begin.elapsed().as_secs_f64())
        }
        Err(error) => eprintln!("{error:#}"),
    }
}

/// One `wrangler dev` for the front Worker and all chapters.
struct Server {
    child: Child,
    /// Kills the group when its input ends. The system ends that when this program is
    /// gone, however it went, and nobody is left to end the group.
    watch: Option<Child>,
}

impl Server {
    /// Starts a command in a group of its own, and waits until it listens at `port`.
    fn start(command: &mut Command, port: u16) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start npx")?;
        let group = i32::try_from(child.id())?;
        let mut server = Self { child, watch: None };
        // Nothing is ever written into its input.
        let watch = Command::new("sh")
            .args(["-c", "cat && kill -9 0"])
            .stdin(Stdio::piped())
            .process_group(group)
            .spawn();
        server.watch = Some(watch.context("cannot start sh")?);
        let begin = Instant::now();
        while outside::send("GET", &format!("http://localhost:{port}/"), b"")
            .is_err()
        {
            server.check()?;
            ensure!(
                begin.elapsed() < Duration::from_secs(60),
                "the server does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("wrangler dev has ended ({status})");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        outside::stop_group(&mut self.child);
        if let Some(watch) = &mut self.watch {
            // It was in that group.
            let _ = watch.wait();
        }
    }
}
