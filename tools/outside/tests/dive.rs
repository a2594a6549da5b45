//! `.mp.dive.sh` with a real ssh server, a real ssh, real tunnels and a real
//! `npx wrangler dev` at the end of one. Only `multipass` is a stand-in; its first
//! comment says what it cannot show.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Sshd, free_port, kill_group, send};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a dive may take that only opens a shell.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a lost connection may go unnoticed: 3 questions, 5 seconds each, and a bit.
const LOST_WITHIN: Duration = Duration::from_secs(22);
/// A name that a shell, JSON and ssh each want quoted in a way of their own.
const PROJECT: &str = r#"it's my "own" 100% pro\ject é"#;

/// A host with a project, and a `multipass` that knows one VM.
struct Host {
    folder: TempDir,
    server: Sshd,
}

impl Host {
    /// The VM `durable-objects` runs, and has the project mounted.
    fn new() -> Result<Self> {
        Self::at("127.0.0.2")
    }

    fn at(address: &str) -> Result<Self> {
        let host =
            Self { folder: tempfile::tempdir()?, server: Sshd::start(address)? };
        for folder in ["bin", "tmp", "vm", "stand-in"] {
            fs::create_dir(host.path(folder))?;
        }
        let root = ledger::root();
        symlink(
            root.join("tools/outside/tests/multipass/multipass"),
            host.path("bin/multipass"),
        )?;
        fs::create_dir(host.project())?;
        for file in [".mp.dive.sh", ".mp.cloud-init.yaml"] {
            fs::copy(root.join(file), host.project().join(file))?;
        }
        symlink(host.project(), host.path("vm/project"))?;
        host.vm("durable-objects", "Running")?;
        Ok(host)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn project(&self) -> PathBuf {
        self.path(PROJECT)
    }

    /// Makes a VM that this ssh server plays.
    fn vm(&self, name: &str, state: &str) -> Result<()> {
        let project = [(self.path("vm/project"), self.project())];
        self.info(
            &format!("{name}/1.json"),
            name,
            state,
            &[self.server.address(), "172.17.0.1"],
            &project,
        )?;
        let vm = self.path("stand-in").join(name);
        symlink(self.server.host_key(), vm.join("host_key.pub"))?;
        fs::create_dir_all(vm.join("home/.ssh"))?;
        symlink(
            self.server.authorized_keys(),
            vm.join("home/.ssh/authorized_keys"),
        )?;
        Ok(())
    }

    /// Writes what `multipass info` is to say.
    fn info(
        &self,
        file: &str,
        name: &str,
        state: &str,
        addresses: &[&str],
        mounts: &[(PathBuf, PathBuf)],
    ) -> Result<()> {
        let list = |texts: Vec<String>| texts.join(",\n                ");
        let addresses = addresses.iter().map(|address| format!("\"{address}\""));
        let mounts = mounts.iter().map(|(target, source)| {
            format!(
                "{}: {{\"gid_mappings\": [\"1000:default\"], \"source_path\": {}, \"uid_mappings\": [\"1000:default\"]}}",
                serde_json::json!(target),
                serde_json::json!(source)
            )
        });
        let shape = include_str!("multipass/info.json")
            .replace("NAME", name)
            .replace("STATE", state)
            .replace("ADDRESSES", &list(addresses.collect()))
            .replace("MOUNTS", &list(mounts.collect()));
        let file = self.path("stand-in").join(file);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        Ok(fs::write(file, shape)?)
    }

    /// Has a verb of `multipass` fail with these words.
    fn fail(&self, verb: &str, words: &str) -> Result<()> {
        Ok(fs::write(self.path(&format!("stand-in/fail-{verb}")), words)?)
    }

    /// What `multipass` was asked.
    fn calls(&self) -> String {
        fs::read_to_string(self.path("stand-in/calls")).unwrap_or_default()
    }

    /// The script, ready to run in another folder.
    fn dive(&self) -> Result<Command> {
        self.run_as(&[self.project().join(".mp.dive.sh").display().to_string()])
    }

    /// A program that dives, with the surroundings of a dive.
    fn run_as(&self, words: &[String]) -> Result<Command> {
        let path = std::env::var("PATH").context("no PATH")?;
        // Whoever runs the tests in the background has them ignore Ctrl-C, and a shell
        // cannot hear again what it was started to ignore.
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["--default-signal=INT,QUIT,HUP"])
            .args(words)
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("STAND_IN", self.path("stand-in"))
            .env("TMPDIR", self.path("tmp"))
            .env("MP_USER", me()?)
            .env("MP_KEY", self.server.client_key())
            .env("MP_SSH_PORT", self.server.port().to_string())
            .env("MP_WAIT", "20")
            .env("PORT", format!("{}:1", free_port()?))
            .env_remove("MP_NAME")
            .env_remove("MP_DIR");
        Ok(command)
    }

    /// Starts a dive.
    fn start(&self, command: &mut Command) -> Result<Dive> {
        let folder = tempfile::tempdir()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdin = child.stdin.take();
        Ok(Dive {
            host: self.folder.path().to_owned(),
            folder,
            child,
            stdin,
            begin: Instant::now(),
        })
    }

    /// Dives, types, and comes back.
    fn run(&self, command: &mut Command, typed: &str) -> Result<Ended> {
        let mut dive = self.start(command)?;
        // It may end before it reads anything.
        let _ = dive.type_in(typed);
        dive.end()
    }

