//! What a room keeps in its cellar: who is in it, and what was said. All SQL of the
//! room is here.

use serde::Deserialize;
use worker::{Result, SqlStorage, SqlStorageValue, Storage};

use crate::migrations::migrate;
use crate::pace;
use crate::protocol::{BACKLOG, Hello, Said, Speech};
use crate::transaction::transaction_sync;

/// The number of a guest. It is never given twice: a socket that closes late must
/// not take another guest along.
pub type GuestId = i64;

// ANCHOR: schema
const STEPS: &[&str] = &["
    CREATE TABLE guests (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        limiter TEXT,
        joined  INTEGER NOT NULL,
        name    TEXT,
        key     TEXT
    ) STRICT;

    CREATE UNIQUE INDEX guests_by_name ON guests (name)
    WHERE name <> 'anonymous';

    CREATE TABLE messages (
        timestamp INTEGER PRIMARY KEY,
        number    INTEGER NOT NULL,
        name      TEXT NOT NULL,
        message   TEXT NOT NULL,
        id        TEXT
    ) STRICT;

    CREATE UNIQUE INDEX messages_by_id ON messages (name, id)
    WHERE id IS NOT NULL AND name <> 'anonymous';

    CREATE TABLE trimmed (until INTEGER NOT NULL) STRICT;
    INSERT INTO trimmed VALUES (0);
    "];
// ANCHOR_END: schema

// ANCHOR: queries
const ENTER: &str = "INSERT INTO guests (limiter, joined) VALUES (?1, ?2)
    RETURNING id";
const BEARER: &str = "SELECT id, key FROM guests
    WHERE name = ?1 AND name <> 'anonymous'";
const NAME: &str = "UPDATE guests SET name = ?2, key = ?3 WHERE id = ?1";
const LEAVE: &str = "DELETE FROM guests WHERE id = ?1";
const GUESTS: &str = "SELECT id, limiter, joined, name FROM guests";
const KEEP_ONLY: &str = "DELETE FROM guests
    WHERE id NOT IN (SELECT value FROM json_each(?1))";

const SAY: &str = "INSERT INTO messages (timestamp, number, name, message, id)
    VALUES (?1, ?2, ?3, ?4, ?5)";
const SAID: &str = "SELECT timestamp, name, message, id FROM messages
    WHERE name = ?1 AND id = ?2 AND name <> 'anonymous'";
const LATEST: &str = "SELECT * FROM (
        SELECT timestamp, name, message, id FROM messages
        ORDER BY timestamp DESC LIMIT ?1
    ) ORDER BY timestamp";
const AFTER: &str = "SELECT timestamp, name, message, id FROM messages
    WHERE timestamp > ?1 ORDER BY timestamp";
const TRIMMED: &str = "SELECT until FROM trimmed";

const FIRST: &str = "SELECT timestamp, number FROM messages
    ORDER BY timestamp LIMIT 1";
const LAST: &str = "SELECT timestamp, number FROM messages
    ORDER BY timestamp DESC LIMIT 1";
const TRIM: &str = "DELETE FROM messages WHERE timestamp IN (
        SELECT timestamp FROM messages ORDER BY timestamp LIMIT ?1
    ) RETURNING timestamp";
const REMEMBER: &str = "UPDATE trimmed SET until = ?1";
// ANCHOR_END: queries

/// A row of the guests.
#[derive(Debug, Deserialize)]
pub struct GuestRow {
    pub id: GuestId,
    pub limiter: Option<String>,
    pub joined: u64,
    pub name: Option<String>,
}

/// Who bears a name.
#[derive(Debug, Deserialize)]
pub struct Bearer {
    pub id: GuestId,
    pub key: Option<String>,
}

/// Which place a message has in the history of its room. The first ever has 1.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Place {
    pub timestamp: u64,
    pub number: u64,
}

/// What a newcomer gets to hear.
#[derive(Debug)]
pub struct Past {
    /// Whether some of what they have missed is gone.
    pub gap: bool,
    pub said: Vec<Said>,
}

/// The tables of one room. Every method waits for nothing, and fails only if SQLite
/// does.
pub struct Cellar {
    storage: Storage,
    sql: SqlStorage,
}

impl Cellar {
    /// Opens the tables, and brings them up to date first.
    pub fn open(storage: Storage) -> Result<Self> {
        migrate(&storage, STEPS)?;
        let sql = storage.sql();
        Ok(Self { storage, sql })
    }

    // ANCHOR: guests
    /// Writes down a guest who has no name yet.
    pub fn enter(&self, limiter: Option<&str>, now: u64) -> Result<GuestId> {
        #[derive(Deserialize)]
        struct Row {
            id: GuestId,
        }
        let row = self.first(ENTER, vec![limiter.into(), number(now)?])?;
        row.map(|Row { id }| id).ok_or_else(|| "no row was inserted".into())
    }

