//! Makes a site of what mdBook printed: coloured code, heads, the list of chapters
//! with the sections of the page, and the files that belong to a site. What no page
//! uses is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ledger::{Chapter, file_name, source_url};

use crate::html::{attribute, between, plain, text};
use crate::live::live;
use crate::moved::Moved;
use crate::npx::npx;
use crate::search::search;

/// The picture of a link to this book.
const CARD: &str = "card.png";
/// Words of prose that are read in a minute, and lines of code.
const WORDS: usize = 220;
const LINES: usize = 40;

/// What concerns the whole site.
pub struct Site {
    /// Where it is published, without a slash at its end; nothing if nowhere yet.
    pub base: Option<String>,
    pub title: String,
}

impl Site {
    /// Finishes the site in `dir`, whose pages are `names` and the two that mdBook adds.
    pub fn finish(&self, dir: &Path, names: &BTreeSet<String>) -> Result<()> {
        let chapters = ledger::chapters()?;
        let moved = Moved::read()?;
        let mut today = names.clone();
        today.extend(["404.html".to_owned(), "print.html".to_owned()]);
        moved.check(&today)?;

        let mut pages = BTreeMap::new();
        for name in &today {
            let html = ledger::read(&dir.join(name))?;
            let chapter = chapters.iter().find(|chapter| {
                file_name(&chapter.page).replace(".md", ".html") == *name
            });
            let html = self.page(name, &html, chapter)?;
            pages.insert(name.clone(), live(name, &html, chapter)?);
        }
        colour(&mut pages)?;
        scripts(dir, &mut pages)?;
        search(dir, &mut pages)?;
        for (name, html) in &pages {
            fs::write(dir.join(name), html)?;
        }

        let card = ledger::root().join("theme").join(CARD);
        fs::copy(&card, dir.join(CARD))
            .with_context(|| card.display().to_string())?;
        let kept = take_away(dir, &pages)?;
        fs::write(dir.join("_headers"), headers(&kept))?;
        fs::write(dir.join("_redirects"), moved.rules())?;
        for (name, stub) in moved.stubs() {
            fs::write(dir.join(name), stub)?;
        }
        fs::write(dir.join("robots.txt"), self.robots())?;
        if let Some(map) = self.map(names) {
            fs::write(dir.join("sitemap.xml"), map)?;
        }
        Ok(())
    }

    fn page(
        &self,
        name: &str,
        html: &str,
        chapter: Option<&Chapter>,
    ) -> Result<String> {
        let twice = format!("<title>{0} - {0}</title>", self.title);
        let mut html =
            html.replace(&twice, &format!("<title>{}</title>", self.title));
        // mdBook opens an item for a spacer, and then another; we have no use for the
        // classes that fold its list.
        const SPACER: &str = "<li class=\"spacer\">";
        for item in ["chapter-item expanded affix ", "chapter-item expanded "] {
            html = html.replace(&format!("<li class=\"{item}\">"), "<li>");
        }
        html = html.replace(&format!("<li>{SPACER}"), SPACER);
        let head = self.head(name, &html)?;
        html = html.replace("<!-- press:head -->", &head);
        html = html.replace(
            "<div class=\"table-wrapper\">",
            "<div class=\"table-wrapper\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">",
        );
        html = html.replace(
            "<a class=\"admonition-anchor-link\" ",
            "<a class=\"admonition-anchor-link\" aria-label=\"Link to this box\" ",
        );
        if name == "404.html" {
            // It is served at any address and has a base, from which a bare fragment
            // would lead to the cover.
            html = html.replace("href=\"#", "href=\"404.html#");
            let list = between(&html, "<ol class=\"chapter\">", "</ol>")
                .context("404.html has no list of chapters")?;
            let list = format!(
                "<ul>{}</ul>",
                list.replace("<li class=\"spacer\"></li>", "")
            );
            html = html.replace("<!-- press:chapters -->", &list);
        }
        if let Some(chapter) = chapter {
            let line = chapter_head(chapter, &html)?;
            html = html.replacen("</h1>", &format!("</h1>\n{line}"), 1);
        }
        // Only the list has a page as an item; its foot leads to some pages as well.
        let link = format!("<li><a href=\"{name}\">");
        if let Some(at) = html.find(&link) {
            let end =
                at + html[at..].find("</li>").context("an item without an end")?;
            html.insert_str(end, &sections(&html));
            html.insert_str(at + link.len() - 1, " aria-current=\"page\"");
        }
        Ok(html)
    }