    /// A dive that is to end with one line of its own, and no shell.
    fn refused(&self, command: &mut Command, code: i32, line: &str) -> Result<()> {
        let ended = self.run(command, "echo a shell\n")?;
        ensure!(ended.status.code() == Some(code), "{line}: {ended:?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        ensure!(last == format!("mp.dive: {line}"), "expected {line:?}: {ended:?}");
        ensure!(!ended.stdout.contains("a shell"), "{ended:?}");
        Ok(())
    }
}

/// The processes of this host, and those that work in its folders, by now.
fn processes(host: &Path) -> Result<Vec<String>> {
    let mark = host.display().to_string();
    let mut found = Vec::new();
    for process in ledger::list(Path::new("/proc"))? {
        let read = |file| fs::read(process.join(file)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        let works_here = fs::read_link(process.join("cwd"))
            .is_ok_and(|cwd| cwd.starts_with(host));
        if environment.contains(&mark) || works_here {
            let words =
                String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            // One that has ended, and that nobody has waited for, has no words.
            if !words.is_empty() {
                found.push(format!("{}: {words}", ledger::file_name(&process)));
            }
        }
    }
    Ok(found)
}

/// Nothing is left behind: no process, on either side, and no file.
fn is_clean(host: &Path) -> Result<()> {
    let begin = Instant::now();
    // The far side ends when it hears of it.
    while !processes(host)?.is_empty() && begin.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(50));
    }
    let processes = processes(host)?;
    ensure!(processes.is_empty(), "left running: {processes:#?}");
    let files = ledger::list(&host.join("tmp"))?;
    ensure!(files.is_empty(), "left behind: {files:?}");
    Ok(())
}

/// A dive that goes on.
struct Dive {
    host: PathBuf,
    folder: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    begin: Instant,
}

/// A dive that is over.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Dive {
    fn type_in(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(text.as_bytes())?;
        Ok(stdin.flush()?)
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.folder.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_for(&self, text: &str) -> Result<()> {
        self.wait_until(text, || Ok(self.read("stdout").contains(text)))
    }

    fn wait_until(
        &self,
        what: &str,
        is_so: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        while !is_so()? {
            ensure!(
                begin.elapsed() < LIMIT,
                "no {what:?}: {:?} {:?}",
                self.read("stdout"),
                self.read("stderr")
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Types a command and waits until the shell of the VM has run it.
    fn is_open(&mut self) -> Result<()> {
        self.type_in("echo open$((40 + 2))\n")?;
        self.wait_for("open42")
    }

    /// The same in a terminal, where what is typed while another program ends gets
    /// lost.
    fn is_back(&mut self) -> Result<()> {
        let begin = Instant::now();
        while !self.read("stdout").contains("back42") {
            ensure!(begin.elapsed() < LIMIT, "{:?}", self.read("stdout"));
            self.type_in("echo back$((40 + 2))\n")?;
            sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill_process(Pid::from_raw(pid).context("no pid")?, signal)?)
    }

    /// Closes its stdin, waits until it is over, and looks what it has left behind.
    fn end(mut self) -> Result<Ended> {
        drop(self.stdin.take());
        self.over()
    }

    fn over(mut self) -> Result<Ended> {
        let status = self.ends()?;
        let took = self.begin.elapsed();
        drop(self.stdin.take());
        is_clean(&self.host)?;
        Ok(Ended {
            status,
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            took,
        })
    }

    fn ends(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                begin.elapsed() < LIMIT,
                "it does not end: {:?} {:?}",
                self.read("stdout"),
                self.read("stderr")
            );
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dive {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// Who runs the tests: whom their ssh server lets in.
fn me() -> Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A server that answers each connection with one line.
fn greeter(line: &'static str) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(line.as_bytes());
        }
    });
    Ok(port)
}

/// What is heard at a port of this host.
fn heard(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn make_key(file: &Path, passphrase: &str) -> Result<()> {
    let status = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            passphrase,
            "-C",
            "ada & co | \\ \"#",
            "-f",
        ])
        .arg(file)
        .status()?;
    ensure!(status.success(), "ssh-keygen: {status}");
    Ok(())
}

/// `--help` fits a screen and names every setting that the script reads.
#[test]
#[ignore = "wants an ssh server"]
fn help_names_every_setting() -> Result<()> {
    let host = Host::new()?;
    let ended = host.run(host.dive()?.arg("--help"), "")?;
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.lines().count() <= 30, "more than a screen");
    let script = fs::read_to_string(ledger::root().join(".mp.dive.sh"))?;
    let read: BTreeSet<&str> = script
        .split("${")
        .filter_map(|rest| rest.split_once(":-"))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("MP_") || *name == "PORT")
        .collect();
    assert!(read.len() >= 9, "{read:?}");
    for name in read {
        assert!(ended.stdout.contains(&format!("{name}=")), "{name} is not there");
    }
    Ok(())
}

/// Settings that make no sense are refused with 2 and one line, before Multipass hears
/// of anything.
#[test]
#[ignore = "wants an ssh server"]
fn nonsense_is_refused() -> Result<()> {
    let host = Host::new()?;
    host.refused(host.dive()?.arg("-x"), 2, "what is -x? ./.mp.dive.sh --help")?;
    for bad in [
        "0", "65536", "8787,", ",8787", "87a7", "8787:", ":1", "1:2:3", "1 2",
        "-1", "08787", "$(id)",
    ] {
        let line = format!(
            "PORT={bad}: ports from 1 to 65535, such as 8787 or 8787,9229 or 8788:8787"
        );
        host.refused(host.dive()?.env("PORT", bad), 2, &line)?;
    }
    host.refused(
        host.dive()?.env("PORT", "8787,8787:1"),
        2,
        "PORT=8787,8787:1: 8787 stands there twice",
    )?;
    for bad in ["1st", "a_b", "a b", "-a", "a-", "a;id", "é"] {
        let line = format!(
            "MP_NAME={bad}: letters, digits and hyphens; a letter first, no hyphen last"
        );
        host.refused(host.dive()?.env("MP_NAME", bad), 2, &line)?;
    }
    for bad in ["-oProxyCommand=id", "a b", "Ada", "a/b"] {
        let line = format!("MP_USER={bad}: small letters, digits, _ and -");
        host.refused(host.dive()?.env("MP_USER", bad), 2, &line)?;
    }
    for bad in ["0", "x", "1.5", "99999"] {
        let line = format!("MP_WAIT={bad}: seconds, from 1 to 9999");
        host.refused(host.dive()?.env("MP_WAIT", bad), 2, &line)?;
    }
    let line = "MP_SSH_PORT=ssh: a port is a number from 1 to 65535";
    host.refused(host.dive()?.env("MP_SSH_PORT", "ssh"), 2, line)?;
    assert_eq!(host.calls(), "");
    Ok(())
}

