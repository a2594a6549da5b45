//! Where on a page something stands, so that a table can send its reader there.

use std::collections::{BTreeMap, HashMap};

use mdbook::utils::unique_id_from_content;

/// What mdbook-admonish puts before the id of a box.
const BOX: &str = "admonition-";

/// A place on a page that a link can lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub id: String,
    /// Its heading, or the title of the box.
    pub title: String,
}

/// The places of a page.
#[derive(Debug, Default)]
pub struct Places {
    pub sections: Vec<Place>,
    /// Where `trap T20` or `claim in-memory` is cited: in a box, else in a section.
    pub cited: BTreeMap<String, Place>,
}

impl Places {
    /// Reads the source of a page.
    pub fn of(markdown: &str) -> Self {
        let mut places = Self::default();
        // mdBook and mdbook-admonish each count the titles that are alike.
        let (mut headings, mut boxes) = (HashMap::new(), HashMap::new());
        let mut inside: Option<(String, Place)> = None;
        let mut lines = markdown.lines().map(str::trim_start);
        while let Some(line) = lines.next() {
            if inside.as_ref().is_some_and(|(mark, _)| line.trim_end() == mark) {
                inside = None;
                continue;
            }
            let (mark, info) =
                line.split_at(line.len() - line.trim_start_matches('`').len());
            if mark.len() >= 3 {
                if info.starts_with("admonish") {
                    let title = quoted(info).unwrap_or_default().to_owned();
                    let id = format!(
                        "{BOX}{}",
                        unique_id_from_content(&title, &mut boxes)
                    );
                    // The title of a box has no code, so this is no markup either.
                    let title = title.replace('<', "\\<");
                    inside = Some((mark.to_owned(), Place { id, title }));
                } else {
                    lines.by_ref().find(|line| line.trim_end() == mark);
                }
                continue;
            }
            if let Some(title) = heading(line) {
                let (title, id) = match title.rsplit_once(" {#") {
                    Some((title, id)) => {
                        (title, id.trim_end_matches('}').to_owned())
                    }
                    None => (title, unique_id_from_content(title, &mut headings)),
                };
                places.sections.push(Place { id, title: title.to_owned() });
            }
            let here = inside.as_ref().map(|(_, place)| place);
            let Some(place) = here.or(places.sections.last()).cloned() else {
                continue;
            };
            for cited in
                line.split("{{#").skip(1).filter_map(|part| part.split_once("}}"))
            {
                let known = places.cited.get(cited.0);
                if known.is_none_or(|known| !known.id.starts_with(BOX)) {
                    places.cited.insert(cited.0.to_owned(), place.clone());
                }
            }
        }
        places
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    (text.len() < line.len()).then(|| text.strip_prefix(' ')).flatten()
}

fn quoted(info: &str) -> Option<&str> {
    info.split_once("title=\"")?.1.split_once('"').map(|(title, _)| title)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trap leads to its box, also where the text around names it first; a claim to
    /// its section; a heading keeps the id that it gives itself; code has no headings.
    #[test]
    fn finds_boxes_and_sections() {
        let page = "# A page\n\n## Rate limits {#how-fast}\n\nSee {{#trap T1}}.\n\n\
            ````admonish warning title=\"Trap: an x in Vec<u8>\"\n```rust\n# not a heading\n```\n\
            ({{#trap T1}})\n````\n\n## When\n\nAt last ({{#claim at-last}}).\n\n## When\n\n{{#trap T2}}\n";
        let places = Places::of(page);
        let ids: Vec<_> =
            places.sections.iter().map(|place| place.id.as_str()).collect();
        assert_eq!(ids, ["a-page", "how-fast", "when", "when-1"]);
        assert_eq!(places.sections[1].title, "Rate limits");
        assert_eq!(places.cited["trap T1"].id, "admonition-trap-an-x-in-vec");
        assert_eq!(places.cited["claim at-last"].id, "when");
        assert_eq!(places.cited["trap T2"].id, "when-1");
    }

    /// What a section is about stands first in its heading, and the address that was
    /// published for it stays.
    #[test]
    fn plain_terms_stand_first() {
        for (chapter, id, term) in [
            ("ch04", "what-stays", "Persistence"),
            ("ch05", "when", "`set_alarm`"),
            ("ch06", "what-stays", "Persistence"),
            ("ch06", "who-is-at-the-door", "Origin"),
            ("ch06", "members-only", "Authentication"),
            ("ch07", "coming-again", "Resume"),
            ("ch07", "how-fast", "Rate limits"),
        ] {
            let chapters = ledger::chapters().unwrap();
            let of = chapters.iter().find(|of| of.name == chapter).unwrap();
            let places = Places::of(&ledger::read(&of.page).unwrap());
            let section = places.sections.iter().find(|section| section.id == id);
            let title = section.map(|section| section.title.as_str());
            assert!(
                title.is_some_and(|title| title.starts_with(term)),
                "{title:?}"
            );
        }
    }
}
