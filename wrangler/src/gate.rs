//! How much may be done from one address: requests, bodies, sockets, new visitors, and
//! what all of it may cost.
//!
//! Each address has a gate, which knows the visitors who come from there. It gets the
//! money for them in steps from the gate above it (`address.rs`), so that the gate of
//! everybody is asked seldom.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use worker::{
    Date, DurableObject, Env, Error, Request, Response, ResponseBuilder, Result,
    State, durable_object, wasm_bindgen,
};

use crate::address::{EVERYBODY, above, day};
use crate::pace::Pace;
use crate::price::{KIB, REQUEST, SOCKET, STEP, UNWRITTEN};

/// How long a body may be, in bytes.
pub const BODY_MAX: u64 = 2 * 1024 * 1024;
/// How long it may take to come, in seconds.
pub const BODY_SECONDS: u64 = 10;
/// How long a socket may be open, in milliseconds.
pub const SOCKET_MS: u64 = 600_000;
/// A visitor's requests: 300 at once, then 10 a second.
const REQUESTS: Pace = Pace { ms: 100, burst: 300 };
/// The requests of one address: 600 at once, then 20 a second.
const ADDRESS_REQUESTS: Pace = Pace { ms: 50, burst: 600 };
/// 4 MiB of bodies at once, then 2 KiB a second. A unit is a KiB that was begun.
const BODIES: Pace = Pace { ms: 500, burst: 4 * 1024 };
/// How many sockets a visitor may have open at once.
const SOCKETS: usize = 20;
/// How many there may be of one address.
const ADDRESS_SOCKETS: usize = 60;
/// New visitors of one address, or of one /48 network, unless `VISITORS_AT_ONCE` says
/// otherwise: 30 at once, then 30 an hour.
const VISITORS: Pace = Pace { ms: 120_000, burst: 30 };
const DAY_MS: u64 = 86_400_000;
/// The key of what is written down.
const LEDGER: &str = "account";

/// What is asked of a gate. It travels as a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A request of this visitor with a body of so many bytes.
    Request { visitor: String, bytes: u64 },
    /// The same, for a socket. The answer is its number.
    Socket { visitor: String },
    /// The socket with this number is closed.
    Closed { number: u64 },
    /// A new visitor.
    Visitor,
    /// So much is to be paid, if there is the money for it.
    Pay { cost: u64 },
    /// So much was used already, whether there is the money for it or not.
    Owe { cost: u64 },
}

impl Ask {
    /// The address at which a gate is asked this. The host is not looked at, but
    /// there must be one.
    pub fn url(&self) -> String {
        match self {
            Self::Request { visitor, bytes } => {
                format!("https://gate/request/{bytes}/{visitor}")
            }
            Self::Socket { visitor } => format!("https://gate/socket/0/{visitor}"),
            Self::Closed { number } => format!("https://gate/closed/{number}"),
            Self::Visitor => "https://gate/visitor/0".to_owned(),
            Self::Pay { cost } => format!("https://gate/pay/{cost}"),
            Self::Owe { cost } => format!("https://gate/owe/{cost}"),
        }
    }

    fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let word = parts.next()?;
        let number = parts.next()?.parse().ok()?;
        let visitor = parts.next().map(str::to_owned);
        match (word, visitor) {
            ("request", Some(visitor)) => {
                Some(Self::Request { visitor, bytes: number })
            }
            ("socket", Some(visitor)) => Some(Self::Socket { visitor }),
            ("closed", None) => Some(Self::Closed { number }),
            ("visitor", None) => Some(Self::Visitor),
            ("pay", None) => Some(Self::Pay { cost: number }),
            ("owe", None) => Some(Self::Owe { cost: number }),
            _ => None,
        }
    }

    /// What is the same of all asks that one refusal answers.
    fn whose(&self) -> String {
        match self {
            Self::Request { visitor, bytes: 0 } => format!("request {visitor}"),
            Self::Request { visitor, .. } => format!("body {visitor}"),
            Self::Socket { visitor } => format!("socket {visitor}"),
            Self::Closed { .. } | Self::Owe { .. } => "settled".to_owned(),
            Self::Visitor => "visitor".to_owned(),
            Self::Pay { .. } => "pay".to_owned(),
        }
    }

    /// What it costs.
    fn price(&self) -> u64 {
        match self {
            Self::Request { bytes, .. } => REQUEST + bytes.div_ceil(1024) * KIB,
            Self::Socket { .. } => REQUEST + SOCKET,
            Self::Visitor => REQUEST,
            Self::Closed { .. } => 0,
            Self::Pay { cost } | Self::Owe { cost } => *cost,
        }
    }
}

