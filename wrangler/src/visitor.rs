//! Who plays: visitors, the cookie by which they are known, and invitations.
//!
//! A cookie and an invitation both are `<id>.<until>.<signature>`. Each is signed for
//! its own purpose, so that whoever is invited cannot make a cookie of the invitation,
//! and until a time, in milliseconds since 1970.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The name of the cookie.
const COOKIE: &str = "live";
/// How long it is good, in milliseconds: a day. What is in the objects goes sooner.
const COOKIE_MS: u64 = 86_400_000;
/// How long an invitation is good, in milliseconds: an hour.
const INVITATION_MS: u64 = 3_600_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Cookie,
    Invitation,
}

impl Purpose {
    fn lasts(self) -> u64 {
        match self {
            Self::Cookie => COOKIE_MS,
            Self::Invitation => INVITATION_MS,
        }
    }
}

/// What a token of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    Forged,
    Expired,
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

    fn signed(&self, purpose: Purpose, what: &str) -> Hmac<Sha256> {
        let purpose = match purpose {
            Purpose::Cookie => "cookie",
            Purpose::Invitation => "invitation",
        };
        self.mac.clone().chain_update(format!("{purpose}\n{what}"))
    }

    /// A token that is good from `now` on, in milliseconds since 1970.
    pub fn token(&self, purpose: Purpose, id: &str, now: u64) -> String {
        let what = format!("{id}.{}", now + purpose.lasts());
        let signature = self.signed(purpose, &what).finalize().into_bytes();
        format!("{what}.{}", hex::encode(signature))
    }

    /// What a token says.
    ///
    /// # Errors
    /// If it was not signed here and for this, or its time is over.
    pub fn read(
        &self,
        purpose: Purpose,
        token: &str,
        now: u64,
    ) -> Result<Token, Bad> {
        let (what, signature) = token.rsplit_once('.').ok_or(Bad::Forged)?;
        let signature = hex::decode(signature).map_err(|_| Bad::Forged)?;
        // In a time that does not depend on how much of the signature is right.
        let signed = self.signed(purpose, what).verify_slice(&signature);
        signed.map_err(|_| Bad::Forged)?;
        let (id, until) = what.split_once('.').ok_or(Bad::Forged)?;
        let until: u64 = until.parse().map_err(|_| Bad::Forged)?;
        if until <= now {
            return Err(Bad::Expired);
        }
        let made = until.saturating_sub(purpose.lasts());
        Ok(Token { id: id.to_owned(), made })
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
    let seconds = COOKIE_MS / 1_000;
    format!(
        "{COOKIE}={token}; Path=/live/; Max-Age={seconds}; HttpOnly; \
         SameSite=Lax{secure}"
    )
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
    /// `hmac.new(b"the key", b"cookie\n0a1b.86400007", "sha256").hexdigest()`
    #[test]
    fn genuine() {
        let token = signer().token(Purpose::Cookie, ID, 7);
        assert_eq!(
            token,
            "0a1b.86400007.a6303a50b1fa2f18462a2def176c62ccd3cdb538b03793382a35358ed340ea27"
        );
        let read = signer().read(Purpose::Cookie, &token, 8);
        assert_eq!(read, Ok(Token { id: ID.to_owned(), made: 7 }));
    }

    /// Whatever was made up, cut, taken from elsewhere or signed for something else
    /// says nothing.
    #[test]
    fn forged() {
        let good = signer().token(Purpose::Cookie, ID, 7);
        let (_, signature) = good.rsplit_once('.').unwrap();
        for bad in [
            "".to_owned(),
            ".".into(),
            "..".into(),
            ID.into(),
            format!("{ID}."),
            format!("{ID}.{signature}"),
            format!("{ID}.86400007.{}", &signature[2..]),
            format!("{ID}.86400007.{signature}00"),
            format!("{ID}.96400007.{signature}"),
            format!("0a1c.86400007.{signature}"),
            format!("{ID}x.86400007.{signature}"),
            format!("{good} "),
            signer().token(Purpose::Invitation, ID, 7),
            Signer::new("another").unwrap().token(Purpose::Cookie, ID, 7),
        ] {
            let read = signer().read(Purpose::Cookie, &bad, 8);
            assert_eq!(read, Err(Bad::Forged), "{bad}");
        }
        let read = signer().read(Purpose::Invitation, &good, 8);
        assert_eq!(read, Err(Bad::Forged));
        assert!(Signer::new("").is_none());
    }

    /// Each is good for its time, and no longer.
    #[test]
    fn expired() {
        for (purpose, lasts) in
            [(Purpose::Cookie, 86_400_000), (Purpose::Invitation, 3_600_000)]
        {
            let token = signer().token(purpose, ID, 7);
            assert!(signer().read(purpose, &token, 6 + lasts).is_ok());
            let read = signer().read(purpose, &token, 7 + lasts);
            assert_eq!(read, Err(Bad::Expired));
        }
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
}
