//! The Workers as they run behind the book, on your machine and published: each
//! chapter in a wrapper that keeps its visitors apart, and a front door.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ledger::{Chapter, file_name, read, root};
use toml::{Table, Value};

/// After how many milliseconds an object that nobody asks for is emptied, if not after
/// those that the wrapper knows.
const IDLE: &str = "LIVE_IDLE_MS";
/// What everybody together may cost in a day, if not what the front door knows.
const BUDGET: &str = "LIVE_DAY_BUDGET";

/// Where the Workers are to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In one `wrangler dev`. What lies in a `.dev.vars` is set, as always there.
    Here,
    /// On Cloudflare's network, where only the front door can be reached.
    Published,
}

/// Writes the configurations of the front door and of the chapters into folders of
/// `folder`, the front door's first. The Workers are built already, and all paths are
/// absolute. `vars` are set for the front door, beside its own.
///
/// # Errors
/// If a configuration cannot be read or written.
pub fn configs(
    folder: &Path,
    chapters: &[Chapter],
    place: Where,
    vars: &[(&str, &str)],
) -> Result<Vec<PathBuf>> {
    let front = root().join("wrangler");
    let mut config = start(&front)?;
    insert(&mut config, "main", path(&ledger::built(&front).join("index.js")));
    let runs = |service: &Value| {
        let name = service.get("service").and_then(Value::as_str);
        chapters.iter().any(|chapter| name == Some(&chapter.name))
    };
    if let Some(services) = config.get_mut("services").and_then(Value::as_array_mut)
    {
        services.retain(runs);
    }
    for (name, value) in vars {
        table(&mut config, "vars")?.insert((*name).into(), (*value).into());
    }
    if place == Where::Here {
        set_from_env(&mut config, BUDGET)?;
    }
    let own = own_folder(folder, &front)?;
    let mut files = vec![write(&own, &config)?];
    if place == Where::Here {
        copy_vars(&front, &own)?;
    }
    for chapter in chapters {
        let mut config = start(&chapter.dir)?;
        let own = own_folder(folder, &chapter.dir)?;
        wrap(chapter, &own, &mut config)?;
        match place {
            Where::Here => {
                copy_vars(&chapter.dir, &own)?;
                set_from_env(&mut config, IDLE)?;
            }
            Where::Published => publish(&chapter.dir, &mut config)?,
        }
        files.push(write(&own, &config)?);
    }
    Ok(files)
}

/// Sets a variable that is in our environment, so that a test need neither wait for an
/// hour nor cost as much as a day may.
fn set_from_env(config: &mut Table, name: &str) -> Result<()> {
    if let Ok(value) = std::env::var(name) {
        table(config, "vars")?.insert(name.into(), value.into());
    }
    Ok(())
}

/// The folder of one Worker.
fn own_folder(folder: &Path, dir: &Path) -> Result<PathBuf> {
    let own = folder.join(file_name(dir));
    fs::create_dir_all(&own)?;
    Ok(own)
}

/// A Worker's own configuration, without a build and with absolute paths.
fn start(dir: &Path) -> Result<Table> {
    let mut config: Table = toml::from_str(&read(&dir.join("wrangler.toml"))?)?;
    config.remove("build");
    if let Some(assets) = config.get_mut("assets").and_then(Value::as_table_mut) {
        let directory = assets.get("directory").and_then(Value::as_str);
        let directory = dir.join(directory.context("assets without a directory")?);
        assets.insert("directory".into(), path(&directory));
    }
    Ok(config)
}

