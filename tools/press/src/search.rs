//! The index of the search: the text that mdBook has gathered, the names of the API, each
//! with the section that teaches it, and what people call things that the pages call
//! otherwise. What finds a place in it is theme/search.js.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ledger::file_name;
use mdbook::utils::unique_id_from_content;
use serde::{Deserialize, Serialize};

use crate::npx::npx;

/// The page of the API map.
const MAP: &str = "appendix-a-api-map.html";

/// What can be found, and what is shown of it.
#[derive(Serialize)]
struct Place {
    url: String,
    title: String,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    js: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rust: Option<String>,
    /// What the name belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
}

/// What this reads of mdBook's index.
#[derive(Deserialize)]
struct Gathered {
    doc_urls: Vec<String>,
    index: Index,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    document_store: Store,
}

#[derive(Deserialize)]
struct Store {
    docs: HashMap<usize, Doc>,
}

#[derive(Deserialize)]
struct Doc {
    title: String,
    breadcrumbs: String,
    body: String,
}

/// Puts our index into the place of mdBook's, under a name of its own: what a browser
/// keeps for ever must not change.
pub fn search(dir: &Path, pages: &mut BTreeMap<String, String>) -> Result<()> {
    let old = ledger::list(dir)?
        .into_iter()
        .find(|path| file_name(path).starts_with("searchindex-"))
        .context("mdBook has printed no index")?;
    let script = ledger::root().join("theme/search.js");
    let bundle = npx(
        &[
            "esbuild",
            "--bundle",
            "--minify",
            "--format=iife",
            "--legal-comments=inline",
        ],
        &fs::read(&script)?,
    )?;
    let places = serde_json::to_string(&places(&ledger::read(&old)?)?)?;
    let text = format!(
        "{}\nwindow.search = window.search({places});\n",
        String::from_utf8(bundle)?.trim_end()
    );
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let new = format!("searchindex-{:08x}.js", hasher.finish() as u32);
    for html in pages.values_mut() {
        *html = html.replace(file_name(&old), &new);
    }
    fs::remove_file(&old)?;
    Ok(fs::write(dir.join(new), text)?)
}

fn places(script: &str) -> Result<Vec<Place>> {
    let json = script
        .split_once("JSON.parse('")
        .and_then(|(_, rest)| rest.strip_suffix("'));"))
        .context("the index of mdBook is not as expected")?;
    let json = json.replace("\\'", "'").replace("\\\\", "\\");
    let Gathered { doc_urls, index } = serde_json::from_str(&json)?;
    let mut docs = index.document_store.docs;
    let mut places = Vec::new();
    for (at, url) in doc_urls.into_iter().enumerate() {
        let Doc { title, breadcrumbs, body } =
            docs.remove(&at).context("a place without a text")?;
        let title = if breadcrumbs.is_empty() { title } else { breadcrumbs };
        places.push(Place { url, title, body, js: None, rust: None, of: None });
    }
    let title = |url: &str| -> Result<String> {
        let place = places.iter().find(|place| place.url == url);
        Ok(place.with_context(|| format!("nothing is at {url}"))?.title.clone())
    };
    let chapters = ledger::chapters()?;
    let mut named = Vec::new();
    for item in ledger::api()? {
        let url = match (&item.chapter, &item.at) {
            (Some(name), Some(at)) => {
                let chapter = chapters.iter().find(|chapter| chapter.name == *name);
                let chapter = chapter
                    .with_context(|| format!("there is no chapter {name}"))?;
                let page = file_name(&chapter.page).replace(".md", ".html");
                format!("{page}#{at}")
            }
            (_, Some(at)) => bail!("data/api.toml: {at} is on no page"),
            // Nothing teaches it yet, but the map says how it is reached.
            (_, None) => format!("{MAP}#api-{}", item.id),
        };
        let section = unique_id_from_content(&item.section, &mut HashMap::new());
        let place = if item.at.is_some() {
            url.clone()
        } else {
            format!("{MAP}#{section}")
        };
        named.push(Place {
            title: title(&place)?,
            body: format!("{}: {}", item.js, item.rust.replace('`', "")),
            url,
            js: Some(item.js),
            rust: Some(item.rust),
            of: Some(item.section),
        });
    }
    for term in ledger::terms()? {
        let body = term.says.clone();
        named.push(Place {
            title: title(&term.at)?,
            body,
            url: term.at,
            js: Some(term.says),
            rust: None,
            of: None,
        });
    }
    places.append(&mut named);
    ensure!(!places.is_empty(), "there is nothing to find");
    Ok(places)
}
