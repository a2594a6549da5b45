//! The rules of time: how fast a guest may talk, how long one is silent, and how
//! much of what was said is kept. Plain Rust.
//!
//! All times are in milliseconds, those of the clock since 1970, and `now` is always
//! given from outside.

use std::net::{IpAddr, Ipv6Addr};

/// How long a guest may stand in the door without a name.
pub const NAME_WITHIN: u64 = 30_000;
/// A client that pings has to do it this often.
pub const PING_WITHIN: u64 = 90_000;
/// How many messages of a room are kept.
pub const HISTORY_MAX: u64 = 10_000;
/// How long it may take until the messages beyond that are gone.
pub const TRIM_WITHIN: u64 = 60_000;
/// The most that either limit may be set to, in seconds.
const SECONDS_MAX: u64 = 3_600;

// ANCHOR: limits
/// How fast the guests of one address may talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What one message costs. With 0 there is no limit.
    pub per_message: u64,
    /// How much may be owed before anybody has to wait.
    pub grace: u64,
}

impl Default for Limits {
    /// Those of the public demo.
    fn default() -> Self {
        Self { per_message: 5_000, grace: 20_000 }
    }
}

impl Limits {
    /// Reads the two variables of `wrangler.toml`, which are in seconds.
    ///
    /// # Errors
    /// A line for whoever has set them.
    pub fn parse(per_message: &str, grace: &str) -> Result<Self, String> {
        let seconds = |name, text: &str| match text.parse::<u64>() {
            Ok(seconds) if seconds <= SECONDS_MAX => Ok(seconds * 1_000),
            _ => Err(format!(
                "{name} is a whole number from 0 to {SECONDS_MAX}, not {text:?}"
            )),
        };
        Ok(Self {
            per_message: seconds("SECONDS_PER_MESSAGE", per_message)?,
            grace: seconds("GRACE_SECONDS", grace)?,
        })
    }

    /// Whether there is a limit at all.
    pub fn apply(&self) -> bool {
        self.per_message > 0
    }

    /// How many messages the grace is good for, and never none.
    fn burst(&self) -> u64 {
        (self.grace / self.per_message.max(1)).max(1)
    }
}
// ANCHOR_END: limits

// ANCHOR: address
/// Who shares a limit: everybody with the same IPv4 address, or in the same IPv6
/// network of 64 bits, which one household has for itself.
pub fn household(address: &str) -> Option<String> {
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    })
}
// ANCHOR_END: address

// ANCHOR: tab
/// What the guests of one address owe: the time at which they will be even.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tab {
    even_at: u64,
}

impl Tab {
    /// Writes `messages` down, and returns how long to wait before the next one.
    pub fn charge(&mut self, messages: u64, limits: &Limits, now: u64) -> u64 {
        self.even_at = self.even_at.max(now) + messages * limits.per_message;
        self.even_at.saturating_sub(now + limits.grace)
    }
}
// ANCHOR_END: tab

// ANCHOR: pace
/// What a room knows of a guest and their limit: it asks after each message, and
/// does not wait for the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// How many answers are still to come.
    asking: u64,
    /// When they may talk again, by the latest answer.
    free_at: u64,
}

impl Pace {
    /// Whether the guest may say something now.
    pub fn allows(&self, limits: &Limits, now: u64) -> bool {
        !limits.apply() || (now >= self.free_at && self.asking < limits.burst())
    }

    /// The room asks on behalf of a message that it has just taken.
    pub fn ask(&mut self) {
        self.asking += 1;
    }

    /// The answer is there: so long has the guest to wait. If there is none because
    /// the limiter is broken, nobody is kept waiting for that.
    pub fn answered(&mut self, wait: Option<u64>, now: u64) {
        self.asking = self.asking.saturating_sub(1);
        if let Some(wait) = wait {
            self.free_at = self.free_at.max(now + wait);
        }
    }
}
// ANCHOR_END: pace

// ANCHOR: patience
/// What the room sees of a guest when it looks round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub joined: u64,
    pub named: bool,
    /// When they last pinged, if ever.
    pub pinged: Option<u64>,
}

/// What the room makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// They may stay as they are.
    Endless,
    /// Look again at this time.
    Until(u64),
    /// They have not said their name in time.
    Nameless,
    /// They used to ping. Their line is dead, and nobody has told us.
    Silent,
}

impl Seen {
    /// How patient the room is with a guest. Who has never pinged in the first
    /// 90 s is not of that kind, and is left alone.
    pub fn patience(self, now: u64) -> Patience {
        let until = |end, over| match end {
            end if now >= end => over,
            end => Patience::Until(end),
        };
        match self.pinged {
            _ if !self.named => {
                until(self.joined + NAME_WITHIN, Patience::Nameless)
            }
            Some(pinged) => until(pinged + PING_WITHIN, Patience::Silent),
            None => until(self.joined + PING_WITHIN, Patience::Endless),
        }
    }
}
// ANCHOR_END: patience

