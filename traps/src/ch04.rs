//! What goes wrong with SQL: the traps of ch04. Do not copy it.

use std::cell::Cell;
use std::time::Duration;

use worker::{
    Delay, DurableObject, Env, Request, Response, Result, SqlStorage, State,
    durable_object, wasm_bindgen,
};

#[durable_object(fetch)]
pub struct Ch04Trap {
    sql: SqlStorage,
    calls: Cell<u32>,
}

impl DurableObject for Ch04Trap {
    fn new(state: State, _env: Env) -> Self {
        Self { sql: state.storage().sql(), calls: Cell::new(0) }
    }

    async fn fetch(&self, req: Request) -> Result<Response> {
        self.calls.set(self.calls.get() + 1);
        let sql = &self.sql;
        let said = match req.path().as_str() {
            "/ch04/one" => one(sql),
            "/ch04/two" => two(sql),
            "/ch04/byte-buf" => byte_buf(sql),
            "/ch04/cast" => cast(sql),
            "/ch04/whole-f64" => whole_f64(sql),
            "/ch04/later-row" => later_row(sql),
            "/ch04/later-row-raw" => later_row_raw(sql),
            "/ch04/blob" => blob(sql),
            "/ch04/bool" => flag(sql),
            "/ch04/division" => division(sql),
            "/ch04/rounding" => rounding(sql),
            "/ch04/large" => large(sql),
            "/ch04/whole" => whole(sql),
            "/ch04/search" => search(sql),
            "/ch04/queue" => queue(sql),
            "/ch04/join" => join(sql),
            "/ch04/across" => across(sql).await,
            _ => return Response::ok(format!("{}\n", self.calls.get())),
        };
        Response::ok(said.unwrap_or_else(|error| format!("Err: {error}\n")))
    }
}

#[derive(serde::Deserialize)]
struct Row {
    n: i64,
}

// ANCHOR: one
/// There is no such row, and no answer either.
fn one(sql: &SqlStorage) -> Result<String> {
    let row: Row = sql.exec("SELECT 1 AS n WHERE 0", None)?.one()?;
    Ok(format!("{}\n", row.n))
}
// ANCHOR_END: one

fn two(sql: &SqlStorage) -> Result<String> {
    let row: Row = sql.exec("SELECT 1 AS n UNION SELECT 2", None)?.one()?;
    Ok(format!("{}\n", row.n))
}

// ANCHOR: later_row
const LATER: &str =
    "SELECT json_extract(column1, '$') AS n FROM (VALUES ('1'), ('{'))";

/// The first row is good, and `exec` looks no further. The second is not.
fn later_row(sql: &SqlStorage) -> Result<String> {
    let rows: Vec<Row> = sql.exec(LATER, None)?.to_array()?;
    Ok(format!("{} rows\n", rows.len()))
}
// ANCHOR_END: later_row

fn later_row_raw(sql: &SqlStorage) -> Result<String> {
    let rows = sql.exec(LATER, None)?.raw().collect::<Result<Vec<_>>>()?;
    Ok(format!("{} rows\n", rows.len()))
}

// ANCHOR: blob
#[derive(serde::Deserialize)]
struct Photo {
    bytes: Vec<u8>,
}

/// serde asks for a sequence, and gets bytes.
fn blob(sql: &SqlStorage) -> Result<String> {
    let photos: Vec<Photo> =
        sql.exec("SELECT x'0506' AS bytes", None)?.to_array()?;
    Ok(format!("{} bytes\n", photos[0].bytes.len()))
}
// ANCHOR_END: blob

#[derive(serde::Deserialize)]
struct GoodPhoto {
    bytes: serde_bytes::ByteBuf,
}

fn byte_buf(sql: &SqlStorage) -> Result<String> {
    let photos: Vec<GoodPhoto> =
        sql.exec("SELECT x'0506' AS bytes", None)?.to_array()?;
    Ok(format!("{:?}\n", photos[0].bytes.as_slice()))
}

// ANCHOR: flag
/// `true` is bound as the text `true`, and 1 is not that.
fn flag(sql: &SqlStorage) -> Result<String> {
    sql.exec("DROP TABLE IF EXISTS flags; CREATE TABLE flags (up INTEGER)", None)?;
    sql.exec("INSERT INTO flags VALUES (?)", vec![true.into()])?;
    let up = sql.exec("SELECT * FROM flags WHERE up = 1", None)?.raw().count();
    let stored: Vec<Vec<_>> = sql
        .exec("SELECT typeof(up) FROM flags", None)?
        .raw()
        .collect::<Result<_>>()?;
    Ok(format!("{up} flags are up, stored is {stored:?}\n"))
}
// ANCHOR_END: flag

