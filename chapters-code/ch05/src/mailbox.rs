//! A receiver that keeps every letter once, however often it is delivered.

use serde::{Deserialize, Serialize};
use worker::{
    DurableObject, Env, Method, Request, Response, ResponseBuilder, Result,
    SqlStorage, State, durable_object, wasm_bindgen,
};

use crate::post::KEY;
use crate::rules::{LETTERS_MAX, Refusal, Trouble};
use crate::sql::number;
use crate::web::{self, Failure};

/// How many letters are shown at once.
const PAGE: u32 = 20;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS letters (
        letter INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
        body TEXT NOT NULL, came INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS troubles (
        kind TEXT PRIMARY KEY, deliveries INTEGER NOT NULL
    ) STRICT;
";

/// One mailbox. It can be told to make trouble, so that you can watch what others do.
#[durable_object(fetch)]
pub struct Mailbox {
    state: State,
}

impl DurableObject for Mailbox {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut req: Request) -> Result<Response> {
        let path = req.path();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (req.method(), parts.as_slice()) {
            (Method::Post, [""]) => {
                let key = req.headers().get(KEY)?.unwrap_or_default();
                let body = req.text().await?;
                web::answer(self.deliver(&key, &body))
            }
            (Method::Post, [kind, count]) => self.expect_trouble(kind, count),
            (_, ["after", number]) => self.letters(number),
            _ => web::refuse(&Refusal::Path),
        }
    }
}

impl Mailbox {
    fn sql(&self) -> Result<SqlStorage> {
        let sql = self.state.storage().sql();
        sql.exec(TABLES, None)?;
        Ok(sql)
    }

    // ANCHOR: deliver
    /// Keeps a letter, unless one with its key is there. There is no `.await` in
    /// here, so nobody gets between looking and writing.
    fn deliver(
        &self,
        key: &str,
        body: &str,
    ) -> std::result::Result<Response, Failure> {
        let sql = self.sql()?;
        if in_trouble(&sql, Trouble::Closed)? {
            return Err(Refusal::Closed.into());
        }
        let known = "UPDATE letters SET came = came + (body = ?2) WHERE key = ?1
                     RETURNING body = ?2 AS number";
        let status = match number(&sql, known, vec![key.into(), body.into()])? {
            Some(0) => return Err(Refusal::OtherLetter.into()),
            Some(_) => 200,
            None => {
                let last = "SELECT letter AS number FROM letters
                            ORDER BY letter DESC LIMIT 1";
                if number(&sql, last, vec![])? >= Some(LETTERS_MAX) {
                    return Err(Refusal::MailboxFull.into());
                }
                sql.exec(
                    "INSERT INTO letters (key, body, came) VALUES (?, ?, 1)",
                    vec![key.into(), body.into()],
                )?;
                201
            }
        };
        if in_trouble(&sql, Trouble::Mute)? {
            return Err(Refusal::Closed.into());
        }
        let line = if status == 201 { "kept\n" } else { "had it already\n" };
        Ok(ResponseBuilder::new().with_status(status).ok(line)?)
    }
    // ANCHOR_END: deliver

    fn expect_trouble(&self, kind: &str, count: &str) -> Result<Response> {
        let count: u32 = count.parse().unwrap_or_default();
        self.sql()?.exec(
            "INSERT OR REPLACE INTO troubles (kind, deliveries) VALUES (?, ?)",
            vec![kind.into(), i64::from(count).into()],
        )?;
        Response::ok(format!("{kind} for {count}\n"))
    }

    fn letters(&self, after: &str) -> Result<Response> {
        let after: u32 = after.parse().unwrap_or_default();
        let letters = self
            .sql()?
            .exec(
                "SELECT letter, came, key, body FROM letters WHERE letter > ?
                 ORDER BY letter LIMIT ?",
                vec![i64::from(after).into(), i64::from(PAGE).into()],
            )?
            .to_array::<Letter>()?;
        Response::from_json(&letters)
    }
}

/// Whether this delivery is one of those that meet with trouble.
fn in_trouble(sql: &SqlStorage, kind: Trouble) -> Result<bool> {
    let next = "UPDATE troubles SET deliveries = deliveries - 1
                WHERE kind = ? AND deliveries > 0 RETURNING deliveries AS number";
    Ok(number(sql, next, vec![kind.name().into()])?.is_some())
}

#[derive(Serialize, Deserialize)]
struct Letter {
    letter: u32,
    came: u32,
    key: String,
    body: String,
}
