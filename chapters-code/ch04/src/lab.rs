//! Things to try in the database of an object. Each experiment is one function, and
//! answers with what it saw.

use serde::Deserialize;
use worker::js_sys::JSON;
use worker::{Date, Error, Result, SqlStorage, SqlStorageValue, Storage};

use crate::missing;
use crate::transaction::transaction_sync;

/// Runs an experiment in the database of an object.
pub async fn run(storage: &Storage, experiment: &str) -> Result<Option<String>> {
    let sql = storage.sql();
    Ok(Some(match experiment {
        "types" => types(&sql)?,
        "cursors" => cursors(&sql)?,
        "costs" => costs(&sql)?,
        "extensions" => extensions(storage),
        "transactions" => transactions(storage).await?,
        "recovery" => recovery(storage).await?,
        _ => return Ok(None),
    }))
}

// ANCHOR: types
/// What SQLite gets when you bind a value, and what you get back.
fn types(sql: &SqlStorage) -> Result<String> {
    let big = (1_i64 << 53) + 1;
    let values: [(&str, SqlStorageValue); 9] = [
        ("true", true.into()),
        ("i64::from(true)", i64::from(true).into()),
        ("5_i64", 5_i64.into()),
        ("2.5_f64", 2.5_f64.into()),
        ("\"five\"", "five".into()),
        ("vec![5_u8, 6]", vec![5_u8, 6].into()),
        ("None::<i64>", None::<i64>.into()),
        ("2^53 + 1", big.into()),
        ("2^53 + 1 as text", big.to_string().into()),
    ];
    sql.exec("DROP TABLE IF EXISTS kept", None)?;
    sql.exec("CREATE TABLE kept (name TEXT, a ANY, n INTEGER) STRICT", None)?;
    for (name, value) in values {
        let row = vec![name.into(), value.clone(), value.clone()];
        let kept = sql.exec("INSERT INTO kept VALUES (?, ?, ?)", row);
        if kept.is_err() {
            // A STRICT column refuses what it cannot turn into its type.
            sql.exec(
                "INSERT INTO kept VALUES (?, ?, NULL)",
                vec![name.into(), value],
            )?;
        }
    }
    let query = "SELECT name, typeof(a), quote(a), quote(n), a FROM kept";
    let mut out = String::new();
    for row in sql.exec(query, None)?.raw() {
        if let [name, kind, any, integer, back] = row?.as_slice() {
            let (name, kind) = (text(name), text(kind));
            let (any, integer, back) = (text(any), text(integer), variant(back));
            out += &format!("{name:16} {kind:7} {any:18} {integer:16} {back}\n");
        }
    }
    Ok(out)
}

fn text(value: &SqlStorageValue) -> &str {
    match value {
        SqlStorageValue::String(text) => text,
        _ => "?",
    }
}

fn variant(value: &SqlStorageValue) -> &'static str {
    match value {
        SqlStorageValue::Null => "Null",
        SqlStorageValue::Boolean(_) => "Boolean",
        SqlStorageValue::Integer(_) => "Integer",
        SqlStorageValue::Float(_) => "Float",
        SqlStorageValue::String(_) => "String",
        SqlStorageValue::Blob(_) => "Blob",
    }
}
// ANCHOR_END: types

// ANCHOR: cursors
#[derive(Deserialize)]
struct Fruit {
    name: String,
}