/// Puts the wrapper around a chapter, and gives one that has objects a class that knows
/// which of them are whose. See `wrangler/play/play.js`.
fn wrap(chapter: &Chapter, folder: &Path, config: &mut Table) -> Result<()> {
    // What the clock starts is done for no visitor.
    config.remove("triggers");
    let built = ledger::built(&chapter.dir).join("index.js");
    let play = root().join("wrangler/play/play.js");
    let mut script = format!(
        "import Chapter, * as classes from {built:?};\n\
         import {{ door, house, Keeper }} from {play:?};\n\
         export default door(Chapter);\n",
    );
    let file = folder.join("live.js");
    insert(config, "main", path(&file));
    let Some(objects) = config.get("durable_objects") else {
        return Ok(fs::write(&file, script)?);
    };
    let objects = objects.get("bindings").and_then(Value::as_array);
    let objects = objects.context("durable_objects without bindings")?;
    writeln!(script, "export {{ Keeper }};")?;
    for object in objects {
        let class = object.get("class_name").and_then(Value::as_str);
        let class = class.context("a binding without a class")?;
        writeln!(script, "export const {class} = house(classes.{class});")?;
    }
    fs::write(&file, script)?;

    let keeper = Table::from_iter([
        ("name".to_owned(), Value::from("KEEPER")),
        ("class_name".to_owned(), "Keeper".into()),
    ]);
    let bindings = table(config, "durable_objects")?.get_mut("bindings");
    let bindings = bindings.and_then(Value::as_array_mut);
    bindings.context("no bindings")?.push(keeper.into());
    let migration = Table::from_iter([
        ("tag".to_owned(), Value::from("live-v1")),
        ("new_sqlite_classes".to_owned(), Value::from(vec!["Keeper"])),
    ]);
    let migrations = config.get_mut("migrations").and_then(Value::as_array_mut);
    // Before the chapter's own: what is added to those later has to come after all.
    migrations.context("no migrations")?.insert(0, migration.into());
    Ok(())
}

/// Only the front door can be reached from outside. What a chapter's `.dev.vars` sets
/// is on its page, and the page should say the truth of the published chapter too; but
/// only what was committed is public.
fn publish(dir: &Path, config: &mut Table) -> Result<()> {
    for name in ["workers_dev", "preview_urls"] {
        insert(config, name, false.into());
    }
    for (name, value) in ledger::dev_vars(&committed(dir, ".dev.vars")?) {
        table(config, "vars")?.insert(name.into(), value.into());
    }
    Ok(())
}

/// A file as git has it, or nothing if git has none there.
fn committed(dir: &Path, file: &str) -> Result<String> {
    let show = ["show", &format!("HEAD:./{file}")];
    let output = Command::new("git").current_dir(dir).args(show).output();
    let output = output.context("cannot start git")?;
    Ok(String::from_utf8(if output.status.success() {
        output.stdout
    } else {
        Vec::new()
    })?)
}

/// Secrets for your own machine lie beside the configuration.
fn copy_vars(dir: &Path, folder: &Path) -> Result<()> {
    let vars = dir.join(".dev.vars");
    let copy = folder.join(".dev.vars");
    if vars.exists() {
        fs::copy(vars, copy)?;
    } else if copy.exists() {
        fs::remove_file(copy)?;
    }
    Ok(())
}

fn write(folder: &Path, config: &Table) -> Result<PathBuf> {
    let file = folder.join("wrangler.toml");
    fs::write(&file, toml::to_string(config)?)?;
    Ok(file)
}

fn path(path: &Path) -> Value {
    path.display().to_string().into()
}

fn insert(config: &mut Table, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

/// A table of the configuration, which is made if there is none.
fn table<'a>(config: &'a mut Table, key: &str) -> Result<&'a mut Table> {
    let entry = config.entry(key).or_insert_with(|| Table::new().into());
    entry.as_table_mut().with_context(|| format!("{key} is no table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What git does not have is not published, whether it is ignored, new or changed.
    #[test]
    fn secrets_stay_here() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(dir).args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
            ]);
            assert!(git.args(arguments).status().unwrap().success());
        };
        let published = || {
            let mut config = Table::new();
            publish(dir, &mut config).unwrap();
            config.remove("vars").map(|vars| vars.to_string())
        };
        git(&["init", "--quiet"]);
        git(&["commit", "--quiet", "--allow-empty", "-m", "begin"]);
        let vars = dir.join(".dev.vars");
        fs::write(&vars, "API_KEY=secret\n").unwrap();
        fs::write(dir.join(".gitignore"), ".dev.vars\n").unwrap();
        assert_eq!(published(), None);
        fs::write(&vars, "# open to all\nPLACE=here\n").unwrap();
        git(&["add", "--force", ".dev.vars"]);
        assert_eq!(published(), None);
        git(&["commit", "--quiet", "-m", "open"]);
        fs::write(&vars, "PLACE=here\nAPI_KEY=secret\n").unwrap();
        assert_eq!(published().as_deref(), Some("{ PLACE = \"here\" }"));
    }
}