/// What is missing on the host is said, with the command that brings it.
#[test]
#[ignore = "wants an ssh server"]
fn what_is_missing_is_said() -> Result<()> {
    let host = Host::new()?;
    // A path with the tools of the script, and without those of the case.
    let tools = host.path("tools");
    fs::create_dir(&tools)?;
    for tool in ["sh", "cat", "sed", "dirname", "readlink", "mkdir", "rm", "ls"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()?;
        symlink(String::from_utf8(found.stdout)?.trim(), tools.join(tool))?;
    }
    let line = "there is no multipass here; install it: https://canonical.com/multipass/install";
    host.refused(host.dive()?.env("PATH", &tools), 1, line)?;
    symlink(host.path("bin/multipass"), tools.join("multipass"))?;
    let line = "there is no ssh here; install it: apt install openssh-client";
    host.refused(host.dive()?.env("PATH", &tools), 1, line)?;
    let old = "#!/bin/sh\necho OpenSSH_8.2p1 >&2\n[ \"$*\" = -V ]\n";
    fs::write(tools.join("ssh"), old)?;
    fs::set_permissions(tools.join("ssh"), fs::Permissions::from_mode(0o755))?;
    let line = "this ssh is too old, it knows no LogVerbose: OpenSSH_8.2p1; install a newer OpenSSH";
    host.refused(host.dive()?.env("PATH", &tools), 1, line)?;

    let home = host.path("home");
    fs::create_dir_all(home.join(".ssh"))?;
    let line = "there is no ssh key in ~/.ssh; make one: ssh-keygen -t ed25519";
    let homely = || -> Result<Command> {
        let mut dive = host.dive()?;
        dive.env("HOME", &home).env_remove("MP_KEY");
        Ok(dive)
    };
    host.refused(&mut homely()?, 1, line)?;
    // A private key alone is passed over.
    fs::write(home.join(".ssh/id_ed25519"), "")?;
    host.refused(&mut homely()?, 1, line)?;
    fs::copy(host.server.client_key(), home.join(".ssh/id_rsa"))?;
    fs::write(home.join(".ssh/id_rsa.pub"), "")?;
    let ended = host.run(&mut homely()?, "exit 9\n")?;
    assert_eq!(ended.status.code(), Some(9), "{ended:?}");

    let key = home.join("key");
    let named = |key: &Path| -> Result<Command> {
        let mut dive = host.dive()?;
        dive.env("MP_KEY", key);
        Ok(dive)
    };
    let shown = key.display();
    let line = format!(
        "there is no key {shown}; make it: ssh-keygen -t ed25519 -f '{shown}'"
    );
    host.refused(&mut named(&key)?, 1, &line)?;
    make_key(&key, "")?;
    fs::remove_file(key.with_extension("pub"))?;
    let remedy = format!("ssh-keygen -y -f '{shown}' > '{shown}.pub'");
    let line = format!("there is no {shown}.pub; make it: {remedy}");
    host.refused(&mut named(&key)?, 1, &line)?;
    assert!(Command::new("sh").args(["-c", &remedy]).status()?.success());
    let public = fs::read_to_string(key.with_extension("pub"))?;
    fs::write(host.server.authorized_keys(), public)?;
    // A path from where one stands.
    let ended = host.run(&mut named(Path::new("home/key"))?, "exit 8\n")?;
    assert_eq!(ended.status.code(), Some(8), "{ended:?}");
    Ok(())
}

/// The shell opens in this project's folder, whatever its name and whichever way the
/// script was called; what it prints and its status come back unchanged.
#[test]
#[ignore = "wants an ssh server"]
fn the_shell_opens_in_this_folder() -> Result<()> {
    let host = Host::new()?;
    let folder = host.path("vm/project");
    let is_there = |words: &[&str], from: &Path| -> Result<()> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut command = host.run_as(&words)?;
        let typed = "pwd; echo to stderr >&2; exit 7\n";
        let ended = host.run(command.current_dir(from), typed)?;
        ensure!(ended.status.code() == Some(7), "{words:?}: {ended:?}");
        ensure!(
            ended.stdout == format!("{}\n", folder.display()),
            "{words:?}: {ended:?}"
        );
        let said: Vec<_> = ended.stderr.lines().collect();
        ensure!(said.len() == 2 && said[1] == "to stderr", "{words:?}: {ended:?}");
        Ok(())
    };
    is_there(&["./.mp.dive.sh"], &host.project())?;
    is_there(&["sh", ".mp.dive.sh"], &host.project())?;
    is_there(
        &[&host.project().join(".mp.dive.sh").display().to_string()],
        Path::new("/"),
    )?;
    symlink(host.project(), host.path("link"))?;
    is_there(&["./.mp.dive.sh"], &host.path("link"))?;
    symlink(format!("../{PROJECT}/.mp.dive.sh"), host.path("bin/dive"))?;
    is_there(&["./bin/dive"], host.folder.path())?;
    is_there(&["dive"], host.folder.path())?;

    // A shell that ends with what ssh itself would say, or by a signal.
    let ended = host.run(&mut host.dive()?, "exit 255\n")?;
    assert_eq!(ended.status.code(), Some(255), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let ended = host.run(&mut host.dive()?, "kill -9 $$\n")?;
    assert_eq!(ended.status.code(), Some(255), "{ended:?}");
    Ok(())
}

