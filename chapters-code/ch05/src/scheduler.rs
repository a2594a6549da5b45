//! Many timers on the one alarm that an object has: the pattern of the official page
//! on alarms.

use std::cell::Cell;

use serde::{Deserialize, Serialize};
use worker::{
    Date, DurableObject, Env, Method, Request, Response, Result, SqlStorage, State,
    console_warn, durable_object, wasm_bindgen,
};

use crate::rules::{Refusal, TIMERS_MAX};
use crate::sql::number;
use crate::timer::{Fate, Timer, fate};
use crate::{missing, post, web};

/// How many timers are served at one ring. The rest have the next, at once.
const RING_MAX: u32 = 50;

// ANCHOR: tables
/// `n` is never used twice, so a key made with it names one timer for ever. `due` is
/// the turn, `next` the time at which it is tried: later than `due` if it has failed,
/// nothing if it is dead.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS timers (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        due INTEGER NOT NULL,
        next INTEGER,
        every INTEGER,
        tries INTEGER NOT NULL DEFAULT 0,
        say TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS by_next ON timers (next);
";

#[derive(Serialize, Deserialize)]
struct Row {
    n: u64,
    id: String,
    due: u64,
    next: Option<u64>,
    every: Option<u64>,
    tries: u32,
    say: String,
}
// ANCHOR_END: tables

// ANCHOR: class
/// One schedule.
#[durable_object(alarm)]
pub struct Scheduler {
    state: State,
    env: Env,
    /// Whether the alarm is ringing just now.
    ringing: Cell<bool>,
}

impl DurableObject for Scheduler {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, ringing: Cell::new(false) }
    }

    async fn fetch(&self, mut req: Request) -> Result<Response> {
        let path = req.path();
        let id = path.trim_start_matches('/');
        match req.method() {
            Method::Put => {
                let wish = req.text().await?;
                match Timer::parse(wish.as_bytes(), now()) {
                    Ok(timer) => self.set(&self.tables()?, id, &timer).await,
                    Err(refusal) => web::refuse(&refusal),
                }
            }
            Method::Delete => self.cancel(&self.tables()?, id).await,
            _ => self.list(&self.tables()?).await,
        }
    }

    async fn alarm(&self) -> Result<Response> {
        let sql = self.tables()?;
        self.ringing.set(true);
        let rung = self.ring(&sql).await;
        self.ringing.set(false);
        // Last of all: after an error the runtime rings again by itself.
        rung?;
        self.arm(&sql).await?;
        Response::empty()
    }
}
// ANCHOR_END: class

fn now() -> u64 {
    Date::now().as_millis()
}

impl Scheduler {
    /// The database, with its table. Each event asks for it once.
    fn tables(&self) -> Result<SqlStorage> {
        let sql = self.state.storage().sql();
        sql.exec(TABLES, None)?;
        Ok(sql)
    }

    // ANCHOR: arm
    /// Sets the one alarm to the soonest of all timers. Whoever has changed the table
    /// calls this before anything else is awaited, so both are written together.
    async fn arm(&self, sql: &SqlStorage) -> Result<()> {
        let storage = self.state.storage();
        let first = "SELECT min(next) AS number FROM timers
                     HAVING number IS NOT NULL";
        match number(sql, first, vec![])? {
            // `alarm` will do it when it is done.
            _ if self.ringing.get() => Ok(()),
            Some(at) => storage.set_alarm(missing::at(at)).await,
            None => storage.delete_alarm().await,
        }
    }
    // ANCHOR_END: arm