/// What a gate says no to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// What there was too much of, in one line.
    pub what: String,
    /// In how many milliseconds there is more.
    pub ms: u64,
    /// Whether the money is what there is no more of.
    pub budget: bool,
    /// Whether it is places, which others may give back at any time.
    pub places: bool,
}

impl No {
    fn many(what: &str, ms: u64) -> Self {
        let what = format!("too many {what}");
        Self { what, ms, budget: false, places: false }
    }
}

/// The headers with [`No::ms`], [`No::budget`] and [`No::places`].
const MS: &str = "Gate-Ms";
const BUDGET: &str = "Gate-Budget";
const PLACES: &str = "Gate-Places";

/// How many refusals an isolate remembers.
const REMEMBERED: usize = 10_000;

thread_local! {
    static REFUSALS: RefCell<Refusals> = RefCell::default();
}

/// What was refused lately, by whom and to whom: since when, and how long that holds.
/// Whoever asks again before costs no question to a gate.
#[derive(Debug, Default)]
struct Refusals(HashMap<String, (u64, u64, No)>);

impl Refusals {
    fn find(&self, key: &str, now: u64) -> Option<No> {
        let (since, holds, no) = self.0.get(key)?;
        let passed = now.saturating_sub(*since);
        (passed < *holds).then(|| No { ms: no.ms - passed, ..no.clone() })
    }

    fn note(&mut self, key: String, no: &No, now: u64) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        // A place may be free sooner than it has to be.
        let holds = if no.places { no.ms.min(1_000) } else { no.ms };
        self.0.insert(key, (now, holds, no.clone()));
    }
}

/// Asks a gate. For a socket, the answer is its number.
///
/// # Errors
/// If the gate cannot be reached.
pub async fn ask(
    env: &Env,
    gate: &str,
    ask: &Ask,
) -> Result<std::result::Result<Option<u64>, No>> {
    let key = format!("{gate} {}", ask.whose());
    let now = Date::now().as_millis();
    if let Some(no) = REFUSALS.with_borrow(|them| them.find(&key, now)) {
        return Ok(Err(no));
    }
    let verdict = ask_afresh(env, gate, ask).await?;
    if let Err(no) = &verdict {
        REFUSALS.with_borrow_mut(|them| them.note(key, no, now));
    }
    Ok(verdict)
}

async fn ask_afresh(
    env: &Env,
    gate: &str,
    ask: &Ask,
) -> Result<std::result::Result<Option<u64>, No>> {
    let gate = env.durable_object("GATES")?.get_by_name(gate)?;
    let mut answer = gate.fetch_with_str(&ask.url()).await?;
    let text = answer.text().await?;
    let Some(ms) = answer.headers().get(MS)? else {
        return Ok(Ok(text.parse().ok()));
    };
    let headers = answer.headers();
    Ok(Err(No {
        what: text,
        ms: ms.parse().unwrap_or(DAY_MS),
        budget: headers.has(BUDGET)?,
        places: headers.has(PLACES)?,
    }))
}

/// What a gate keeps on disk: an eviction must not make it forget what was used. Times
/// are in milliseconds since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    /// The day since 1970 of the money.
    day: u64,
    /// What was paid that day, and how much of it the gate above has let us have.
    paid: u64,
    granted: u64,
    visitors: u64,
    bodies: BTreeMap<String, u64>,
    /// The sockets that are open.
    sockets: Vec<Open>,
    next_socket: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open {
    number: u64,
    visitor: String,
    /// When it will be closed at the latest.
    until: u64,
}

