//! The rules of the greeter: which requests make sense, and what a greeting says.
//!
//! Nothing here knows about Workers, so `cargo test` runs it on your own machine.

use serde::{Deserialize, Serialize};

/// The longest name that is greeted, in characters.
pub const NAME_MAX: usize = 64;
/// The longest request body, in bytes.
pub const BODY_MAX: usize = 1_024;

/// Why a request is turned down. Its text tells the caller what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path; GET /help lists them")]
    Path,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("a name is 1 to {NAME_MAX} characters, without control characters")]
    Name,
    #[error("the body is JSON: {{\"name\":\"Ada\"}}")]
    Json,
    #[error("the body is one line of text: what there is to do")]
    Job,
    #[error("a body is at most {BODY_MAX} bytes long")]
    BodySize,
}

impl Refusal {
    /// The HTTP status that goes with the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method(_) => 405,
            Self::BodySize => 413,
            _ => 400,
        }
    }
}

// ANCHOR: json
/// What a caller sends to `POST /greetings`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    name: String,
}

/// What the caller gets back.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Greeting {
    greeting: String,
    length: usize,
}

impl Greeting {
    /// Greets whoever the JSON in `body` names.
    pub fn parse(words: &str, body: &[u8]) -> Result<Self, Refusal> {
        let guest: Guest =
            serde_json::from_slice(body).map_err(|_| Refusal::Json)?;
        let greeting = greet(words, &guest.name)?;
        let length = greeting.chars().count();
        Ok(Self { greeting, length })
    }
}
// ANCHOR_END: json

/// One line that greets `name`.
pub fn greet(words: &str, name: &str) -> Result<String, Refusal> {
    let fits = (1..=NAME_MAX).contains(&name.chars().count());
    if !fits || name.chars().any(char::is_control) {
        return Err(Refusal::Name);
    }
    Ok(format!("{words}, {name}!"))
}

/// A job is one line of text that says something.
pub fn job(body: &[u8]) -> Result<String, Refusal> {
    let text = str::from_utf8(body).map_err(|_| Refusal::Job)?.trim();
    let one_line = !text.is_empty() && !text.chars().any(char::is_control);
    one_line.then(|| text.to_owned()).ok_or(Refusal::Job)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names may be in any script, but not empty, endless or full of control
    /// characters.
    #[test]
    fn names() {
        assert_eq!(greet("Hello", "Ada"), Ok("Hello, Ada!".into()));
        assert_eq!(greet("Hello", "李"), Ok("Hello, 李!".into()));
        for bad in ["", "a\nb", "\0", &"x".repeat(NAME_MAX + 1)] {
            assert_eq!(greet("Hello", bad), Err(Refusal::Name), "{bad:?}");
        }
    }

    /// JSON that is not a guest is refused with a line that shows what is one.
    #[test]
    fn guests() {
        let greeting = Greeting { greeting: "Hi, Ada!".into(), length: 8 };
        assert_eq!(Greeting::parse("Hi", br#"{"name":"Ada"}"#), Ok(greeting));
        for bad in [
            "",
            "{}",
            "Ada",
            r#"{"name":7}"#,
            r#"{"name":"Ada","age":36}"#,
            "[",
            "\u{feff}",
        ] {
            assert_eq!(
                Greeting::parse("Hi", bad.as_bytes()),
                Err(Refusal::Json),
                "{bad:?}"
            );
        }
        assert_eq!(Greeting::parse("Hi", br#"{"name":""}"#), Err(Refusal::Name));
    }

    /// A job says something, on one line.
    #[test]
    fn jobs() {
        assert_eq!(job(b"water the plants\n"), Ok("water the plants".into()));
        for bad in ["", "  ", "two\nlines"] {
            assert_eq!(job(bad.as_bytes()), Err(Refusal::Job), "{bad:?}");
        }
        assert_eq!(job(&[0xff]), Err(Refusal::Job));
    }

    /// The statuses that callers rely on.
    #[test]
    fn statuses() {
        let status = [
            Refusal::Path,
            Refusal::Method("GET"),
            Refusal::BodySize,
            Refusal::Json,
        ]
        .map(|refusal| refusal.status());
        assert_eq!(status, [404, 405, 413, 400]);
    }
}
