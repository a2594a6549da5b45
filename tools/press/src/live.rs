//! Console blocks with a Run button: what a block tells its reader to type is made,
//! when the book is printed, into steps that the page's script can do by itself.
//!
//! The steps stand beside the block, as JSON in `data-live`; theme/live.js does them.
//! Of a shell only so much is understood as the pages use. A block that cannot be
//! translated says why in the line above it, `<!-- nolive: reason -->`; without that
//! the book does not print.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use ledger::{Chapter, commands};
use serde::Serialize;
use serde_json::{Value, json};

use crate::html::{attribute, plain};

/// Its Worker has no object of its own: what it keeps, all its visitors would share.
const WITHOUT: &str = "ch01";
/// Where a reader's server listens, as the pages write it.
const SERVER: &str = "localhost:8787";
/// Where the reader's book is, with every chapter running behind it.
const BOOK: &str = "localhost:8700";
/// What a page's script cannot set, so that the front Worker takes it from the query.
const FORBIDDEN: [&str; 3] = ["Upgrade", "Origin", "CF-Connecting-IP"];
/// The frames of the protocol of ch06, as the tests of its crate `wire` hold them fast.
const FRAMES: [(&str, [u8; 2]); 2] = [("increment", [1, 0]), ("decrement", [1, 1])];