/// The ways to take rows out of a cursor. They share its place: what one has taken,
/// the next does not see again.
fn cursors(sql: &SqlStorage) -> Result<String> {
    sql.exec(
        "DROP TABLE IF EXISTS fruit;
         CREATE TABLE fruit (name TEXT, price INTEGER) STRICT;
         INSERT INTO fruit VALUES ('apple', 1), ('pear', 2), ('fig', 3), ('plum', 4)",
        None,
    )?;
    let query = "SELECT name, price FROM fruit ORDER BY price";
    let mut rows = sql.exec(query, None)?;
    let mut out = format!("columns:  {}\n", rows.column_names().join(", "));
    if let Some(row) = Iterator::next(&mut rows) {
        out += &format!("Iterator: {}\n", JSON::stringify(&row?)?);
    }
    if let Some(row) = rows.raw().next() {
        out += &format!("raw:      {} columns\n", row?.len());
    }
    for row in rows.next::<Fruit>() {
        out += &format!("next:     {}\n", row?.name);
    }
    out += &format!("left:     {}\n", rows.count());
    let all = sql.exec(query, None)?.raw().collect::<Result<Vec<_>>>()?;
    out += &format!("raw, all: {} rows\n", all.len());
    let one = missing::one(sql, "SELECT 1 WHERE 0", vec![]);
    Ok(out + &format!("one:      {}\n", told(one.map(drop))))
}
// ANCHOR_END: cursors

// ANCHOR: costs
/// What statements are charged for.
fn costs(sql: &SqlStorage) -> Result<String> {
    sql.exec(
        "DROP TABLE IF EXISTS stars; CREATE TABLE stars (name TEXT, size INTEGER);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO stars SELECT 'star ' || i, i % 10 FROM n",
        None,
    )?;
    let mut out = String::from("rows read, rows written\n");
    for query in [
        "SELECT * FROM stars WHERE name = 'star 7'",
        "CREATE INDEX stars_by_name ON stars (name)",
        "SELECT * FROM stars WHERE name = 'star 7'",
        "SELECT count(*) FROM stars",
        "INSERT INTO stars VALUES ('nova', 9)",
        "UPDATE stars SET name = 'dwarf' WHERE name = 'nova'",
        "UPDATE stars SET size = 1 WHERE name = 'nobody'",
    ] {
        let cursor = sql.exec(query, None)?;
        // A cursor counts what it has read so far, so it is read to its end.
        cursor.raw().try_for_each(|row| row.map(drop))?;
        let (read, written) = (cursor.rows_read(), cursor.rows_written());
        out += &format!("{read:4} {written:4}  {query}\n");
    }
    let size = sql.database_size();
    out += &format!("the database is {size} bytes long\n");
    Ok(out)
}
// ANCHOR_END: costs

// ANCHOR: extensions
/// What this SQLite has, and what it refuses.
const PROBES: &[(&str, &str)] = &[
    ("json", "SELECT json_extract('{\"a\":1}', '$.a')"),
    ("json ->>", "SELECT '{\"a\":1}' ->> 'a'"),
    ("json_each", "SELECT * FROM json_each('[1]')"),
    ("jsonb", "SELECT jsonb('[1]')"),
    ("math", "SELECT sin(1), sqrt(2), pi(), pow(2, 3), ln(2)"),
    ("dates", "SELECT datetime(0, 'unixepoch'), strftime('%Y', 0), unixepoch()"),
    ("window", "SELECT row_number() OVER ()"),
    ("fts5", "CREATE VIRTUAL TABLE probe USING fts5 (t)"),
    (
        "fts5 vocabulary",
        "CREATE VIRTUAL TABLE w USING fts5 (t);
         CREATE VIRTUAL TABLE probe USING fts5vocab (w, row)",
    ),
    (
        "fts5 trigrams",
        "CREATE VIRTUAL TABLE probe USING fts5 (t, tokenize = trigram)",
    ),
    ("fts4", "CREATE VIRTUAL TABLE probe USING fts4 (t)"),
    ("rtree", "CREATE VIRTUAL TABLE probe USING rtree (id, low, high)"),
    ("geopoly", "CREATE VIRTUAL TABLE probe USING geopoly ()"),
    (
        "triggers",
        "CREATE TABLE t2 (a);
         CREATE TRIGGER probe AFTER INSERT ON t2 BEGIN SELECT 1; END",
    ),
    ("views", "CREATE VIEW probe AS SELECT 1"),
    ("generated columns", "CREATE TABLE probe (a, b AS (a + 1))"),
    ("temporary tables", "CREATE TEMPORARY TABLE probe (a)"),
    ("generate_series", "SELECT value FROM generate_series(1, 3)"),
    ("regexp", "SELECT 'a' REGEXP 'a'"),
    ("soundex", "SELECT soundex('a')"),
    ("dbstat", "SELECT * FROM dbstat"),
    ("random", "SELECT random(), hex(randomblob(4))"),
    ("load_extension", "SELECT load_extension('a')"),
    ("sqlite_version", "SELECT sqlite_version()"),
    ("ATTACH", "ATTACH ':memory:' AS other"),
    ("VACUUM", "VACUUM"),
    ("PRAGMA table_list", "PRAGMA table_list"),
    ("PRAGMA foreign_keys", "PRAGMA foreign_keys"),
    ("PRAGMA optimize", "PRAGMA optimize"),
    ("PRAGMA user_version", "PRAGMA user_version"),
    ("PRAGMA journal_mode", "PRAGMA journal_mode"),
];

