//! Many clients at once, and a server that dies under them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::base::{agent, send_by};
use crate::{Answer, Base, Dev};

/// How long a crowd may take.
const CROWD_LIMIT: Duration = Duration::from_secs(120);
/// A storm goes on for a random time up to this after it has heard enough.
const KILL_WITHIN: Duration = Duration::from_millis(400);

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub body: String,
}

impl Ask {
    /// `GET`
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: String::new() }
    }

    /// `POST` with a body, which may be empty.
    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self { method: "POST", path: path.into(), body: body.into() }
    }

    /// `PUT` with a body.
    pub fn put(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self { method: "PUT", path: path.into(), body: body.into() }
    }

    fn send(&self, agent: &ureq::Agent, url: &str) -> Result<Answer> {
        let url = format!("{url}{}", self.path);
        send_by(agent, self.method, &url, &[], self.body.as_bytes())
    }
}

/// What was heard in a [`storm`].
#[derive(Debug)]
pub struct Acknowledged {
    /// Which requests were answered, by their number, and how.
    pub answers: Vec<(usize, Answer)>,
    /// How many were sent, numbered from 0; the last few may be without an answer.
    pub sent: usize,
}

/// Sends the requests 0 to `count`, from `clients` clients at once, each of which
/// waits for its answer before it sends the next. Returns the answers by the number
/// of their request.
///
/// # Errors
/// If a request gets no answer at all.
pub fn crowd(
    at: &Base,
    clients: usize,
    count: usize,
    ask: impl Fn(usize) -> Ask + Sync,
) -> Result<Vec<Answer>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(count));
    let url = at.url();
    let client = || -> Result<()> {
        let agent = agent();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let answer = ask(number).send(&agent, &url)?;
            lock(&answers).push((number, answer));
        }
    };
    scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().ok().context("a client panicked")?
        })
    })?;
    let mut answers =
        answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Sends requests from `clients` clients at once until `enough` have been answered,
/// goes on for a random moment, and kills the server with requests in flight (`kill
/// -9`). The server stays down.
///
/// # Errors
/// If the server does not answer often enough in time, or nothing was in flight.
pub fn storm(
    dev: &mut Dev,
    clients: usize,
    enough: usize,
    ask: impl Fn(usize) -> Ask + Sync,
) -> Result<Acknowledged> {
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let answers = Mutex::new(Vec::new());
    let url = dev.url();
    let client = || {
        let agent = agent();
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // The first error is the kill, or an error that leaves too few answers.
            let Ok(answer) = ask(number).send(&agent, &url) else { return };
            lock(&answers).push((number, answer));
        }
    };
    let heard = scope(|scope| {
        for _ in 0..clients {
            scope.spawn(client);
        }
        let begin = Instant::now();
        while lock(&answers).len() < enough && begin.elapsed() < CROWD_LIMIT {
            sleep(Duration::from_millis(1));
        }
        let heard = lock(&answers).len();
        sleep(KILL_WITHIN.mul_f64(fastrand::f64()));
        dev.kill();
        over.store(true, Ordering::Relaxed);
        heard
    });
    ensure!(
        heard >= enough,
        "only {heard} of {enough} requests were answered:\n{}",
        dev.log()
    );
    let answers =
        answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let sent = next.into_inner();
    ensure!(sent > answers.len(), "nothing was in flight when the server died");
    Ok(Acknowledged { answers, sent })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