// ANCHOR: division
/// Two whole numbers, and half of it is left.
fn division(sql: &SqlStorage) -> Result<String> {
    let row = sql.exec("SELECT 7 / ?", vec![2_i64.into()])?.raw().next();
    Ok(format!("{:?}\n", row.transpose()?))
}
// ANCHOR_END: division

fn cast(sql: &SqlStorage) -> Result<String> {
    let query = "SELECT 7 / CAST(? AS INTEGER)";
    let row = sql.exec(query, vec![2_i64.into()])?.raw().next();
    Ok(format!("{:?}\n", row.transpose()?))
}

// ANCHOR: rounding
/// One digit is lost on the way in, and nobody says so.
fn rounding(sql: &SqlStorage) -> Result<String> {
    sql.exec(
        "DROP TABLE IF EXISTS big; CREATE TABLE big (n INTEGER) STRICT",
        None,
    )?;
    let number = 9_007_199_254_740_993_i64;
    sql.exec("INSERT INTO big VALUES (?)", vec![number.into()])?;
    let row = sql.exec("SELECT CAST(n AS TEXT) FROM big", None)?.raw().next();
    Ok(format!("{:?}\n", row.transpose()?))
}
// ANCHOR_END: rounding

// ANCHOR: large
/// A large number comes out as a float, and a float is no `i64`.
fn large(sql: &SqlStorage) -> Result<String> {
    let rows: Vec<Row> =
        sql.exec("SELECT 9007199254740993 AS n", None)?.to_array()?;
    Ok(format!("{}\n", rows[0].n))
}
// ANCHOR_END: large

// ANCHOR: whole
/// A REAL that happens to be whole comes out as `Integer`.
fn whole(sql: &SqlStorage) -> Result<String> {
    let rows = sql.exec("SELECT * FROM (VALUES (2.5), (3.0))", None)?;
    let rows = rows.raw().collect::<Result<Vec<_>>>()?;
    Ok(format!("{rows:?}\n"))
}
// ANCHOR_END: whole

#[derive(Debug, serde::Deserialize)]
struct Price {
    price: f64,
}

fn whole_f64(sql: &SqlStorage) -> Result<String> {
    let query = "SELECT 2.5 AS price UNION SELECT 3.0";
    let rows: Vec<Price> = sql.exec(query, None)?.to_array()?;
    let prices: Vec<f64> = rows.iter().map(|row| row.price).collect();
    Ok(format!("{prices:?}\n"))
}

// ANCHOR: search
/// What somebody typed is a program to MATCH.
fn search(sql: &SqlStorage) -> Result<String> {
    sql.exec(
        "DROP TABLE IF EXISTS w; CREATE VIRTUAL TABLE w USING fts5 (t)",
        None,
    )?;
    let typed = "don't";
    let found = sql.exec("SELECT t FROM w WHERE w MATCH ?", vec![typed.into()])?;
    Ok(format!("{} found\n", found.raw().count()))
}
// ANCHOR_END: search

fn queue(sql: &SqlStorage) -> Result<String> {
    sql.exec(
        "DROP TABLE IF EXISTS queue; CREATE TABLE queue (n INTEGER PRIMARY KEY);
         INSERT INTO queue VALUES (1), (2), (3)",
        None,
    )?;
    Ok("3 wait\n".to_owned())
}

fn join(sql: &SqlStorage) -> Result<String> {
    sql.exec("INSERT INTO queue VALUES (4)", None)?;
    Ok("one more\n".to_owned())
}

// ANCHOR: across
/// The cursor reads on after the wait, and finds whoever has come meanwhile.
async fn across(sql: &SqlStorage) -> Result<String> {
    let cursor = sql.exec("SELECT n FROM queue ORDER BY n", None)?;
    let before = cursor.raw().take(1).count();
    Delay::from(Duration::from_millis(300)).await;
    let after = cursor.raw().count();
    Ok(format!("{before} before the wait, {after} after it\n"))
}
// ANCHOR_END: across
