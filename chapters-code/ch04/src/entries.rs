//! Where the SQL of a logbook lives.

use worker::{Result, SqlStorage, SqlStorageValue, Storage};

use crate::migrations::migrate;
use crate::rules::NewEntry;

// ANCHOR: schema
const STEPS: &[&str] = &["
    CREATE TABLE entries (
        id      INTEGER PRIMARY KEY,
        text    TEXT NOT NULL,
        details TEXT NOT NULL CHECK (json_valid(details)),
        photo   BLOB
    ) STRICT;

    CREATE VIRTUAL TABLE words USING fts5 (
        text, content = 'entries', content_rowid = 'id'
    );

    CREATE TRIGGER words_of_entry AFTER INSERT ON entries BEGIN
        INSERT INTO words (rowid, text) VALUES (new.id, new.text);
    END;
    "];
// ANCHOR_END: schema

// ANCHOR: queries
const WRITE: &str = "
    INSERT INTO entries (text, details) SELECT ?1, ?2 WHERE json_valid(?2)
    RETURNING json_object('id', id)";
const PAGE: &str = "
    SELECT json_group_array(json_object(
        'id', id, 'text', text, 'details', json(details), 'photoBytes', photo_bytes
    ))
    FROM (
        SELECT id, text, details, length(photo) AS photo_bytes FROM entries
        WHERE id > ?1 ORDER BY id LIMIT ?2
    )";
const SEARCH: &str = "
    SELECT json_group_array(json_object('id', id, 'snippet', snippet)) FROM (
        SELECT rowid AS id, snippet(words, 0, '[', ']', '…', 8) AS snippet
        FROM words WHERE words MATCH ?1 ORDER BY rank, rowid LIMIT 20
    )";
const TALLY: &str = "
    SELECT json_group_array(json_object('value', value, 'entries', entries))
    FROM (
        SELECT details ->> ?1 AS value, count(*) AS entries FROM entries
        WHERE value IS NOT NULL GROUP BY value ORDER BY entries DESC, value LIMIT 100
    )";
const PHOTO: &str = "SELECT photo FROM entries WHERE id = ?1";
const SET_PHOTO: &str = "UPDATE entries SET photo = ?1 WHERE id = ?2 RETURNING id";
// ANCHOR_END: queries

/// The entries of one logbook, in its object's database.
#[derive(Debug)]
pub struct Entries {
    sql: SqlStorage,
}

/// Each of these fails only if SQLite does.
impl Entries {
    /// Opens the tables, and brings them up to date first.
    pub fn open(storage: &Storage) -> Result<Self> {
        migrate(storage, STEPS)?;
        Ok(Self { sql: storage.sql() })
    }

    /// Writes an entry down, and says so with its number as JSON; or with nothing, if
    /// its details are not JSON to SQLite, which gives up at a depth of 1,000.
    pub fn write(&self, entry: &NewEntry) -> Result<Option<String>> {
        self.value(WRITE, vec![entry.text.as_str().into(), entry.details().into()])
    }

    // ANCHOR: page
    /// The next `limit` entries after the one with that number: as JSON.
    ///
    /// SQLite goes straight to that key, however far down the book it is. An
    /// `OFFSET` would read, and cost, every row before it.
    pub fn page(&self, after: u64, limit: u32) -> Result<Option<String>> {
        self.value(PAGE, vec![key(after)?, i64::from(limit).into()])
    }
    // ANCHOR_END: page

    // ANCHOR: search
    /// The entries in which all those words stand, the best first: as JSON.
    pub fn search(&self, terms: &str) -> Result<Option<String>> {
        self.value(SEARCH, vec![terms.into()])
    }

    /// How often each value of a detail was written down: as JSON.
    pub fn tally(&self, detail: &str) -> Result<Option<String>> {
        self.value(TALLY, vec![detail.into()])
    }

    /// Runs a query that gives one text, or no row.
    fn value(
        &self,
        query: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<Option<String>> {
        let row = self.sql.exec(query, values)?.raw().next();
        Ok(match row.transpose()?.and_then(|mut columns| columns.pop()) {
            Some(SqlStorageValue::String(text)) => Some(text),
            _ => None,
        })
    }
    // ANCHOR_END: search

    // ANCHOR: photo
    /// The photo of an entry. `raw` hands a BLOB over as the bytes it is.
    pub fn photo(&self, entry: u64) -> Result<Option<Vec<u8>>> {
        let row = self.sql.exec(PHOTO, vec![key(entry)?])?.raw().next();
        Ok(match row.transpose()?.and_then(|mut columns| columns.pop()) {
            Some(SqlStorageValue::Blob(photo)) => Some(photo),
            _ => None,
        })
    }
    // ANCHOR_END: photo

    /// Adds a photo to an entry, and says whether there is such an entry.
    pub fn set_photo(&self, entry: u64, photo: Vec<u8>) -> Result<bool> {
        let done = self.sql.exec(SET_PHOTO, vec![photo.into(), key(entry)?])?;
        Ok(done.raw().next().is_some())
    }
}

/// A number, if JavaScript keeps it exact on its way to SQLite.
fn key(number: u64) -> Result<SqlStorageValue> {
    SqlStorageValue::try_from_i64(number.cast_signed())
}