/// Where the folder is in the VM: by the mount that is nearest to it, of a parent
/// too; by `MP_DIR`; by a new mount if there is none.
#[test]
#[ignore = "wants an ssh server"]
fn the_folder_is_found() -> Result<()> {
    let host = Host::new()?;
    let pwd = |mounts: &[(PathBuf, PathBuf)], dir: &str| -> Result<Ended> {
        let addresses = [host.server.address()];
        host.info(
            "durable-objects/1.json",
            "durable-objects",
            "Running",
            &addresses,
            mounts,
        )?;
        host.run(host.dive()?.env("MP_DIR", dir), "pwd\n")
    };
    let prefix = host.path(&PROJECT[..4]);
    fs::create_dir(&prefix)?;
    symlink(host.folder.path(), host.path("vm/all of it"))?;
    let all = (host.path("vm/all of it"), host.folder.path().to_owned());
    let near = (host.path("vm/project"), host.project());
    let other = (PathBuf::from("/nowhere"), prefix.clone());
    let gone = (PathBuf::from("/gone"), host.path("no such folder"));
    let top = (PathBuf::from("/"), PathBuf::from("/"));
    symlink(host.project(), host.path("by the way"))?;
    let link = (host.path("vm/project"), host.path("by the way"));

    let parent = host.path("vm/all of it").join(PROJECT);
    for (mounts, expected) in [
        (vec![all.clone(), other.clone(), gone], parent),
        (vec![near.clone(), all.clone()], host.path("vm/project")),
        (vec![all, near], host.path("vm/project")),
        (vec![top], host.project()),
        (vec![link], host.path("vm/project")),
    ] {
        let ended = pwd(&mounts, "")?;
        assert_eq!(
            ended.stdout,
            format!("{}\n", expected.display()),
            "{mounts:?} {ended:?}"
        );
    }
    assert!(!host.calls().contains("mount"), "{}", host.calls());
    assert_eq!(pwd(&[], "/usr/share")?.stdout, "/usr/share\n");

    // The folder next to it, whose name begins alike, does not count.
    let ended = pwd(&[other], "")?;
    let (source, target) = (host.project(), format!("/home/{}/{PROJECT}", me()?));
    let (source, durable) = (source.display(), "durable-objects");
    assert!(
        host.calls().contains(&format!("mount {source} {durable}:{target}\n")),
        "{}",
        host.calls()
    );
    assert!(
        ended.stderr.contains(&format!(
            "mp.dive: mounting {source} in {durable} as {target}\n"
        )),
        "{ended:?}"
    );
    // The stand-in mounts nothing: the shell opens all the same, and says where.
    let line =
        format!("mp.dive: there is no folder {target} in the VM; you are in ");
    assert!(ended.stderr.contains(&line), "{ended:?}");

    host.fail("mount", "mount failed: source \"/x\" is not readable\n")?;
    host.info(
        "durable-objects/1.json",
        durable,
        "Running",
        &[host.server.address()],
        &[],
    )?;
    let line = "multipass mount: mount failed: source \"/x\" is not readable (if it cannot read this folder: git clone it in the VM, then MP_DIR=... ./.mp.dive.sh)";
    host.refused(&mut host.dive()?, 1, line)
}

/// `.mp.local.sh` of the project says what to set; if it fails, the shell opens.
#[test]
#[ignore = "wants an ssh server"]
fn what_must_be_local_is_made_so() -> Result<()> {
    let host = Host::new()?;
    let local = host.project().join(".mp.local.sh");
    fs::write(
        &local,
        "cat\necho 'made local' >&2\necho \"export FROM_LOCAL='a  b'\"\n",
    )?;
    let ended = host.run(&mut host.dive()?, "echo \"[$FROM_LOCAL]\"\n")?;
    assert_eq!(ended.stdout, "[a  b]\n", "{ended:?}");
    assert!(ended.stderr.contains("made local"), "{ended:?}");
    fs::write(&local, "echo no sudo >&2\necho 'export FROM_LOCAL=half'\nexit 1\n")?;
    let ended = host.run(&mut host.dive()?, "echo \"in $FROM_LOCAL\"\n")?;
    assert_eq!(ended.stdout, "in half\n", "{ended:?}");
    let line = "no sudo\nmp.dive: .mp.local.sh failed; what must be local may lie on a mount\n";
    assert!(ended.stderr.ends_with(line), "{ended:?}");
    Ok(())
}

