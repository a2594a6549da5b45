//! One logbook: what the seats do not need of SQLite, and your next object may.

use worker::{
    DurableObject, Env, Error, Request, Response, ResponseBuilder, State,
    durable_object, wasm_bindgen,
};

use crate::entries::Entries;
use crate::lab;
use crate::rules::{NewEntry, Refusal, Route};
use crate::web::{self, Failure};

/// One logbook.
#[durable_object(fetch)]
pub struct Logbook {
    state: State,
    entries: worker::Result<Entries>,
}

impl DurableObject for Logbook {
    fn new(state: State, _env: Env) -> Self {
        let entries = Entries::open(&state.storage());
        Self { state, entries }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        web::answer(self.respond(req).await)
    }
}

impl Logbook {
    // ANCHOR: respond
    async fn respond(&self, mut req: Request) -> Result<Response, Failure> {
        let (path, url) = (req.path(), req.inner().url());
        let route = Route::parse(&req.inner().method(), &path, &url)?;
        let entries = self
            .entries
            .as_ref()
            .map_err(|error| Error::from(error.to_string()))?;
        Ok(match route {
            Route::Page { after, limit, .. } => json(entries.page(after, limit)?)?,
            Route::Write { .. } => {
                let entry = NewEntry::parse(&web::body(&mut req).await?)?;
                let written = entries.write(&entry)?.ok_or(Refusal::Details)?;
                json(Some(written))?.with_status(201)
            }
            Route::Search { terms, .. } => json(entries.search(&terms)?)?,
            Route::Tally { detail, .. } => json(entries.tally(&detail)?)?,
            Route::Photo { entry, .. } => {
                let photo = entries.photo(entry)?.ok_or(Refusal::NoEntry)?;
                Response::from_bytes(photo)?
            }
            Route::SetPhoto { entry, .. } => {
                let photo = web::body(&mut req).await?;
                if photo.is_empty() {
                    return Err(Refusal::Photo.into());
                }
                let line = format!("{} bytes\n", photo.len());
                if !entries.set_photo(entry, photo)? {
                    return Err(Refusal::NoEntry.into());
                }
                Response::ok(line)?
            }
            Route::Lab { experiment } => {
                let seen = lab::run(&self.state.storage(), &experiment).await?;
                Response::ok(seen.ok_or(Refusal::Path)?)?
            }
            _ => return Err(Refusal::Path.into()),
        })
    }
    // ANCHOR_END: respond
}

/// An answer that SQLite has written as JSON.
fn json(text: Option<String>) -> worker::Result<Response> {
    ResponseBuilder::new()
        .with_header("Content-Type", "application/json")?
        .ok(text.unwrap_or_default())
}
