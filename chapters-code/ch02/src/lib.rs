//! A counter in the memory of a Durable Object: the smallest object that is worth
//! an address.
#![deny(clippy::await_holding_refcell_ref)]

mod missing;
mod rules;
mod web;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use worker::{
    Context, DurableObject, Env, Method, ObjectId, ObjectNamespace, Request,
    Response, State, Stub, durable_object, event, wasm_bindgen,
};

use rules::{Refusal, Route, Target, Who};
use web::Failure;

const HELP: &str = "\
GET  /counters/<name>                        the count
POST /counters/<name>                        add 1, or the number in the body
POST /counters/<name>/near/<hint>            the same; a new object is placed near there
GET  /counters/<name>/about                  what the object knows of itself
GET  /counters/<name>/id                     the id behind the name
GET  /counters/<name>/within/<jurisdiction>  another counter of that name, that stays there
POST /ids                                    a new counter that has an id and no name
GET  /ids/<id>                               the count behind an id
POST /ids/<id>                               add to it
GET  /ids/<id>/is/<name>                     whether both lead to the same object
GET  /last-city                              where the caller before you was
";

// ANCHOR: fetch
/// The Worker: it makes sense of the request, finds the object, and passes the
/// question on.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    web::answer(respond(req, &env).await)
}

async fn respond(mut req: Request, env: &Env) -> Result<Response, Failure> {
    let counters = env.durable_object("COUNTER")?;
    let path = req.path();
    match Route::parse(&req.inner().method(), &path)? {
        Route::Help => Ok(Response::ok(HELP)?),
        Route::NewId { within } => new_id(&counters, within),
        Route::IdOf { name } => id_of(&counters, name),
        Route::Same { id, name } => same(&counters, id, name),
        Route::Read(target) => {
            ask(&target.stub(&counters)?, Method::Get, "/").await
        }
        Route::About(target) => {
            ask(&target.stub(&counters)?, Method::Get, "/about").await
        }
        Route::Add(target) => {
            let amount = rules::amount(&web::body(&mut req).await?)?;
            ask(&target.stub(&counters)?, Method::Post, &format!("/{amount}")).await
        }
        Route::LastCity => {
            let visitors = env.durable_object("VISITORS")?;
            Ok(visitors.get_by_name("all")?.fetch_with_request(req).await?)
        }
    }
}
// ANCHOR_END: fetch

// ANCHOR: ask
/// Sends a request to the object behind the stub. Nobody looks up the host of this
/// URL: the stub alone says which object answers.
async fn ask(stub: &Stub, method: Method, path: &str) -> Result<Response, Failure> {
    let request = Request::new(&format!("https://object{path}"), method)?;
    Ok(stub.fetch_with_request(request).await?)
}
// ANCHOR_END: ask

// ANCHOR: stub
impl Target<'_> {
    /// The stub of this counter. Making a stub wakes nobody.
    fn stub(&self, counters: &ObjectNamespace) -> Result<Stub, Failure> {
        let part = match self.within {
            Some(place) => {
                &missing::jurisdiction(counters, place).map_err(no_jurisdictions)?
            }
            None => counters,
        };
        Ok(match (&self.who, self.near) {
            (Who::Name(name), None) => part.get_by_name(name)?,
            (Who::Name(name), Some(hint)) => {
                part.get_by_name_with_location_hint(name, hint)?
            }
            (Who::Id(id), None) => own_id(part, id)?.get_stub()?,
            (Who::Id(id), Some(hint)) => {
                own_id(part, id)?.get_stub_with_location_hint(hint)?
            }
        })
    }
}
// ANCHOR_END: stub

// ANCHOR: own_id
/// The id that those digits spell. Ids of other namespaces are refused.
fn own_id<'a>(
    counters: &'a ObjectNamespace,
    hex: &str,
) -> Result<ObjectId<'a>, Refusal> {
    counters.id_from_string(hex).map_err(|_| Refusal::Id)
}
// ANCHOR_END: own_id

// ANCHOR: new_id
/// A fresh id, which no name leads to. Whoever loses it has lost the counter.
fn new_id(
    counters: &ObjectNamespace,
    within: Option<&str>,
) -> Result<Response, Failure> {
    let id = match within {
        None => counters.unique_id()?,
        Some(place) => {
            counters.unique_id_with_jurisdiction(place).map_err(no_jurisdictions)?
        }
    };
    let card = IdCard { id: id.to_string(), name: id.name() };
    Ok(Response::from_json(&card)?.with_status(201))
}
// ANCHOR_END: new_id

