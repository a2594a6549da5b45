//! An address book: everything that key-value storage can do.

use std::cell::Cell;
use std::fmt::Display;
use std::rc::Rc;

use futures_util::future::join;
use serde::Serialize;
use worker::js_sys::{Map, Object};
use worker::{
    DurableObject, Env, KvStore, ListOptions, Request, Response, State, Storage,
    durable_object, wasm_bindgen,
};

use crate::keys::{self, LAST, PEOPLE, TITLE, VISITS};
use crate::missing::{self, Options, SyncKv};
use crate::rules::{Area, Ask, Nick, PAGE_MAX, Page, Person, Refusal, Route};
use crate::transaction::transaction_sync;
use crate::web::{self, Failure};

// ANCHOR: class
/// An address book: people by their keys, and a little besides.
#[durable_object(fetch)]
pub struct AddressBook {
    state: State,
    env: Env,
    /// How often somebody looked in; nothing as long as it is not loaded.
    visits: Rc<Cell<Option<u64>>>,
}
// ANCHOR_END: class

// ANCHOR: new
impl DurableObject for AddressBook {
    fn new(state: State, env: Env) -> Self {
        let visits = Rc::new(Cell::new(None));
        let (loaded, storage) = (visits.clone(), state.storage());
        // Not awaited: the gate is closed by the call, and opens when this is done.
        let _gate = state.block_concurrency_while(async move {
            loaded.set(Some(load(&storage).await?));
            Ok(())
        });
        Self { state, env, visits }
    }
    // ANCHOR_END: new

    // ANCHOR: fetch
    async fn fetch(&self, mut req: Request) -> worker::Result<Response> {
        let body = req.bytes().await?;
        let url = req.inner().url();
        match Route::parse(&req.inner().method(), &req.path(), &url, &body) {
            Ok(Route::Book { ask, .. }) => web::answer(self.answer(ask).await),
            Ok(_) => web::refuse(&Refusal::Path),
            Err(refusal) => web::refuse(&refusal),
        }
    }
}
// ANCHOR_END: fetch

impl AddressBook {
    async fn answer(&self, ask: Ask) -> Result<Response, Failure> {
        let storage = self.state.storage();
        match ask {
            Ask::Get(nick) => get(&storage, &nick).await,
            Ask::Put(nick, person) => put(&storage, &nick, &person).await,
            Ask::Delete(nick) => delete(&storage, &nick).await,
            Ask::Move { from, to } => rename(&storage, from, to).await,
            Ask::PutAll(people) => put_all(&storage, &people).await,
            Ask::GetAll(nicks) => get_all(&storage, &nicks).await,
            Ask::DeleteAll(nicks) => delete_all(&storage, &nicks).await,
            Ask::List(page) => list(&storage, &page).await,
            Ask::Keys(page) => keys(&storage, &page).await,
            Ask::Title => title(&storage),
            Ask::SetTitle(text) => set_title(&storage, &text),
            Ask::DropTitle => drop_title(&storage),
            Ask::Redial(area) => redial(&storage, &area),
            Ask::About => self.about(&storage).await,
            Ask::Visit { sure } => self.visit(&storage, sure).await,
            Ask::DropVisits => self.drop_visits(&storage).await,
            Ask::Clear => self.clear(&storage).await,
            Ask::Publish => self.publish(),
        }
    }
}

// ANCHOR: get
async fn get(storage: &Storage, nick: &Nick) -> Result<Response, Failure> {
    let person = keys::person(nick).get(storage).await?.ok_or(Refusal::Nobody)?;
    Ok(Response::from_json(&person)?)
}
// ANCHOR_END: get

// ANCHOR: put
/// Nobody gets in between the `get` and the `put`: the gate is closed while storage
/// is awaited.
async fn put(
    storage: &Storage,
    nick: &Nick,
    person: &Person,
) -> Result<Response, Failure> {
    let key = keys::person(nick);
    let new = key.get(storage).await?.is_none();
    // Both or none: there is no await between them.
    let (person, last) =
        join(key.put(storage, person), LAST.put(storage, nick)).await;
    person.and(last)?;
    if new {
        return Ok(Response::ok("new\n")?.with_status(201));
    }
    Ok(Response::ok("changed\n")?)
}
// ANCHOR_END: put

// ANCHOR: delete
async fn delete(storage: &Storage, nick: &Nick) -> Result<Response, Failure> {
    if !storage.delete(keys::person(nick).text()).await? {
        return Err(Refusal::Nobody.into());
    }
    Ok(Response::ok("deleted\n")?)
}
// ANCHOR_END: delete

// ANCHOR: put_all
/// All of them or none. `put_multiple` would want a struct, whose fields are the
/// keys; this is the way for keys that are only known when it runs.
async fn put_all(
    storage: &Storage,
    people: &[(Nick, Person)],
) -> Result<Response, Failure> {
    let entries = Object::new();
    for (nick, person) in people {
        missing::set(&entries, keys::person(nick).text(), person)?;
    }
    storage.put_multiple_raw(entries).await?;
    number(people.len())
}
// ANCHOR_END: put_all

