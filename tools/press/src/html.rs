//! The little of HTML that the press reads and writes itself.

/// What stands after the first `open`, up to the `close` behind it.
pub fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

/// The words of a piece of HTML.
pub fn text(html: &str) -> String {
    let mut out = String::new();
    for part in
        html.split('<').enumerate().map(|(at, part)| match part.split_once('>') {
            Some((_, text)) if at > 0 => text,
            _ => part,
        })
    {
        out.push_str(part);
    }
    let words: Vec<_> = out.split_whitespace().collect();
    plain(&words.join(" "))
}

/// A text of HTML as its reader sees it.
pub fn plain(html: &str) -> String {
    html.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
}

/// A text as it stands in HTML, also in an attribute.
pub fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