/// What a gate has in memory only: an object that is evicted had nothing to do for as
/// long as it takes until the requests are there again, or a third of it.
#[derive(Debug, Default)]
struct Lately {
    requests: u64,
    of: BTreeMap<String, u64>,
}

impl Ledger {
    /// The money of a new day.
    fn turn(&mut self, now: u64) {
        if self.day != now / DAY_MS {
            (self.day, self.paid, self.granted) = (now / DAY_MS, 0, 0);
        }
    }

    /// Lets something in. That there is the money for it has been seen to.
    fn decide(
        &mut self,
        lately: &mut Lately,
        ask: &Ask,
        visitors: Pace,
        now: u64,
    ) -> std::result::Result<Option<u64>, No> {
        let mut number = None;
        match ask {
            Ask::Request { visitor, bytes } => {
                lately.request(visitor, now)?;
                if *bytes > 0 {
                    self.bodies.retain(|_, paid| *paid > now);
                    let used = self.bodies.entry(visitor.clone()).or_default();
                    *used = BODIES
                        .take(*used, bytes.div_ceil(1024), now)
                        .map_err(|ms| No::many("bytes", ms))?;
                }
            }
            Ask::Socket { visitor } => {
                lately.request(visitor, now)?;
                self.sockets.retain(|open| open.until > now);
                let own = |open: &&Open| open.visitor == *visitor;
                for (count, most, what) in [
                    (self.sockets.iter().filter(own).count(), SOCKETS, ""),
                    (self.sockets.len(), ADDRESS_SOCKETS, " from your address"),
                ] {
                    if count >= most {
                        let first =
                            self.sockets.iter().map(|open| open.until).min();
                        let ms = first.map_or(SOCKET_MS, |until| until - now);
                        let no = No::many(&format!("open sockets{what}"), ms);
                        return Err(No { places: true, ..no });
                    }
                }
                self.next_socket += 1;
                number = Some(self.next_socket);
                self.sockets.push(Open {
                    number: self.next_socket,
                    visitor: visitor.clone(),
                    until: now + SOCKET_MS,
                });
            }
            Ask::Closed { number } => {
                self.sockets.retain(|open| open.number != *number);
            }
            Ask::Visitor => {
                self.visitors = visitors
                    .take(self.visitors, 1, now)
                    .map_err(|ms| No::many("new visitors from your address", ms))?;
            }
            Ask::Pay { .. } | Ask::Owe { .. } => {}
        }
        self.paid += ask.price();
        Ok(number)
    }
}

impl Lately {
    fn request(&mut self, visitor: &str, now: u64) -> std::result::Result<(), No> {
        let no = |ms| No::many("requests", ms);
        self.of.retain(|_, used| *used > now);
        let used = self.of.get(visitor).copied().unwrap_or_default();
        let used = REQUESTS.take(used, 1, now).map_err(no)?;
        self.requests = ADDRESS_REQUESTS.take(self.requests, 1, now).map_err(no)?;
        self.of.insert(visitor.to_owned(), used);
        Ok(())
    }
}

/// The gate of one address, of one network, or of everybody.
#[durable_object(alarm)]
pub struct Gate {
    state: State,
    env: Env,
    name: String,
    visitors: Pace,
    lately: RefCell<Lately>,
    /// What is on disk, once it has been read, and what was paid as it stands there.
    ledger: RefCell<Option<Ledger>>,
    written: RefCell<u64>,
}

impl DurableObject for Gate {
    fn new(state: State, env: Env) -> Self {
        let number =
            |name| env.var(name).ok().and_then(|it| it.to_string().parse().ok());
        let burst = number("VISITORS_AT_ONCE").unwrap_or(VISITORS.burst);
        Self {
            name: state.id().name().unwrap_or_default(),
            state,
            visitors: Pace { burst, ..VISITORS },
            lately: RefCell::default(),
            ledger: RefCell::default(),
            written: RefCell::default(),
            env,
        }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        let ask = Ask::of(&req.path()).ok_or_else(|| Error::from("no such ask"))?;
        match self.answer(&ask).await? {
            Ok(number) => {
                Response::ok(number.map_or(String::new(), |it| it.to_string()))
            }
            Err(no) => {
                let response =
                    ResponseBuilder::new().with_status(429).ok(no.what)?;
                response.headers().set(MS, &no.ms.to_string())?;
                for (name, holds) in [(BUDGET, no.budget), (PLACES, no.places)] {
                    if holds {
                        response.headers().set(name, "yes")?;
                    }
                }
                Ok(response)
            }
        }
    }

