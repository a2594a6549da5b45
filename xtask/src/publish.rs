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

#[cfg(test)]
mod tests {
    const WORKFLOW: &str = include_str!("../../.github/workflows/publish.yml");

    /// What each name of a workflow's condition stands for.
    type Run = [(&'static str, &'static str); 5];

    /// Whether a condition holds: comparisons with `&&` between them, and no more.
    fn holds(condition: &str, run: &Run) -> bool {
        let value = |term: &str| match term.strip_prefix('\'') {
            Some(text) => text.trim_end_matches('\'').to_owned(),
            None => {
                let found = run.iter().find(|(name, _)| *name == term);
                found
                    .map_or_else(|| panic!("what is {term}?"), |it| it.1.to_owned())
            }
        };
        condition.split(" && ").all(|part| {
            let (left, right) = part.split_once(" == ").expect("a comparison");
            value(left) == value(right)
        })
    }

    /// Only a push to this repository's own main is published, once its tests have
    /// passed. The workflow has no job that does not wait for that.
    #[test]
    fn only_our_own_main_is_published() {
        let conditions: Vec<&str> = WORKFLOW
            .lines()
            .filter_map(|line| line.strip_prefix("    if: "))
            .collect();
        let [workers, pages] = conditions[..] else { panic!("{conditions:?}") };
        assert_eq!(pages, "needs.workers.outputs.deployed == 'false'");
        let jobs =
            WORKFLOW.split_once("\njobs:\n").unwrap().1.lines().filter(|line| {
                line.starts_with("  ")
                    && !line.starts_with("   ")
                    && line.ends_with(':')
            });
        assert_eq!(jobs.collect::<Vec<_>>(), ["  workers:", "  pages:"]);
        assert!(WORKFLOW.contains("    needs: workers\n"));
        assert!(!WORKFLOW.contains("pull_request_target"));

        let own: Run = [
            ("github.event.workflow_run.conclusion", "success"),
            ("github.event.workflow_run.event", "push"),
            ("github.event.workflow_run.head_branch", "main"),
            ("github.event.workflow_run.head_repository.full_name", "us/book"),
            ("github.repository", "us/book"),
        ];
        assert!(holds(workers, &own));
        for (at, other) in
            [(0, "failure"), (1, "pull_request"), (2, "next"), (3, "them/book")]
        {
            let mut run = own;
            run[at].1 = other;
            assert!(!holds(workers, &run), "{run:?}");
        }
    }
}