/// The script does the same in every POSIX shell and with every awk that is here.
#[test]
#[ignore = "wants an ssh server"]
fn any_posix_shell_and_awk_will_do() -> Result<()> {
    let host = Host::new()?;
    let is_here = |program: &str| {
        Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let script = host.project().join(".mp.dive.sh").display().to_string();
    let shells = ["dash", "bash --posix", "busybox sh", "ksh", "yash"];
    let awks = ["mawk", "gawk --posix", "original-awk", "busybox awk"];
    let mut seen = Vec::new();
    for (shell, awk) in shells
        .iter()
        .map(|shell| (*shell, "awk"))
        .chain(awks.iter().map(|awk| ("sh", *awk)))
    {
        let program =
            |words: &str| words.split(' ').next().unwrap_or_default().to_owned();
        if !is_here(&program(shell)) || !is_here(&program(awk)) {
            continue;
        }
        if awk != "awk" {
            let file = host.path("bin/awk");
            fs::write(&file, format!("#!/bin/sh\nexec {awk} \"$@\"\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let mut words: Vec<_> = shell.split(' ').map(str::to_owned).collect();
        words.push(script.clone());
        let ended = host.run(&mut host.run_as(&words)?, "pwd; exit 7\n")?;
        let folder = format!("{}\n", host.path("vm/project").display());
        assert_eq!(
            (ended.status.code(), &ended.stdout),
            (Some(7), &folder),
            "{shell}, {awk}: {ended:?}"
        );
        let mut dive = host.start(&mut host.run_as(&words)?)?;
        dive.is_open()?;
        dive.signal(Signal::TERM)?;
        let ended = dive.over()?;
        assert_eq!(ended.status.code(), Some(143), "{shell}: {ended:?}");
        host.refused(
            host.run_as(&words)?.env("PORT", "x"),
            2,
            "PORT=x: ports from 1 to 65535, such as 8787 or 8787,9229 or 8788:8787",
        )?;
        seen.push(format!("{shell} with {awk}"));
    }
    println!("{}", seen.join(", "));
    assert!(seen.len() >= 3, "{seen:?}");
    Ok(())
}

/// Ports are forwarded, several of them, to others if so said, and while nothing
/// listens over there what ssh says of it stays off the screen.
#[test]
#[ignore = "wants an ssh server"]
fn ports_are_forwarded() -> Result<()> {
    let host = Host::new()?;
    let (here, there) = (
        [free_port()?, free_port()?, free_port()?],
        [greeter("one")?, greeter("two")?],
    );
    let nobody = free_port()?;
    let ports = format!(
        "{}:{},{}:{},{}:{nobody}",
        here[0], there[0], here[1], there[1], here[2]
    );
    let mut dive = host.start(host.dive()?.env("PORT", ports))?;
    dive.is_open()?;
    assert_eq!(heard(here[0])?, "one");
    assert_eq!(heard(here[1])?, "two");
    assert_eq!(heard(here[2]).unwrap_or_default(), "");
    let all = TcpStream::connect(("127.0.0.9", here[0]));
    assert!(all.is_err(), "the port is open to others than 127.0.0.1");
    let ended = dive.end()?;
    assert_eq!(ended.stdout, "open42\n", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(heard(here[0]).is_err(), "the port is still open");
    Ok(())
}

/// Two dives into one VM, and one into another, at once.
#[test]
#[ignore = "wants an ssh server"]
fn two_dives_and_two_vms_at_once() -> Result<()> {
    let host = Host::new()?;
    let second = Host::at("127.0.0.3")?;
    let there = [greeter("first")?, greeter("second")?, greeter("third")?];
    let mut here = Vec::new();
    let mut dives = Vec::new();
    for (host, port) in [&host, &host, &second].into_iter().zip(there) {
        here.push(free_port()?);
        let ports = format!("{}:{port}", here[here.len() - 1]);
        let mut dive = host.start(host.dive()?.env("PORT", ports))?;
        dive.is_open()?;
        dives.push(dive);
    }
    for (port, text) in here.iter().zip(["first", "second", "third"]) {
        assert_eq!(heard(*port)?, text);
    }
    for dive in &mut dives {
        dive.type_in("echo \"at ${SSH_CONNECTION}\"; exit 5\n")?;
    }
    let addresses =
        [host.server.address(), host.server.address(), second.server.address()];
    for (dive, address) in dives.iter().zip(addresses) {
        dive.wait_for(&format!(" {address} "))?;
    }
    for dive in &mut dives {
        assert_eq!(dive.child.wait()?.code(), Some(5));
    }
    drop(dives);
    is_clean(host.folder.path())?;
    is_clean(second.folder.path())
}

/// A VM that sleeps is started, one that comes up is waited for; the first address
/// counts.
#[test]
#[ignore = "wants an ssh server"]
fn a_vm_is_woken_and_waited_for() -> Result<()> {
    let durable = "durable-objects";
    for state in ["Stopped", "Suspended", "Delayed Shutdown"] {
        let host = Host::new()?;
        let project = [(host.path("vm/project"), host.project())];
        let address = [host.server.address(), "172.17.0.1"];
        host.info("durable-objects/1.json", durable, state, &[], &project)?;
        // Multipass may say that it runs before it knows where.
        host.info(
            "durable-objects/started/1.json",
            durable,
            "Starting",
            &[],
            &project,
        )?;
        host.info(
            "durable-objects/started/2.json",
            durable,
            "Running",
            &[],
            &project,
        )?;
        host.info(
            "durable-objects/started/3.json",
            durable,
            "Running",
            &address,
            &project,
        )?;
        let ended = host.run(&mut host.dive()?, "exit 7\n")?;
        assert_eq!(ended.status.code(), Some(7), "{ended:?}");
        assert!(
            ended.stderr.starts_with(&format!(
                "mp.dive: {durable} is {state}: starting it\n"
            )),
            "{ended:?}"
        );
        assert_eq!(
            host.calls().matches("start durable-objects\n").count(),
            1,
            "{}",
            host.calls()
        );
    }
    for state in ["Starting", "Restarting", "Suspending"] {
        let host = Host::new()?;
        let line = format!(
            "durable-objects still is {state} after 2 s; look: multipass info durable-objects, or wait longer: MP_WAIT=300 ./.mp.dive.sh"
        );
        host.info("durable-objects/1.json", durable, state, &[], &[])?;
        host.refused(host.dive()?.env("MP_WAIT", "2"), 1, &line)?;
        assert!(!host.calls().contains("start "), "{}", host.calls());
    }
    let host = Host::new()?;
    host.info("durable-objects/1.json", durable, "Running", &[], &[])?;
    let line = "durable-objects still has no address after 2 s; look: multipass info durable-objects, or wait longer: MP_WAIT=300 ./.mp.dive.sh";
    host.refused(host.dive()?.env("MP_WAIT", "2"), 1, line)?;
    // Started, and yet it sleeps.
    host.info("durable-objects/1.json", durable, "Stopped", &[], &[])?;
    let line = line.replace("has no address", "is Stopped");
    host.refused(host.dive()?.env("MP_WAIT", "2"), 1, &line)?;
    assert_eq!(
        host.calls().matches("start durable-objects\n").count(),
        1,
        "{}",
        host.calls()
    );
    host.info("durable-objects/1.json", durable, "Deleted", &[], &[])?;
    let line = "durable-objects is deleted; bring it back: multipass recover durable-objects, or remove it for good: multipass purge";
    host.refused(&mut host.dive()?, 1, line)?;
    host.info("durable-objects/1.json", durable, "Unknown", &[], &[])?;
    let line = "multipass does not know how durable-objects is (Unknown); try: multipass restart durable-objects";
    host.refused(&mut host.dive()?, 1, line)
}

/// A failing Multipass is quoted, in one line, with what it was asked.
#[test]
#[ignore = "wants an ssh server"]
fn multipass_is_quoted() -> Result<()> {
    let host = Host::new()?;
    let words = "cannot connect to the multipass socket\nPlease ensure multipassd is running\n";
    let line = "cannot connect to the multipass socket Please ensure multipassd is running";
    for (verb, state) in
        [("exec", "Running"), ("start", "Stopped"), ("info", "Running")]
    {
        host.info(
            "durable-objects/1.json",
            "durable-objects",
            state,
            &[host.server.address()],
            &[],
        )?;
        host.fail(verb, words)?;
        let mut dive = host.dive()?;
        host.refused(
            dive.env("MP_DIR", "/"),
            1,
            &format!("multipass {verb}: {line}"),
        )?;
        fs::remove_file(host.path(&format!("stand-in/fail-{verb}")))?;
    }
    host.fail("list", words)?;
    host.refused(
        host.dive()?.env("MP_NAME", "other"),
        1,
        &format!("multipass list: {line}"),
    )?;
    for nonsense in ["", "Name: durable-objects\n", "{\"info\": {", "{]"] {
        fs::write(host.path("stand-in/durable-objects/1.json"), nonsense)?;
        host.refused(&mut host.dive()?, 1, "multipass info: that is not JSON")?;
    }
    host.info(
        "durable-objects/1.json",
        "durable-objects",
        "Running",
        &[host.server.address()],
        &[],
    )?;
    fs::remove_file(host.path("stand-in/durable-objects/host_key.pub"))?;
    fs::write(host.path("stand-in/durable-objects/host_key.pub"), "")?;
    let line =
        "durable-objects has no host key in /etc/ssh/ssh_host_ed25519_key.pub";
    host.refused(host.dive()?.env("MP_DIR", "/"), 1, line)
}

/// The VM of the default name is made if there is none; another one if `--launch` says
/// so. It is given the key of the reader, and a valid cloud-init.
#[test]
#[ignore = "wants an ssh server"]
fn a_vm_is_launched() -> Result<()> {
    let host = Host::new()?;
    let stand_in = host.path("stand-in");
    let list = r#"{"list": [{"ipv4": [], "name": "primary", "release": "Ubuntu 24.04 LTS", "state": "Stopped"},
        {"ipv4": ["10.1.2.3"], "name": "durable-objects", "release": "Not Available", "state": "Running"}]}"#;
    fs::write(stand_in.join("list.json"), list)?;
    let line = "there is no VM other (there is: primary durable-objects); make it: MP_NAME=other ./.mp.dive.sh --launch";
    host.refused(host.dive()?.env("MP_NAME", "other"), 1, line)?;
    fs::write(stand_in.join("list.json"), "{\n    \"list\": [\n    ]\n}\n")?;
    let line = line.replace(" primary durable-objects", " none");
    host.refused(host.dive()?.env("MP_NAME", "other"), 1, &line)?;

    let key = host.path("a key");
    make_key(&key, "")?;
    let public = fs::read_to_string(host.path("a key.pub"))?;
    fs::write(host.server.authorized_keys(), &public)?;
    host.vm("other", "Running")?;
    let launch = |from: &str, name: &str, dive: &mut Command| -> Result<Ended> {
        fs::rename(stand_in.join(from), stand_in.join("launched"))?;
        let ended = host.run(dive.env("MP_KEY", &key), "exit 7\n")?;
        ensure!(ended.status.code() == Some(7), "{ended:?}");
        // What Multipass prints is not part of what the shell prints.
        ensure!(
            ended.stdout.is_empty()
                && ended.stderr.contains(&format!("Launched: {name}")),
            "{ended:?}"
        );
        Ok(ended)
    };
    launch(
        "other",
        "other",
        host.dive()?
            .env("MP_NAME", "other")
            .arg("--launch")
            .env("MP_CPUS", "2")
            .env("MP_MEMORY", "4G")
            .env("MP_DISK", "20G"),
    )?;
    let call = "launch 24.04 --name other --cpus 2 --memory 4G --disk 20G --timeout 1800 --cloud-init -\n";
    assert!(host.calls().contains(call), "{}", host.calls());
    launch("durable-objects", "durable-objects", &mut host.dive()?)?;
    let call = "launch 24.04 --name durable-objects --cpus 4 --memory 8G --disk 30G --timeout 1800 --cloud-init -\n";
    assert!(host.calls().contains(call), "{}", host.calls());

    let given = stand_in.join("cloud-init");
    let text = fs::read_to_string(&given)?;
    let two: Vec<_> = public.split(' ').take(2).collect();
    assert!(
        text.contains(&format!("\nssh_authorized_keys:\n  - {}\n", two.join(" "))),
        "{text}"
    );
    assert!(
        text.starts_with("#cloud-config\n") && !text.contains("PUBLIC_KEY"),
        "{text}"
    );
    match Command::new("cloud-init").args(["schema", "-c"]).arg(&given).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => println!("no cloud-init here: its schema was not looked at"),
    }

    host.fail("launch", "launch failed: Remote \"\" is unknown or unreachable.\n")?;
    let mut dive = host.dive()?;
    let line =
        "multipass launch: launch failed: Remote \"\" is unknown or unreachable.";
    host.refused(dive.env("MP_NAME", "third").arg("--launch"), 1, line)?;
    fs::write(host.path("a key.pub"), "not a key\nat all\n- \"x\"\n")?;
    let line = format!("{}.pub is not a public key", key.display());
    let mut dive = host.dive()?;
    host.refused(
        dive.env("MP_NAME", "third").env("MP_KEY", &key).arg("--launch"),
        1,
        &line,
    )?;
    fs::remove_file(host.project().join(".mp.cloud-init.yaml"))?;
    let line =
        format!("there is no {}/.mp.cloud-init.yaml", host.project().display());
    host.refused(host.dive()?.env("MP_NAME", "third").arg("--launch"), 1, &line)
}

/// A port that is taken is named, with the way to another one.
#[test]
#[ignore = "wants an ssh server"]
fn a_port_that_is_taken_is_named() -> Result<()> {
    let host = Host::new()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let taken = listener.local_addr()?.port();
    let line = format!(
        "port {taken} of this computer is taken; choose another: PORT={}:7 ./.mp.dive.sh",
        taken % 65535 + 1
    );
    host.refused(
        host.dive()?.env("PORT", format!("{}:1,{taken}:7", free_port()?)),
        1,
        &line,
    )
}

/// A VM that does not know the key: the command that the message gives is the cure. Of
/// a key with a passphrase it says so.
#[test]
#[ignore = "wants an ssh server"]
fn a_key_that_is_refused_can_be_put_there() -> Result<()> {
    let host = Host::new()?;
    let key = host.path("ada's key");
    make_key(&key, "")?;
    let quoted = key.display().to_string().replace('\'', r"'\''");
    let remedy = format!(
        "multipass exec durable-objects -- sh -c 'cat >> ~/.ssh/authorized_keys' < '{quoted}.pub'"
    );
    let line = format!(
        "durable-objects does not let in {}; put it there: {remedy}",
        key.display()
    );
    host.refused(host.dive()?.env("MP_KEY", &key), 1, &line)?;
    let mut cure = host.run_as(&["sh".to_owned(), "-c".to_owned(), remedy])?;
    assert!(cure.status()?.success());
    let ended = host.run(host.dive()?.env("MP_KEY", &key), "exit 7\n")?;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");

    let locked = host.path("locked");
    make_key(&locked, "open sesame")?;
    // Nobody to ask, and no agent: in a session without a terminal.
    let script = host.project().join(".mp.dive.sh").display().to_string();
    let mut dive = host.run_as(&["setsid".to_owned(), "-w".to_owned(), script])?;
    dive.env("MP_KEY", &locked)
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("DISPLAY")
        .env_remove("SSH_ASKPASS");
    let ended = host.run(&mut dive, "")?;
    let line = format!(
        "mp.dive: {0} has a passphrase; tell it to your agent: ssh-add '{0}'\n",
        locked.display()
    );
    assert!(
        ended.status.code() == Some(1) && ended.stderr.contains(&line),
        "{ended:?}"
    );
    Ok(())
}

/// Another ssh server at the address of the VM is told nothing; the VM itself, made
/// anew with another key at its old address, is known.
#[test]
#[ignore = "wants an ssh server"]
fn a_stranger_is_told_nothing() -> Result<()> {
    let mut host = Host::new()?;
    let known = host.path("stand-in/durable-objects/host_key.pub");
    fs::remove_file(&known)?;
    make_key(&host.path("stranger"), "")?;
    fs::copy(host.path("stranger.pub"), &known)?;
    let line = "the ssh server at 127.0.0.2 is not that of durable-objects: its host key is another one; nothing was sent to it";
    host.refused(&mut host.dive()?, 1, line)?;
    assert!(!host.server.log().contains("Accepted"), "{}", host.server.log());

    fs::copy(host.server.host_key(), &known)?;
    assert_eq!(host.run(&mut host.dive()?, "exit 7\n")?.status.code(), Some(7));
    let key = host.server.host_key().with_extension("");
    fs::remove_file(&key)?;
    fs::remove_file(host.server.host_key())?;
    make_key(&key, "")?;
    host.server.up()?;
    host.refused(&mut host.dive()?, 1, line)?;
    fs::copy(host.server.host_key(), &known)?;
    assert_eq!(host.run(&mut host.dive()?, "exit 7\n")?.status.code(), Some(7));
    Ok(())
}

/// An ssh that is not up yet is waited for; one that never comes is named.
#[test]
#[ignore = "wants an ssh server"]
fn ssh_is_waited_for() -> Result<()> {
    let mut host = Host::new()?;
    host.server.down();
    let (address, port) = (host.server.address(), host.server.port());
    let line = format!(
        "ssh of durable-objects does not answer after 2 s: ssh: connect to host {address} port {port}: Connection refused"
    );
    host.refused(host.dive()?.env("MP_WAIT", "2"), 1, &line)?;

    let dive = host.start(&mut host.dive()?)?;
    sleep(Duration::from_secs(3));
    host.server.up()?;
    let ended = dive.end()?;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.took > Duration::from_secs(3), "{ended:?}");
    Ok(())
}

/// A connection that breaks under an open shell is said to be lost, at once if it is
/// closed, soon if it only falls silent; nothing is left behind.
#[test]
#[ignore = "wants an ssh server"]
fn a_lost_connection_is_said() -> Result<()> {
    for freezes in [false, true] {
        let mut host = Host::new()?;
        let mut dive = host.start(&mut host.dive()?)?;
        dive.is_open()?;
        let begin = Instant::now();
        if freezes {
            host.server.freeze();
        } else {
            host.server.down();
        }
        dive.ends()?;
        let took = begin.elapsed();
        // What is frozen would stay.
        host.server.down();
        let ended = dive.over()?;
        println!("{} ms: {}", took.as_millis(), ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        let line = "mp.dive: the connection to durable-objects was lost";
        assert!(last.starts_with(line), "{ended:?}");
        assert!(took < LOST_WITHIN, "it took {took:?}");
    }
    Ok(())
}

/// A signal ends the script and all that it started, whatever it is at, and no folder
/// stays.
#[test]
#[ignore = "wants an ssh server"]
fn signals_leave_nothing_behind() -> Result<()> {
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)]
    {
        let host = Host::new()?;
        let mut dive = host.start(&mut host.dive()?)?;
        dive.is_open()?;
        dive.signal(signal)?;
        let ended = dive.over()?;
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");

        // While Multipass is at something, and while it is waited for.
        fs::write(host.path("stand-in/slow-exec"), "")?;
        let dive = host.start(&mut host.dive()?)?;
        dive.wait_until("exec", || Ok(host.calls().matches("exec ").count() == 2))?;
        dive.signal(signal)?;
        let ended = dive.over()?;
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert!(ended.took < Duration::from_secs(30), "{ended:?}");
        host.info(
            "durable-objects/1.json",
            "durable-objects",
            "Starting",
            &[],
            &[],
        )?;
        let dive = host.start(&mut host.dive()?)?;
        sleep(Duration::from_millis(1_500));
        dive.signal(signal)?;
        let ended = dive.over()?;
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    }
    Ok(())
}

