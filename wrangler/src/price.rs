//! What the play area may cost its owner, and what each thing costs at most.
//!
//! A unit is a thousand-millionth of a US dollar, at the prices of Cloudflare's paid
//! plan above what it includes, read on 2026-11-25:
//! <https://developers.cloudflare.com/workers/platform/pricing/>,
//! <https://developers.cloudflare.com/durable-objects/platform/pricing/>.

/// A dollar.
pub const DOLLAR: u64 = 1_000_000_000;
/// A request to a Worker: 0.30 dollars a million.
const WORKER: u64 = 300;
/// A millisecond of CPU time of a Worker: 0.02 dollars a million.
const CPU_MS: u64 = 20;
/// A request to an object: 0.15 dollars a million. Twenty messages of a socket are one.
const OBJECT: u64 = 150;
/// A second of an object that is awake: 128 MB of 12.50 dollars a million GB-s.
const SECOND: u64 = 1_600;
/// A row that is written, with one of an index: 1 dollar a million each.
const ROW: u64 = 2_000;

/// What one address may cost in a day.
pub const ADDRESS_DAY: u64 = DOLLAR / 5;
/// What all addresses of one /48 network may cost in a day.
pub const NETWORK_DAY: u64 = DOLLAR * 2 / 5;
/// What everybody together may cost in a day, unless `LIVE_DAY_BUDGET` says otherwise.
pub const EVERYBODY_DAY: u64 = 3 * DOLLAR;
/// So much does a gate ask for at a time from the one above it.
pub const STEP: u64 = 2_000_000;
/// So much is paid before it is written down: an eviction forgets the rest, in the
/// owner's favour.
pub const UNWRITTEN: u64 = 100_000;

/// A question to a gate: a request, 10 ms, and now and then a row.
const GATE: u64 = OBJECT + SECOND / 100 + ROW / 10;
/// What the chapter's wrapper finds in an object is paid afterwards if it is more than
/// this: two rows.
pub const INCLUDED: u64 = 2 * ROW;
/// A request that is let in: 10 ms of CPU time, the gate, two objects and a second of
/// one, and what is included.
pub const REQUEST: u64 =
    WORKER + 10 * CPU_MS + GATE + 2 * OBJECT + SECOND + INCLUDED;
/// A KiB of a body: a millisecond to read it, and a month on disk.
pub const KIB: u64 = CPU_MS + 1;
/// After how many seconds an open socket pays again.
pub const SOCKET_SECONDS: u64 = 30;
/// What it pays: an object that is awake, ten seconds longer than the socket is open,
/// and the CPU time of what comes back from it.
pub const SOCKET: u64 =
    GATE + (SOCKET_SECONDS + 10) * SECOND + (SOCKET_SECONDS + 10) * 20 * CPU_MS;
/// After how many messages a socket pays again.
pub const MESSAGES: u64 = 20;
/// What it pays: for each a row and a millisecond of CPU time, and one request.
pub const MESSAGES_COST: u64 = GATE + OBJECT + MESSAGES * (ROW + CPU_MS);

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate limiting rule before the Worker (CONTRIBUTING.md, "Publishing") lets 150
    /// requests of one address through in 10 s.
    const RULE_A_DAY: u64 = 150 * 6 * 60 * 24;
    /// What a request costs that is refused. It is in no budget: Cloudflare counts it
    /// before it can be refused. No gate is asked, for a refusal is remembered.
    const REFUSED: u64 = WORKER + 2 * CPU_MS;
    /// What is asked for before the first of it has been paid: all rows that were
    /// bought for a day's money can be changed once more.
    const AT_ONCE: u64 = ADDRESS_DAY;

    /// The worst that one address can cost in a day is less than a dollar, and the
    /// page says how much it is.
    #[test]
    fn a_stranger_costs_less_than_a_dollar() {
        let worst = ADDRESS_DAY + AT_ONCE + RULE_A_DAY * REFUSED;
        assert!(worst < DOLLAR, "{worst}");
        let page = include_str!("../../CONTRIBUTING.md");
        for (what, units) in [
            ("The worst that one address can cost in a day", worst),
            ("of it refused", RULE_A_DAY * REFUSED),
            ("A request", REQUEST),
            ("30 s of a socket", SOCKET),
            ("20 messages of a socket", MESSAGES_COST),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let line = format!("| {what} | ${:.6} |", units as f64 / 1e9);
            assert!(page.contains(&line), "CONTRIBUTING.md lacks {line}");
        }
    }

    /// The wrapper around a chapter reckons with the same prices.
    #[test]
    fn the_wrapper_knows_the_prices() {
        let wrapper = include_str!("../play/play.js");
        for (name, units) in [
            ("row", ROW),
            ("second", SECOND),
            ("keep", OBJECT + ROW),
            ("alarm", 3 * OBJECT + 2 * ROW + SECOND),
        ] {
            let line = format!("  {name}: {units},");
            assert!(wrapper.contains(&line), "play.js lacks {line}");
        }
    }
}
