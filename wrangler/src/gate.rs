//! How much a visitor may do: requests, bodies, sockets; and how many visitors come
//! from one address.

use std::cell::Cell;

use serde::{Deserialize, Serialize};
use worker::{
    Date, DurableObject, Env, Error, Request, Response, ResponseBuilder, Result,
    State, durable_object, wasm_bindgen,
};

use crate::pace::Pace;

/// How long a body may be, in bytes.
pub const BODY_MAX: u64 = 2 * 1024 * 1024;
/// How long a socket may be open, in milliseconds.
pub const SOCKET_MS: u64 = 600_000;
/// 300 requests at once, then 10 a second.
const REQUESTS: Pace = Pace { ms: 100, burst: 300 };
/// 4 MiB of bodies at once, then 2 KiB a second. A unit is a KiB that was begun.
const BODIES: Pace = Pace { ms: 500, burst: 4 * 1024 };
/// How many sockets may be open at once.
const SOCKETS: usize = 20;
/// New visitors of one address, unless `VISITORS_AT_ONCE` says otherwise: 30 at
/// once, then 30 an hour.
const VISITORS: Pace = Pace { ms: 120_000, burst: 30 };
/// How long what is written down here stays, in milliseconds, if nothing comes.
const KEPT_MS: u64 = 3_600_000;
/// The key of what is written down.
const LEDGER: &str = "ledger";

/// What is asked of a gate. It travels as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A request with a body of so many bytes.
    Request { bytes: u64 },
    /// The same, for a socket. The answer is its number.
    Socket { bytes: u64 },
    /// The socket with this number is closed.
    Closed { number: u64 },
    /// A new visitor of this address.
    Visitor,
}

impl Ask {
    /// The address at which a gate is asked this. The host is not looked at, but
    /// there must be one.
    pub fn url(self) -> String {
        match self {
            Self::Request { bytes } => format!("https://gate/request/{bytes}"),
            Self::Socket { bytes } => format!("https://gate/socket/{bytes}"),
            Self::Closed { number } => format!("https://gate/closed/{number}"),
            Self::Visitor => "https://gate/visitor".to_owned(),
        }
    }

    fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let word = parts.next()?;
        let number = parts.next().map(str::parse::<u64>);
        match (word, number) {
            ("request", Some(Ok(bytes))) => Some(Self::Request { bytes }),
            ("socket", Some(Ok(bytes))) => Some(Self::Socket { bytes }),
            ("closed", Some(Ok(number))) => Some(Self::Closed { number }),
            ("visitor", None) => Some(Self::Visitor),
            _ => None,
        }
    }
}

/// What a gate keeps on disk: an eviction must not make a visitor forget what was
/// used. Times are in milliseconds since 1970.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ledger {
    bodies: u64,
    visitors: u64,
    /// The sockets that are open: number, and until when at the latest.
    sockets: Vec<(u64, u64)>,
    next_socket: u64,
}

/// What a gate says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    /// Yes, and this is the socket's number.
    Number(u64),
    /// What there was too much of, and in how many milliseconds there is more.
    No(&'static str, u64),
}

impl Ledger {
    fn request(&mut self, requests: &Cell<u64>, bytes: u64, now: u64) -> Verdict {
        match REQUESTS.take(requests.get(), 1, now) {
            Ok(paid) => requests.set(paid),
            Err(ms) => return Verdict::No("requests", ms),
        }
        if bytes == 0 {
            return Verdict::Yes;
        }
        match BODIES.take(self.bodies, bytes.div_ceil(1024), now) {
            Ok(paid) => self.bodies = paid,
            Err(ms) => return Verdict::No("bytes", ms),
        }
        Verdict::Yes
    }

    fn socket(&mut self, requests: &Cell<u64>, bytes: u64, now: u64) -> Verdict {
        match self.request(requests, bytes, now) {
            Verdict::Yes => {}
            no => return no,
        }
        self.sockets.retain(|(_, until)| *until > now);
        if self.sockets.len() >= SOCKETS {
            let first = self.sockets.iter().map(|(_, until)| until - now).min();
            return Verdict::No("open sockets", first.unwrap_or(SOCKET_MS));
        }
        self.next_socket += 1;
        self.sockets.push((self.next_socket, now + SOCKET_MS));
        Verdict::Number(self.next_socket)
    }

    fn closed(&mut self, number: u64) -> Verdict {
        self.sockets.retain(|(open, _)| *open != number);
        Verdict::Yes
    }

    fn visitor(&mut self, pace: Pace, now: u64) -> Verdict {
        match pace.take(self.visitors, 1, now) {
            Ok(paid) => {
                self.visitors = paid;
                Verdict::Yes
            }
            Err(ms) => Verdict::No("new visitors from your address", ms),
        }
    }
}

/// The gate of one visitor, or of one address.
#[durable_object(alarm)]
pub struct Gate {
    state: State,
    /// How many requests were used lately is in memory only. An eviction forgets it;
    /// but an object that is evicted had nothing to do for as long as it takes to
    /// fill up again, or a third of it.
    requests: Cell<u64>,
    visitors: Pace,
}