    /// Description, address and picture of a page.
    fn head(&self, name: &str, html: &str) -> Result<String> {
        let title = between(html, "<title>", "</title>")
            .with_context(|| format!("{name} has no title"))?;
        let first = between(html, "<main", "</main>")
            .and_then(|main| between(main, "<p>", "</p>"));
        let description = sentence(&text(first.unwrap_or(title)));
        let description = attribute(&description);
        let kind = if name == "index.html" { "website" } else { "article" };
        // Without an address of the site, the picture's is relative to it.
        let base = self.base.as_deref().unwrap_or_default();
        let mut out =
            format!("<meta name=\"description\" content=\"{description}\">\n");
        if let Some(address) = self.address(name) {
            writeln!(out, "<link rel=\"canonical\" href=\"{address}\">")?;
            writeln!(out, "<meta property=\"og:url\" content=\"{address}\">")?;
        }
        for (key, content) in [
            ("og:site_name", self.title.as_str()),
            ("og:type", kind),
            ("og:title", title),
            ("og:description", &description),
            ("og:image", &format!("{base}/{CARD}")),
            ("og:image:width", "1200"),
            ("og:image:height", "630"),
            (
                "og:image:alt",
                "A house with one door, a keeper inside, and a cellar: an object",
            ),
        ] {
            writeln!(out, "<meta property=\"{key}\" content=\"{content}\">")?;
        }
        write!(
            out,
            "<meta name=\"twitter:card\" content=\"summary_large_image\">"
        )?;
        Ok(out)
    }

    /// The one address of a page that others should name; the 404 page has none.
    fn address(&self, name: &str) -> Option<String> {
        let base = self.base.as_ref().filter(|_| name != "404.html")?;
        let path = if name == "index.html" { "" } else { name };
        Some(format!("{base}/{path}"))
    }

    fn robots(&self) -> String {
        // The chapters behind the book are for trying out, not for reading.
        let mut out = "User-agent: *\nDisallow: /live/\n".to_owned();
        if let Some(base) = &self.base {
            let _ = write!(out, "\nSitemap: {base}/sitemap.xml\n");
        }
        out
    }

    /// A site map names whole addresses, so there is none without an address.
    fn map(&self, names: &BTreeSet<String>) -> Option<String> {
        self.base.as_ref()?;
        let mut out = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
        );
        for address in names.iter().filter_map(|name| self.address(name)) {
            let _ = writeln!(out, "<url><loc>{address}</loc></url>");
        }
        out.push_str("</urlset>\n");
        Some(out)
    }
}

/// What stands under the title of a chapter, made from the page itself.
fn chapter_head(chapter: &Chapter, html: &str) -> Result<String> {
    let name = &chapter.name;
    let main =
        between(html, "<main", "</main>").context("a page without a text")?;
    let run = format!("cd chapters-code/{name} &amp;&amp; npx wrangler dev");
    ensure!(
        main.contains(&run),
        "{name}: the page does not say how to run its crate"
    );
    let url = source_url(&format!("chapters-code/{name}"))?;
    let minutes = minutes(main);
    Ok(format!(
        "<div class=\"head\"><span>{minutes} minutes, with the code</span> \
         <span>Crate: <a href=\"{url}\">chapters-code/{name}</a></span> \
         <code>{run}</code></div>"
    ))
}

/// How long a text takes, in minutes.
fn minutes(main: &str) -> usize {
    let mut words = 0;
    let mut lines = 0;
    for (at, part) in main.split("<pre>").enumerate() {
        let (code, prose) = match part.split_once("</pre>") {
            Some((code, prose)) if at > 0 => (code, prose),
            _ => ("", part),
        };
        lines += code.lines().count();
        words += text(prose).split_whitespace().count();
    }
    (words * LINES + lines * WORDS).div_ceil(WORDS * LINES).max(1)
}

/// The sections of a page, to stand under its name in the list of chapters.
fn sections(html: &str) -> String {
    let Some(main) = between(html, "<main", "</main>") else {
        return String::new();
    };
    let mut out = String::new();
    for heading in main.split("<h2 id=\"").skip(1) {
        let Some((id, rest)) = heading.split_once('"') else { continue };
        let Some(title) = between(rest, ">", "</h2>") else { continue };
        let title = attribute(&text(title));
        let _ = write!(out, "<li><a href=\"#{id}\">{title}</a></li>");
    }
    if out.is_empty() { out } else { format!("<ol>{out}</ol>") }
}

