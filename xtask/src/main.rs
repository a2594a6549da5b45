//! The task runner of the book. `cargo xtask help` lists the tasks.

mod build;
mod check;
mod console;
mod fences;
mod jobs;
mod judge;
mod live;
mod publish;
mod run;
mod serve;
mod setup;
mod tally;
mod test;
mod vitest;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The task runner of the book.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Serve the book at http://localhost:8700/ with the chapters running behind
    /// it.
    Serve {
        /// Only these chapters run (all, if there are none).
        chapters: Vec<String>,
        /// The port to listen on.
        #[arg(long, default_value_t = serve::PORT)]
        port: u16,
        /// The folder for the storage of the objects, and for what the server writes.
        #[arg(long, default_value = ".wrangler/state")]
        persist_to: PathBuf,
        /// Have wrangler record a trace of every request, which makes each slower.
        #[arg(long)]
        trace: bool,
    },
    /// Run everything that CI runs.
    Test {
        /// Only what concerns these chapters (all, if there are none).
        chapters: Vec<String>,
        /// Inject every fault as often as the figures on the pages say, and not just
        /// a few times.
        #[arg(long)]
        long: bool,
    },
    /// Run the truth gates alone: fast, and without the runtime.
    Check,
    /// Run the console blocks of the pages and write down what came back.
    Record {
        /// Only the pages of these chapters (all, if there are none).
        chapters: Vec<String>,
    },
    /// Build the Workers as for a deployment and print their sizes.
    Build {
        /// Only these chapters (all, if there are none).
        chapters: Vec<String>,
    },
    /// Deploy the book with its chapters to Cloudflare.
    Publish {
        /// Only pack everything, and deploy nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Judge what you made of a page's "What to try next".
    Exercise {
        /// The chapter.
        chapter: String,
        /// Build it only if it has changed since it was built.
        #[arg(long)]
        if_changed: bool,
    },
    /// Compare what each setting of the build brings, in bytes and seconds.
    Measure {
        /// The chapter to build again and again.
        chapter: String,
    },
    /// Set up what the other tasks need, and nothing else.
    Setup,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Serve { chapters, port, persist_to, trace } => {
            serve::serve(&chapters, port, &persist_to, trace)
        }
        Task::Test { chapters, long } => test::test(&chapters, long),
        Task::Check => check::check(),
        Task::Record { chapters } => console::record(&chapters),
        Task::Build { chapters } => build::build(&chapters),
        Task::Exercise { chapter, if_changed } => {
            vitest::exercise(&chapter, if_changed)
        }
        Task::Publish { dry_run } => publish::publish(dry_run),
        Task::Measure { chapter } => build::measure(&chapter),
        Task::Setup => setup::setup(setup::For::Book),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
