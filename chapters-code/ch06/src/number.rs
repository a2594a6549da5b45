//! Where the number of a room lives: no other file knows its table.

use std::cell::Cell;

use worker::{Error, SqlStorage, SqlStorageValue};

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS number (
        one   INTEGER PRIMARY KEY CHECK (one = 1),
        value INTEGER NOT NULL
    ) STRICT";
// JavaScript's numbers are exact to 2^53 only. A text carries every i64.
const GET: &str = "SELECT CAST(value AS TEXT) FROM number";
const SET: &str = "
    INSERT INTO number (one, value) VALUES (1, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value";

// ANCHOR: number
/// The number of a room, as it is on disk.
pub struct Number {
    sql: SqlStorage,
    written: Cell<i64>,
}

impl Number {
    /// Finds the number, which is 0 in a new room.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn open(sql: SqlStorage) -> worker::Result<Self> {
        sql.exec(TABLE, None)?;
        let row = sql.exec(GET, None)?.raw().next().transpose()?;
        let written = match row.as_deref() {
            None => 0,
            Some([SqlStorageValue::String(text)]) => {
                text.parse().map_err(|_| Error::from("not a number"))?
            }
            Some(_) => return Err(Error::from("not a text")),
        };
        Ok(Self { sql, written: Cell::new(written) })
    }

    /// The number that is on disk.
    pub fn get(&self) -> i64 {
        self.written.get()
    }

    /// Writes it down. The output gate holds back whatever is sent from now on, until
    /// it is on disk.
    ///
    /// # Errors
    /// If SQLite fails; then the old one stays.
    pub fn set(&self, value: i64) -> worker::Result<()> {
        self.sql.exec(SET, vec![value.to_string().into()])?;
        self.written.set(value);
        Ok(())
    }
}
// ANCHOR_END: number