impl DurableObject for Gate {
    fn new(state: State, env: Env) -> Self {
        let set = env.var("VISITORS_AT_ONCE").map(|at_once| at_once.to_string());
        let burst = set.ok().and_then(|at_once| at_once.parse().ok());
        let visitors = Pace { burst: burst.unwrap_or(VISITORS.burst), ..VISITORS };
        Self { state, requests: Cell::default(), visitors }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        let ask = Ask::of(&req.path()).ok_or_else(|| Error::from("no such ask"))?;
        let now = Date::now().as_millis();
        let storage = self.state.storage();
        // Most requests have no body, and need not look at the disk.
        if ask == (Ask::Request { bytes: 0 }) {
            let verdict = Ledger::default().request(&self.requests, 0, now);
            return answer(&verdict);
        }
        let mut ledger: Ledger = storage.get(LEDGER).await?.unwrap_or_default();
        let verdict = match ask {
            Ask::Request { bytes } => ledger.request(&self.requests, bytes, now),
            Ask::Socket { bytes } => ledger.socket(&self.requests, bytes, now),
            Ask::Closed { number } => ledger.closed(number),
            Ask::Visitor => ledger.visitor(self.visitors, now),
        };
        if !matches!(verdict, Verdict::No(..)) {
            storage.put(LEDGER, &ledger).await?;
            storage.set_alarm(i64::try_from(KEPT_MS).unwrap_or(i64::MAX)).await?;
        }
        answer(&verdict)
    }

    /// Nothing has come for long: what was written down is of no use any more.
    async fn alarm(&self) -> Result<Response> {
        self.state.storage().delete_all().await?;
        Response::ok("")
    }
}

fn answer(verdict: &Verdict) -> Result<Response> {
    match verdict {
        Verdict::Yes => Response::ok(""),
        Verdict::Number(number) => Response::ok(number.to_string()),
        Verdict::No(what, ms) => {
            let seconds = ms.div_ceil(1_000).to_string();
            let line = format!("too many {what}: try again in {seconds} s\n");
            let response = ResponseBuilder::new().with_status(429).ok(line)?;
            response.headers().set("Retry-After", &seconds)?;
            response.headers().set("Live-Refused", "limit")?;
            Ok(response)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    /// What is asked comes through as it was.
    #[test]
    fn asks_travel() {
        for ask in [
            Ask::Request { bytes: 7 },
            Ask::Socket { bytes: 9 },
            Ask::Closed { number: 3 },
            Ask::Visitor,
        ] {
            let url = ask.url();
            let path = url.strip_prefix("https://gate").unwrap();
            assert_eq!(Ask::of(path), Some(ask));
        }
        for path in ["/", "/request", "/request/x", "/socket", "/else"] {
            assert_eq!(Ask::of(path), None, "{path}");
        }
    }

    /// 300 requests come at once, the next has to wait for its turn.
    #[test]
    fn requests() {
        let used = Cell::new(0);
        let mut ledger = Ledger::default();
        for _ in 0..300 {
            assert_eq!(ledger.request(&used, 0, NOW), Verdict::Yes);
        }
        let no = Verdict::No("requests", 100);
        assert_eq!(ledger.request(&used, 0, NOW), no);
        assert_eq!(ledger.request(&used, 0, NOW + 100), Verdict::Yes);
    }

    /// Two of the largest bodies come at once; a small one counts as a KiB.
    #[test]
    fn bodies() {
        let used = Cell::new(0);
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            assert_eq!(ledger.request(&used, BODY_MAX, NOW), Verdict::Yes);
        }
        assert_eq!(ledger.request(&used, 1, NOW), Verdict::No("bytes", 500));
        assert_eq!(ledger.request(&used, 1, NOW + 500), Verdict::Yes);
        assert_eq!(ledger.request(&used, 0, NOW + 500), Verdict::Yes);
    }

    /// To ask for a socket is a request, too.
    #[test]
    fn sockets_are_requests() {
        let used = Cell::new(0);
        let mut ledger = Ledger::default();
        for _ in 0..300 {
            assert_eq!(ledger.request(&used, 0, NOW), Verdict::Yes);
        }
        let no = Verdict::No("requests", 100);
        assert_eq!(ledger.socket(&used, 0, NOW), no);
        assert!(ledger.sockets.is_empty());
    }

    /// A place is free when a socket is closed, or its time is over.
    #[test]
    fn sockets() {
        let used = Cell::new(0);
        let mut ledger = Ledger::default();
        for number in 1..=20 {
            assert_eq!(
                ledger.socket(&used, 0, NOW + number),
                Verdict::Number(number)
            );
        }
        let no = Verdict::No("open sockets", SOCKET_MS - 29);
        assert_eq!(ledger.socket(&used, 0, NOW + 30), no);
        assert_eq!(ledger.closed(5), Verdict::Yes);
        assert_eq!(ledger.socket(&used, 0, NOW + 30), Verdict::Number(21));
        assert!(matches!(ledger.socket(&used, 0, NOW + 30), Verdict::No(..)));
        let later = NOW + 1 + SOCKET_MS;
        assert_eq!(ledger.socket(&used, 0, later), Verdict::Number(22));
    }

    /// Visitors of one address come one after the other.
    #[test]
    fn visitors() {
        let mut ledger = Ledger::default();
        for _ in 0..30 {
            assert_eq!(ledger.visitor(VISITORS, NOW), Verdict::Yes);
        }
        assert!(matches!(ledger.visitor(VISITORS, NOW), Verdict::No(_, 120_000)));
    }
}
