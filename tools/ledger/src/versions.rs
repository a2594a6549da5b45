//! Versions, from the lock files. No page types one.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{read, root};

/// What the book was last verified with.
#[derive(Debug)]
pub struct Versions(BTreeMap<String, String>);

impl Versions {
    /// Reads `Cargo.lock`, `package-lock.json`, `rust-toolchain.toml` and the first
    /// chapter's `wrangler.toml`.
    pub fn read() -> Result<Self> {
        let root = root();
        let mut versions = BTreeMap::new();

        #[derive(Deserialize)]
        struct CargoLock {
            package: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
            version: String,
        }
        let lock: CargoLock = toml::from_str(&read(&root.join("Cargo.lock"))?)
            .context("Cargo.lock")?;
        for Package { name, version } in lock.package {
            versions.entry(name).or_insert(version);
        }

        #[derive(Deserialize)]
        struct PackageLock {
            packages: BTreeMap<String, NpmPackage>,
        }
        #[derive(Deserialize)]
        struct NpmPackage {
            version: Option<String>,
        }
        let lock: PackageLock =
            serde_json::from_str(&read(&root.join("package-lock.json"))?)
                .context("package-lock.json")?;
        for (path, package) in lock.packages {
            if let (Some(name), Some(version)) =
                (path.strip_prefix("node_modules/"), package.version)
            {
                versions.insert(name.to_owned(), version);
            }
        }

        let toolchain: toml::Value =
            toml::from_str(&read(&root.join("rust-toolchain.toml"))?)
                .context("rust-toolchain.toml")?;
        let channel = toolchain
            .get("toolchain")
            .and_then(|t| t.get("channel"))
            .and_then(|c| c.as_str());
        versions.insert(
            "rust".into(),
            channel.context("rust-toolchain.toml has no channel")?.into(),
        );

        let wrangler: toml::Value =
            toml::from_str(&read(&root.join("chapters-code/ch01/wrangler.toml"))?)
                .context("wrangler.toml")?;
        let date =
            wrangler.get("compatibility_date").and_then(|date| date.as_str());
        versions.insert(
            "compatibility-date".into(),
            date.context("ch01 has no compatibility_date")?.into(),
        );

        // worker-build carries the number of the `worker` it belongs to.
        let worker =
            versions.get("worker").context("Cargo.lock has no worker")?.clone();
        versions.insert("worker-build".into(), worker);
        Ok(Self(versions))
    }

    /// The version of a crate, an npm package, `rust` or `compatibility-date`.
    pub fn of(&self, name: &str) -> Result<&str> {
        let version = self.0.get(name).map(String::as_str);
        version.with_context(|| format!("no lock file knows a version of {name:?}"))
    }

    /// The line at the foot of every page.
    pub fn verified_with(&self) -> Result<String> {
        let parts = ["worker", "worker-build", "wrangler", "workerd"]
            .iter()
            .map(|name| Ok(format!("{name} {}", self.of(name)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(format!(
            "Last verified with Rust {}, {}, compatibility date {}.",
            self.of("rust")?,
            parts.join(", "),
            self.of("compatibility-date")?
        ))
    }
}
