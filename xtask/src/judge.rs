//! The judge behind a page's button: runs `cargo xtask exercise` for the front Worker,
//! which cannot start a program itself.
//!
//! It listens on loopback and takes one request, `POST /<token>/<chapter>`. Nobody but
//! the front Worker knows the token, so that a page of another site, which can reach
//! loopback as well, cannot start anything.
//!
//! It is written on std because what a task runner could take does not fit: tiny_http,
//! on which rouille stands, has had no release for years and holds streamed output back
//! until its buffer is full (its pull request 229), and axum would bring all of tokio
//! into the first thing that each reader compiles.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ledger::Chapter;

/// How long an exercise may take to be judged.
const LIMIT: Duration = Duration::from_secs(180);
/// How long a client may take to ask, and to take in what it is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a run that says nothing is asked whether somebody still listens.
const LOOK: Duration = Duration::from_millis(200);
/// How long the head of a request may be, in bytes.
const HEAD: u64 = 16 * 1_024;

/// A listener that judges exercises until it is dropped, and the run it has begun ends
/// with it.
pub struct Judge {
    url: String,
    address: SocketAddr,
    bench: Arc<Bench>,
    listener: Option<JoinHandle<()>>,
}

/// What all threads of the judge share.
struct Bench {
    address: SocketAddr,
    token: String,
    chapters: Vec<String>,
    command: Box<dyn Fn(&str) -> Command + Send + Sync>,
    limit: Duration,
    run: Mutex<Run>,
}

/// Two runs would write over each other's build and report, so there is one.
enum Run {
    None,
    Running(Child),
    /// The judge has been dropped.
    Over,
}

/// Why nothing is run: a status, its name, and one line for the reader.
type Refusal = (u16, &'static str, String);

impl Judge {
    /// Listens on a free port of the loopback interface, and judges these chapters by
    /// starting this very program again.
    pub fn start(chapters: &[Chapter]) -> Result<Self> {
        // Asked now: once the program is compiled anew its name is another.
        let program = std::env::current_exe().context("which program is this?")?;
        let exercise = move |chapter: &str| {
            let mut command = Command::new(&program);
            command.args(["exercise", "--if-changed", chapter]);
            command.current_dir(ledger::root());
            command
        };
        Self::start_with(chapters, LIMIT, exercise)
    }

    fn start_with(
        chapters: &[Chapter],
        limit: Duration,
        command: impl Fn(&str) -> Command + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let token = token()?;
        let url = format!("http://{address}/{token}");
        let bench = Arc::new(Bench {
            address,
            token,
            chapters: chapters.iter().map(|chapter| chapter.name.clone()).collect(),
            command: Box::new(command),
            limit,
            run: Mutex::new(Run::None),
        });
        let shared = Arc::clone(&bench);
        let listener = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if matches!(*shared.run(), Run::Over) {
                    break;
                }
                let bench = Arc::clone(&shared);
                // A client that has gone away needs no answer.
                thread::spawn(move || drop(bench.answer(&stream)));
            }
        });
        Ok(Self { url, address, bench, listener: Some(listener) })
    }

    /// Where it listens, with the token, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.bench.end(Run::Over);
        // The listener waits for a client; be one.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listener) = self.listener.take()
        {
            // If it has panicked it has ended, too.
            let _ = listener.join();
        }
    }
}

impl Bench {
    /// What is running. A thread that has panicked leaves it as it is.
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one request and answers it.
    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let said = read_head(stream).and_then(|head| {
            let (method, path, host) = parse(&head).ok_or_else(|| {
                (400, "Bad Request", "this is not HTTP".to_owned())
            })?;
            // A name that leads here is no name of ours: a page of it may ask, too.
            if host != self.address.to_string() {
                let line = format!("ask {}, and not another name", self.address);
                return Err((421, "Misdirected Request", line));
            }
            self.start(&method, &path)
        });
        match said {
            Ok(output) => {
                let outcome = stream_out(stream, output, self.limit);
                self.end(Run::None);
                outcome
            }
            Err((status, name, line)) => {
                let allow = if status == 405 { "Allow: POST\r\n" } else { "" };
                write!(
                    &mut &*stream,
                    "HTTP/1.1 {status} {name}\r\n{allow}\
                     Content-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{line}\n",
                    line.len() + 1
                )
            }
        }?;
        stream.shutdown(Shutdown::Write)
    }

    /// Starts what a request asks for, and returns what it prints.
    fn start(&self, method: &str, path: &str) -> Result<PipeReader, Refusal> {
        let chapter = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(self.token.as_str()))
            .and_then(|path| path.strip_prefix('/'))
            .ok_or_else(|| (404, "Not Found", "there is nothing here".into()))?;
        if !self.chapters.iter().any(|known| known == chapter) {
            let known = self.chapters.join(", ");
            let line = format!("there is no such chapter: take one of {known}");
            return Err((404, "Not Found", line));
        }
        if method != "POST" {
            return Err((405, "Method Not Allowed", "POST it".into()));
        }
        let mut run = self.run();
        if !matches!(*run, Run::None) {
            let line = "an exercise is being judged: wait until it is done";
            return Err((409, "Conflict", line.into()));
        }
        let (child, output) = spawn((self.command)(chapter)).map_err(|error| {
            (500, "Internal Server Error", format!("it does not start: {error}"))
        })?;
        *run = Run::Running(child);
        Ok(output)
    }

    /// Ends the run, with all that it has started.
    fn end(&self, next: Run) {
        let mut run = self.run();
        if let Run::Running(child) = &mut *run {
            outside::stop_group(child);
        }
        if !matches!(*run, Run::Over) {
            *run = next;
        }
    }
}

