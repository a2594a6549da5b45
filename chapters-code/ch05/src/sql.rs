//! One number from the database.

use serde::Deserialize;
use worker::{Result, SqlStorage, SqlStorageValue};

#[derive(Deserialize)]
struct Row {
    number: u64,
}

// ANCHOR: number
/// The column `number` of the first row, if there is a row.
pub fn number(
    sql: &SqlStorage,
    query: &str,
    values: Vec<SqlStorageValue>,
) -> Result<Option<u64>> {
    let rows: Vec<Row> = sql.exec(query, values)?.to_array()?;
    Ok(rows.first().map(|row| row.number))
}
// ANCHOR_END: number
