//! A project on a mount, as a VM sees a folder of its host: what works there, what does
//! not, and what `.mp.local.sh` mends. The mounts are real ones, by sshfs from a real ssh
//! server; the host and the VM are one machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice::from_ref;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use outside::{Copy, Dev, Mount, is_mounted};
use tempfile::TempDir;

/// How long an edit may take until its outcome is served.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);
/// A mount that remembers for three seconds what it has seen, as one of Multipass does;
/// sshfs left alone takes twenty.
const THREE_SECONDS: &[&str] = &["dcache_timeout=3"];
/// For how long nothing must happen, which is longer than that.
const NOTHING: Duration = Duration::from_secs(10);
/// A mount on which nobody can share memory, as SQLite wants to.
const NO_SHARED_MEMORY: &[&str] = &["direct_io"];
/// What `.mp.local.sh` prints for the shell.
const EXPORT: &str = "export CHOKIDAR_USEPOLLING=1\n";

/// A chapter on a host, its mount in a VM, and a folder on the VM's own disk.
struct Vm {
    mount: Mount,
    _home: TempDir,
    disk: TempDir,
    host: Copy,
}

impl Vm {
    /// Mounts a copy of ch08, with more options for sshfs.
    fn start(options: &[&str]) -> Result<Self> {
        let host = Copy::of("ch08")?;
        fs::copy(script(), host.dir().join(".mp.local.sh"))?;
        let home = tempfile::tempdir()?;
        symlink(
            ledger::root().join("node_modules"),
            home.path().join("node_modules"),
        )?;
        let mount = Mount::new(&host.dir(), &home.path().join("my book"), options)?;
        Ok(Self { mount, _home: home, disk: tempfile::tempdir()?, host })
    }

    /// The project, as the VM sees it.
    fn project(&self) -> &Path {
        self.mount.point()
    }

    /// The same project, as the host sees it.
    fn on_host(&self) -> PathBuf {
        self.host.dir()
    }

    /// A folder on the VM's disk.
    fn disk(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn run_script(&self, arguments: &[&str]) -> Result<Said> {
        local(self.project(), &self.disk("mp-local"), arguments)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Before the mount below them goes. A failure is not this test's concern.
        let _ = self.run_script(&["--undo"]);
    }
}

fn script() -> PathBuf {
    ledger::root().join(".mp.local.sh")
}

/// What a run of `.mp.local.sh` has said.
#[derive(Debug, PartialEq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the `.mp.local.sh` that is in a folder, from elsewhere.
fn local(project: &Path, disk: &Path, arguments: &[&str]) -> Result<Said> {
    run(local_command(project, disk).args(arguments))
}

fn local_command(project: &Path, disk: &Path) -> Command {
    let mut command = Command::new(project.join(".mp.local.sh"));
    command.current_dir("/").env("MP_LOCAL", disk);
    command
}

fn run(command: &mut Command) -> Result<Said> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// Starts `npx wrangler dev` with its state in a folder, or wherever wrangler puts it.
fn start(dir: &Path, envs: &[(&str, String)], state: Option<&Path>) -> Result<Dev> {
    let mut dev = Dev::prepare(dir, envs)?;
    dev.persist_to(state);
    dev.up()?;
    Ok(dev)
}

/// Signs the village's book.
fn sign(dev: &Dev, name: &str) -> Result<()> {
    let line = serde_json::json!({ "name": name, "text": "Lovely cellar." });
    let answer = dev.post("/books/village", &line.to_string())?;
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
    Ok(())
}

/// Who has signed the village's book.
fn names(dev: &Dev) -> Result<Vec<String>> {
    let body = dev.get("/books/village")?.body;
    let lines: serde_json::Value = serde_json::from_str(&body)?;
    let names = lines.as_array().context("no array")?.iter();
    Ok(names.filter_map(|line| Some(line["name"].as_str()?.to_owned())).collect())
}

/// Waits until `/help` begins with a word, and says how long that took.
fn expect_help(dev: &Dev, word: &str) -> Result<Duration> {
    let begin = Instant::now();
    while !dev.get("/help").is_ok_and(|help| help.body.starts_with(word)) {
        ensure!(
            begin.elapsed() < NOTICE_LIMIT,
            "no {word:?} in /help:\n{}",
            dev.log()
        );
        sleep(Duration::from_millis(50));
    }
    Ok(begin.elapsed())
}

/// Build output that is shared between tests, off every mount.
fn copies() -> PathBuf {
    ledger::root().join("target/copies")
}

/// Has the build output lie there.
fn to_copies() -> (&'static str, String) {
    ("CARGO_TARGET_DIR", copies().display().to_string())
}

/// Everything in a folder, and what is in each file; a folder has nothing in it.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in ledger::list(&next)? {
            let name = path.strip_prefix(folder)?.to_owned();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
                found.insert(name, String::new());
            } else {
                let file = fs::read(&path).unwrap_or_default();
                found.insert(name, String::from_utf8_lossy(&file).into_owned());
            }
        }
    }
    // The copy has the lock file of the whole book, out of which cargo strikes what the
    // chapter does not use.
    found.remove(Path::new("Cargo.lock"));
    Ok(found)
}