    /// The day is over. What was written down is of use only if it was used today.
    async fn alarm(&self) -> Result<Response> {
        self.read().await?;
        let today = Date::now().as_millis() / DAY_MS;
        let used = self.ledger.borrow().as_ref().map(|ledger| ledger.day);
        if used == Some(today) {
            self.wake_tomorrow().await?;
        } else {
            self.state.storage().delete_all().await?;
            self.ledger.replace(None);
        }
        Response::ok("")
    }
}

impl Gate {
    async fn answer(
        &self,
        ask: &Ask,
    ) -> Result<std::result::Result<Option<u64>, No>> {
        self.read().await?;
        // A place is given back, and a debt noted, at any price.
        let settles = matches!(ask, Ask::Closed { .. } | Ask::Owe { .. });
        if !settles && let Err(no) = self.afford(ask.price()).await? {
            return Ok(Err(no));
        }
        let now = Date::now().as_millis();
        let verdict = {
            let mut ledger = self.ledger.borrow_mut();
            let ledger = ledger.get_or_insert_default();
            let lately = &mut *self.lately.borrow_mut();
            ledger.decide(lately, ask, self.visitors, now)
        };
        if verdict.is_err() {
            return Ok(verdict);
        }
        self.write(ask).await?;
        // Many addresses of one network are no way to more visitors.
        match above(&self.name) {
            Some(network) if *ask == Ask::Visitor && network != EVERYBODY => {
                crate::gate::ask(&self.env, &network, ask).await
            }
            _ => Ok(verdict),
        }
    }

