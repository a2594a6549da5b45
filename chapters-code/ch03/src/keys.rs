//! What an address book stores, and under which keys.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{Result, Storage};

use crate::rules::{Nick, Person};

// ANCHOR: key
/// A key that knows the type of its value. To storage all keys are text; to the
/// compiler it is an error to read a title where a number was put.
pub struct Key<T> {
    text: Cow<'static, str>,
    value: PhantomData<T>,
}

/// How the book is called.
pub const TITLE: Key<String> = Key::new("title");
/// Who was written last.
pub const LAST: Key<Nick> = Key::new("last");
/// How often somebody looked in.
pub const VISITS: Key<u64> = Key::new("visits");
/// What all keys of people begin with, so that they never meet another key.
pub const PEOPLE: &str = "person:";

/// The key of a person.
pub fn person(nick: &Nick) -> Key<Person> {
    Key { text: Cow::Owned(format!("{PEOPLE}{nick}")), value: PhantomData }
}
// ANCHOR_END: key

impl<T> Key<T> {
    const fn new(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), value: PhantomData }
    }

    /// The key as storage knows it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

// ANCHOR: typed
impl<T: Serialize + DeserializeOwned> Key<T> {
    /// What lies under the key, if anything.
    ///
    /// # Errors
    /// If it is not a `T`, say because an older version of this crate put it.
    pub async fn get(&self, storage: &Storage) -> Result<Option<T>> {
        storage.get(&self.text).await
    }

    /// Puts a value under the key, in place of what is there.
    ///
    /// # Errors
    /// If the value cannot be stored.
    pub async fn put(&self, storage: &Storage, value: &T) -> Result<()> {
        storage.put(&self.text, value).await
    }
}
// ANCHOR_END: typed