/// Tries each of them, and takes it back.
fn extensions(storage: &Storage) -> String {
    let sql = storage.sql();
    let mut out = String::new();
    for (name, probe) in PROBES {
        let _ = transaction_sync(storage, || -> Result<()> {
            let answer = match sql.exec(probe, None) {
                Ok(_) => "yes".to_owned(),
                Err(error) => error.to_string(),
            };
            out += &format!("{name:20} {answer}\n");
            Err(Error::from("take it back"))
        });
    }
    out
}
// ANCHOR_END: extensions

fn told(outcome: Result<()>) -> String {
    outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned())
}

// ANCHOR: transactions
/// What is left of an INSERT when the work around it fails.
async fn transactions(storage: &Storage) -> Result<String> {
    let sql = storage.sql();
    let mut out = String::new();
    for statement in ["BEGIN", "PRAGMA user_version = 2"] {
        if let Err(error) = sql.exec(statement, None) {
            out += &format!("{statement}: {error}\n");
        }
    }
    sql.exec("DROP TABLE IF EXISTS t; CREATE TABLE t (a) ", None)?;
    let insert = "INSERT INTO t VALUES (1)";
    let left = || -> Result<usize> {
        Ok(sql.exec("SELECT * FROM t", None)?.raw().count())
    };

    let failed: Result<()> = transaction_sync(storage, || {
        sql.exec(insert, None)?;
        Err(Error::from("changed my mind"))
    });
    out += &format!("transaction_sync: {}, {} rows\n", told(failed), left()?);

    for fails in [false, true] {
        let inside = sql.clone();
        let outcome = storage
            .transaction(move |kv| async move {
                inside.exec(insert, None)?;
                kv.put("fails", fails).await?;
                inside.exec(insert, None)?;
                if fails { Err(Error::from("changed my mind")) } else { Ok(()) }
            })
            .await;
        out += &format!("transaction: {}, {} rows\n", told(outcome), left()?);
    }
    Ok(out)
}
// ANCHOR_END: transactions

// ANCHOR: recovery
/// How far point-in-time recovery gets here.
async fn recovery(storage: &Storage) -> Result<String> {
    let current = missing::current_bookmark(storage).await;
    let hour_ago = Date::now().as_millis() as f64 - 3_600_000.0;
    let then = missing::bookmark_for_time(storage, hour_ago).await;
    let bookmark = current.as_deref().unwrap_or_default();
    let undo = missing::restore_bookmark(storage, bookmark).await;
    let current = current.unwrap_or_else(|error| error.to_string());
    let (then, undo) = (told(then.map(drop)), told(undo.map(drop)));
    Ok(format!("now: {current}\nan hour ago: {then}\nrestore: {undo}\n"))
}
// ANCHOR_END: recovery