// ANCHOR: get_all
/// Those whom it finds, by their keys; whoever is not there is left out.
async fn get_all(storage: &Storage, nicks: &[Nick]) -> Result<Response, Failure> {
    let found = storage.get_multiple(texts(nicks)).await?;
    Ok(Response::from_json(&people(&found)?)?)
}

/// How many there were.
async fn delete_all(
    storage: &Storage,
    nicks: &[Nick],
) -> Result<Response, Failure> {
    number(storage.delete_multiple(texts(nicks)).await?)
}
// ANCHOR_END: get_all

fn number(number: impl Display) -> Result<Response, Failure> {
    Ok(Response::ok(format!("{number}\n"))?)
}

fn texts(nicks: &[Nick]) -> Vec<String> {
    nicks.iter().map(stored).collect()
}

// ANCHOR: people
/// Storage gives several values as a JavaScript `Map`, in the order of the keys.
fn people(found: &Map) -> worker::Result<Vec<(String, Person)>> {
    let mut people = missing::entries(&found.entries())?;
    for (key, _) in &mut people {
        *key = bare(key).to_owned();
    }
    Ok(people)
}
// ANCHOR_END: people

/// The key of a person without what all of them begin with.
fn bare(key: &str) -> &str {
    key.strip_prefix(PEOPLE).unwrap_or(key)
}

// ANCHOR: list
/// A page of people, in the order of their keys.
async fn list(storage: &Storage, page: &Page) -> Result<Response, Failure> {
    let options = missing::ListOptions {
        prefix: Some(stored_or_first(page.prefix.as_ref())),
        start: page.start.as_ref().map(stored),
        start_after: page.start_after.as_ref().map(stored),
        end: page.end.as_ref().map(stored),
        reverse: page.reverse,
        limit: Some(page.limit),
        no_cache: true,
        ..Default::default()
    };
    Ok(Response::from_json(&people(&missing::list(storage, &options).await?)?)?)
}

/// The key of a person, as it is stored.
fn stored(nick: &Nick) -> String {
    keys::person(nick).text().to_owned()
}

/// The same, or what all of them begin with.
fn stored_or_first(nick: Option<&Nick>) -> String {
    nick.map_or_else(|| PEOPLE.to_owned(), stored)
}
// ANCHOR_END: list

// ANCHOR: keys
/// The keys only, a line each. Without `startAfter`, which `worker` does not bind.
async fn keys(storage: &Storage, page: &Page) -> Result<Response, Failure> {
    let prefix = stored_or_first(page.prefix.as_ref());
    let start = stored_or_first(page.start.as_ref());
    let end = page.end.as_ref().map(stored);
    let mut options = ListOptions::new()
        .prefix(&prefix)
        .start(&start)
        .reverse(page.reverse)
        .limit(page.limit);
    if let Some(end) = &end {
        options = options.end(end);
    }
    let found = storage.list_with_options(options).await?;
    let mut lines = String::new();
    for key in found.keys() {
        let key = key.map_err(worker::Error::from)?.as_string();
        lines.push_str(bare(&key.unwrap_or_default()));
        lines.push('\n');
    }
    Ok(Response::ok(lines)?)
}
// ANCHOR_END: keys

// ANCHOR: rename
/// Gives a person another key, in a transaction with awaits: all of it, or nothing.
///
/// The closure must be `'static` and returns no value. So it owns what it needs, and
/// leaves word in a cell that both sides share.
async fn rename(
    storage: &Storage,
    from: Nick,
    to: Nick,
) -> Result<Response, Failure> {
    let refusal = Rc::new(Cell::new(None));
    let word = refusal.clone();
    storage
        .transaction(move |txn| async move {
            let (old, new) = (keys::person(&from), keys::person(&to));
            let found = txn.get_multiple(vec![old.text(), new.text()]).await?;
            let person = missing::decode(found.get(&old.text().into()))?;
            let Some(person): Option<Person> = person else {
                word.set(Some(Refusal::Nobody));
                return txn.rollback();
            };
            txn.delete(old.text()).await?;
            txn.put(new.text(), person).await?;
            if found.has(&new.text().into()) {
                word.set(Some(Refusal::Taken));
                return txn.rollback();
            }
            Ok(())
        })
        .await?;
    match refusal.take() {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Response::ok("moved\n")?),
    }
}
// ANCHOR_END: rename

// ANCHOR: title
/// No `async`, no `.await`: the synchronous side of storage answers at once.
fn title(storage: &Storage) -> Result<Response, Failure> {
    let title: String =
        SyncKv::of(storage).get(TITLE.text())?.ok_or(Refusal::NoTitle)?;
    Ok(Response::ok(format!("{title}\n"))?)
}

fn set_title(storage: &Storage, text: &str) -> Result<Response, Failure> {
    SyncKv::of(storage).put(TITLE.text(), &text)?;
    Ok(Response::ok(format!("{text}\n"))?)
}