    // ANCHOR: set
    /// Sets a timer. One of that name that is there makes room for it.
    async fn set(
        &self,
        sql: &SqlStorage,
        id: &str,
        timer: &Timer,
    ) -> Result<Response> {
        let others = "SELECT count(*) AS number FROM timers WHERE id <> ?";
        if number(sql, others, vec![id.into()])? >= Some(TIMERS_MAX) {
            return web::refuse(&Refusal::TimersFull);
        }
        sql.exec(
            "INSERT OR REPLACE INTO timers (id, due, next, every, say)
             VALUES (?1, ?2, ?2, ?3, ?4)",
            vec![
                id.into(),
                (timer.due as i64).into(),
                timer.every.map(|ms| ms as i64).into(),
                timer.say.as_str().into(),
            ],
        )?;
        self.arm(sql).await?;
        Ok(Response::from_json(timer)?.with_status(201))
    }
    // ANCHOR_END: set

    // ANCHOR: cancel
    async fn cancel(&self, sql: &SqlStorage, id: &str) -> Result<Response> {
        let delete = "DELETE FROM timers WHERE id = ? RETURNING n AS number";
        if number(sql, delete, vec![id.into()])?.is_none() {
            return web::refuse(&Refusal::NoTimer);
        }
        self.arm(sql).await?;
        Response::ok("cancelled\n")
    }
    // ANCHOR_END: cancel

    // ANCHOR: ring
    /// Serves the timers whose time has come, one after the other. One that fails
    /// does not hold up the rest, so its error ends here.
    async fn ring(&self, sql: &SqlStorage) -> Result<()> {
        let name = self.state.id().name().unwrap_or_default();
        for timer in due(sql)? {
            let key = format!("timer/{name}/{}/{}", timer.n, timer.due);
            let posted = post::deliver(&self.env, &name, &key, &timer.say).await;
            if let Err(error) = &posted {
                console_warn!("{key}, try {}: {error}", timer.tries + 1);
            }
            settle(sql, &timer, posted.is_ok())?;
        }
        Ok(())
    }
    // ANCHOR_END: ring

    // ANCHOR: list
    /// All timers. If the alarm got lost, whoever asks brings it back.
    async fn list(&self, sql: &SqlStorage) -> Result<Response> {
        let storage = self.state.storage();
        if storage.get_alarm().await?.is_none() {
            self.arm(sql).await?;
        }
        let timers: Vec<Row> = sql
            .exec("SELECT * FROM timers ORDER BY next IS NULL, next, n", None)?
            .to_array()?;
        Response::from_json(&List { alarm: storage.get_alarm().await?, timers })
    }
    // ANCHOR_END: list
}

// ANCHOR: due
fn due(sql: &SqlStorage) -> Result<Vec<Row>> {
    sql.exec(
        "SELECT * FROM timers WHERE next <= ? ORDER BY next, n LIMIT ?",
        vec![(now() as i64).into(), i64::from(RING_MAX).into()],
    )?
    .to_array()
}
// ANCHOR_END: due

// ANCHOR: settle
/// Writes down what becomes of a timer. Somebody may have cancelled or replaced
/// it while it was posted: then there is no row of that `n` any more.
fn settle(sql: &SqlStorage, timer: &Row, delivered: bool) -> Result<()> {
    let tries = timer.tries + 1;
    let (due, next, tries) =
        match fate(timer.due, timer.every, tries, delivered, now()) {
            Fate::Done => {
                sql.exec(
                    "DELETE FROM timers WHERE n = ?",
                    vec![(timer.n as i64).into()],
                )?;
                return Ok(());
            }
            Fate::Next(at) => (at, Some(at), 0),
            Fate::Again(at) => (timer.due, Some(at), tries),
            Fate::Dead => (timer.due, None, tries),
        };
    sql.exec(
        "UPDATE timers SET due = ?, next = ?, tries = ? WHERE n = ?",
        vec![
            (due as i64).into(),
            next.map(|at| at as i64).into(),
            i64::from(tries).into(),
            (timer.n as i64).into(),
        ],
    )?;
    Ok(())
}
// ANCHOR_END: settle

#[derive(Serialize)]
struct List {
    alarm: Option<i64>,
    timers: Vec<Row>,
}