/// How many files in a folder, however deep, have a name that ends as given.
fn files(folder: &Path, end: &str) -> Result<usize> {
    let all = contents(folder)?;
    Ok(all.keys().filter(|path| path.to_string_lossy().ends_with(end)).count())
}

/// The state of an object cannot lie on a mount that refuses to share memory: the server
/// does not even start. The same project on a mount that does share it starts, so nothing
/// else is to blame.
/// proves: trap T69
#[test]
#[ignore = "wants sshfs"]
fn a_mount_without_shared_memory_takes_no_state() -> Result<()> {
    let vm = Vm::start(NO_SHARED_MEMORY)?;
    let Err(error) = start(vm.project(), &[to_copies()], None) else {
        bail!("it started");
    };
    let error = format!("{error:#}");
    for line in [
        "disk I/O error: SQLITE_IOERR (extended: SQLITE_IOERR_SHMMAP)",
        "The Workers runtime failed to start.",
    ] {
        assert!(error.contains(line), "no {line:?} in:\n{error}");
    }

    let vm = Vm::start(&[])?;
    let dev = start(vm.project(), &[to_copies()], None)?;
    sign(&dev, "Ada")?;
    assert_eq!(names(&dev)?, ["Ada"]);
    assert!(files(&vm.on_host().join(".wrangler/state"), ".sqlite")? > 0);
    Ok(())
}

/// The cure by hand: with `--persist-to` and `CARGO_TARGET_DIR` on the VM's disk the
/// project itself may lie on such a mount, and neither state nor build output goes there.
#[test]
#[ignore = "wants sshfs"]
fn state_and_build_output_lie_where_they_are_told() -> Result<()> {
    let vm = Vm::start(NO_SHARED_MEMORY)?;
    let (copies, state) = (copies(), vm.disk("state"));
    let begin = SystemTime::now();
    let mut dev = start(vm.project(), &[to_copies()], Some(&state))?;
    sign(&dev, "Ada")?;
    assert_eq!(names(&dev)?, ["Ada"]);
    dev.kill();

    assert!(files(&state.join("v3/do/ch08-GuestBook"), ".sqlite")? > 0);
    let built = copies.join("wasm32-unknown-unknown/debug/ch08.wasm");
    assert!(
        fs::metadata(&built)?.modified()? >= begin,
        "{} is old",
        built.display()
    );
    let host = vm.on_host();
    assert_eq!(files(&host, ".sqlite")?, 0, "there is state on the mount");
    assert!(!host.join("target").exists(), "there is build output on the mount");
    Ok(())
}

/// With `.mp.local.sh` a plain `npx wrangler dev` works on such a mount. What was signed
/// is there after a `kill -9`, after the VM has forgotten its mounts, and nothing is
/// written to the host but empty folders, which `--undo` takes away.
#[test]
#[ignore = "wants sshfs"]
fn a_bound_folder_keeps_state_off_the_mount() -> Result<()> {
    let vm = Vm::start(NO_SHARED_MEMORY)?;
    let before = contents(&vm.on_host())?;
    // Not to compile everything once more, the folder on the disk is one that is shared.
    let own = vm.disk("mp-local").join(vm.project().strip_prefix("/")?);
    fs::create_dir_all(&own)?;
    symlink(copies(), own.join("target"))?;

    let said = vm.run_script(&[])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), EXPORT), "{}", said.err);
    assert_eq!(said.err.lines().count(), 4, "{}", said.err);

    // As a reader does it: the folder, the shell, and no option for wrangler.
    let plain = || start(vm.project(), &[], None);
    let mut dev = plain()?;
    sign(&dev, "Ada")?;
    dev.kill();
    let mut dev = plain()?;
    assert_eq!(names(&dev)?, ["Ada"], "a line was lost with the server");
    sign(&dev, "Bob")?;

    // While one is in use all stay bound.
    let said = vm.run_script(&["--undo"])?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    assert!(said.err.contains("is in use: end what runs there"), "{}", said.err);
    assert_eq!(mounts_below(vm.project())?, 4, "{}", said.err);
    dev.down();

    // The mounts go with the VM, what is in the folders does not.
    let said = vm.run_script(&["--undo"])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);
    assert_eq!(contents(&vm.on_host())?, before, "something was left on the host");
    assert_eq!(vm.run_script(&[])?.code, Some(0));
    let mut dev = plain()?;
    assert_eq!(names(&dev)?, ["Ada", "Bob"], "lines were lost with the mounts");
    dev.down();

    let mut expected = before;
    for folder in [".wrangler", "build", "node_modules", "target"] {
        expected.insert(folder.into(), String::new());
    }
    assert_eq!(
        contents(&vm.on_host())?,
        expected,
        "the host got more than folders"
    );
    Ok(())
}