fn drop_title(storage: &Storage) -> Result<Response, Failure> {
    if !SyncKv::of(storage).delete(TITLE.text())? {
        return Err(Refusal::NoTitle.into());
    }
    Ok(Response::ok("deleted\n")?)
}
// ANCHOR_END: title

// ANCHOR: redial
/// Changes how telephone numbers begin, for everybody in the book or for nobody. It
/// takes page by page, so the book may be larger than memory.
fn redial(storage: &Storage, area: &Area) -> Result<Response, Failure> {
    let kv = SyncKv::of(storage);
    let changed = transaction_sync(storage, || {
        let mut changed = 0;
        let mut page = missing::ListOptions::beginning_with(PEOPLE);
        page.limit = Some(PAGE_MAX);
        loop {
            let people: Vec<(String, Person)> = kv.list(&page)?;
            if people.is_empty() {
                return Ok::<_, Failure>(changed);
            }
            for (key, mut person) in people {
                let numbers = person.redial(area)?;
                if numbers > 0 {
                    kv.put(&key, &person)?;
                }
                changed += numbers;
                page.start_after = Some(key);
            }
        }
    })?;
    number(changed)
}
// ANCHOR_END: redial

impl AddressBook {
    // ANCHOR: visit
    /// Counts a visit. If the machine dies now, this one may be forgotten: the answer
    /// does not wait for the disk, unless the caller wants to be sure.
    async fn visit(
        &self,
        storage: &Storage,
        sure: bool,
    ) -> Result<Response, Failure> {
        let visits = self.visits(storage).await? + 1;
        self.visits.set(Some(visits));
        let options = Options {
            allow_unconfirmed: true,
            no_cache: true,
            ..Options::default()
        };
        missing::put(storage, VISITS.text(), &visits, options).await?;
        if sure {
            storage.sync().await?;
        }
        number(visits)
    }

    /// What `new` has loaded. It is not there yet if this is the first event after a
    /// crash of the Wasm module: the gate does not hold that one back.
    async fn visits(&self, storage: &Storage) -> Result<u64, Failure> {
        if let Some(visits) = self.visits.get() {
            return Ok(visits);
        }
        Ok(load(storage).await?)
    }
    // ANCHOR_END: visit

    async fn drop_visits(&self, storage: &Storage) -> Result<Response, Failure> {
        self.visits.set(Some(0));
        let options = Options { allow_unconfirmed: true, ..Options::default() };
        missing::delete(storage, VISITS.text(), options).await?;
        Ok(Response::ok("deleted\n")?)
    }

    async fn about(&self, storage: &Storage) -> Result<Response, Failure> {
        Ok(Response::from_json(&About {
            title: SyncKv::of(storage).get(TITLE.text())?,
            last: LAST.get(storage).await?,
            visits: self.visits(storage).await?,
        })?)
    }

    // ANCHOR: clear
    /// Empties the book. What is in memory has to follow.
    async fn clear(&self, storage: &Storage) -> Result<Response, Failure> {
        storage.delete_all().await?;
        self.visits.set(Some(0));
        Ok(Response::ok("deleted\n")?)
    }
    // ANCHOR_END: clear

    // ANCHOR: publish
    /// Copies the book to Workers KV. The caller need not wait for that.
    fn publish(&self) -> Result<Response, Failure> {
        let kv = self.env.kv("PUBLISHED")?;
        let copy = copy(self.state.storage(), kv, self.state.id().to_string());
        // Workers KV is not storage: without this the gate would be open while it is
        // awaited, and an older copy could overtake a newer one. What goes wrong is
        // a value in here; as an `Err` it would reset the object.
        let done =
            self.state.block_concurrency_while(async move { Ok(copy.await) });
        self.state.wait_until(async move {
            if let Err(error) = done.await.and_then(|copied| copied) {
                worker::console_error!("not published: {error}");
            }
        });
        Ok(Response::ok("will be published\n")?.with_status(202))
    }
    // ANCHOR_END: publish
}

// ANCHOR: copy
/// Puts everybody into Workers KV, where Workers all over the world can read it
/// without coming here.
async fn copy(storage: Storage, kv: KvStore, id: String) -> worker::Result<()> {
    let everybody = missing::ListOptions::beginning_with(PEOPLE);
    let people = people(&missing::list(&storage, &everybody).await?)?;
    Ok(kv.put(&id, serde_json::to_string(&people)?)?.execute().await?)
}
// ANCHOR_END: copy

// ANCHOR: load
/// The visits in storage. They are in memory from then on: the cache of storage need
/// not keep them too.
async fn load(storage: &Storage) -> worker::Result<u64> {
    let options = Options { no_cache: true, ..Options::default() };
    Ok(missing::get(storage, VISITS.text(), options).await?.unwrap_or(0))
}
// ANCHOR_END: load

/// What the book says of itself.
#[derive(Serialize)]
struct About {
    title: Option<String>,
    last: Option<Nick>,
    visits: u64,
}