    /// Who has this name. Nobody has `anonymous`.
    pub fn bearer(&self, name: &str) -> Result<Option<Bearer>> {
        self.first(BEARER, vec![name.into()])
    }

    /// Gives a guest a name, and takes it from its bearer, who then is no guest any
    /// more. Either both are done or neither.
    pub fn name(
        &self,
        id: GuestId,
        hello: &Hello,
        bearer: Option<&Bearer>,
    ) -> Result<()> {
        transaction_sync(&self.storage, || {
            if let Some(bearer) = bearer {
                self.leave(bearer.id)?;
            }
            let key = hello.key.as_deref();
            let values = vec![id.into(), hello.name.as_str().into(), key.into()];
            self.sql.exec(NAME, values).map(drop)
        })
    }

    /// Strikes a guest out.
    pub fn leave(&self, id: GuestId) -> Result<()> {
        self.sql.exec(LEAVE, vec![id.into()]).map(drop)
    }

    /// All guests, of whom some may be gone: see [`Cellar::keep_only`].
    pub fn guests(&self) -> Result<Vec<GuestRow>> {
        self.sql.exec(GUESTS, None)?.to_array()
    }

    /// Strikes out everybody but these.
    pub fn keep_only(&self, ids: &[GuestId]) -> Result<()> {
        let ids = serde_json::to_string(ids)?;
        self.sql.exec(KEEP_ONLY, vec![ids.into()]).map(drop)
    }
    // ANCHOR_END: guests

    // ANCHOR: say
    /// The message with this id that this guest has sent before, if any.
    pub fn said(&self, name: &str, id: &str) -> Result<Option<Said>> {
        self.first(SAID, vec![name.into(), id.into()])
    }

    /// Keeps a message, as the next after `last`.
    pub fn say(&self, name: &str, speech: &Speech, place: Place) -> Result<Said> {
        let Speech { message, id } = speech.clone();
        let values = vec![
            number(place.timestamp)?,
            number(place.number)?,
            name.into(),
            message.as_str().into(),
            id.as_deref().into(),
        ];
        self.sql.exec(SAY, values)?;
        let (name, timestamp) = (name.to_owned(), place.timestamp);
        Ok(Said { name, message, timestamp, id })
    }

    /// What was said after `since`; or, to one who says no such time, the latest.
    pub fn past(&self, since: Option<u64>) -> Result<Past> {
        #[derive(Deserialize)]
        struct Trimmed {
            until: u64,
        }
        let Some(since) = since else {
            let said = self.sql.exec(LATEST, vec![BACKLOG.into()])?.to_array()?;
            return Ok(Past { gap: false, said });
        };
        let trimmed = self.first(TRIMMED, vec![])?;
        let gap = trimmed.is_some_and(|Trimmed { until }| since < until);
        let said = self.sql.exec(AFTER, vec![number(since)?])?.to_array()?;
        Ok(Past { gap, said })
    }
    // ANCHOR_END: say

    /// The place of the latest message.
    pub fn last(&self) -> Result<Option<Place>> {
        self.first(LAST, vec![])
    }

    // ANCHOR: trim
    /// How many messages there are beyond those that are kept. It reads two rows,
    /// where `count(*)` would read all.
    pub fn excess(&self) -> Result<u64> {
        let (first, last): (Option<Place>, _) =
            (self.first(FIRST, vec![])?, self.last()?);
        let excess = first.zip(last).map(|(a, b)| pace::excess(a.number, b.number));
        Ok(excess.unwrap_or(0))
    }

    /// Deletes the oldest messages that are too many, and remembers up to where.
    pub fn trim(&self) -> Result<()> {
        #[derive(Deserialize)]
        struct Row {
            timestamp: u64,
        }
        let excess = self.excess()?;
        if excess == 0 {
            return Ok(());
        }
        transaction_sync(&self.storage, || {
            let gone: Vec<Row> =
                self.sql.exec(TRIM, vec![number(excess)?])?.to_array()?;
            let until = gone.iter().map(|row| row.timestamp).max();
            self.sql.exec(REMEMBER, vec![number(until.unwrap_or(0))?])?;
            Ok(())
        })
    }
    // ANCHOR_END: trim

    /// The first row of a query.
    fn first<T: for<'a> Deserialize<'a>>(
        &self,
        query: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<Option<T>> {
        let rows = self.sql.exec(query, values)?;
        let first = rows.next().next();
        first.transpose()
    }
}

/// A number, if JavaScript keeps it exact on its way to SQLite.
fn number(number: u64) -> Result<SqlStorageValue> {
    SqlStorageValue::try_from_i64(number.cast_signed())
}