/// How many of the messages with these numbers, first and last, are too many.
pub fn excess(first: u64, last: u64) -> u64 {
    (last + 1).saturating_sub(first).saturating_sub(HISTORY_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The variables of `wrangler.toml`, good and bad.
    #[test]
    fn variables() {
        assert_eq!(Limits::parse("5", "20"), Ok(Limits::default()));
        assert!(!Limits::parse("0", "0").unwrap().apply());
        for bad in ["", "-1", "5.5", "five", "3601", "99999999999999999999"] {
            let error = Limits::parse(bad, "20").unwrap_err();
            assert!(error.starts_with("SECONDS_PER_MESSAGE is a whole"), "{error}");
            let error = Limits::parse("5", bad).unwrap_err();
            assert!(
                error.starts_with("GRACE_SECONDS is a whole number"),
                "{error}"
            );
        }
    }

    /// One household, one limit.
    #[test]
    fn households() {
        for (address, household_) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:2::9", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:3::9", Some("2001:db8:1:3::/64")),
            ("", None),
            ("somebody", None),
        ] {
            assert_eq!(household(address).as_deref(), household_, "{address}");
        }
    }

    /// As in the public demo: four messages are free, the fifth and all after it
    /// have to be waited for.
    #[test]
    fn five_at_once() {
        let (limits, now) = (Limits::default(), 1_000_000);
        let mut tab = Tab::default();
        let waits: Vec<u64> = (0..6).map(|_| tab.charge(1, &limits, now)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 5_000, 10_000]);
        assert_eq!(tab.charge(0, &limits, now + 4_000), 6_000);
        assert_eq!(tab.charge(0, &limits, now + 60_000), 0);
        assert_eq!(tab.charge(1, &limits, now + 60_000), 0);
    }

    /// A guest may send as much as the grace is good for before the first answer is
    /// there, and whatever they like if there is no limit.
    #[test]
    fn paces() {
        let (limits, now) = (Limits::default(), 1_000_000);
        let mut pace = Pace::default();
        for _ in 0..4 {
            assert!(pace.allows(&limits, now));
            pace.ask();
        }
        assert!(!pace.allows(&limits, now));
        let free = Limits { per_message: 0, ..limits };
        assert!(pace.allows(&free, now));
        pace.answered(None, now);
        assert!(pace.allows(&limits, now), "a broken limiter holds nobody up");
        pace.answered(Some(5_000), now);
        assert!(!pace.allows(&limits, now + 4_999));
        assert!(pace.allows(&limits, now + 5_000));
        let strict = Limits { per_message: 60_000, grace: 0 };
        assert!(Pace::default().allows(&strict, now), "the first is always free");
    }

    /// Every guest the room can see, at the edges of its patience.
    #[test]
    fn patience() {
        let seen = |named, pinged| Seen { joined: 100_000, named, pinged };
        let at = |seen: Seen, after: u64| seen.patience(100_000 + after);
        let until = |after: u64| Patience::Until(100_000 + after);
        for pinged in [None, Some(110_000)] {
            assert_eq!(at(seen(false, pinged), 29_999), until(30_000));
            assert_eq!(at(seen(false, pinged), 30_000), Patience::Nameless);
        }
        assert_eq!(at(seen(true, None), 89_999), until(90_000));
        assert_eq!(at(seen(true, None), 90_000), Patience::Endless);
        assert_eq!(at(seen(true, Some(150_000)), 139_999), until(140_000));
        assert_eq!(at(seen(true, Some(150_000)), 140_000), Patience::Silent);
    }

    proptest! {
        /// In the long run nobody gets more than the limits allow, however they ask.
        #[test]
        fn no_more_than_allowed(
            pauses in proptest::collection::vec(0_u64..8_000, 1..200),
        ) {
            let limits = Limits::default();
            let (mut tab, mut now, mut taken) = (Tab::default(), 1_000_000, 0);
            let (begin, mut free_at) = (now, 0);
            for pause in pauses {
                now += pause;
                if now >= free_at {
                    free_at = now + tab.charge(1, &limits, now);
                    taken += 1;
                }
            }
            let allowed = (limits.grace + now - begin) / limits.per_message + 1;
            prop_assert!(taken <= allowed, "{} of {}", taken, allowed);
        }

        /// What is left after a trim is never too much, and never less than is kept.
        #[test]
        fn trims(first in 1_u64..1_000_000, count in 0_u64..50_000) {
            let last = first + count - u64::from(count > 0);
            let count = last - first + 1;
            let left = count - excess(first, last);
            prop_assert_eq!(left, count.min(HISTORY_MAX));
        }
    }
}
