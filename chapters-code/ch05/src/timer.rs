//! The rules of timers: when one rings, when again, and when never more.
//!
//! Plain Rust. All times are in milliseconds, those of the clock since 1970, and
//! `now` is always given from outside.

use serde::{Deserialize, Serialize};

use crate::rules::{AHEAD_MAX, EVERY_MIN, LATE_MAX, Refusal};

/// How often a turn is tried.
pub const TRIES_MAX: u32 = 5;
/// The pause after the first try that failed; it doubles after each.
const PAUSE: u64 = 1_000;

/// A timer as its owner wants it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// When it rings for the first time.
    pub due: u64,
    /// The time from one turn to the next, if there is more than one.
    pub every: Option<u64>,
    /// What it says when it rings.
    pub say: String,
}

// ANCHOR: wish
/// What a caller sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    r#in: Option<u64>,
    at: Option<u64>,
    every: Option<u64>,
    say: String,
}

impl Timer {
    /// Reads a timer from JSON.
    pub fn parse(body: &[u8], now: u64) -> Result<Self, Refusal> {
        let wish: Wish =
            serde_json::from_slice(body).map_err(|_| Refusal::Timer)?;
        let latest = now + AHEAD_MAX;
        let due = match (wish.at, wish.r#in) {
            (Some(at), None) => at,
            (None, Some(after)) => now.saturating_add(after),
            _ => return Err(Refusal::Timer),
        };
        if !(now.saturating_sub(LATE_MAX)..=latest).contains(&due) {
            return Err(Refusal::Time);
        }
        if wish.every.is_some_and(|ms| !(EVERY_MIN..=AHEAD_MAX).contains(&ms)) {
            return Err(Refusal::Every);
        }
        Ok(Self { due, every: wish.every, say: wish.say })
    }
}
// ANCHOR_END: wish

// ANCHOR: fate
/// What becomes of a timer that has rung.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has done its work.
    Done,
    /// Its next turn is at this time.
    Next(u64),
    /// The same turn is tried again at this time.
    Again(u64),
    /// It was tried too often. It stays in the list, for somebody to look at.
    Dead,
}

/// Decides, when a turn that was `due` has been tried for the `tries`th time.
pub fn fate(
    due: u64,
    every: Option<u64>,
    tries: u32,
    delivered: bool,
    now: u64,
) -> Fate {
    match every {
        None if delivered => Fate::Done,
        Some(every) if delivered => Fate::Next(next_turn(due, every, now)),
        _ if tries < TRIES_MAX => Fate::Again(now + pause(tries)),
        Some(every) => Fate::Next(next_turn(due, every, now)),
        None => Fate::Dead,
    }
}

/// The first turn after `now`, in the rhythm that `due` began. Turns that were missed
/// meanwhile do not come back.
pub fn next_turn(due: u64, every: u64, now: u64) -> u64 {
    let missed = now.saturating_sub(due) / every.max(1);
    due + (missed + 1) * every.max(1)
}

