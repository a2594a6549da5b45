//! Where the SQL of a flight lives: no other file knows its tables.

use serde::{Deserialize, Serialize};
use worker::{SqlStorage, Storage};

use crate::migrations::migrate;
use crate::rules::{Booking, Seat};
use crate::transaction::transaction_sync;

// ANCHOR: schema
/// How the schema came to be. Each step is taken once; see [`migrate`].
const STEPS: &[&str] = &[
    // 1: sixty free seats.
    "
    CREATE TABLE seats (
        seat_number TEXT PRIMARY KEY,
        occupant    TEXT
    ) STRICT;

    WITH RECURSIVE
        plane (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM plane WHERE n < 10),
        letters (letter) AS (VALUES ('A'), ('B'), ('C'), ('D'), ('E'), ('F'))
    INSERT INTO seats (seat_number)
    SELECT n || letter FROM plane, letters ORDER BY n, letter;
    ",
    // 2: two cabins, and nobody has two seats.
    "
    ALTER TABLE seats ADD COLUMN cabin TEXT NOT NULL DEFAULT 'economy'
        CHECK (cabin IN ('business', 'economy'));

    UPDATE seats SET cabin = 'business'
    WHERE CAST(rtrim(seat_number, 'ABCDEF') AS INTEGER) <= 2;

    CREATE UNIQUE INDEX seats_by_occupant ON seats (occupant)
    WHERE occupant IS NOT NULL;
    ",
];
// ANCHOR_END: schema

// ANCHOR: queries
const ALL: &str = "SELECT seat_number, occupant, cabin FROM seats ORDER BY rowid";
const LEAVE: &str = "
    UPDATE seats SET occupant = NULL
    WHERE occupant = ?1 AND seat_number <> ?2";
const TAKE: &str = "
    UPDATE seats SET occupant = ?1
    WHERE seat_number = ?2 AND occupant IS NULL
    RETURNING seat_number";
// ANCHOR_END: queries

// ANCHOR: rows
/// A row of the table, and what a client gets of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SeatRow {
    #[serde(rename(serialize = "seatNumber"))]
    pub seat_number: String,
    pub occupant: Option<String>,
    pub cabin: Cabin,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cabin {
    Business,
    Economy,
}
// ANCHOR_END: rows

// ANCHOR: error
/// Why a seat was not booked.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    #[error("{0} is taken")]
    Taken(Seat),
    #[error(transparent)]
    Sql(#[from] worker::Error),
}
// ANCHOR_END: error

// ANCHOR: seats
/// The seats of one flight, in its object's database.
#[derive(Debug)]
pub struct Seats {
    storage: Storage,
    sql: SqlStorage,
}

impl Seats {
    /// Opens the table, and brings it up to date first.
    ///
    /// # Errors
    /// If SQLite refuses a step of the schema.
    pub fn open(storage: Storage) -> worker::Result<Self> {
        migrate(&storage, STEPS)?;
        let sql = storage.sql();
        Ok(Self { storage, sql })
    }

    /// All seats, from 1A to 10F.
    ///
    /// # Errors
    /// If SQLite fails, or a row is not what [`SeatRow`] says.
    pub fn all(&self) -> Result<Vec<SeatRow>, SeatError> {
        Ok(self.sql.exec(ALL, None)?.to_array()?)
    }

    /// Books a seat. Whoever had another one on this flight leaves it.
    ///
    /// # Errors
    /// [`SeatError::Taken`] if somebody sits there; then nothing has changed.
    pub fn book(&self, booking: &Booking) -> Result<(), SeatError> {
        let Booking { seat, name } = booking;
        let values = || vec![name.as_str().into(), seat.to_string().into()];
        transaction_sync(&self.storage, || {
            self.sql.exec(LEAVE, values())?;
            let taken = self.sql.exec(TAKE, values())?;
            if taken.raw().next().is_none() {
                return Err(SeatError::Taken(*seat));
            }
            Ok(())
        })
    }
}
// ANCHOR_END: seats
