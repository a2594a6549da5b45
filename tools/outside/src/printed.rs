//! Whether what came back is what a page has printed.

use anyhow::{Result, anyhow};
use snapbox::{Assert, IntoData};

/// Compares what came back with what is printed: `[..]` stands for any part of a line,
/// `...` alone in a line for any lines, as in trycmd. If it `varies`, any number or long
/// id may stand for any other as well.
///
/// # Errors
/// If they differ; with the difference.
pub fn as_printed(printed: &str, actual: &str, varies: bool) -> Result<()> {
    let outcome = match varies {
        true => compare(&without_numbers(printed), &without_numbers(actual)),
        false => compare(printed, actual),
    };
    // What differs is told with its numbers.
    outcome.map_err(|error| match compare(printed, actual) {
        Err(whole) if varies => whole,
        _ => error,
    })
}

fn compare(printed: &str, actual: &str) -> Result<()> {
    Assert::new()
        .normalize_paths(false)
        .try_eq(None, normal(actual).into_data(), normal(printed).into_data())
        .map_err(|error| anyhow!("the output is not what the page says\n{error}"))
}

/// Numbers and long hexadecimal ids become `#`, and the spaces that line numbers up
/// become one.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() || c == '.' {
                word.push(c);
                continue;
            }
            let number = word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && word.bytes().any(|b| b.is_ascii_digit());
            let id =
                word.len() >= 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
            out.push_str(if number || id { "#" } else { &word });
            word.clear();
            if !(c == ' ' && out.ends_with(' ')) {
                out.push(c);
            }
        }
        out.push('\n');
    }
    out
}

fn normal(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
        + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The usual wildcards, and nothing else, may differ.
    #[test]
    fn compares_with_wildcards() {
        let fits = |printed, actual| as_printed(printed, actual, false).is_ok();
        assert!(fits("a [..] c\n...\nend", "a b c\nx\ny\nend\n"));
        assert!(fits("", ""));
        assert!(!fits("1", "2"));
        assert!(!fits("", "surprise"));
    }

    /// Where numbers and ids vary, everything else must still be the same.
    #[test]
    fn numbers_may_vary() {
        let same = |printed, actual| as_printed(printed, actual, true).is_ok();
        assert!(same("ch01  1.5  470 (80)", "ch01 12.5 47011   (9)"));
        assert!(same(
            "{\"id\":\"0123456789abcdef0123\"}",
            "{\"id\":\"fedcba9876543210fedc\"}"
        ));
        assert!(!same("ch01 1", "ch02 1"));
        assert!(!same("1 failed", "1 passed"));
        let told = as_printed("1 failed", "2 passed", true).unwrap_err();
        assert!(told.to_string().contains("2 passed"), "{told}");
    }
}