/// How long to wait after so many tries: 1 s, 2 s, 4 s, 8 s.
fn pause(tries: u32) -> u64 {
    PAUSE << tries.saturating_sub(1).min(TRIES_MAX)
}
// ANCHOR_END: fate

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn parse(body: &str) -> Result<Timer, Refusal> {
        Timer::parse(body.as_bytes(), NOW)
    }

    /// A timer says when, by a distance or by the clock, and how often.
    #[test]
    fn good_timers() {
        let timer = |due, every| Timer { due, every, say: "tea".into() };
        for (body, good) in [
            (r#"{"in": 1500, "say": "tea"}"#.to_owned(), timer(NOW + 1500, None)),
            (r#"{"in": 0, "say": "tea"}"#.to_owned(), timer(NOW, None)),
            (format!(r#"{{"at": {NOW}, "say": "tea"}}"#), timer(NOW, None)),
            (
                format!(
                    r#"{{"at": {}, "every": 1000, "say": "tea"}}"#,
                    NOW - LATE_MAX
                ),
                timer(NOW - LATE_MAX, Some(1000)),
            ),
        ] {
            assert_eq!(parse(&body), Ok(good), "{body}");
        }
    }

    /// Everything else is told what would be right.
    #[test]
    fn bad_timers() {
        for bad in [
            "",
            "tea",
            "{}",
            "[]",
            "null",
            r#"{"say": "tea"}"#,
            r#"{"in": 1}"#,
            r#"{"in": 1, "at": 2, "say": "tea"}"#,
            r#"{"in": "1", "say": "tea"}"#,
            r#"{"in": -1, "say": "tea"}"#,
            r#"{"in": 1.5, "say": "tea"}"#,
            r#"{"in": 1e999, "say": "tea"}"#,
            r#"{"in": 1, "say": 5}"#,
            r#"{"in": 1, "say": "tea", "often": 5}"#,
            r#"{"in": 1, "say": "tea"} {}"#,
        ] {
            assert_eq!(parse(bad), Err(Refusal::Timer), "{bad}");
        }
        for (key, value) in [
            ("in", AHEAD_MAX + 1),
            ("in", u64::MAX),
            ("at", 0),
            ("at", NOW - LATE_MAX - 1),
            ("at", NOW + AHEAD_MAX + 1),
            ("at", NOW / 1000),
        ] {
            let bad = format!(r#"{{"{key}": {value}, "say": "tea"}}"#);
            assert_eq!(parse(&bad), Err(Refusal::Time), "{bad}");
        }
        for every in [0, EVERY_MIN - 1, AHEAD_MAX + 1, u64::MAX] {
            let bad = format!(r#"{{"in": 1, "every": {every}, "say": "tea"}}"#);
            assert_eq!(parse(&bad), Err(Refusal::Every), "{bad}");
        }
    }

    /// A repeating timer that slept through a hundred turns rings once, and goes on
    /// in its rhythm.
    #[test]
    fn missed_turns_do_not_come_back() {
        let late = NOW + 100 * 60_000 + 7;
        assert_eq!(
            fate(NOW, Some(60_000), 1, true, late),
            Fate::Next(NOW + 101 * 60_000)
        );
    }

    /// A turn is tried five times, with longer pauses. Then a one-shot timer is
    /// dead, and a repeating one goes on with its next turn.
    #[test]
    fn failures() {
        let pauses =
            [1, 2, 3, 4].map(|tries| match fate(NOW, None, tries, false, NOW) {
                Fate::Again(at) => at - NOW,
                other => panic!("{other:?}"),
            });
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(fate(NOW, None, TRIES_MAX, false, NOW), Fate::Dead);
        let next = fate(NOW, Some(5_000), TRIES_MAX, false, NOW + 15_000);
        assert_eq!(next, Fate::Next(NOW + 20_000));
    }

    proptest! {
        /// The next turn is in the future, at most one turn away, and in the rhythm.
        #[test]
        fn the_next_turn_is_the_next(
            due in 0..2 * NOW, every in EVERY_MIN..=AHEAD_MAX, late in 0..2 * NOW
        ) {
            let now = due + late;
            let next = next_turn(due, every, now);
            prop_assert!(now < next && next <= now + every);
            prop_assert_eq!((next - due) % every, 0);
        }

        /// Nothing is forgotten: whatever happens, a timer is done, dead, or tried
        /// again in the future.
        #[test]
        fn every_timer_has_a_fate(
            due in 0..NOW, every in prop::option::of(EVERY_MIN..=AHEAD_MAX),
            tries in any::<u32>(), delivered in any::<bool>()
        ) {
            match fate(due, every, tries, delivered, NOW) {
                Fate::Done => prop_assert!(delivered && every.is_none()),
                Fate::Dead => prop_assert!(!delivered && every.is_none() && tries >= TRIES_MAX),
                Fate::Again(at) => prop_assert!(!delivered && at > NOW && tries < TRIES_MAX),
                Fate::Next(at) => prop_assert!(every.is_some() && at > NOW),
            }
        }

        /// Whatever comes as a body, reading it does not panic.
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Timer::parse(&body, NOW);
        }

        /// Whatever numbers come, a timer that is taken is within its limits.
        #[test]
        fn any_numbers_are_within_limits(at in any::<u64>(), every in any::<u64>()) {
            for key in ["at", "in"] {
                let body = format!(r#"{{"{key}": {at}, "every": {every}, "say": ""}}"#);
                if let Ok(timer) = parse(&body) {
                    prop_assert!(timer.due <= NOW + AHEAD_MAX);
                    prop_assert!(timer.every.is_some_and(|every| every >= EVERY_MIN));
                }
            }
        }
    }
}
