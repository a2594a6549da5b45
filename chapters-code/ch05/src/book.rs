//! The books of a batcher: which items wait, which are under way, and which are gone.
//!
//! Plain Rust, so that `cargo test` can try every order of events.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::rules::{QUEUE_MAX, Refusal};

/// How many items are posted at once.
pub const BATCH_MAX: u64 = 100;

// ANCHOR: book
/// Items are numbered from 1, and no number is ever used twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The number of the item that came last.
    pub last: u64,
    /// The last number of the batch that is under way.
    pub sealed: u64,
    /// The last number that was posted.
    pub sent: u64,
    /// How often posting the batch under way has failed.
    pub tries: u32,
}
// ANCHOR_END: book

// ANCHOR: book_rules
impl Book {
    /// How many items wait, those under way among them.
    pub fn queued(&self) -> u64 {
        self.last.saturating_sub(self.sent)
    }

    /// Takes one more item, and gives it its number.
    pub fn queue(&mut self) -> Result<u64, Refusal> {
        if self.queued() >= QUEUE_MAX {
            return Err(Refusal::QueueFull);
        }
        self.last += 1;
        Ok(self.last)
    }

    /// Closes a batch: what comes from now on belongs to the next one. While one is
    /// under way it stays as it is.
    pub fn seal(&mut self) -> Option<RangeInclusive<u64>> {
        if self.sealed == self.sent {
            self.sealed = self.last.min(self.sent + BATCH_MAX);
        }
        (self.sealed > self.sent).then(|| self.sent + 1..=self.sealed)
    }

    /// The batch under way has been posted.
    pub fn delivered(&mut self) {
        self.sent = self.sealed;
        self.tries = 0;
    }

    /// The batch under way has not been posted, or nobody knows.
    pub fn failed(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }
}

/// The key under which an item is stored. The zeros make the order of the keys,
/// which is that of text, the order of the numbers.
pub fn item_key(number: u64) -> String {
    format!("item-{number:016}")
}
// ANCHOR_END: book_rules

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Without zeros, item 10 would come before item 2.
    #[test]
    fn keys_sort_as_their_numbers() {
        let numbers = [1, 2, 9, 10, 11, 99, 100, (1 << 53) - 1];
        let keys = numbers.map(item_key);
        assert!(keys.is_sorted(), "{keys:?}");
    }

    /// A queue that is full takes nothing, until some of it has been posted.
    #[test]
    fn a_full_queue() {
        let mut book = Book { last: QUEUE_MAX + 7, sent: 7, sealed: 7, tries: 0 };
        let before = book.clone();
        assert_eq!(book.queue(), Err(Refusal::QueueFull));
        assert_eq!(book, before);
        book.seal();
        book.delivered();
        assert_eq!(book.queue(), Ok(QUEUE_MAX + 8));
    }

    proptest! {
        /// In whatever order items come, and posts fail and succeed: each item is in
        /// exactly one batch, in order, and a batch that failed comes again
        /// unchanged.
        #[test]
        fn every_item_is_in_one_batch(events in prop::collection::vec((0..150_u64, any::<bool>()), 0..60)) {
            let mut book = Book::default();
            let mut posted = Vec::new();
            let mut failed = None;
            for (items, succeeds) in events {
                for _ in 0..items {
                    let _ = book.queue();
                }
                let batch = book.seal();
                if failed.is_some() {
                    prop_assert_eq!(&batch, &failed);
                }
                let Some(batch) = batch else { continue };
                prop_assert!(batch.clone().count() as u64 <= BATCH_MAX);
                if succeeds {
                    book.delivered();
                    posted.extend(batch);
                    failed = None;
                } else {
                    book.failed();
                    failed = Some(batch);
                }
            }
            prop_assert_eq!(posted.len() as u64 + book.queued(), book.last);
            prop_assert!(posted.iter().copied().eq(1..=book.sent));
        }
    }
}