/// One command, one terminal, one Worker: `npx wrangler dev` in the VM's shell is
/// reached from the host through the tunnel; the terminal has its size, also after it
/// changes; Ctrl-C reaches the Worker and not the dive; the terminal comes back as it
/// was.
/// proves: claim dive-forwards
#[test]
#[ignore = "wants an ssh server"]
fn a_worker_in_the_vm_is_reached_from_the_host() -> Result<()> {
    let host = Host::new()?;
    let (here, there) = (free_port()?, free_port()?);
    let before = "stty rows 41 cols 101; tty; before=$(stty -g)";
    let after = "status=$?; [ \"$before\" = \"$(stty -g)\" ] && echo terminal as before; exit $status";
    let script = format!("{before}; ./.mp.dive.sh; {after}");
    let words =
        ["script", "-q", "-e", "-c", &script, "/dev/null"].map(str::to_owned);
    let chapter = ledger::root().join("chapters-code/ch08");
    let mut command = host.run_as(&words)?;
    command
        .current_dir(host.project())
        .env("SHELL", "/bin/sh")
        .env("PORT", format!("{here}:{there}"))
        .env("MP_DIR", &chapter);
    let mut dive = host.start(&mut command)?;
    dive.is_open()?;
    let shown = dive.read("stdout");
    let tty = shown
        .lines()
        .find(|line| line.starts_with("/dev/"))
        .context("no tty")?
        .trim()
        .to_owned();
    dive.type_in("echo size $(stty size).\n")?;
    dive.wait_for("size 41 101.")?;
    let resized = Command::new("stty")
        .args(["-F", &tty, "rows", "52", "cols", "120"])
        .status()?;
    assert!(resized.success());
    // The news travels through ssh.
    dive.type_in("until [ \"$(stty size)\" = '52 120' ]; do sleep 0.1; done; echo it$((3 + 4))\n")?;
    dive.wait_for("it7")?;

    // A login shell of the VM finds them by itself; this one is not a VM's.
    dive.type_in(&format!("export CI=true PATH='{}'\n", std::env::var("PATH")?))?;
    let state = host.path("state");
    dive.type_in(&format!(
        "npx wrangler dev --port {there} --inspector-port {} --persist-to {} --show-interactive-dev-session=false\n",
        free_port()?,
        state.display()
    ))?;
    let begin = Instant::now();
    while !dive.read("stdout").contains("Ready on") {
        ensure!(
            begin.elapsed() < Duration::from_secs(300),
            "{}",
            dive.read("stdout")
        );
        sleep(Duration::from_millis(100));
    }
    let at = |path: &str| format!("http://localhost:{here}{path}");
    let page = send("GET", &at("/"), b"")?;
    assert_eq!(page.status, 200, "{}", page.body);
    let signed = send(
        "POST",
        &at("/books/dive"),
        br#"{"name":"Ada","text":"From the other side."}"#,
    )?;
    assert_eq!(signed.status, 201, "{}", signed.body);
    let lines = send("GET", &at("/books/dive"), b"")?.body;
    assert!(lines.contains("From the other side."), "{lines}");
    assert!(state.exists(), "its state is elsewhere");

    dive.type_in("\u{3}")?;
    dive.is_back()?;
    dive.type_in("exit 7\n")?;
    let ended = dive.over()?;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    assert!(ended.stdout.contains("terminal as before"), "{ended:?}");
    assert!(TcpStream::connect(("127.0.0.1", here)).is_err());
    Ok(())
}

