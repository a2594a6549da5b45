//! The rules of the counter and of the address book: which requests make sense, how
//! far a count may go, and who may stand in a book.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::query::parameter;

/// The longest name of a counter or a book, in characters.
pub const NAME_MAX: usize = 512;
/// The largest count: 2^53 - 1, the last integer that JavaScript keeps exact.
pub const COUNT_MAX: i64 = (1 << 53) - 1;
/// The longest key of a person, in bytes. Old classes, without SQLite, take 2 KB.
pub const KEY_MAX: usize = 1_024;
/// The longest text about a person, in characters: a person stays far below the
/// 2 MB that storage takes.
pub const TEXT_MAX: usize = 10_000;
/// How many telephone numbers a person may have.
pub const PHONES_MAX: usize = 16;
/// The longest telephone number, in characters.
pub const PHONE_MAX: usize = 24;
/// How many keys one call of storage takes.
pub const BATCH_MAX: usize = 128;
/// The most people on one page of a list.
pub const PAGE_MAX: usize = 100;
/// The longest request body, in bytes.
pub const BODY_MAX: usize = 1_000_000;

/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; / takes ?name=, and GET /books lists the rest")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error(
        "a name is 1 to {NAME_MAX} characters, and none of them a control character"
    )]
    Name,
    #[error("the count would pass {COUNT_MAX}, so it stays as it is")]
    Full,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
    #[error("the body is {right}: {wrong}")]
    Body { right: &'static str, wrong: String },
    #[error("a key is 1 to {KEY_MAX} bytes of UTF-8 without control characters")]
    Key,
    #[error("a text is 1 to {TEXT_MAX} characters without control characters")]
    Text,
    #[error(
        "a person has at most {PHONES_MAX} phones, each 1 to {PHONE_MAX} of the \
         characters 0-9, '+' and ' '"
    )]
    Phone,
    #[error("1 to {BATCH_MAX} at once")]
    Batch,
    #[error("a page has a limit of 1 to {PAGE_MAX}")]
    Limit,
    #[error("reverse is true or false")]
    Reverse,
    #[error("a page begins with start or with startAfter, not with both")]
    Start,
    #[error("nobody is there under this key")]
    Nobody,
    #[error("somebody is there under the new key, so nobody has moved")]
    Taken,
    #[error("this book has no title; PUT one")]
    NoTitle,
    #[error("this book has not been published; POST /books/<book>/publish does it")]
    Unpublished,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path | Self::Nobody | Self::NoTitle | Self::Unpublished => 404,
            Self::Method(_) => 405,
            Self::Full | Self::Taken => 409,
            Self::BodySize => 413,
            _ => 400,
        }
    }
}

// ANCHOR: add
/// The new count, if it may go there.
pub fn add(count: i64, by: i64) -> Result<i64, Refusal> {
    count
        .checked_add(by)
        .filter(|sum| (-COUNT_MAX..=COUNT_MAX).contains(sum))
        .ok_or(Refusal::Full)
}
// ANCHOR_END: add

// ANCHOR: person
/// Somebody in a book. This is what lies in storage, and what callers send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub name: String,
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub phones: Vec<String>,
    #[serde(default)]
    pub born: Option<u16>,
    #[serde(default)]
    pub note: Option<String>,
}

/// What somebody is to you.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    #[default]
    Friend,
    Family,
    Work {
        company: String,
    },
}
// ANCHOR_END: person

impl Person {
    /// Whether this person may stand in a book.
    pub fn check(&self) -> Result<(), Refusal> {
        text(&self.name)?;
        if let Kind::Work { company } = &self.kind {
            text(company)?;
        }
        if let Some(note) = &self.note {
            text(note)?;
        }
        if self.phones.len() > PHONES_MAX {
            return Err(Refusal::Phone);
        }
        self.phones.iter().try_for_each(|phone| self::phone(phone))
    }

    // ANCHOR: redial
    /// Changes how telephone numbers begin. Says how many it has changed.
    pub fn redial(&mut self, area: &Area) -> Result<usize, Refusal> {
        let mut changed = 0;
        for number in &mut self.phones {
            if let Some(rest) = number.strip_prefix(&area.from) {
                *number = format!("{}{rest}", area.to);
                phone(number)?;
                changed += 1;
            }
        }
        Ok(changed)
    }
    // ANCHOR_END: redial
}