/// An edit on the host's side is not noticed by a `wrangler dev` on the mount, though one
/// on the VM's side is. With `CHOKIDAR_USEPOLLING=1` both are.
/// proves: trap T70
/// runs: waits
#[test]
#[ignore = "wants sshfs"]
fn an_edit_on_the_host_is_not_noticed_without_polling() -> Result<()> {
    let vm = Vm::start(THREE_SECONDS)?;
    let (target, state) = (to_copies(), vm.disk("state"));
    let edit = |project: &Path, from: &str, to: &str| -> Result<()> {
        let file = project.join("src/lib.rs");
        let code = fs::read_to_string(&file)?;
        let (from, to) =
            (format!("&str = \"{from}\\\n"), format!("&str = \"{to}\\\n"));
        ensure!(code.contains(&from), "no {from:?}");
        Ok(fs::write(&file, code.replace(&from, &to))?)
    };

    let mut dev = start(vm.project(), from_ref(&target), Some(&state))?;
    edit(&vm.on_host(), "", "edited on the host ")?;
    sleep(NOTHING);
    assert!(dev.get("/help")?.body.starts_with("GET"), "{}", dev.log());
    assert!(!dev.log().contains("changed"), "{}", dev.log());
    edit(vm.project(), "edited on the host ", "edited in the VM ")?;
    let took = expect_help(&dev, "edited in the VM")?;
    println!("without polling: an edit in the VM is served after {took:.1?}");
    dev.down();

    let polling = ("CHOKIDAR_USEPOLLING", "1".to_owned());
    let dev = start(vm.project(), &[target, polling], Some(&state))?;
    let mut last = "edited in the VM ".to_owned();
    for round in 1..=3 {
        let next = format!("edited again {round} ");
        edit(&vm.on_host(), &last, &next)?;
        let took = expect_help(&dev, next.trim())?;
        println!("with polling: an edit on the host is served after {took:.1?}");
        last = next;
    }
    Ok(())
}