/// In a terminal, what ran in the VM ends with the dive when that is ended by a signal,
/// and the terminal comes back as it was.
#[test]
#[ignore = "wants an ssh server"]
fn a_terminal_is_handed_back() -> Result<()> {
    let host = Host::new()?;
    let script = "before=$(stty -g); sh -c 'echo pid $$.; exec ./.mp.dive.sh'; status=$?; \
         [ \"$before\" = \"$(stty -g)\" ] && echo terminal as before; exit $status";
    let words =
        ["script", "-q", "-e", "-c", script, "/dev/null"].map(str::to_owned);
    let mut command = host.run_as(&words)?;
    let mut dive =
        host.start(command.current_dir(host.project()).env("SHELL", "/bin/sh"))?;
    dive.is_open()?;
    dive.type_in("sleep 61\n")?;
    let sleeps = || {
        let processes = processes(host.folder.path())?;
        Ok(processes.iter().any(|process| process.contains("sleep 61")))
    };
    dive.wait_until("sleep", sleeps)?;
    let shown = dive.read("stdout");
    let pid = shown
        .split_once("pid ")
        .and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok())
        .and_then(Pid::from_raw)
        .context("no pid")?;
    kill_process(pid, Signal::TERM)?;
    let ended = dive.over()?;
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
    assert!(ended.stdout.contains("terminal as before"), "{ended:?}");
    Ok(())
}

