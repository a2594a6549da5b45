//! One guest book: its lines in the cellar, and a count in the keeper's head.

use std::cell::Cell;

use serde::Serialize;
use worker::js_sys;
use worker::{
    DurableObject, Env, Error, Request, Response, State, durable_object,
    wasm_bindgen,
};

use crate::lines::Lines;
use crate::rules::{NewLine, Refusal, Route};
use crate::web::{self, Failure};

// ANCHOR: object
/// One guest book.
#[durable_object(fetch)]
pub struct GuestBook {
    /// In the cellar: it outlasts this memory.
    lines: worker::Result<Lines>,
    /// In memory, like the count below: both begin anew whenever the object awakes.
    awake_since: String,
    signed: Cell<u32>,
}
// ANCHOR_END: object

/// What is kept where, as a client gets it.
#[derive(Serialize)]
struct Where<'a> {
    memory: Memory<'a>,
    cellar: Cellar,
}

#[derive(Serialize)]
struct Memory<'a> {
    awake_since: &'a str,
    /// Lines signed since then.
    signed: u32,
}

#[derive(Serialize)]
struct Cellar {
    lines: u32,
    /// The size of the whole database.
    bytes: usize,
}

impl DurableObject for GuestBook {
    fn new(state: State, _env: Env) -> Self {
        Self {
            lines: Lines::open(&state.storage()),
            awake_since: now(),
            signed: Cell::new(0),
        }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        web::answer(self.respond(req).await)
    }
}

impl GuestBook {
    async fn respond(&self, mut req: Request) -> Result<Response, Failure> {
        let (path, url) = (req.path(), req.inner().url());
        Ok(match Route::parse(&req.inner().method(), &path, &url)? {
            Route::Read { after, limit, .. } => {
                Response::from_json(&self.lines()?.page(after, limit)?)?
            }
            Route::Sign { .. } => {
                let line = NewLine::parse(&web::body(&mut req).await?)?;
                let line = self.lines()?.sign(&now(), &line)?;
                let line = line.ok_or(Refusal::Full)?;
                self.signed.update(|signed| signed.saturating_add(1));
                Response::from_json(&line)?.with_status(201)
            }
            Route::Where { .. } => Response::from_json(&self.kept()?)?,
            Route::Help => return Err(Refusal::Path.into()),
        })
    }

    // ANCHOR: kept
    fn kept(&self) -> worker::Result<Where<'_>> {
        let (awake_since, signed) = (&*self.awake_since, self.signed.get());
        let lines = self.lines()?;
        Ok(Where {
            memory: Memory { awake_since, signed },
            cellar: Cellar { lines: lines.count()?, bytes: lines.bytes() },
        })
    }
    // ANCHOR_END: kept

    /// The lines, unless their table could not be brought up to date.
    fn lines(&self) -> worker::Result<&Lines> {
        self.lines.as_ref().map_err(|error| Error::from(error.to_string()))
    }
}

/// The time, as ISO 8601 writes it, in UTC.
fn now() -> String {
    js_sys::Date::new_0().to_iso_string().into()
}
