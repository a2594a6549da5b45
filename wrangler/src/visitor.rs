//! Who plays: visitors, the cookie by which they are known, and invitations.
//!
//! A cookie and an invitation both are `<id>.<signature>`. Each is signed for its own
//! purpose, so that whoever is invited cannot make a cookie of the invitation.

use std::net::Ipv6Addr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The name of the cookie.
const COOKIE: &str = "live";
/// How long a browser keeps it, in seconds: thirty days.
const COOKIE_SECONDS: u32 = 2_592_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Cookie,
    Invitation,
}

/// Signs with the key of this book.
#[derive(Debug, Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
}

impl Signer {
    /// Nothing, if there is no key: the empty one is known to everybody.
    pub fn new(key: &str) -> Option<Self> {
        let key = Some(key.as_bytes()).filter(|key| !key.is_empty())?;
        Hmac::new_from_slice(key).ok().map(|mac| Self { mac })
    }

    fn signed(&self, purpose: Purpose, id: &str) -> Hmac<Sha256> {
        let purpose = match purpose {
            Purpose::Cookie => "cookie",
            Purpose::Invitation => "invitation",
        };
        self.mac.clone().chain_update(format!("{purpose}\n{id}"))
    }

    /// `<id>.<signature>`
    pub fn token(&self, purpose: Purpose, id: &str) -> String {
        let signature = self.signed(purpose, id).finalize().into_bytes();
        format!("{id}.{}", hex::encode(signature))
    }

    /// The id in a token, if it was signed here and for this.
    pub fn id<'a>(&self, purpose: Purpose, token: &'a str) -> Option<&'a str> {
        let (id, signature) = token.split_once('.')?;
        let signature = hex::decode(signature).ok()?;
        // In a time that does not depend on how much of the signature is right.
        self.signed(purpose, id).verify_slice(&signature).ok()?;
        Some(id)
    }
}

/// The token in a `Cookie` header.
pub fn from_cookies(header: &str) -> Option<&str> {
    let mut pairs =
        header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token)
}

/// The `Set-Cookie` header. Scripts cannot read the cookie, and other sites cannot
/// have it sent.
pub fn set_cookie(token: &str, url: &str) -> String {
    let secure = if url.starts_with("https:") { "; Secure" } else { "" };
    format!(
        "{COOKIE}={token}; Path=/live/; Max-Age={COOKIE_SECONDS}; HttpOnly; \
         SameSite=Lax{secure}"
    )
}

/// By what an address is known. Whoever has one address of version 6 has the whole
/// network of it, so the first half counts.
pub fn address(ip: &str) -> String {
    let Ok(six) = ip.parse::<Ipv6Addr>() else { return ip.to_owned() };
    let [a, b, c, d, ..] = six.segments();
    format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a1b";

    fn signer() -> Signer {
        Signer::new("the key").unwrap()
    }

    /// A token says whose it is. The signature is HMAC-SHA256 as everybody computes
    /// it; here, Python:
    /// `hmac.new(b"the key", b"cookie\n0a1b", "sha256").hexdigest()`
    #[test]
    fn genuine() {
        let token = signer().token(Purpose::Cookie, ID);
        assert_eq!(
            token,
            "0a1b.1c7b004fa390c4149decdff48ad387684e17147e126649812b8d851148526468"
        );
        assert_eq!(signer().id(Purpose::Cookie, &token), Some(ID));
    }

    /// Whatever was made up, cut, taken from elsewhere or signed for something else
    /// says nothing.
    #[test]
    fn forged() {
        let good = signer().token(Purpose::Cookie, ID);
        let (_, signature) = good.split_once('.').unwrap();
        for bad in [
            "".to_owned(),
            ".".into(),
            ID.into(),
            format!("{ID}."),
            format!("{ID}.{}", &signature[2..]),
            format!("{ID}.{signature}00"),
            format!("0a1c.{signature}"),
            format!("{ID}x.{signature}"),
            format!("{good} "),
            signer().token(Purpose::Invitation, ID),
            Signer::new("another").unwrap().token(Purpose::Cookie, ID),
        ] {
            assert_eq!(signer().id(Purpose::Cookie, &bad), None, "{bad}");
        }
        assert_eq!(signer().id(Purpose::Invitation, &good), None);
        assert!(Signer::new("").is_none());
    }

    /// The cookie is found among others, and goes to the live chapters only.
    #[test]
    fn cookies() {
        assert_eq!(from_cookies("a=b; live=t.0f;c=d"), Some("t.0f"));
        assert_eq!(from_cookies("alive=x; a"), None);
        let cookie = set_cookie("t", "https://h/");
        assert!(cookie.starts_with("live=t; Path=/live/; "), "{cookie}");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        assert!(!set_cookie("t", "http://h/").contains("Secure"));
    }

    /// One network of version 6 is one address.
    #[test]
    fn addresses() {
        assert_eq!(address("192.0.2.7"), "192.0.2.7");
        assert_eq!(address("2001:db8::1"), "2001:db8:0:0::/64");
        assert_eq!(address("2001:db8::1"), address("2001:db8:0:0:9::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("what?"), "what?");
    }
}