/// Of a whole book, and whatever its folder is called, exactly those folders are bound
/// that must be local: once, however often it is asked for.
#[test]
#[ignore = "wants sshfs"]
fn the_folders_of_a_book_are_bound_once() -> Result<()> {
    let (host, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "xtask/Cargo.toml",
        "wrangler/wrangler.toml",
        "chapters-code/ch 01/wrangler.toml",
        "chapters-code/ch 01/Cargo.toml",
        "chapters-code/alone/wrangler.toml",
        "chapters-code/alone/Cargo.lock",
        "chapters-code/alone/package.json",
        "chapters-code/no-worker/Cargo.toml",
        "node_modules/another/wrangler.toml",
        "target/package/wrangler.toml",
    ] {
        let file = host.path().join(file);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(file, "host")?;
    }
    symlink("../elsewhere", host.path().join(".tools"))?;
    fs::copy(script(), host.path().join(".mp.local.sh"))?;
    let mount =
        Mount::new(host.path(), &home.path().join("Ada's \\ \"book\""), &[])?;
    let (project, disk) = (mount.point(), home.path().join("own disk"));
    let before = contents(host.path())?;

    let expected = [
        "chapters-code/alone/.wrangler",
        "chapters-code/alone/build",
        "chapters-code/alone/node_modules",
        "chapters-code/alone/target",
        "chapters-code/ch 01/.wrangler",
        "chapters-code/ch 01/build",
        "node_modules",
        "target",
        "wrangler/.wrangler",
        "wrangler/build",
    ];
    // Whether each that is expected is bound, from the very folder on the disk.
    let bound = || -> Result<bool> {
        for folder in &expected {
            let folder = project.join(folder);
            let own = disk.join(folder.strip_prefix("/")?);
            if !folder.is_dir() || !is_mounted(&folder)? {
                return Ok(false);
            }
            fs::write(folder.join("seen"), "")?;
            ensure!(own.join("seen").exists(), "{} has it not", own.display());
        }
        Ok(true)
    };

    let first = local(project, &disk, &[])?;
    assert_eq!((first.code, first.out.as_str()), (Some(0), EXPORT), "{first:?}");
    assert!(bound()?, "{first:?}");
    assert_eq!(mounts_below(project)?, expected.len(), "{first:?}");
    assert!(first.err.contains(".tools is a link: left as it is"), "{first:?}");
    // What the host has in them is hidden: it is for another system.
    assert!(!project.join("node_modules/another").exists());

    let again = local(project, &disk, &[])?;
    assert_eq!((again.code, again.out.as_str()), (Some(0), EXPORT), "{again:?}");
    assert!(again.err.contains("10 folders were on the VM's disk already"));
    assert_eq!(mounts_below(project)?, expected.len(), "bound twice: {again:?}");

    let undone = local(project, &disk, &["--undo"])?;
    assert_eq!((undone.code, undone.out.as_str()), (Some(0), ""), "{undone:?}");
    assert_eq!(mounts_below(project)?, 0, "{undone:?}");
    assert_eq!(contents(host.path())?, before, "the host's folder is another");
    assert!(project.join("node_modules/another").exists());

    // Two shells at the same moment, in two kinds of shell, may bind a folder twice;
    // it is taken back just the same.
    let shells = ["sh", "bash --posix", "busybox sh"].iter().filter_map(|shell| {
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next()?);
        command
            .args(words)
            .arg(project.join(".mp.local.sh"))
            .env("MP_LOCAL", &disk)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Not every machine has each of them.
        command.spawn().ok()
    });
    let mut running: Vec<Child> = shells.collect();
    ensure!(running.len() >= 2, "only {} shells", running.len());
    for shell in &mut running {
        ensure!(shell.wait()?.success(), "a shell failed");
    }
    assert!(bound()?);
    let undone = local(project, &disk, &["--undo"])?;
    assert_eq!((undone.code, mounts_below(project)?), (Some(0), 0), "{undone:?}");
    Ok(())
}

/// How many folders below one are mounts of their own.
fn mounts_below(folder: &Path) -> Result<usize> {
    let folder = folder.canonicalize()?.display().to_string();
    // As the table writes it.
    let folder = folder.replace('\\', "\\134").replace(' ', "\\040") + "/";
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(points.filter(|point| point.starts_with(&folder)).count())
}

/// Off a mount it does nothing, in so many words; where it cannot help it says so, and
/// does not pretend.
#[test]
#[ignore = "wants sshfs"]
fn what_cannot_be_bound_is_told() -> Result<()> {
    // On a disk.
    let (host, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
    fs::copy(script(), host.path().join(".mp.local.sh"))?;
    fs::write(host.path().join("wrangler.toml"), "")?;
    let before = contents(host.path())?;
    let disk = home.path().join("disk");
    let said = local(host.path(), &disk, &[])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.err.ends_with(": nothing to do\n"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    assert_eq!(contents(host.path())?, before);
    assert!(!disk.exists());

    // On the layers of a container, which are on its own disk.
    let layers = home.path().join("layers");
    let mount = Mount::new(host.path(), &layers, &["subtype=fuse-overlayfs"])?;
    let said = local(mount.point(), &disk, &[])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.err.contains("(fuse.fuse-overlayfs): nothing to do"), "{said:?}");
    drop(mount);

    // The folders would be on the mount again.
    let mount = Mount::new(host.path(), &home.path().join("project"), &[])?;
    let project = mount.point();
    let said = local(project, &project.join("mine"), &[])?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("is on a mount itself (fuse.sshfs)"), "{said:?}");
    fs::remove_dir(host.path().join("mine"))?;

    // Who may not mount, as in many a container, still gets what polling mends.
    let programs = home.path().join("programs");
    fs::create_dir(&programs)?;
    symlink("/bin/false", programs.join("mount"))?;
    symlink("/bin/false", programs.join("sudo"))?;
    let path = std::env::var("PATH")?;
    let said = run(local_command(project, &disk)
        .env("PATH", format!("{}:{path}", programs.display())))?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), EXPORT), "{said:?}");
    assert!(
        said.err.contains("target could not be bound: it stays on the mount"),
        "{said:?}"
    );
    assert_eq!(mounts_below(project)?, 0);

    // What it does not know.
    let said = local(project, &disk, &["--all"])?;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.starts_with("usage: "), "{said:?}");
    let said = local(project, &disk, &["--help"])?;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.starts_with("usage: "), "{said:?}");
    Ok(())
}