// ANCHOR: id_of
/// The id that a name stands for, first from the id itself, then from its stub.
fn id_of(counters: &ObjectNamespace, name: &str) -> Result<Response, Failure> {
    let id = counters.id_from_name(name)?;
    let (stub_id, stub_name) = missing::id_and_name(id.get_stub()?);
    Ok(Response::from_json(&[
        IdCard { id: id.to_string(), name: id.name() },
        IdCard { id: stub_id, name: stub_name },
    ])?)
}
// ANCHOR_END: id_of

// ANCHOR: same
/// Two ids are equal if they lead to the same object, however you came by them.
fn same(
    counters: &ObjectNamespace,
    id: &str,
    name: &str,
) -> Result<Response, Failure> {
    let same = own_id(counters, id)? == counters.id_from_name(name)?;
    Ok(Response::from_json(&same)?)
}
// ANCHOR_END: same

/// What identifies an object, and the name that led to it.
#[derive(Serialize)]
struct IdCard {
    id: String,
    name: Option<String>,
}

fn no_jurisdictions(error: worker::Error) -> Refusal {
    worker::console_warn!("{error}");
    Refusal::NoJurisdictions
}

// ANCHOR: statics
/// How many counters this isolate has built. All of them share this one number.
static BUILT: AtomicU32 = AtomicU32::new(0);
// ANCHOR_END: statics

// ANCHOR: class
/// One counter. Its fields live as long as the object stays in memory, and no
/// longer.
#[durable_object(fetch)]
pub struct Counter {
    state: State,
    env: Env,
    count: Cell<u64>,
}
// ANCHOR_END: class

// ANCHOR: object
impl DurableObject for Counter {
    fn new(state: State, env: Env) -> Self {
        BUILT.fetch_add(1, Ordering::Relaxed);
        Self { state, env, count: Cell::new(0) }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        let path = req.path();
        match (req.method(), path.trim_start_matches('/')) {
            (Method::Post, amount) => self.add(amount),
            (_, "about") => self.about(),
            _ => Response::ok(format!("{}\n", self.count.get())),
        }
    }
}
// ANCHOR_END: object

impl Counter {
    // ANCHOR: add
    /// There is no `.await` between reading the count and writing it, so nobody
    /// gets in between.
    fn add(&self, amount: &str) -> worker::Result<Response> {
        match rules::amount(amount.as_bytes())
            .and_then(|amount| rules::add(self.count.get(), amount))
        {
            Ok(count) => {
                self.count.set(count);
                Response::ok(format!("{count}\n"))
            }
            Err(refusal) => web::refuse(&refusal),
        }
    }
    // ANCHOR_END: add

    // ANCHOR: about
    fn about(&self) -> worker::Result<Response> {
        let id = self.state.id();
        Response::from_json(&About {
            id: id.to_string(),
            name: id.name(),
            jurisdiction: missing::jurisdiction_of(&self.state)?,
            village: self.env.var("VILLAGE")?.to_string(),
            built_in_this_isolate: BUILT.load(Ordering::Relaxed),
        })
    }
    // ANCHOR_END: about
}

#[derive(Serialize)]
struct About {
    id: String,
    name: Option<String>,
    jurisdiction: Option<String>,
    village: String,
    built_in_this_isolate: u32,
}

// ANCHOR: visitors
/// Remembers where its last caller was: the "In-memory state" example of the
/// official docs.
#[durable_object(fetch)]
pub struct Visitors {
    last_city: RefCell<Option<String>>,
}

impl DurableObject for Visitors {
    fn new(_state: State, _env: Env) -> Self {
        Self { last_city: RefCell::new(None) }
    }

    async fn fetch(&self, req: Request) -> worker::Result<Response> {
        let city =
            req.cf().and_then(|cf| cf.city()).unwrap_or_else(|| "somewhere".into());
        let line = match self.last_city.replace(Some(city.clone())) {
            None => format!("You are in {city}, and the first whom I remember.\n"),
            Some(last) => {
                format!("You are in {city}. The caller before you was in {last}.\n")
            }
        };
        Response::ok(line)
    }
}
// ANCHOR_END: visitors