/// Telephone numbers that begin with `from` shall begin with `to`.
#[derive(Debug, PartialEq, Eq)]
pub struct Area {
    pub from: String,
    pub to: String,
}

// ANCHOR: nick
/// The key of a person. There is none that has not been checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nick(String);

impl TryFrom<String> for Nick {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let fits = (1..=KEY_MAX).contains(&text.len()) && plain(&text);
        if fits { Ok(Self(text)) } else { Err(Refusal::Key) }
    }
}
// ANCHOR_END: nick

impl From<Nick> for String {
    fn from(nick: Nick) -> Self {
        nick.0
    }
}

impl fmt::Display for Nick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which people to list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub prefix: Option<Nick>,
    pub start: Option<Nick>,
    pub start_after: Option<Nick>,
    pub end: Option<Nick>,
    pub reverse: bool,
    pub limit: usize,
}

impl Page {
    /// Reads a page from the query of an address.
    fn parse(url: &str) -> Result<Self, Refusal> {
        let key = |name| parameter(url, name).map(Nick::try_from).transpose();
        let reverse = match parameter(url, "reverse").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            _ => return Err(Refusal::Reverse),
        };
        let limit = match parameter(url, "limit") {
            None => PAGE_MAX,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or(Refusal::Limit)?,
        };
        let page = Self {
            prefix: key("prefix")?,
            start: key("start")?,
            start_after: key("startAfter")?,
            end: key("end")?,
            reverse,
            limit,
        };
        if page.start.is_some() && page.start_after.is_some() {
            return Err(Refusal::Start);
        }
        Ok(page)
    }
}

// ANCHOR: ask
/// What can be asked of an address book.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    About,
    Clear,
    Title,
    SetTitle(String),
    DropTitle,
    Get(Nick),
    Put(Nick, Person),
    Delete(Nick),
    Move { from: Nick, to: Nick },
    PutAll(Vec<(Nick, Person)>),
    GetAll(Vec<Nick>),
    DeleteAll(Vec<Nick>),
    List(Page),
    Keys(Page),
    Redial(Area),
    Visit { sure: bool },
    DropVisits,
    Publish,
}
// ANCHOR_END: ask

/// A request that makes sense: every part of it has been checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// A request without a name.
    Usage,
    /// `GET /books`
    Help,
    /// `/?name=A`, `/increment?name=A`, `/decrement?name=A`
    Count { name: String, by: i64 },
    /// Everything below `/books/<book>`
    Book { name: String, ask: Ask },
    /// `GET /published/<book>`
    Published { name: String },
}

impl Route {
    /// Makes sense of a request, or says why it cannot.
    pub fn parse(
        method: &str,
        path: &str,
        url: &str,
        body: &[u8],
    ) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match *segments.as_slice() {
            ["books"] => get(method).map(|()| Self::Help),
            ["books", book, ref rest @ ..] => {
                let ask = Ask::parse(method, rest, url, body)?;
                Ok(Self::Book { name: name(&decoded(book)?)?, ask })
            }
            ["published", book] => {
                get(method)?;
                Ok(Self::Published { name: name(&decoded(book)?)? })
            }
            ref counter => Self::counter(method, counter, url),
        }
    }

    /// The paths of the official example, which looks for the name first.
    fn counter(
        method: &str,
        segments: &[&str],
        url: &str,
    ) -> Result<Self, Refusal> {
        let Some(text) = parameter(url, "name") else { return Ok(Self::Usage) };
        let by = match *segments {
            [""] => 0,
            ["increment"] => 1,
            ["decrement"] => -1,
            _ => return Err(Refusal::Path),
        };
        match method {
            "GET" | "HEAD" | "POST" => Ok(Self::Count { name: name(&text)?, by }),
            _ => Err(Refusal::Method("GET, HEAD, POST")),
        }
    }
}