/// In a terminal ssh asks for the passphrase of a key, and Ctrl-C ends the waiting.
#[test]
#[ignore = "wants an ssh server"]
fn a_terminal_is_asked_and_heard() -> Result<()> {
    let host = Host::new()?;
    let key = host.path("locked");
    make_key(&key, "open sesame")?;
    fs::copy(host.path("locked.pub"), host.server.authorized_keys())?;
    let words = ["script", "-q", "-e", "-c", "./.mp.dive.sh", "/dev/null"];
    let words = words.map(str::to_owned);
    let in_a_terminal = || -> Result<Dive> {
        let mut command = host.run_as(&words)?;
        command.current_dir(host.project()).env("SHELL", "/bin/sh");
        command.env("MP_KEY", &key).env_remove("SSH_AUTH_SOCK");
        host.start(&mut command)
    };
    let mut dive = in_a_terminal()?;
    dive.wait_for("Enter passphrase for key")?;
    dive.type_in("open sesame\n")?;
    dive.is_back()?;
    dive.type_in("exit 7\n")?;
    let ended = dive.over()?;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    assert!(!ended.stdout.contains("open sesame"), "{ended:?}");

    host.info("durable-objects/1.json", "durable-objects", "Starting", &[], &[])?;
    let mut dive = in_a_terminal()?;
    let asked = host.calls().lines().count();
    dive.wait_until("a question", || Ok(host.calls().lines().count() > asked + 1))?;
    dive.type_in("\u{3}")?;
    let ended = dive.over()?;
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(ended.took < Duration::from_secs(15), "{ended:?}");
    Ok(())
}
