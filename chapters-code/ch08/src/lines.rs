//! Where the SQL of a guest book lives: no other file knows its table.

use serde::{Deserialize, Serialize};
use worker::{Result, SqlStorage, Storage};

use crate::migrations::migrate;
use crate::rules::{LINES_MAX, NewLine};

// ANCHOR: schema
/// How the schema came to be. Each step is taken once; see [`migrate`].
///
/// An `INTEGER PRIMARY KEY` is one more than the largest there is. No line is ever
/// deleted, so no number is given twice, and none is left out: the last number is
/// the count of lines. `AUTOINCREMENT` would promise the first even if lines were
/// deleted, for a second row that each new line writes.
const STEPS: &[&str] = &["
    CREATE TABLE lines (
        number INTEGER PRIMARY KEY,
        at     TEXT NOT NULL,
        name   TEXT NOT NULL,
        text   TEXT NOT NULL
    ) STRICT;
    "];
// ANCHOR_END: schema

const SIGN: &str = "
    INSERT INTO lines (at, name, text)
    SELECT ?1, ?2, ?3 WHERE (SELECT coalesce(max(number), 0) FROM lines) < ?4
    RETURNING number, at, name, text";
const PAGE: &str = "
    SELECT number, at, name, text FROM lines
    WHERE number > ?1 ORDER BY number LIMIT ?2";
/// One row is read, where `count(*)` would read them all.
const COUNT: &str = "SELECT coalesce(max(number), 0) AS count FROM lines";

/// A row of the table, and what a client gets of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub number: u32,
    /// When it was signed, as ISO 8601 writes it, in UTC.
    pub at: String,
    pub name: String,
    pub text: String,
}

/// The lines of one guest book, in its object's database.
#[derive(Debug)]
pub struct Lines {
    sql: SqlStorage,
}

/// Each of these fails only if SQLite does.
impl Lines {
    /// Opens the table, and brings it up to date first.
    pub fn open(storage: &Storage) -> Result<Self> {
        migrate(storage, STEPS)?;
        Ok(Self { sql: storage.sql() })
    }

    /// Writes a line down at the end of the book, unless the book is full: then
    /// there is no line, and nothing has changed.
    pub fn sign(&self, at: &str, line: &NewLine) -> Result<Option<Line>> {
        let NewLine { name, text } = line;
        let (name, text) = (name.as_str().into(), text.as_str().into());
        let values = vec![at.into(), name, text, i64::from(LINES_MAX).into()];
        Ok(self.sql.exec(SIGN, values)?.to_array()?.pop())
    }

    /// The next `limit` lines after the one with that number, oldest first.
    pub fn page(&self, after: u32, limit: u32) -> Result<Vec<Line>> {
        let values = vec![i64::from(after).into(), i64::from(limit).into()];
        self.sql.exec(PAGE, values)?.to_array()
    }

    /// How many lines there are.
    pub fn count(&self) -> Result<u32> {
        #[derive(Deserialize)]
        struct Row {
            count: u32,
        }
        // An aggregate always has its one row, so `one` is safe here.
        let Row { count } = self.sql.exec(COUNT, None)?.one()?;
        Ok(count)
    }

    /// The size of the whole database, in bytes.
    pub fn bytes(&self) -> usize {
        self.sql.database_size()
    }
}
