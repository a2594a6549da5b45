//! The query of a request's address: what stands behind the `?`.

use form_urlencoded::parse;

/// The value of a parameter, decoded; the first one, if it stands there twice.
///
/// `Request::url` would do it too, and bring the whole URL parser along: it more than
/// doubles a small Worker.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let before_fragment = url.split('#').next()?;
    let (_, query) = before_fragment.split_once('?')?;
    let found = parse(query.as_bytes()).find(|(key, _)| key == name)?;
    Some(found.1.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters are found by their whole name, and decoded as browsers encode them.
    #[test]
    fn parameters() {
        let url =
            "https://village/increment?names=1&name=two+words%21&name=3#?name=4";
        assert_eq!(parameter(url, "name").as_deref(), Some("two words!"));
        assert_eq!(parameter(url, "names").as_deref(), Some("1"));
        assert_eq!(parameter(url, "na"), None);
        assert_eq!(parameter("https://village/?name", "name").as_deref(), Some(""));
        assert_eq!(parameter("https://village/name", "name"), None);
        assert_eq!(parameter("https://village/#?name=4", "name"), None);
        let odd = parameter("https://village/?name=%ff%", "name");
        assert_eq!(odd.as_deref(), Some("\u{fffd}%"));
    }
}
