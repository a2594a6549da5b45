//! The schema and its history, in one file that you can copy.

use serde::Deserialize;
use worker::{Result, Storage};

use crate::transaction::transaction_sync;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS migrations (
        version    INTEGER PRIMARY KEY,
        applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) STRICT";
const VERSION: &str = "SELECT coalesce(max(version), 0) AS version FROM migrations";
const APPLIED: &str = "INSERT INTO migrations (version) VALUES (?)";

#[derive(Deserialize)]
struct Version {
    version: usize,
}

// ANCHOR: migrate
/// Takes the steps that this database has not taken yet, in order. Each step is
/// either taken whole and written down, or not at all.
///
/// It waits for nothing, so call it in the constructor: no request can come before
/// it is done. Never change a step that was deployed; add one.
///
/// # Errors
/// The error of the first step that fails. Those before it are kept.
pub fn migrate(storage: &Storage, steps: &[&str]) -> Result<()> {
    let sql = storage.sql();
    sql.exec(TABLE, None)?;
    // An aggregate always has its one row, so `one` is safe here.
    let Version { version } = sql.exec(VERSION, None)?.one()?;
    for (version, step) in (1..).zip(steps).skip(version) {
        transaction_sync(storage, || {
            sql.exec(step, None)?;
            sql.exec(APPLIED, vec![i64::from(version).into()])
        })?;
    }
    Ok(())
}
// ANCHOR_END: migrate