/// Puts the steps beside each console block of a page that can be run, and the reason
/// below each that cannot.
pub fn live(page: &str, html: &str, chapter: Option<&Chapter>) -> Result<String> {
    const OPEN: &str = "<pre><code class=\"language-console";
    const CLOSE: &str = "</code></pre>";
    let chapter = chapter.filter(|chapter| chapter.name != WITHOUT);
    if chapter.is_none() && page != "index.html" {
        return Ok(html.to_owned());
    }
    let mut shell = Shell::new(chapter.map(|chapter| chapter.name.as_str()));
    let mut out = String::with_capacity(html.len() * 2);
    let mut rest = html;
    while let Some(at) = rest.find(OPEN) {
        let (before, block) = rest.split_at(at);
        let end =
            block.find(CLOSE).context("a block without an end")? + CLOSE.len();
        let (block, after) = block.split_at(end);
        rest = after;
        out.push_str(before);
        let (class, code) = block[OPEN.len()..]
            .split_once("\">")
            .context("a block without a language")?;
        let code = plain(code.trim_end_matches(CLOSE));
        let here = code.lines().next().unwrap_or_default();
        let outcome = shell.block(&code, class.contains("norun"));
        let reason = reason(before);
        match (outcome, reason) {
            (Ok(None), None) => out.push_str(block),
            (Ok(Some(steps)), None) => {
                let varies = if class.contains("varies") { " data-varies" } else { "" };
                let steps = attribute(&steps).replace("&quot;", "\"");
                let steps = steps.replace('\'', "&#39;");
                out.push_str(&format!(
                    "<div class=\"live\" data-live='{steps}'{varies}>{block}</div>"
                ));
            }
            (Err(_), Some(reason)) => out.push_str(&format!(
                "{block}<p class=\"nolive scripted\">In a terminal only: {reason}.</p>"
            )),
            (Err(error), None) => bail!("{page}: the block `{here}`: {error:#}"),
            (Ok(_), Some(_)) => {
                bail!("{page}: the block `{here}` needs no comment `nolive`")
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// What a comment right before a block says why it cannot be run on the page.
fn reason(before: &str) -> Option<&str> {
    let mut before = before.trim_end();
    // The reason why the tests do not run a block may stand there as well.
    while let Some(comment) = before.strip_suffix("-->") {
        let (earlier, comment) = comment.rsplit_once("<!--")?;
        if let Some(reason) = comment.trim().strip_prefix("nolive:") {
            return Some(reason.trim());
        }
        before = earlier.trim_end();
    }
    None
}

/// What one press of a button does.
#[derive(Serialize)]
struct Block {
    chapter: String,
    run: Vec<Line>,
}

/// A command of a block.
#[derive(Serialize)]
struct Line {
    /// Which one of the block, counted from 0.
    n: usize,
    cmd: String,
    /// The variables that must have come from answers before.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    uses: BTreeSet<String>,
    steps: Vec<Step>,
}

/// A part of a command.
#[derive(Debug, Serialize, PartialEq)]
struct Step {
    #[serde(flatten)]
    act: Act,
    /// Through what the output goes: `["grep", "a.c"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<Value>,
    /// The variable that the output becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<String>,
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Act {
    Http(Request),
    /// Requests at once.
    All {
        each: Vec<Request>,
    },
    Talk(Talk),
    Sleep {
        s: u32,
    },
    /// The text of a file or a variable.
    Echo {
        text: String,
    },
    Restart,
    Exercise,
}

#[derive(Debug, Default, Serialize, PartialEq)]
struct Request {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// The headers that the front Worker sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    front: Vec<(String, String)>,
    /// Whether status and headers are shown.
    #[serde(skip_serializing_if = "is_not")]
    head: bool,
    #[serde(skip_serializing_if = "is_not")]
    quiet: bool,
    /// What is written after the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<String>,
    /// How often, and how often at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<(u32, u32)>,
}

#[derive(Debug, Default, Serialize, PartialEq)]
struct Talk {
    path: String,
    /// Texts, or frames as arrays of bytes.
    send: Vec<Value>,
    /// How long it listens, in seconds.
    wait: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    front: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    /// Where the output goes while other commands run.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_not(flag: &bool) -> bool {
    !flag
}

/// What the shell of a page's reader would know.
#[derive(Clone)]
struct Shell {
    /// The chapter whose page this is.
    of_page: Option<String>,
    chapter: String,
    /// Variables whose values are on the page.
    known: BTreeMap<String, String>,
    /// Variables whose values come from answers.
    answers: BTreeSet<String>,
    /// Variables that name files.
    files: BTreeSet<String>,
    /// What the command that is being read takes from answers.
    uses: BTreeSet<String>,
}

impl Shell {
    fn new(chapter: Option<&str>) -> Self {
        Self {
            of_page: chapter.map(str::to_owned),
            chapter: chapter.unwrap_or_default().to_owned(),
            known: BTreeMap::new(),
            answers: BTreeSet::new(),
            files: BTreeSet::new(),
            uses: BTreeSet::new(),
        }
    }

    /// The steps of a block; nothing if it is none to be run on the page.
    fn block(&mut self, code: &str, norun: bool) -> Result<Option<String>> {
        let commands = commands(code.lines()).context("it begins with no `$ `")?;
        let wanted = match self.of_page {
            // Elsewhere a block is run on the page if it asks a chapter behind the book.
            None => {
                let live = format!("{BOOK}/live/");
                commands.iter().any(|command| command.text.contains(&live))
            }
            Some(_) => {
                let started = commands.len() == 1 && starts(&commands[0].text);
                !norun && !started
            }
        };
        if !wanted {
            return Ok(None);
        }
        // What cannot be translated leaves nothing behind.
        let mut shell = self.clone();
        let mut run = Vec::new();
        for (n, command) in commands.iter().enumerate() {
            let cmd = command.text.clone();
            let steps = shell.command(&cmd).with_context(|| format!("`{cmd}`"))?;
            let mut uses = std::mem::take(&mut shell.uses);
            // What a command sets it does not want from others.
            uses.retain(|name| {
                steps.iter().all(|step| step.set.as_ref() != Some(name))
            });
            if !steps.is_empty() {
                run.push(Line { n, cmd, uses, steps });
            }
        }
        ensure!(!run.is_empty(), "there is nothing to run");
        *self = shell;
        let block = Block { chapter: self.chapter.clone(), run };
        Ok(Some(serde_json::to_string(&block)?))
    }

    fn command(&mut self, text: &str) -> Result<Vec<Step>> {
        let text = padded(text)?;
        if text == "npx wrangler dev" {
            return Ok(vec![Act::Restart.into()]);
        }
        if text.strip_prefix("cargo xtask exercise ") == Some(&self.chapter) {
            return Ok(vec![Act::Exercise.into()]);
        }
        if let Some(rest) = text.strip_prefix('(') {
            return self.at_once(rest);
        }
        if let Some(rest) = text.strip_prefix("for ") {
            return self.repeat(rest);
        }
        let mut steps = Vec::new();
        for (piece, sign) in cut(&text, &[';', '&']) {
            steps.extend(self.piece(piece.trim(), sign == Some('&'))?);
        }
        Ok(steps)
    }

    /// `for name in Ada Ben; do ... & done; wait) | sort`, without the bracket before it.
    fn at_once(&mut self, text: &str) -> Result<Vec<Step>> {
        let (inside, filters) =
            text.rsplit_once(") | ").context("a bracket without a filter")?;
        let list = inside
            .strip_prefix("for ")
            .and_then(|list| list.strip_suffix("; wait"))
            .context("no loop that waits")?;
        let mut each = Vec::new();
        for step in self.repeat(list)? {
            match step.act {
                Act::Http(request) if step.then.is_empty() => each.push(request),
                _ => bail!("only requests can be at once"),
            }
        }
        let filters: Vec<_> = cut(filters, &['|']);
        let then = filters
            .iter()
            .map(|(stage, _)| filter(&self.words(stage)?))
            .collect::<Result<_>>()?;
        Ok(vec![Step { act: Act::All { each }, then, set: None }])
    }

    /// `n in $(seq 30); do ...; done`: once for each.
    fn repeat(&mut self, text: &str) -> Result<Vec<Step>> {
        let loops = || {
            let (name, rest) = text.split_once(" in ")?;
            let (list, rest) = rest.split_once("; do ")?;
            let body = rest.strip_suffix("done")?.trim_end();
            Some((name, list, body.trim_end_matches([';', '&']).trim_end()))
        };
        let (name, list, body) = loops().context("no such loop is known")?;
        let count =
            list.strip_prefix("$(seq ").and_then(|list| list.strip_suffix(')'));
        let items: Vec<String> = match count {
            Some(count) => {
                (1..=count.parse::<u32>()?).map(|n| n.to_string()).collect()
            }
            None => list.split_whitespace().map(str::to_owned).collect(),
        };
        let mut steps = Vec::new();
        for item in items {
            self.known.insert(name.to_owned(), item);
            steps.extend(self.piece(body, false)?);
        }
        self.known.remove(name);
        Ok(steps)
    }

    /// One command of a list.
    fn piece(&mut self, text: &str, background: bool) -> Result<Vec<Step>> {
        ensure!(!text.is_empty(), "this list of commands is not known");
        if text == "wait $!" {
            return Ok(Vec::new());
        }
        let is_name = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let assigned = text.split_once('=').filter(|(name, _)| is_name(name));
        let Some((name, value)) = assigned else {
            return self.pipeline(text, background);
        };
        let name = name.to_owned();
        let inside = value.strip_prefix("$(").and_then(|it| it.strip_suffix(')'));
        match inside {
            Some("mktemp") => {
                self.files.insert(name);
                Ok(Vec::new())
            }
            Some(inside) => {
                let mut steps = self.pipeline(inside, false)?;
                ensure!(steps.len() == 1, "more than one command for a variable");
                for step in &mut steps {
                    step.set = Some(name.clone());
                }
                self.known.remove(&name);
                self.answers.insert(name);
                Ok(steps)
            }
            None => {
                // A variable that nobody has set is empty.
                self.known.entry(name.clone()).or_default();
                let value = self.words(value)?.join(" ");
                self.known.insert(name, value);
                Ok(Vec::new())
            }
        }
    }

    fn pipeline(&mut self, text: &str, background: bool) -> Result<Vec<Step>> {
        let stages = cut(text, &['|']);
        let stages = stages.iter().map(|(stage, _)| self.words(stage));
        let mut stages: Vec<Vec<String>> = stages.collect::<Result<_>>()?;
        let mut body = None;
        let mut times = None;
        let mut first = stages.remove(0);
        let begin = first.clone();
        match begin.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["sleep", seconds] if stages.is_empty() => {
                return Ok(vec![Act::Sleep { s: seconds.parse()? }.into()]);
            }
            // It holds the input of the next one open, no more.
            ["sleep", _] => first = stages.remove(0),
            ["head", "-c", bytes, from] => {
                ensure!(!stages.is_empty(), "bytes for nobody");
                let bytes: u32 = bytes.parse()?;
                body = Some(match from {
                    "/dev/zero" => json!({ "zeros": bytes }),
                    "/dev/urandom" => json!({ "random": bytes }),
                    _ => bail!("{from} is not known"),
                });
                first = stages.remove(0);
            }
            ["seq", count] => {
                ensure!(!stages.is_empty(), "numbers for nobody");
                first = stages.remove(0);
                let at_once = first.get(1).and_then(|word| word.strip_prefix("-P"));
                let at_once = at_once.context("no xargs -P")?.parse()?;
                ensure!(first[0] == "xargs" && first[2] == "-I%", "no such xargs");
                times = Some((count.parse()?, at_once));
                first.drain(..3);
            }
            _ => {}
        }
        let then =
            stages.iter().map(|stage| filter(stage)).collect::<Result<_>>()?;
        let (program, arguments) = first.split_first().context("no command")?;
        let act = match (program.as_str(), arguments) {
            ("curl", arguments) => {
                Act::Http(Request { times, ..self.request(arguments, body)? })
            }
            ("npx", [wscat, arguments @ ..]) if wscat == "wscat" => {
                let talk = self.talk(arguments)?;
                ensure!(
                    talk.file.is_some() == background,
                    "its output goes to a file if and only if others run meanwhile"
                );
                Act::Talk(talk)
            }
            ("cargo", arguments) => Act::Talk(self.client(arguments)?),
            ("cat" | "echo", [text]) => Act::Echo { text: text.clone() },
            _ => bail!("no such command is known"),
        };
        let is_talk = matches!(act, Act::Talk(_));
        ensure!(!background || is_talk, "only a socket can go on meanwhile");
        Ok(vec![Step { act, then, set: None }])
    }

    fn request(
        &mut self,
        words: &[String],
        body: Option<Value>,
    ) -> Result<Request> {
        let mut out = Request::default();
        let mut urls = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().context("a flag without a value");
            if word == "--data-binary" {
                ensure!(value()? == "@-", "data of a file");
                out.body = Some(body.clone().context("no data")?);
                continue;
            }
            let Some(flags) = word.strip_prefix('-') else {
                urls.push(word);
                continue;
            };
            for flag in flags.chars() {
                match flag {
                    's' => {}
                    'i' => out.head = true,
                    'X' => out.method = Some(value()?.clone()),
                    'd' => out.body = Some(json!(value()?)),
                    'H' => header(value()?, &mut out.headers, &mut out.front)?,
                    'o' => out.quiet = value()? != "-",
                    'w' => out.write = Some(value()?.replace("\\n", "\n")),
                    _ => bail!("-{flag} of curl is not known"),
                }
            }
        }
        ensure!(body.is_none() || out.body.is_some(), "nobody takes the bytes");
        if out.body.is_some() && out.method.is_none() {
            out.method = Some("POST".to_owned());
        }
        let [url] = urls[..] else { bail!("not one address") };
        out.path = self.path(url)?;
        Ok(out)
    }

    fn talk(&mut self, words: &[String]) -> Result<Talk> {
        let mut out = Talk::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if let Some(file) = word.strip_prefix('>') {
                out.file = Some(file.trim_start_matches('$').to_owned());
                continue;
            }
            let value = words.next().context("a flag without a value")?;
            match word.as_str() {
                "-c" => out.path = self.path(value)?,
                "-x" => out.send.push(json!(value)),
                "-w" => out.wait = value.parse()?,
                "-H" => {
                    let mut others = Vec::new();
                    header(value, &mut others, &mut out.front)?;
                    ensure!(
                        others.is_empty(),
                        "{value} cannot be set for a socket"
                    );
                }
                _ => bail!("{word} of wscat is not known"),
            }
        }
        ensure!(!out.path.is_empty() && out.wait > 0, "no address, or no -w");
        Ok(out)
    }

    /// The client of ch06, which speaks in frames.
    fn client(&mut self, words: &[String]) -> Result<Talk> {
        const CLIENT: &str =
            "run -q --manifest-path wire/Cargo.toml --example client --";
        let begin = CLIENT.split(' ').count();
        ensure!(
            words.len() > begin && words[..begin].join(" ") == CLIENT,
            "no such program is known"
        );
        let path = self.path(&words[begin])?;
        let mut send = Vec::new();
        for word in &words[begin + 1..] {
            let frame = FRAMES.iter().find(|(name, _)| name == word);
            send.push(json!(frame.context("no such frame is known")?.1));
        }
        let protocol = Some("counter.v1".to_owned());
        Ok(Talk { path, send, wait: 1, protocol, ..Talk::default() })
    }

    /// The path of an address of the reader's server, as its chapter sees it.
    fn path(&mut self, url: &str) -> Result<String> {
        let path = url.strip_prefix("ws://").unwrap_or(url);
        let server = if self.of_page.is_some() { SERVER } else { BOOK };
        let path = path.strip_prefix(server).context("no address of the server")?;
        if self.of_page.is_some() {
            return Ok(if path.is_empty() { "/" } else { path }.to_owned());
        }
        let path = path.strip_prefix("/live/").context("no chapter is asked")?;
        let (chapter, path) =
            path.split_once('/').context("no chapter is asked")?;
        self.chapter = chapter.to_owned();
        Ok(format!("/{path}"))
    }

    /// The words of a command, with the values of variables that are on the page.
    fn words(&mut self, text: &str) -> Result<Vec<String>> {
        let words = shlex::split(text).context("a quote is not closed")?;
        let mut out = Vec::new();
        for word in words {
            // Alone, a variable may be many words.
            let whole =
                word.strip_prefix('$').and_then(|name| self.known.get(name));
            match whole {
                Some(value) if value.contains(' ') => {
                    out.extend(value.split_whitespace().map(str::to_owned));
                }
                _ => out.push(self.word(&word)?),
            }
        }
        Ok(out)
    }

    fn word(&mut self, word: &str) -> Result<String> {
        let mut parts = word.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            if let Some(value) = self.known.get(name) {
                out.push_str(value);
            } else if self.answers.contains(name) {
                self.uses.insert(name.to_owned());
                out = format!("{out}${name}");
            } else if self.files.contains(name) {
                out = format!("{out}${name}");
            } else {
                bail!("nobody has set ${name}");
            }
            out.push_str(rest);
        }
        Ok(out)
    }
}

impl From<Act> for Step {
    fn from(act: Act) -> Self {
        Self { act, then: Vec::new(), set: None }
    }
}

/// Whether a command starts the chapter, which here runs already.
fn starts(command: &str) -> bool {
    command.starts_with("cd chapters-code/")
        && command.ends_with("npx wrangler dev")
}

/// Puts a header where it can be set; `Connection` is the browser's own affair.
fn header(
    text: &str,
    page: &mut Vec<(String, String)>,
    front: &mut Vec<(String, String)>,
) -> Result<()> {
    let (name, value) = text.split_once(": ").context("no header")?;
    let header = (name.to_owned(), value.to_owned());
    if FORBIDDEN.contains(&name) {
        front.push(header);
    } else if name != "Connection" {
        page.push(header);
    }
    Ok(())
}

/// A program behind a `|`.
fn filter(words: &[String]) -> Result<Value> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["cut", "-d", sign, "-f", field] => {
            json!(["cut", sign, field.parse::<u32>()?])
        }
        ["grep", "-o", pattern] => json!(["only", regex(pattern)]),
        ["grep", pattern] => json!(["grep", regex(pattern)]),
        ["tail", "-1"] => json!(["tail"]),
        ["wc", "-c"] => json!(["bytes"]),
        ["tr", from, to] => json!(["tr", from, to.replace("\\n", "\n")]),
        ["sort"] => json!(["sort"]),
        ["uniq"] => json!(["uniq"]),
        _ => bail!("the filter `{}` is not known", words.join(" ")),
    })
}

