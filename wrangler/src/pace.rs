//! How much of something a visitor may use: so much at once, and so much after that.

/// What one unit costs, and how many units may be used at once.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After how many milliseconds a unit is there again.
    pub ms: u64,
    pub burst: u64,
}

impl Pace {
    /// Uses `units`, if they are there at `now`, in milliseconds since 1970.
    /// `paid` is when everything used before is there again; the new value of it is
    /// returned.
    ///
    /// # Errors
    /// If they are not there: in how many milliseconds they will be. Nothing is used
    /// then. What is more than the burst is never there.
    pub fn take(self, paid: u64, units: u64, now: u64) -> Result<u64, u64> {
        let after = paid.max(now).saturating_add(units.saturating_mul(self.ms));
        let latest = now.saturating_add(self.burst.saturating_mul(self.ms));
        if after <= latest { Ok(after) } else { Err(after - latest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { ms: 100, burst: 3 };

    /// So many at once, then one each time; who waits as long as is said gets it.
    #[test]
    fn burst_then_pace() {
        let mut paid = 0;
        for _ in 0..3 {
            paid = PACE.take(paid, 1, 1_000).unwrap();
        }
        assert_eq!(PACE.take(paid, 1, 1_000), Err(100));
        assert_eq!(PACE.take(paid, 1, 1_099), Err(1));
        let paid = PACE.take(paid, 1, 1_100).unwrap();
        assert_eq!(PACE.take(paid, 2, 1_100), Err(200));
    }

    /// A long pause saves up no more than the burst, and no number overflows.
    #[test]
    fn nothing_is_saved_up() {
        let paid = PACE.take(0, 3, 1_000_000).unwrap();
        assert!(PACE.take(paid, 1, 1_000_000).is_err());
        assert!(PACE.take(0, 4, 1_000_000).is_err());
        assert!(PACE.take(0, u64::MAX, 1).is_err());
    }
}
