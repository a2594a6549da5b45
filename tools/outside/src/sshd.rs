//! A real ssh server on loopback, and real mounts through it: the parts of a virtual
//! machine that its host sees.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Stat, end_group, free_port};

/// Where the server is; its package puts it into no reader's PATH.
const SSHD: &str = "/usr/sbin/sshd";
/// How long a server may take to listen, and a mount to appear.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running `sshd`, which lets in the user who runs the test, by one key.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    address: String,
    port: u16,
    child: Option<Child>,
}

impl Sshd {
    /// Whether this machine has an ssh server and client.
    pub fn is_there() -> bool {
        Path::new(SSHD).exists() && answers("ssh", "-V")
    }

    /// Starts a server with keys of its own on a loopback address, such as
    /// 127.0.0.2, and waits until it listens.
    pub fn start(address: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for key in ["host_key", "client_key"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
                .arg(folder.path().join(key)))?;
        }
        fs::copy(
            folder.path().join("client_key.pub"),
            folder.path().join("authorized_keys"),
        )?;
        let port = free_port()?;
        let mut server =
            Self { folder, address: address.to_owned(), port, child: None };
        server.up()?;
        Ok(server)
    }

    /// Starts the server, at the same port and with the same keys as before.
    pub fn up(&mut self) -> Result<()> {
        self.down();
        let file = |name| self.folder.path().join(name).display().to_string();
        let config = format!(
            "ListenAddress {}\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n",
            self.address,
            self.port,
            file("host_key"),
            file("authorized_keys"),
        );
        fs::write(self.folder.path().join("sshd_config"), config)?;
        // As root it wants a folder to lock itself into, which a service would make.
        if rustix::process::getuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        let log = File::create(self.folder.path().join("sshd.log"))?;
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(self.folder.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start sshd")?;
        self.child = Some(child);
        let begin = Instant::now();
        while TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            ensure!(
                begin.elapsed() < START_LIMIT,
                "sshd does not listen:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops every connection, as a VM that is suspended does: nothing is closed, and
    /// nothing answers any more.
    pub fn freeze(&self) {
        if let Some(child) = &self.child {
            signal(children(child.id()), Signal::STOP);
        }
    }

    /// Kills the server and every connection to it.
    pub fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Each connection is a child of the server's, in a session of its own.
        let connections = children(child.id());
        end_group(&mut child, Signal::KILL);
        signal(connections, Signal::KILL);
    }

    /// The address it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key that it lets in.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client_key")
    }

    /// Its own public key, by which a client knows it.
    pub fn host_key(&self) -> PathBuf {
        self.folder.path().join("host_key.pub")
    }

    /// The public keys that it lets in, a line each.
    pub fn authorized_keys(&self) -> PathBuf {
        self.folder.path().join("authorized_keys")
    }

    /// Everything it has logged since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.down();
    }
}

/// A folder, seen through sshfs as a VM sees a folder of its host: a mount that ends
/// when the value is dropped.
#[derive(Debug)]
pub struct Mount {
    _server: Sshd,
    point: PathBuf,
}

impl Mount {
    /// Whether this machine can mount by sshfs, and lets root see what is mounted: root
    /// is who binds folders there.
    pub fn is_there() -> bool {
        Sshd::is_there()
            && Path::new("/dev/fuse").exists()
            && answers("sshfs", "--version")
            && (rustix::process::getuid().is_root()
                || (lets_others_in()
                    && run(Command::new("sudo").args(["-n", "true"])).is_ok()))
    }

    /// Mounts `folder` at `point`, which is made if need be, with more options for
    /// `sshfs -o`.
    pub fn new(folder: &Path, point: &Path, options: &[&str]) -> Result<Self> {
        let server = Sshd::start("127.0.0.1")?;
        fs::create_dir_all(point)?;
        let known_hosts = server.folder.path().join("known_hosts");
        let host_key = fs::read_to_string(server.host_key())?;
        fs::write(
            &known_hosts,
            format!("[{}]:{} {host_key}", server.address, server.port),
        )?;
        let client = format!(
            "Host vm-host\nHostName {}\nPort {}\nIdentityFile {}\nIdentitiesOnly yes\n\
             UserKnownHostsFile {}\nStrictHostKeyChecking yes\n",
            server.address,
            server.port,
            server.client_key().display(),
            known_hosts.display(),
        );
        let client_config = server.folder.path().join("ssh_config");
        fs::write(&client_config, client)?;
        let mut sshfs = Command::new("sshfs");
        sshfs
            .arg(format!("vm-host:{}", folder.display()))
            .arg(point)
            .arg("-F")
            .arg(&client_config);
        for option in options {
            sshfs.args(["-o", option]);
        }
        // As Multipass does. Only to root, who mounts, is this a matter of course.
        if !rustix::process::getuid().is_root() {
            sshfs.args(["-o", "allow_other"]);
        }
        run(&mut sshfs)?;
        let mount = Self { _server: server, point: point.to_owned() };
        ensure!(is_mounted(point)?, "sshfs has not mounted {}", point.display());
        Ok(mount)
    }

    /// Where it is.
    pub fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process may still be in there, and the test is over.
        let _ = Command::new("fusermount3")
            .args(["-u", "-z"])
            .arg(&self.point)
            .stderr(Stdio::null())
            .status();
    }
}

/// Whether something is mounted just there.
pub fn is_mounted(point: &Path) -> Result<bool> {
    let point = point.canonicalize()?.display().to_string();
    // Backslashes and spaces are written like this in the table.
    let point = point.replace('\\', "\\134").replace(' ', "\\040");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(point.as_str())))
}

/// Whether a user may let others see what they have mounted, root among them.
fn lets_others_in() -> bool {
    fs::read_to_string("/etc/fuse.conf").is_ok_and(|config| {
        config.lines().any(|line| line.trim() == "user_allow_other")
    })
}

/// The processes that a process has started and that still run.
fn children(parent: u32) -> Vec<i32> {
    let processes = ledger::list(Path::new("/proc")).unwrap_or_default();
    let mut found: Vec<i32> = Vec::new();
    for process in processes {
        let Some(pid) = ledger::file_name(&process).parse::<i32>().ok() else {
            continue;
        };
        if Stat::of(&process).is_some_and(|stat| stat.parent == parent) {
            found.push(pid);
            found.extend(children(pid.unsigned_abs()));
        }
    }
    found
}

fn signal(processes: Vec<i32>, signal: Signal) {
    for pid in processes.into_iter().filter_map(Pid::from_raw) {
        // An error means that it is gone already.
        let _ = kill_process(pid, signal);
    }
}

fn answers(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