    /// Sees to it that there is the money for something: the gate above gives it.
    async fn afford(&self, price: u64) -> Result<std::result::Result<(), No>> {
        let set =
            self.env.var("LIVE_DAY_BUDGET").ok().filter(|_| self.name == EVERYBODY);
        let set = set.and_then(|units| units.to_string().parse().ok());
        let most = set.unwrap_or_else(|| day(&self.name));
        loop {
            let now = Date::now().as_millis();
            let (paid, granted) = {
                let mut ledger = self.ledger.borrow_mut();
                let ledger = ledger.get_or_insert_default();
                ledger.turn(now);
                (ledger.paid, ledger.granted)
            };
            if paid + price > most {
                let who = if self.name == EVERYBODY {
                    "the play area has"
                } else {
                    "those at your address have"
                };
                let what = format!(
                    "{who} used up what it may cost today: the pages go on, and \
                     `cargo xtask serve` runs the chapters on your own machine"
                );
                return Ok(Err(No {
                    what,
                    ms: DAY_MS - now % DAY_MS,
                    budget: true,
                    places: false,
                }));
            }
            let Some(gate) = above(&self.name) else { return Ok(Ok(())) };
            if paid + price <= granted {
                return Ok(Ok(()));
            }
            let cost = STEP.max(paid + price - granted);
            let step = Ask::Pay { cost };
            if let Err(no) = crate::gate::ask(&self.env, &gate, &step).await? {
                return Ok(Err(no));
            }
            if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
                ledger.granted += cost;
            }
        }
    }

    async fn read(&self) -> Result<()> {
        if self.ledger.borrow().is_some() {
            return Ok(());
        }
        let ledger: Option<Ledger> = self.state.storage().get(LEDGER).await?;
        let ledger = ledger.unwrap_or_default();
        let mut place = self.ledger.borrow_mut();
        if place.is_none() {
            self.written.replace(ledger.paid);
            *place = Some(ledger);
        }
        Ok(())
    }

    /// Writes down what an eviction must not forget. What was paid stands there as
    /// more than it is, so that not each request has to be written.
    async fn write(&self, ask: &Ask) -> Result<()> {
        let ledger = {
            let ledger = self.ledger.borrow();
            let Some(ledger) = ledger.as_ref() else { return Ok(()) };
            let mut written = self.written.borrow_mut();
            let counts = match ask {
                Ask::Request { bytes, .. } => *bytes > 0,
                Ask::Pay { .. } | Ask::Owe { .. } => false,
                _ => true,
            };
            // Less than what is written, too: it is another day.
            if !counts
                && ledger.paid <= *written
                && *written <= ledger.paid + UNWRITTEN
            {
                return Ok(());
            }
            *written = ledger.paid + UNWRITTEN;
            Ledger { paid: *written, ..ledger.clone() }
        };
        self.state.storage().put(LEDGER, &ledger).await?;
        if self.state.storage().get_alarm().await?.is_none() {
            self.wake_tomorrow().await?;
        }
        Ok(())
    }

    async fn wake_tomorrow(&self) -> Result<()> {
        let left = DAY_MS - Date::now().as_millis() % DAY_MS + SOCKET_MS;
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        self.state.storage().set_alarm(left).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn request(visitor: &str, bytes: u64) -> Ask {
        Ask::Request { visitor: visitor.into(), bytes }
    }

    fn socket(visitor: &str) -> Ask {
        Ask::Socket { visitor: visitor.into() }
    }

    /// One gate, without its disk.
    #[derive(Default)]
    struct Desk(Ledger, Lately);

    impl Desk {
        fn ask(
            &mut self,
            ask: &Ask,
            now: u64,
        ) -> std::result::Result<Option<u64>, No> {
            self.0.decide(&mut self.1, ask, VISITORS, now)
        }

        fn wait(&mut self, ask: &Ask, now: u64) -> u64 {
            self.ask(ask, now).unwrap_err().ms
        }
    }

    /// What is asked comes through as it was.
    #[test]
    fn asks_travel() {
        for ask in [
            request("0-a", 7),
            socket("0-a"),
            Ask::Closed { number: 3 },
            Ask::Visitor,
            Ask::Pay { cost: 5 },
            Ask::Owe { cost: 6 },
        ] {
            let url = ask.url();
            let path = url.strip_prefix("https://gate").unwrap();
            assert_eq!(Ask::of(path), Some(ask));
        }
        for path in
            ["/", "/request", "/request/x/a", "/request/1", "/closed", "/else/1"]
        {
            assert_eq!(Ask::of(path), None, "{path}");
        }
    }

    /// 300 requests come at once, the next has to wait for its turn. Another visitor
    /// has as many, and the address has twice as many.
    #[test]
    fn requests() {
        let mut desk = Desk::default();
        for _ in 0..300 {
            desk.ask(&request("ada", 0), NOW).unwrap();
        }
        assert_eq!(desk.wait(&request("ada", 0), NOW), 100);
        for _ in 0..299 {
            desk.ask(&request("bob", 0), NOW).unwrap();
        }
        desk.ask(&request("ada", 0), NOW + 100).unwrap();
        for _ in 0..2 {
            desk.ask(&request("eve", 0), NOW + 100).unwrap();
        }
        assert_eq!(desk.wait(&request("eve", 0), NOW + 100), 50);
    }

    /// Two of the largest bodies come at once; a small one counts as a KiB.
    #[test]
    fn bodies() {
        let mut desk = Desk::default();
        for _ in 0..2 {
            desk.ask(&request("ada", BODY_MAX), NOW).unwrap();
        }
        assert_eq!(desk.wait(&request("ada", 1), NOW), 500);
        desk.ask(&request("ada", 1), NOW + 500).unwrap();
        desk.ask(&request("ada", 0), NOW + 500).unwrap();
        desk.ask(&request("bob", 1), NOW + 500).unwrap();
    }

    /// To ask for a socket is a request, too.
    #[test]
    fn sockets_are_requests() {
        let mut desk = Desk::default();
        for _ in 0..300 {
            desk.ask(&request("ada", 0), NOW).unwrap();
        }
        assert_eq!(desk.wait(&socket("ada"), NOW), 100);
        assert!(desk.0.sockets.is_empty());
    }

    /// A place is free when a socket is closed, or its time is over. A visitor has 20,
    /// and an address 60.
    #[test]
    fn sockets() {
        let mut desk = Desk::default();
        for number in 1..=20 {
            let given = desk.ask(&socket("ada"), NOW + number);
            assert_eq!(given, Ok(Some(number)));
        }
        let no = No::many("open sockets", SOCKET_MS - 29);
        let no = No { places: true, ..no };
        assert_eq!(desk.ask(&socket("ada"), NOW + 30), Err(no));
        desk.ask(&Ask::Closed { number: 5 }, NOW + 30).unwrap();
        assert_eq!(desk.ask(&socket("ada"), NOW + 30), Ok(Some(21)));
        assert!(desk.ask(&socket("ada"), NOW + 30).is_err());
        for visitor in ["bob", "eve"] {
            for _ in 0..20 {
                desk.ask(&socket(visitor), NOW + 30).unwrap();
            }
        }
        let no = desk.ask(&socket("joe"), NOW + 30).unwrap_err();
        assert_eq!(no.what, "too many open sockets from your address");
        let later = NOW + 1 + SOCKET_MS;
        assert_eq!(desk.ask(&socket("joe"), later), Ok(Some(62)));
    }

    /// A refusal is remembered as long as it holds, for those whom it was meant for.
    #[test]
    fn refusals() {
        let mut them = Refusals::default();
        let no = No::many("requests", 100);
        them.note("a".to_owned(), &no, NOW);
        assert_eq!(them.find("a", NOW), Some(no.clone()));
        assert_eq!(them.find("a", NOW + 40).map(|no| no.ms), Some(60));
        assert_eq!(them.find("a", NOW + 100), None);
        assert_eq!(them.find("b", NOW), None);
        let full = No { places: true, ..No::many("open sockets", 9_000) };
        them.note("c".to_owned(), &full, NOW);
        assert_eq!(them.find("c", NOW + 999).map(|no| no.ms), Some(8_001));
        assert_eq!(them.find("c", NOW + 1_000), None);
        for other in 0..2 * REMEMBERED {
            them.note(other.to_string(), &no, NOW);
        }
        assert!(them.0.len() <= REMEMBERED);
        assert_ne!(request("ada", 0).whose(), request("bob", 0).whose());
        assert_ne!(request("ada", 0).whose(), request("ada", 1).whose());
        assert_eq!(request("ada", 2).whose(), request("ada", 1).whose());
    }

    /// Visitors of one address come one after the other.
    #[test]
    fn visitors() {
        let mut desk = Desk::default();
        for _ in 0..30 {
            desk.ask(&Ask::Visitor, NOW).unwrap();
        }
        assert_eq!(desk.wait(&Ask::Visitor, NOW), 120_000);
    }

    /// Everything is paid for, the next day anew; what is refused is not.
    #[test]
    fn money() {
        let mut desk = Desk::default();
        desk.0.turn(NOW);
        desk.ask(&request("ada", 1_025), NOW).unwrap();
        assert_eq!(desk.0.paid, REQUEST + 2 * KIB);
        desk.ask(&socket("ada"), NOW).unwrap();
        desk.ask(&Ask::Pay { cost: 7 }, NOW).unwrap();
        let paid = 2 * REQUEST + 2 * KIB + SOCKET + 7;
        assert_eq!(desk.0.paid, paid);
        while desk.ask(&request("ada", BODY_MAX), NOW).is_ok() {}
        let full = desk.0.paid;
        assert!(desk.ask(&request("ada", BODY_MAX), NOW).is_err());
        assert_eq!(desk.0.paid, full);
        desk.0.turn(NOW + 1);
        assert_eq!(desk.0.paid, full);
        desk.0.turn(NOW + DAY_MS);
        assert_eq!(desk.0.paid, 0);
    }
}