/// Starts a program that leads a process group, so that all of it can be ended, with
/// both its outputs in one pipe.
fn spawn(mut command: Command) -> io::Result<(Child, PipeReader)> {
    let (output, input) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    Ok((command.process_group(0).spawn()?, output))
}

/// Sends on what a run prints, as it comes, until it ends, or the time is up, or nobody
/// listens any more.
fn stream_out(
    stream: &TcpStream,
    mut output: PipeReader,
    limit: Duration,
) -> io::Result<()> {
    let mut client = stream;
    client.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
          Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    )?;
    let (send, pieces) = channel();
    thread::spawn(move || {
        let mut piece = [0; 4_096];
        while let Ok(length @ 1..) = output.read(&mut piece) {
            if send.send(piece[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let begin = Instant::now();
    loop {
        match pieces.recv_timeout(LOOK) {
            Ok(piece) => chunk(client, &piece)?,
            Err(RecvTimeoutError::Timeout) if gone(stream)? => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if begin.elapsed() > limit {
            let line = format!("\nended: it took over {} s\n", limit.as_secs());
            chunk(client, line.as_bytes())?;
            break;
        }
    }
    client.write_all(b"0\r\n\r\n")
}

/// One piece of a body whose length nobody knows yet.
fn chunk(mut client: &TcpStream, piece: &[u8]) -> io::Result<()> {
    let length = format!("{:x}\r\n", piece.len());
    client.write_all(&[length.as_bytes(), piece, b"\r\n"].concat())
}

/// Whether the client has closed the connection. What it sends is of no interest.
fn gone(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(match seen {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    })
}

/// The lines up to the first empty one.
fn read_head(stream: &TcpStream) -> Result<Vec<u8>, Refusal> {
    let mut head = Vec::new();
    let mut lines = BufReader::new(stream.take(HEAD));
    while !head.ends_with(b"\r\n\r\n") {
        match lines.read_until(b'\n', &mut head) {
            Ok(1..) => {}
            _ => return Err((400, "Bad Request", "no end of the head".into())),
        }
    }
    Ok(head)
}

/// The method, the path and the host of a request.
fn parse(head: &[u8]) -> Option<(String, String, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?.is_complete().then_some(())?;
    let (method, path) = (request.method?, request.path?);
    let host = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Host"))?;
    let host = std::str::from_utf8(host.value).ok()?;
    Some((method.to_owned(), path.to_owned(), host.to_owned()))
}

/// A word that nobody can guess: 128 random bits.
fn token() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("this system has no random numbers")?;
    let mut token = String::new();
    for byte in random {
        write!(token, "{byte:02x}")?;
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use outside::send;

    use super::*;

    /// A judge of ch01 and ch02 for whom an exercise is a line of shell script, with
    /// the chapter as `$1`.
    fn judge(script: &'static str, limit: Duration) -> Judge {
        let chapter = |name: &str| Chapter {
            name: name.into(),
            dir: PathBuf::new(),
            page: PathBuf::new(),
        };
        let chapters = [chapter("ch01"), chapter("ch02")];
        Judge::start_with(&chapters, limit, move |chapter| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh", chapter]);
            shell
        })
        .unwrap()
    }

    /// Asks, and returns as soon as the first line of output is there, with the time
    /// when it came. The connection is open.
    fn begin(judge: &Judge) -> (BufReader<TcpStream>, String) {
        let path = judge.url().split_once("127.0.0.1").unwrap().1;
        let path = path.split_once('/').unwrap().1;
        let mut stream = TcpStream::connect(judge.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = judge.address;
        write!(stream, "POST /{path}/ch02 HTTP/1.1\r\nHost: {host}\r\n\r\n")
            .unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "no head");
        }
        // The length of the first chunk, and then the chunk.
        for _ in 0..2 {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        (lines, line.trim().to_owned())
    }

    /// Waits until the process is gone.
    fn ends(pid: &str) {
        let begin = Instant::now();
        while Path::new("/proc").join(pid).exists() {
            assert!(begin.elapsed() < PATIENCE, "process {pid} goes on");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A run is what the program prints, both outputs of it, whole.
    #[test]
    fn runs_the_chapter() {
        let judge = judge("echo judging $1; echo and errors >&2", LIMIT);
        let url = format!("{}/ch02", judge.url());
        for _ in 0..2 {
            let answer = send("POST", &url, b"").unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
            assert_eq!(answer.body, "judging ch02\nand errors\n");
        }
    }

    /// The first line is there long before the run ends.
    #[test]
    fn streams_as_it_comes() {
        let judge = judge("echo one; sleep 2; echo two", LIMIT);
        let asked = Instant::now();
        let (mut lines, first) = begin(&judge);
        assert_eq!(first, "one");
        assert!(asked.elapsed() < Duration::from_secs(1), "it was held back");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(asked.elapsed() >= Duration::from_secs(2));
        assert!(rest.contains("two\n"), "{rest:?}");
        assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
    }

    /// Whoever does not know the token, or asks for anything else, starts nothing.
    #[test]
    fn refuses_everything_else() {
        let judge = judge("echo started", LIMIT);
        let url = judge.url();
        let other = format!("{}0", &url[..url.len() - 1]);
        let other = if other == url {
            format!("{}1", &url[..url.len() - 1])
        } else {
            other
        };
        let bare = format!("http://{}", judge.address);
        for (method, url, status) in [
            ("POST", format!("{other}/ch02"), 404),
            ("POST", format!("{bare}/ch02"), 404),
            ("POST", format!("{bare}/"), 404),
            ("POST", format!("{url}/ch09"), 404),
            ("POST", format!("{url}/"), 404),
            ("POST", format!("{url}ch02"), 404),
            ("POST", format!("{url}/ch02/../ch01"), 404),
            ("GET", format!("{url}/ch02"), 405),
            ("DELETE", format!("{url}/ch02"), 405),
        ] {
            let answer = send(method, &url, b"").unwrap();
            assert_eq!(answer.status, status, "{method} {url}");
            assert!(!answer.body.contains("started"), "{method} {url}");
            assert_eq!(answer.body.lines().count(), 1, "{method} {url}");
            assert!(!answer.body.contains(&judge.bench.token), "{method} {url}");
        }
        let answer = send("POST", &format!("{url}/ch09"), b"").unwrap();
        let known = "there is no such chapter: take one of ch01, ch02\n";
        assert_eq!(answer.body, known);
    }

    /// A page whose name was made to lead here starts nothing, though it knows the token.
    #[test]
    fn refuses_other_names() {
        let judge = judge("echo started", LIMIT);
        let port = judge.address.port();
        let url = format!("{}/ch02", judge.url());
        for host in [format!("evil.example:{port}"), format!("localhost:{port}")] {
            let answer = outside::send_with("POST", &url, &[("Host", &host)], b"");
            let answer = answer.unwrap();
            assert_eq!(answer.status, 421, "{host}: {answer:?}");
            assert!(answer.body.starts_with("ask 127.0.0.1:"), "{answer:?}");
        }
        assert_eq!(send("POST", &url, b"").unwrap().status, 200);
    }

    /// One at a time: the second is told so, and the first goes on.
    #[test]
    fn one_run_at_a_time() {
        let judge = judge("echo one; sleep 1; echo two", LIMIT);
        let (mut lines, first) = begin(&judge);
        assert_eq!(first, "one");
        let url = format!("{}/ch01", judge.url());
        assert_eq!(send("POST", &url, b"").unwrap().status, 409);
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("two"), "{rest:?}");
        assert_eq!(send("POST", &url, b"").unwrap().status, 200);
    }

    /// When the judge goes, so does the run, and what the run has started.
    #[test]
    fn drop_ends_the_run() {
        let judge = judge("sleep 60 & echo $! $$; wait", LIMIT);
        let (_lines, pids) = begin(&judge);
        let (_, url) = judge.url().split_once("//").unwrap();
        let address = url.split_once('/').unwrap().0.to_owned();
        drop(judge);
        assert_eq!(pids.split(' ').count(), 2, "{pids}");
        pids.split(' ').for_each(ends);
        assert!(TcpStream::connect(address).is_err(), "it still listens");
    }

    /// A reader who closes the page makes room for the next.
    #[test]
    fn a_run_without_a_listener_ends() {
        let judge = judge("echo $$; sleep 60", LIMIT);
        let (lines, pid) = begin(&judge);
        drop(lines);
        ends(&pid);
    }

    /// What takes too long is ended, and says so.
    #[test]
    fn the_time_is_limited() {
        let judge = judge("echo $$; sleep 60", Duration::from_secs(1));
        let (mut lines, pid) = begin(&judge);
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("ended: it took over 1 s"), "{rest:?}");
        ends(&pid);
    }
}
