//! Tickets for the rooms of the members: text that says until when it is good, and a
//! signature that nobody can make who does not have the key.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::rules::Refusal;

/// How long a ticket is good, in seconds.
pub const SECONDS: u64 = 60;

// ANCHOR: ticket
/// A ticket for a room: `<until>.<signature>`. `now` is in seconds since 1970.
pub fn issue(key: &str, room: &str, now: u64) -> Result<String, Refusal> {
    let until = (now + SECONDS).to_string();
    let signature = signed(key, &until, room)?.finalize().into_bytes();
    let mut ticket = until + ".";
    for byte in signature {
        // Writing to a String cannot fail.
        let _ = write!(ticket, "{byte:02x}");
    }
    Ok(ticket)
}

/// Checks that a ticket was issued with this key, for this room, and is still good.
pub fn check(
    key: &str,
    room: &str,
    now: u64,
    ticket: Option<&str>,
) -> Result<(), Refusal> {
    let (until, signature) =
        ticket.and_then(|it| it.split_once('.')).ok_or(Refusal::Ticket)?;
    let signature = from_hex(signature).ok_or(Refusal::Ticket)?;
    // In a time that does not depend on how much of the signature is right.
    let genuine = signed(key, until, room)?.verify_slice(&signature).is_ok();
    let good = until.parse().is_ok_and(|until: u64| now <= until);
    (genuine && good).then_some(()).ok_or(Refusal::Ticket)
}

/// What a ticket says, ready to be signed. The room is not written on the ticket: it
/// is signed all the same, so a ticket fits no other room.
fn signed(key: &str, until: &str, room: &str) -> Result<Hmac<Sha256>, Refusal> {
    Ok(start(key)?.chain_update(format!("ticket\n{until}\n{room}")))
}
// ANCHOR_END: ticket

// ANCHOR: key
/// Checks the key in a header `Authorization: Bearer <key>`.
///
/// `==` would stop at the first wrong letter, and its time would tell how many are
/// right. So both keys are hashed, and the hashes are compared in constant time.
pub fn check_key(key: &str, authorization: Option<&str>) -> Result<(), Refusal> {
    let (scheme, given) = authorization
        .and_then(|header| header.split_once(' '))
        .ok_or(Refusal::Key)?;
    let right = start(key)?.chain_update(key).finalize().into_bytes();
    let same = start(key)?.chain_update(given.trim()).verify(&right).is_ok();
    (scheme.eq_ignore_ascii_case("bearer") && same)
        .then_some(())
        .ok_or(Refusal::Key)
}

/// A key that is not set must not be one that everybody knows: the empty one.
fn start(key: &str) -> Result<Hmac<Sha256>, Refusal> {
    if key.is_empty() {
        return Err(Refusal::NoKey);
    }
    Hmac::new_from_slice(key.as_bytes()).map_err(|_| Refusal::NoKey)
}
// ANCHOR_END: key

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|byte| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    });
    let digits = digits.collect::<Option<Vec<u8>>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn ticket() -> String {
        issue("the key", "plaza", NOW).unwrap()
    }

    /// A ticket is good for its room, until its time is over.
    #[test]
    fn good_until() {
        let check = |now, room| check("the key", room, now, Some(&ticket()));
        assert_eq!(check(NOW, "plaza"), Ok(()));
        assert_eq!(check(NOW + SECONDS, "plaza"), Ok(()));
        assert_eq!(check(NOW + SECONDS + 1, "plaza"), Err(Refusal::Ticket));
        assert_eq!(check(NOW, "hall"), Err(Refusal::Ticket));
        assert_eq!(check(NOW, "plaza2"), Err(Refusal::Ticket));
    }

    /// The signature is HMAC-SHA256 as everybody computes it; here, Python:
    /// `hmac.new(b"the key", b"ticket\n1700000060\nplaza", "sha256").hexdigest()`
    #[test]
    fn signature() {
        assert_eq!(
            ticket(),
            "1700000060.bac379c4aef4555aa262095be85dbffa65c076792d4d550a5f3d0320ae63e811"
        );
    }

    /// Nothing is let in without a ticket, with half of one, or with one whose time
    /// was changed by hand.
    #[test]
    fn forged() {
        let good = ticket();
        let check = |ticket: &str| check("the key", "plaza", NOW, Some(ticket));
        let (until, signature) = good.split_once('.').unwrap();
        for bad in [
            "".to_owned(),
            ".".into(),
            until.into(),
            format!("{until}."),
            format!("{until}.{}", &signature[..62]),
            format!("{until}.{}0", signature),
            format!("{until}.{signature}00"),
            format!("{until}.{}", signature.to_uppercase()),
            format!("1800000000.{signature}"),
            format!(".{signature}"),
            format!("{good}\n"),
            issue("another key", "plaza", NOW).unwrap(),
        ] {
            assert_eq!(check(&bad), Err(Refusal::Ticket), "{bad}");
        }
        assert_eq!(check(&good), Ok(()));
        let none = super::check("the key", "plaza", NOW, None);
        assert_eq!(none, Err(Refusal::Ticket));
    }

    /// Only the whole key opens.
    #[test]
    fn keys() {
        let check = |header| check_key("the key", Some(header));
        assert_eq!(check("Bearer the key"), Ok(()));
        assert_eq!(check("bearer  the key "), Ok(()));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "the key",
            "Basic the key",
            "Bearer the ke",
            "Bearer the key2",
            "Bearer The key",
        ] {
            assert_eq!(check(bad), Err(Refusal::Key), "{bad}");
        }
        assert_eq!(check_key("the key", None), Err(Refusal::Key));
    }

    /// Without a key nobody gets in, not even with the empty one.
    #[test]
    fn no_key() {
        assert_eq!(check_key("", Some("Bearer ")), Err(Refusal::NoKey));
        assert_eq!(issue("", "plaza", NOW), Err(Refusal::NoKey));
        let check = check("", "plaza", NOW, Some(&ticket()));
        assert_eq!(check, Err(Refusal::NoKey));
    }

    proptest! {
        /// No text is a ticket but the one that was issued.
        #[test]
        fn any_ticket(text in "[0-9a-f.]{0,80}|\\PC{0,80}") {
            let outcome = check("the key", "plaza", NOW, Some(&text));
            prop_assert_eq!(outcome.is_ok(), text == ticket());
        }

        /// One letter changed anywhere, and the ticket is none.
        #[test]
        fn changed(at in 0..75_usize, letter in "[0-9a-f.]") {
            let mut text = ticket();
            text.replace_range(at..=at, &letter);
            let outcome = check("the key", "plaza", NOW, Some(&text));
            prop_assert_eq!(outcome.is_ok(), text == ticket());
        }
    }
}
