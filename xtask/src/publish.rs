//! Deploying the book with its chapters.

use anyhow::Result;
use ledger::root;

use crate::build::worker;
use crate::live::{Where, configs};
use crate::run::{npx, run};
use crate::setup;

/// `cargo xtask publish`
///
/// The chapters come first: the front door is bound to them. Deployed or not, the
/// last line that wrangler prints for each is shown.
pub fn publish(dry_run: bool) -> Result<()> {
    let chapters = ledger::chapters()?;
    setup::setup(setup::For::Book)?;
    setup::print_book()?;
    let front = root().join("wrangler");
    for dir in chapters.iter().map(|chapter| &chapter.dir).chain([&front]) {
        worker(dir, "--release")?;
    }
    let folder = root().join("target/publish");
    let mut configs = configs(&folder, &chapters, Where::Published, &[])?;
    configs.rotate_left(1);
    for config in configs {
        let mut wrangler = npx(&root());
        wrangler.args(["wrangler", "deploy", "--config"]).arg(&config);
        if dry_run {
            let packed = config.with_file_name("packed");
            wrangler.args(["--dry-run", "--outdir"]).arg(packed);
        }
        println!("{}", run(&mut wrangler)?.trim());
    }
    Ok(())
}