/// A basic regular expression, as JavaScript writes it: of braces and brackets the
/// one with a backslash is the sign and the one without the letter.
fn regex(basic: &str) -> String {
    let mut out = String::new();
    let mut signs = basic.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => match signs.next() {
                Some(sign) if "{}()+?|".contains(sign) => out.push(sign),
                Some(sign) => out.extend(['\\', sign]),
                None => out.push('\\'),
            },
            '{' | '}' | '(' | ')' | '+' | '?' | '|' => out.extend(['\\', sign]),
            _ => out.push(sign),
        }
    }
    out
}

/// Puts the number for `$(printf %064d 7)`.
fn padded(text: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once("$(printf %0") else {
        return Ok(text.to_owned());
    };
    let (inside, after) = rest.split_once(')').context("a bracket stays open")?;
    let (width, number) = inside.split_once("d ").context("no such printf")?;
    let width: usize = width.parse()?;
    Ok(format!("{before}{number:0>width$}{after}"))
}

/// Cuts a text at signs outside quotes and brackets; each piece with the sign behind it.
fn cut<'a>(text: &'a str, signs: &[char]) -> Vec<(&'a str, Option<char>)> {
    let mut pieces = Vec::new();
    let (mut begin, mut quote, mut depth) = (0, None, 0);
    let mut all = text.char_indices();
    while let Some((at, sign)) = all.next() {
        match (sign, quote) {
            ('\\', None | Some('"')) => drop(all.next()),
            (_, Some(open)) if open == sign => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(sign),
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            _ if depth == 0 && signs.contains(&sign) => {
                pieces.push((&text[begin..at], Some(sign)));
                begin = at + sign.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push((&text[begin..], None));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Shell {
        Shell::new(Some("ch02"))
    }

    /// The steps of a block, as the page gets them.
    fn steps(code: &str) -> Result<Value> {
        let block = shell().block(code, false)?.context("no block to run")?;
        let block: Value = serde_json::from_str(&block)?;
        let lines = block["run"].as_array().context("no lines")?;
        let steps = lines.iter().filter_map(|line| line["steps"].as_array());
        Ok(steps.flatten().cloned().collect())
    }

    /// What curl is told is what the page asks; what a page cannot say, the front says.
    #[test]
    fn curl_becomes_a_request() -> Result<()> {
        assert_eq!(
            steps(
                "$ curl -si -X PUT 'localhost:8787/a?b=c' \\\n    -d '{\"n\":\"x'\"'\"'y\"}' -w '%{http_code}\\n'"
            )?,
            json!([{
                "do": "http", "path": "/a?b=c", "method": "PUT", "head": true,
                "body": "{\"n\":\"x'y\"}", "write": "%{http_code}\n",
            }])
        );
        assert_eq!(
            steps(
                "$ curl -H 'Connection: Upgrade' -H 'Origin: https://a' -H 'A: b' localhost:8787"
            )?,
            json!([{
                "do": "http", "path": "/", "headers": [["A", "b"]],
                "front": [["Origin", "https://a"]],
            }])
        );
        assert_eq!(
            steps(
                "$ head -c 9 /dev/zero | curl --data-binary @- -o - localhost:8787/a"
            )?,
            json!([{ "do": "http", "path": "/a", "method": "POST", "body": { "zeros": 9 } }])
        );
        // Signs of the shell mean nothing in quotes.
        assert_eq!(
            steps("$ curl localhost:8787 -d 'a; b | c & (d' | grep 'e|f'")?,
            json!([{
                "do": "http", "path": "/", "method": "POST",
                "body": "a; b | c & (d", "then": [["grep", "e\\|f"]],
            }])
        );
        assert_eq!(
            steps("$ seq 100 | xargs -P9 -I% curl -so /dev/null localhost:8787/a")?,
            json!([{ "do": "http", "path": "/a", "quiet": true, "times": [100, 9] }])
        );
        Ok(())
    }

    /// Variables whose values are on the page are filled in; those of answers stay.
    #[test]
    fn variables_are_those_of_a_shell() -> Result<()> {
        let block = "$ id=$(curl -X POST localhost:8787/ids | cut -d '\"' -f 4)\n\
                     $ name=Ada\n$ curl localhost:8787/$id/$name/$(printf %03d 7)";
        assert_eq!(
            steps(block)?,
            json!([
                { "do": "http", "path": "/ids", "method": "POST", "set": "id",
                  "then": [["cut", "\"", 4]] },
                { "do": "http", "path": "/$id/Ada/007" },
            ])
        );
        let mut shell = shell();
        let block = shell.block(block, false)?.unwrap_or_default();
        assert!(block.contains("\"uses\":[\"id\"]"), "{block}");
        assert!(shell.block("$ curl localhost:8787/$nobody", false).is_err());
        Ok(())
    }

    /// Loops are unrolled; what runs beside others is known to.
    #[test]
    fn loops_and_sockets() -> Result<()> {
        assert_eq!(
            steps(
                "$ for n in $(seq 2); do say=\"$say -x {\\\"m\\\":\\\"$n\\\"}\"; done\n\
                 $ npx wscat -H 'CF-Connecting-IP: 192.0.2.7' -c ws://localhost:8787/r -x a $say -w 1 | grep e | uniq"
            )?,
            json!([{
                "do": "talk", "path": "/r", "wait": 1, "then": [["grep", "e"], ["uniq"]],
                "send": ["a", "{\"m\":\"1\"}", "{\"m\":\"2\"}"],
                "front": [["CF-Connecting-IP", "192.0.2.7"]],
            }])
        );
        assert_eq!(
            steps(
                "$ ada=$(mktemp)\n\
                 $ sleep 6 | npx wscat -c ws://localhost:8787/r -x a -w 6 >\"$ada\" & sleep 3\n\
                 $ wait $!; cat \"$ada\""
            )?,
            json!([
                { "do": "talk", "path": "/r", "send": ["a"], "wait": 6, "file": "ada" },
                { "do": "sleep", "s": 3 },
                { "do": "echo", "text": "$ada" },
            ])
        );
        assert_eq!(
            steps(
                "$ (for n in A B; do curl localhost:8787/ -d '\"'$n'\"' & done; wait) | sort"
            )?,
            json!([{
                "do": "all", "then": [["sort"]], "each": [
                    { "path": "/", "method": "POST", "body": "\"A\"" },
                    { "path": "/", "method": "POST", "body": "\"B\"" },
                ],
            }])
        );
        Ok(())
    }

    /// Braces mean to `grep` what they mean with a backslash to JavaScript.
    #[test]
    fn patterns_are_translated() {
        assert_eq!(regex(r"[0-9]\{13\}"), "[0-9]{13}");
        assert_eq!(regex(r#"{[^}]*"3[A-C]"[^}]*}"#), r#"\{[^\}]*"3[A-C]"[^\}]*\}"#);
        assert_eq!(regex(r"a\.b"), r"a\.b");
    }

    /// A comment says why a block has no button; a block without one must have it, and
    /// one that needs none must not.
    #[test]
    fn each_block_runs_or_says_why() -> Result<()> {
        let chapter = Chapter {
            name: "ch02".to_owned(),
            dir: "chapters-code/ch02".into(),
            page: "src/ch02-a.md".into(),
        };
        let page = |before: &str, class: &str, code: &str| {
            let html = format!(
                "{before}\n<pre><code class=\"language-console{class}\">{code}\n</code></pre>"
            );
            live("ch02-a.html", &html, Some(&chapter))
        };
        const WHY: &str = "<!-- nolive: it digs -->\n<!-- norun: so -->";
        let good = "$ curl localhost:8787/a\n1";
        let html = page("", " varies", good)?;
        assert!(
            html.contains("<div class=\"live\" data-live='{\"chapter\":\"ch02\"")
        );
        assert!(html.contains("' data-varies><pre>"), "{html}");
        assert!(
            page(WHY, "", "$ dig")?.contains(">In a terminal only: it digs.</p>")
        );
        assert!(
            page("", "", "$ dig").is_err_and(|e| e.to_string().contains("`$ dig`"))
        );
        assert!(
            page(WHY, "", good).is_err_and(|e| e.to_string().contains("needs no"))
        );
        // Nobody runs these anywhere, or they have run before the page was there.
        for (class, code) in [
            (" norun", "$ dig"),
            ("", "$ cd chapters-code/ch02 &amp;&amp; npx wrangler dev"),
        ] {
            assert!(!page("", class, code)?.contains("live"), "{code}");
        }
        // On other pages a block is run if it asks a chapter behind the book.
        let html = page("", "", "$ curl localhost:8787/live/ch03/a")?;
        assert!(html.contains("\"path\":\"/live/ch03/a\""), "{html}");
        let mut cover = Shell::new(None);
        let block = cover.block("$ curl localhost:8700/live/ch03/a", true)?;
        let block = block.unwrap_or_default();
        assert!(block.starts_with("{\"chapter\":\"ch03\""), "{block}");
        assert!(block.contains("\"path\":\"/a\""), "{block}");
        Ok(())
    }
}