impl Ask {
    fn parse(
        method: &str,
        rest: &[&str],
        url: &str,
        body: &[u8],
    ) -> Result<Self, Refusal> {
        match *rest {
            [] => match method {
                "GET" | "HEAD" => Ok(Self::About),
                "DELETE" => Ok(Self::Clear),
                _ => Err(Refusal::Method("GET, HEAD, DELETE")),
            },
            ["title"] => match method {
                "GET" | "HEAD" => Ok(Self::Title),
                "PUT" => Ok(Self::SetTitle(title(body)?)),
                "DELETE" => Ok(Self::DropTitle),
                _ => Err(Refusal::Method("GET, HEAD, PUT, DELETE")),
            },
            ["people"] => match method {
                "GET" | "HEAD" => Ok(Self::List(Page::parse(url)?)),
                "POST" => Ok(Self::PutAll(people(body)?)),
                _ => Err(Refusal::Method("GET, HEAD, POST")),
            },
            ["people", nick] => match method {
                "GET" | "HEAD" => Ok(Self::Get(decoded(nick)?.try_into()?)),
                "PUT" => Ok(Self::Put(decoded(nick)?.try_into()?, person(body)?)),
                "DELETE" => Ok(Self::Delete(decoded(nick)?.try_into()?)),
                _ => Err(Refusal::Method("GET, HEAD, PUT, DELETE")),
            },
            ["people", nick, "move"] => {
                post(method)?;
                let to = parameter(url, "to").ok_or(Refusal::Key)?;
                Ok(Self::Move {
                    from: decoded(nick)?.try_into()?,
                    to: to.try_into()?,
                })
            }
            ["keys"] => get(method).and_then(|()| Page::parse(url)).map(Self::Keys),
            ["lookup"] => post(method).and_then(|()| nicks(body)).map(Self::GetAll),
            ["remove"] => {
                post(method).and_then(|()| nicks(body)).map(Self::DeleteAll)
            }
            ["redial"] => post(method).and_then(|()| area(url)).map(Self::Redial),
            ["visits"] => match method {
                "POST" => {
                    Ok(Self::Visit { sure: parameter(url, "sure").is_some() })
                }
                "DELETE" => Ok(Self::DropVisits),
                _ => Err(Refusal::Method("POST, DELETE")),
            },
            ["publish"] => post(method).map(|()| Self::Publish),
            _ => Err(Refusal::Path),
        }
    }
}

fn get(method: &str) -> Result<(), Refusal> {
    match method {
        "GET" | "HEAD" => Ok(()),
        _ => Err(Refusal::Method("GET, HEAD")),
    }
}

fn post(method: &str) -> Result<(), Refusal> {
    match method {
        "POST" => Ok(()),
        _ => Err(Refusal::Method("POST")),
    }
}

/// A part of a path, decoded. It must be UTF-8.
fn decoded(segment: &str) -> Result<String, Refusal> {
    let text = percent_decode_str(segment).decode_utf8();
    text.map(|text| text.into_owned()).map_err(|_| Refusal::Name)
}

fn plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn name(text: &str) -> Result<String, Refusal> {
    let fits = (1..=NAME_MAX).contains(&text.chars().count()) && plain(text);
    fits.then(|| text.to_owned()).ok_or(Refusal::Name)
}

fn text(text: &str) -> Result<(), Refusal> {
    let fits = (1..=TEXT_MAX).contains(&text.chars().count()) && plain(text);
    fits.then_some(()).ok_or(Refusal::Text)
}

fn phone(number: &str) -> Result<(), Refusal> {
    let digits = |b: u8| b.is_ascii_digit() || b == b'+' || b == b' ';
    let fits = (1..=PHONE_MAX).contains(&number.len());
    (fits && number.bytes().all(digits)).then_some(()).ok_or(Refusal::Phone)
}

// ANCHOR: json
/// Reads JSON, or says in one line what is wrong with it and what would be right.
fn json<T: DeserializeOwned>(
    body: &[u8],
    right: &'static str,
) -> Result<T, Refusal> {
    serde_json_wasm::from_slice(body).map_err(|error| {
        // The error may repeat what it has met, however long and odd that was.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let wrong = error.to_string().chars().take(200).map(plain).collect();
        Refusal::Body { right, wrong }
    })
}

