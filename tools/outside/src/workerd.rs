//! A bare workerd that serves a Worker as it is built, with no wrangler around it.
//!
//! The configuration is what <https://github.com/cloudflare/workerd> calls a
//! `Workerd.Config`, made from the Worker's `wrangler.toml`: its variables, its
//! objects and its key-value namespaces. The files of a page are not served.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use ledger::{built, dev_vars, file_name, read, root};
use toml::{Table, Value};

use crate::build::worker_if_changed;

/// What a Worker may have that needs more than a bare workerd.
const MORE: [&str; 3] = ["queues", "services", "triggers"];

/// Whether a bare workerd can run the Worker in `dir`.
pub fn can_run(dir: &Path) -> Result<bool> {
    let config = config(dir)?;
    Ok(config.contains_key("main")
        && MORE.iter().all(|key| !config.contains_key(*key)))
}

/// `workerd serve` for the Worker in `dir`, built if need be. Its configuration goes
/// into `folder`, the state of its objects into `state`.
pub fn command(
    dir: &Path,
    folder: &Path,
    state: &Path,
    vars: &[(String, String)],
    port: u16,
    debugger: u16,
) -> Result<Command> {
    let file = folder.join("config.capnp");
    if !folder.join("index.js").exists() {
        // A copy: a build while the server is down must not change what it serves.
        worker_if_changed(dir)?;
        for name in ["index.js", "index_bg.wasm"] {
            fs::copy(built(dir).join(name), folder.join(name))
                .with_context(|| format!("{} is not built", dir.display()))?;
        }
    }
    fs::create_dir_all(state.join("kv"))?;
    fs::write(&file, capnp(dir, state, vars)?)?;
    let mut command = Command::new(root().join("node_modules/.bin/workerd"));
    command
        .arg("serve")
        .arg(file)
        .arg(format!("--socket-addr=http=localhost:{port}"))
        .arg(format!("--inspector-addr=localhost:{debugger}"));
    Ok(command)
}

/// The configuration, in Cap'n Proto's text format.
fn capnp(dir: &Path, state: &Path, more: &[(String, String)]) -> Result<String> {
    let config = config(dir)?;
    let word =
        |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = word("name");
    let flags = strings(config.get("compatibility_flags"));
    let mut vars: Vec<(String, String)> = Vec::new();
    if let Some(table) = config.get("vars").and_then(Value::as_table) {
        let texts =
            table.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        vars.extend(texts.map(|(name, value)| (name.clone(), value.to_owned())));
    }
    let secrets = dir.join(".dev.vars");
    if secrets.exists() {
        let text = read(&secrets)?;
        let pairs = dev_vars(&text);
        vars.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    vars.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    vars.extend(more.iter().cloned());

    let mut bindings = String::new();
    for (name, value) in &vars {
        writeln!(
            bindings,
            "    (name = {}, text = {}),",
            text(name)?,
            text(value)?
        )?;
    }
    let mut classes = String::new();
    let objects = config.get("durable_objects").and_then(|all| all.get("bindings"));
    for object in tables(objects) {
        let of =
            |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let class = of("class_name");
        writeln!(
            bindings,
            "    (name = {}, durableObjectNamespace = {}),",
            text(of("name"))?,
            text(class)?
        )?;
        // The key is the one of `wrangler dev`: its state can be taken over.
        writeln!(
            classes,
            "    (className = {}, uniqueKey = {}, enableSql = true),",
            text(class)?,
            text(&format!("{name}-{class}"))?
        )?;
    }
    for namespace in tables(config.get("kv_namespaces")) {
        let binding = namespace.get("binding").and_then(Value::as_str);
        let binding = text(binding.unwrap_or_default())?;
        writeln!(bindings, "    (name = {binding}, kvNamespace = \"kv\"),")?;
    }
    Ok(format!(
        "using Workerd = import \"/workerd/workerd.capnp\";
const config :Workerd.Config = (
  services = [
    (name = \"worker\", worker = .worker),
    (name = \"disk\", disk = (path = {disk}, writable = true)),
    (name = \"kv\", disk = (path = {kv}, writable = true)),
    (name = \"internet\", network = (allow = [\"public\", \"private\"])),
  ],
  sockets = [(name = \"http\", http = (), service = \"worker\")],
);
const worker :Workerd.Worker = (
  modules = [
    (name = \"index.js\", esModule = embed \"index.js\"),
    (name = \"index_bg.wasm\", wasm = embed \"index_bg.wasm\"),
  ],
  compatibilityDate = {date},
  compatibilityFlags = [{flags}],
  bindings = [
{bindings}  ],
  durableObjectNamespaces = [
{classes}  ],
  durableObjectStorage = (localDisk = \"disk\"),
);
",
        disk = text(&state.display().to_string())?,
        kv = text(&state.join("kv").display().to_string())?,
        date = text(word("compatibility_date"))?,
        flags = flags
            .iter()
            .map(|flag| text(flag))
            .collect::<Result<Vec<_>>>()?
            .join(", "),
    ))
}

fn config(dir: &Path) -> Result<Table> {
    let file = dir.join("wrangler.toml");
    let config = toml::from_str(&read(&file)?);
    config.with_context(|| format!("{}/wrangler.toml", file_name(dir)))
}

/// A text literal: JSON's are Cap'n Proto's too.
fn text(of: &str) -> Result<String> {
    Ok(serde_json::to_string(of)?)
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

fn tables(value: Option<&Value>) -> Vec<&Table> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_table).collect()
}