/// The first sentence or, if that is short, two; cut between words where it is long.
fn sentence(text: &str) -> String {
    let mut ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let end = ends.find(|end| *end >= 50).unwrap_or(text.len());
    let mut out = String::new();
    for word in text[..end].split_whitespace() {
        if out.chars().count() + word.chars().count() > 155 {
            out.push('…');
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Colours all code of all pages, in one run of Node.
fn colour(pages: &mut BTreeMap<String, String>) -> Result<()> {
    let mut blocks: BTreeSet<(String, String)> = BTreeSet::new();
    for html in pages.values() {
        each_block(html, |language, code| {
            blocks.insert((language.to_owned(), plain(code)));
            None
        });
    }
    let blocks: Vec<_> = blocks.into_iter().collect();
    let coloured: Vec<String> = serde_json::from_slice(&npx(
        &["node", "tools/press/highlight.js"],
        &serde_json::to_vec(&blocks)?,
    )?)?;
    ensure!(coloured.len() == blocks.len(), "highlight.js left out a block");
    let coloured: BTreeMap<_, _> = blocks.into_iter().zip(coloured).collect();
    for html in pages.values_mut() {
        *html = each_block(html, |language, code| {
            coloured.get(&(language.to_owned(), plain(code))).map(String::as_str)
        });
    }
    Ok(())
}

/// Takes the script of the Run buttons off the pages that have none, and what only its
/// writers need out of both scripts.
fn scripts(dir: &Path, pages: &mut BTreeMap<String, String>) -> Result<()> {
    for html in pages.values_mut().filter(|html| !html.contains(" data-live='")) {
        let tag = "<script src=\"theme/live-";
        if let Some(at) = html.find(tag) {
            let end = "</script>\n";
            let length = html[at..].find(end).context("a script without an end")?;
            html.replace_range(at..at + length + end.len(), "");
        }
    }
    for file in ledger::files(dir)? {
        let path = file.strip_prefix(dir)?.to_string_lossy().replace('\\', "/");
        if is_hashed(&path)
            && (path.starts_with("book-") || path.starts_with("theme/live-"))
        {
            let small = npx(&["esbuild", "--minify"], &fs::read(&file)?)?;
            fs::write(&file, small)?;
        }
    }
    Ok(())
}

/// Puts something else for the code of each fence, where `with` knows it.
fn each_block<'a>(
    html: &str,
    mut with: impl FnMut(&str, &str) -> Option<&'a str>,
) -> String {
    const OPEN: &str = "<pre><code class=\"language-";
    let mut out = String::with_capacity(html.len() * 2);
    let mut rest = html;
    while let Some(at) = rest.find(OPEN) {
        let (before, block) = rest.split_at(at + OPEN.len());
        out.push_str(before);
        rest = block;
        let Some((class, inside)) = block.split_once("\">") else { break };
        let Some((code, _)) = inside.split_once("</code>") else { break };
        let language = class.split([' ', ',']).next().unwrap_or_default();
        out.push_str(language);
        out.push_str("\">");
        out.push_str(with(language, code).unwrap_or(code));
        rest = &inside[code.len()..];
    }
    out.push_str(rest);
    out
}

/// Takes away what no page uses. What is left beside the pages is returned.
fn take_away(dir: &Path, pages: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for file in ledger::files(dir)? {
        let path = file.strip_prefix(dir)?.to_string_lossy().replace('\\', "/");
        if pages.contains_key(&path) {
            continue;
        }
        if pages.values().any(|html| html.contains(&path)) {
            kept.push(path);
        } else {
            fs::remove_file(&file)?;
            // A folder that still holds something stays.
            let mut folder = file.parent();
            while let Some(empty) = folder.filter(|folder| *folder != dir) {
                if fs::remove_dir(empty).is_err() {
                    break;
                }
                folder = empty.parent();
            }
        }
    }
    Ok(kept)
}

/// What a page may use: what comes from this site, and no script or style written into
/// the page. The depth of a code's line is a style attribute.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// `_headers`, which Cloudflare's static assets follow: a file with a hash in its name
/// never changes, a page may change any time.
fn headers(kept: &[String]) -> String {
    let mut out = format!(
        "/*\n  Content-Security-Policy: {POLICY}\n  X-Content-Type-Options: nosniff\n  Referrer-Policy: strict-origin-when-cross-origin\n",
    );
    for path in kept.iter().filter(|path| is_hashed(path)) {
        // The first line takes away what the platform says by itself.
        let _ = write!(
            out,
            "\n/{path}\n  ! Cache-Control\n  Cache-Control: public, max-age=31536000, immutable\n"
        );
    }
    out
}

/// mdBook puts a dash and eight hexadecimal digits before the first dot.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    stem.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(base: Option<&str>) -> Site {
        Site { base: base.map(str::to_owned), title: "A book".to_owned() }
    }

    const PAGE: &str = "<title>One - A book</title>\n<!-- press:head -->\n\
        <li><a href=\"one.html\">One</a></li>\n\
        <main id=\"content\"><h1>One</h1><p>You build a house with <em>one</em> \
        door &amp; a cellar that nobody floods. More.</p>\
        <h2 id=\"in\"><a class=\"header\" href=\"#in\">Inside</a></h2></main>";

    /// A page names itself, its first sentence and the picture; and its own address
    /// only if the site has one.
    #[test]
    fn heads_say_what_a_page_is() -> Result<()> {
        let html =
            site(Some("https://book.example")).page("one.html", PAGE, None)?;
        let says = "<meta name=\"description\" content=\"You build a house with one \
                    door &amp; a cellar that nobody floods.\">";
        assert!(html.contains(says), "{html}");
        for part in [
            "rel=\"canonical\" href=\"https://book.example/one.html\"",
            "\"og:title\" content=\"One - A book\"",
            "\"og:image\" content=\"https://book.example/card.png\"",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        let html = site(None).page("one.html", PAGE, None)?;
        assert!(!html.contains("canonical") && !html.contains("og:url"), "{html}");
        Ok(())
    }

    /// The list of chapters marks the page, and shows its sections under it.
    #[test]
    fn the_list_knows_the_page() -> Result<()> {
        let html = site(None).page("one.html", PAGE, None)?;
        let item = "<li><a href=\"one.html\" aria-current=\"page\">One</a>\
                    <ol><li><a href=\"#in\">Inside</a></li></ol></li>";
        assert!(html.contains(item), "{html}");

        let foot = format!("{PAGE}<a href=\"print.html\">All</a>");
        let html = site(None).page("print.html", &foot, None)?;
        assert!(!html.contains("aria-current"), "{html}");
        Ok(())
    }

    /// With an address there is a map, which robots are told of; without one neither.
    #[test]
    fn the_map_has_whole_addresses() {
        let names = ["index.html", "one.html"].map(str::to_owned).into();
        let site_with = site(Some("https://book.example"));
        let map = site_with.map(&names).unwrap_or_default();
        assert!(map.contains("<loc>https://book.example/</loc>"), "{map}");
        assert!(map.contains("<loc>https://book.example/one.html</loc>"), "{map}");
        assert!(site_with.robots().contains("https://book.example/sitemap.xml"));
        assert!(site(None).map(&names).is_none());
        assert!(!site(None).robots().contains("Sitemap"));
    }

    /// Only what has a hash in its name is kept for ever.
    #[test]
    fn hashed_files_never_change() {
        let kept = ["theme/book-0123abcd.css", "card.png"].map(str::to_owned);
        let headers = headers(&kept);
        assert!(headers.contains("/theme/book-0123abcd.css\n"), "{headers}");
        assert!(!headers.contains("card.png"), "{headers}");
        assert!(!is_hashed("a-short.css"));
    }

    /// Prose and code both take their time, and no page takes none.
    #[test]
    fn reading_takes_time() {
        let prose = "word ".repeat(WORDS);
        let code = "x\n".repeat(LINES);
        assert_eq!(minutes(&prose), 1);
        assert_eq!(minutes(&format!("{prose}<pre>{code}</pre>{prose}")), 3);
        assert_eq!(minutes(""), 1);
    }

    /// Code is coloured as its language asks, and stays the same to a reader: the text
    /// of a block does not change, whatever its spans are.
    #[test]
    fn colours_change_no_code() -> Result<()> {
        let code = "/// A long comment, which a narrow screen has to break somewhere.\n\
                    fn a&lt;T&gt;(x: &amp;T) {\n    \"b\nc\"\n}\n";
        let html = format!(
            "<pre><code class=\"language-rust ignore\">{code}</code></pre>\
             <pre><code class=\"language-console\">$ ls &gt;x\na-long-line-that-does-not-fit-on-a-phone\n</code></pre>"
        );
        let mut pages = BTreeMap::from([("a.html".to_owned(), html.clone())]);
        colour(&mut pages)?;
        let coloured = &pages["a.html"];
        assert!(
            coloured.contains("<span class=\"hljs-keyword\">fn</span>"),
            "{coloured}"
        );
        assert!(coloured.contains("<b>ls &gt;x</b>"), "{coloured}");
        assert_eq!(
            coloured.matches("<span").count(),
            coloured.matches("</span>").count()
        );
        assert_eq!(text(coloured), text(&html));
        Ok(())
    }
}