/// Reads a person from a request body.
pub fn person(body: &[u8]) -> Result<Person, Refusal> {
    let person: Person = json(body, r#"a person, such as {"name":"Ada"}"#)?;
    person.check()?;
    Ok(person)
}
// ANCHOR_END: json

fn people(body: &[u8]) -> Result<Vec<(Nick, Person)>, Refusal> {
    let people: Vec<(Nick, Person)> =
        json(body, r#"people with their keys, such as [["ada",{"name":"Ada"}]]"#)?;
    batch(people.len())?;
    people.iter().try_for_each(|(_, person)| person.check())?;
    Ok(people)
}

fn nicks(body: &[u8]) -> Result<Vec<Nick>, Refusal> {
    let nicks: Vec<Nick> = json(body, r#"a list of keys, such as ["ada"]"#)?;
    batch(nicks.len())?;
    Ok(nicks)
}

fn area(url: &str) -> Result<Area, Refusal> {
    let part = |name| parameter(url, name).ok_or(Refusal::Phone);
    let area = Area { from: part("from")?, to: part("to")? };
    phone(&area.from)?;
    phone(&area.to)?;
    Ok(area)
}

fn title(body: &[u8]) -> Result<String, Refusal> {
    let title = String::from_utf8(body.to_vec()).map_err(|_| Refusal::Text)?;
    text(&title)?;
    Ok(title)
}

fn batch(count: usize) -> Result<(), Refusal> {
    (1..=BATCH_MAX).contains(&count).then_some(()).ok_or(Refusal::Batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(method: &str, address: &str, body: &str) -> Result<Route, Refusal> {
        let path = address.split('?').next().unwrap_or_default();
        let url = format!("https://village{address}");
        Route::parse(method, path, &url, body.as_bytes())
    }

    fn ask(method: &str, address: &str, body: &str) -> Result<Ask, Refusal> {
        match route(method, &format!("/books/home{address}"), body)? {
            Route::Book { name, ask } if name == "home" => Ok(ask),
            other => panic!("{other:?}"),
        }
    }

    fn nick(text: &str) -> Nick {
        Nick::try_from(text.to_owned()).unwrap()
    }

    fn ada() -> Person {
        person(br#"{"name":"Ada"}"#).unwrap()
    }

    fn count(name: &str, by: i64) -> Result<Route, Refusal> {
        Ok(Route::Count { name: name.to_owned(), by })
    }

    /// The counter takes the paths of the official example, by GET as there.
    #[test]
    fn counters() {
        assert_eq!(route("GET", "/?name=A", ""), count("A", 0));
        assert_eq!(route("GET", "/increment?name=A", ""), count("A", 1));
        assert_eq!(route("HEAD", "/?name=A", ""), count("A", 0));
        assert_eq!(route("POST", "/decrement?name=A", ""), count("A", -1));
        assert_eq!(
            route("GET", "/?name=two+w%C3%B6rds", ""),
            count("two wörds", 0)
        );
        for path in ["/", "/increment", "/nowhere", "/?Name=A", "/?nick=A"] {
            assert_eq!(route("GET", path, ""), Ok(Route::Usage), "{path}");
        }
        for path in ["/nowhere?name=A", "/increment/?name=A", "//?name=A"] {
            assert_eq!(route("GET", path, ""), Err(Refusal::Path), "{path}");
        }
        let methods = Err(Refusal::Method("GET, HEAD, POST"));
        assert_eq!(route("DELETE", "/increment?name=A", ""), methods);
    }

    /// A name has 1 to 512 characters of any script, and no control characters.
    #[test]
    fn names() {
        let long = "世".repeat(NAME_MAX);
        for good in ["A", "مرحبا", "../..", "a/b", "💧", &long] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\0b", "tab\t", "\u{85}", &format!("{long}x")] {
            assert_eq!(name(bad), Err(Refusal::Name), "{bad:?}");
        }
        assert_eq!(route("GET", "/?name=", ""), Err(Refusal::Name));
        assert_eq!(route("GET", "/books/%ff", ""), Err(Refusal::Name));
        assert_eq!(route("GET", "/books/", ""), Err(Refusal::Name));
        let published = Route::Published { name: "ä/b".into() };
        assert_eq!(route("GET", "/published/%C3%A4%2Fb", ""), Ok(published));
    }

    /// Every question that a book answers is understood.
    #[test]
    fn questions() {
        let json = r#"{"name":"Ada"}"#;
        assert_eq!(route("GET", "/books", ""), Ok(Route::Help));
        assert_eq!(ask("GET", "", ""), Ok(Ask::About));
        assert_eq!(ask("DELETE", "", ""), Ok(Ask::Clear));
        assert_eq!(ask("GET", "/title", ""), Ok(Ask::Title));
        assert_eq!(ask("PUT", "/title", "Us"), Ok(Ask::SetTitle("Us".into())));
        assert_eq!(ask("DELETE", "/title", ""), Ok(Ask::DropTitle));
        assert_eq!(ask("HEAD", "/people/a%20b", ""), Ok(Ask::Get(nick("a b"))));
        assert_eq!(ask("PUT", "/people/a", json), Ok(Ask::Put(nick("a"), ada())));
        assert_eq!(ask("DELETE", "/people/a", ""), Ok(Ask::Delete(nick("a"))));
        let moved = Ask::Move { from: nick("a"), to: nick("b") };
        assert_eq!(ask("POST", "/people/a/move?to=b", ""), Ok(moved));
        let several = format!(r#"[["a",{json}],["b",{json}]]"#);
        let all = Ask::PutAll(vec![(nick("a"), ada()), (nick("b"), ada())]);
        assert_eq!(ask("POST", "/people", &several), Ok(all));
        let keys = || vec![nick("a"), nick("b")];
        assert_eq!(ask("POST", "/lookup", r#"["a","b"]"#), Ok(Ask::GetAll(keys())));
        assert_eq!(
            ask("POST", "/remove", r#"["a","b"]"#),
            Ok(Ask::DeleteAll(keys()))
        );
        let area = Area { from: "0113".into(), to: "+44 113".into() };
        let path = "/redial?from=0113&to=%2B44+113";
        assert_eq!(ask("POST", path, ""), Ok(Ask::Redial(area)));
        assert_eq!(ask("POST", "/visits", ""), Ok(Ask::Visit { sure: false }));
        assert_eq!(ask("POST", "/visits?sure", ""), Ok(Ask::Visit { sure: true }));
        assert_eq!(ask("DELETE", "/visits", ""), Ok(Ask::DropVisits));
        assert_eq!(ask("POST", "/publish", ""), Ok(Ask::Publish));
    }

    /// A page has bounds of its own, and a limit.
    #[test]
    fn pages() {
        let all = || Page {
            prefix: None,
            start: None,
            start_after: None,
            end: None,
            reverse: false,
            limit: PAGE_MAX,
        };
        assert_eq!(ask("GET", "/people", ""), Ok(Ask::List(all())));
        assert_eq!(ask("GET", "/keys", ""), Ok(Ask::Keys(all())));
        let page = Page {
            prefix: Some(nick("a")),
            start_after: Some(nick("ab")),
            end: Some(nick("ax")),
            reverse: true,
            limit: 7,
            ..all()
        };
        let query = "?prefix=a&startAfter=ab&end=ax&reverse=true&limit=7";
        assert_eq!(ask("GET", &format!("/people{query}"), ""), Ok(Ask::List(page)));
        for (query, refusal) in [
            ("limit=0", Refusal::Limit),
            ("limit=101", Refusal::Limit),
            ("limit=ten", Refusal::Limit),
            ("reverse=yes", Refusal::Reverse),
            ("start=a&startAfter=a", Refusal::Start),
            ("prefix=", Refusal::Key),
        ] {
            let path = format!("/people?{query}");
            assert_eq!(ask("GET", &path, ""), Err(refusal), "{query}");
        }
    }

    /// What is not there is 404, and a wrong method names the right ones.
    #[test]
    fn wrong_turns() {
        for path in ["/nowhere", "/people/a/b", "/people/a/move/b", "/title/a", "/"]
        {
            assert_eq!(ask("GET", path, ""), Err(Refusal::Path), "{path}");
        }
        for (method, path, allow) in [
            ("POST", "", "GET, HEAD, DELETE"),
            ("POST", "/title", "GET, HEAD, PUT, DELETE"),
            ("DELETE", "/people", "GET, HEAD, POST"),
            ("PURGE", "/people/a", "GET, HEAD, PUT, DELETE"),
            ("GET", "/people/a/move?to=b", "POST"),
            ("POST", "/keys", "GET, HEAD"),
            ("GET", "/lookup", "POST"),
            ("GET", "/remove", "POST"),
            ("GET", "/redial", "POST"),
            ("GET", "/visits", "POST, DELETE"),
            ("GET", "/publish", "POST"),
        ] {
            let wrong = Err(Refusal::Method(allow));
            assert_eq!(ask(method, path, ""), wrong, "{method} {path}");
        }
        let wrong = Err(Refusal::Method("GET, HEAD"));
        assert_eq!(route("POST", "/books", ""), wrong);
    }

    /// A person that does not fit is refused, and one line says why.
    #[test]
    fn persons() {
        let full = r#"{"name":"Ada L\u00f6v \ud83d\udca7","kind":{"work":{"company":"Mill"}},
            "phones":["+44 113"],"born":1815,"note":"counts"}"#;
        let full = person(full.as_bytes()).unwrap();
        assert_eq!(full.name, "Ada Löv 💧");
        assert_eq!(full.kind, Kind::Work { company: "Mill".into() });
        assert_eq!((full.born, full.note.as_deref()), (Some(1815), Some("counts")));
        assert_eq!(ada().kind, Kind::Friend);

        for bad in [
            "",
            " ",
            "null",
            "7",
            "[]",
            "{}",
            "Ada",
            r#"{"name":7}"#,
            r#"{"name":"A"#,
            r#"{"name":"A"} x"#,
            r#"{"name":"A","phone":[]}"#,
            r#"{"name":"A","born":-1}"#,
            r#"{"name":"A","born":1.5}"#,
            r#"{"name":"A","born":99999}"#,
            r#"{"name":"A","kind":"foe"}"#,
            r#"{"name":"A","name":"B"}"#,
            "\u{0}",
        ] {
            let Err(Refusal::Body { right, wrong }) = person(bad.as_bytes()) else {
                panic!("{bad}: {:?}", person(bad.as_bytes()))
            };
            assert!(right.starts_with("a person, such as"), "{right}");
            assert!(!wrong.is_empty() && !wrong.contains('\n'), "{bad}: {wrong}");
        }
        let with =
            |rest: &str| person(format!(r#"{{"name":"A",{rest}}}"#).as_bytes());
        let long = "x".repeat(TEXT_MAX + 1);
        assert_eq!(with(&format!(r#""note":"{long}""#)).err(), Some(Refusal::Text));
        assert_eq!(with(r#""note":"a\nb""#).err(), Some(Refusal::Text));
        assert_eq!(with(r#""note":"""#).err(), Some(Refusal::Text));
        assert_eq!(with(r#""phones":["x"]"#).err(), Some(Refusal::Phone));
        assert_eq!(with(r#""phones":[""]"#).err(), Some(Refusal::Phone));
        let many = vec![r#""1""#; PHONES_MAX + 1].join(",");
        assert_eq!(
            with(&format!(r#""phones":[{many}]"#)).err(),
            Some(Refusal::Phone)
        );
    }

    /// As many at once as storage takes, and not one more.
    #[test]
    fn batches() {
        let keys = |n| format!("[{}]", vec![r#""a""#; n].join(","));
        assert!(nicks(keys(BATCH_MAX).as_bytes()).is_ok());
        assert_eq!(nicks(keys(BATCH_MAX + 1).as_bytes()), Err(Refusal::Batch));
        assert_eq!(nicks(b"[]"), Err(Refusal::Batch));
        assert_eq!(people(b"[]"), Err(Refusal::Batch));
        assert!(matches!(nicks(br#"["a",""]"#), Err(Refusal::Body { .. })));
        assert!(matches!(people(br#"[["a"]]"#), Err(Refusal::Body { .. })));
    }

    /// A key holds 1 to 1024 bytes.
    #[test]
    fn keys() {
        let long = "ä".repeat(KEY_MAX / 2);
        for good in ["a", "世界", "a/b", "person:", &long] {
            assert!(Nick::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{7f}", &format!("{long}x")] {
            assert_eq!(
                Nick::try_from(bad.to_owned()),
                Err(Refusal::Key),
                "{bad:?}"
            );
        }
        assert_eq!(ask("GET", "/people/", ""), Err(Refusal::Key));
        assert_eq!(ask("POST", "/people/a/move", ""), Err(Refusal::Key));
    }

    /// Numbers change only where they begin so, and stay telephone numbers.
    #[test]
    fn redials() {
        let mut ada = ada();
        ada.phones = vec!["0113 1".into(), "+44 0113".into(), "01132".into()];
        let area = Area { from: "0113".into(), to: "0343".into() };
        assert_eq!(ada.redial(&area), Ok(2));
        assert_eq!(ada.phones, ["0343 1", "+44 0113", "03432"]);
        let area = Area { from: "0343".into(), to: "0".repeat(PHONE_MAX) };
        assert_eq!(ada.redial(&area), Err(Refusal::Phone));
    }

    /// The count stops at its limits instead of losing digits.
    #[test]
    fn sums() {
        assert_eq!(add(0, -1), Ok(-1));
        assert_eq!(add(COUNT_MAX - 1, 1), Ok(COUNT_MAX));
        assert_eq!(add(COUNT_MAX, 1), Err(Refusal::Full));
        assert_eq!(add(-COUNT_MAX, -1), Err(Refusal::Full));
        assert_eq!(add(i64::MAX, 1), Err(Refusal::Full));
    }

    /// The statuses that callers rely on.
    #[test]
    fn statuses() {
        let status = [
            Refusal::Path,
            Refusal::Nobody,
            Refusal::Method("GET"),
            Refusal::Taken,
            Refusal::BodySize,
            Refusal::Name,
        ]
        .map(|refusal| refusal.status());
        assert_eq!(status, [404, 404, 405, 409, 413, 400]);
    }

    proptest! {
        /// Whatever comes, it is understood or refused with one line; nothing panics.
        #[test]
        fn anything_gets_an_answer(
            method in "GET|PUT|POST|DELETE|[A-Z]{0,8}",
            path in "(/(books|people|title|move|lookup|[ -~]{0,6}|\\PC{0,4})){0,5}",
            query in "((name|prefix|limit|start|startAfter|to|from)=\\PC{0,6}&?){0,3}",
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let url = format!("https://village{path}?{query}");
            if let Err(refusal) = Route::parse(&method, &path, &url, &body) {
                prop_assert!((400..500).contains(&refusal.status()));
                prop_assert_eq!(refusal.to_string().lines().count(), 1);
            }
        }

        /// JSON of any text in any place does not panic, and its refusal is one line.
        #[test]
        fn any_json_gets_an_answer(key in ".*", value in ".*", born in any::<i64>()) {
            let field = serde_json::Value::String(key).to_string();
            let value = serde_json::Value::String(value).to_string();
            let body = format!(r#"{{"name":{value},"born":{born},{field}:{value}}}"#);
            if let Err(refusal) = person(body.as_bytes()) {
                prop_assert_eq!(refusal.to_string().lines().count(), 1);
            }
        }

        /// A person goes through JSON unchanged.
        #[test]
        fn persons_come_back(name in "[^\\p{Cc}]{1,40}", born in any::<Option<u16>>()) {
            let mut before = ada();
            (before.name, before.born) = (name, born);
            let json = serde_json::to_string(&before).unwrap();
            prop_assert_eq!(person(json.as_bytes()), Ok(before));
        }

        /// However often it goes up and down, a count is the sum of what it took.
        #[test]
        fn counts_are_sums(steps in proptest::collection::vec(-1i64..=1, 0..100)) {
            let count = steps.iter().try_fold(0, |count, by| add(count, *by));
            prop_assert_eq!(count, Ok(steps.iter().sum()));
        }
    }
}
