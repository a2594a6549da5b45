//! Counting what passed.

use std::time::Instant;

use anyhow::{Result, bail};

/// What has passed, failed and been skipped so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    times: Vec<(String, f64)>,
}

impl Tally {
    /// Runs one part, prints its name before it and notes its time. An error counts
    /// as one failure.
    pub fn part(&mut self, name: &str, part: impl FnOnce(&mut Self) -> Result<()>) {
        println!("\n=== {name}");
        let begin = Instant::now();
        let outcome = part(self);
        self.times.push((name.to_owned(), begin.elapsed().as_secs_f64()));
        self.note(name, outcome);
    }

    /// Counts one check; nothing is printed if it passed.
    pub fn note(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                self.failed += 1;
                println!("FAILED {name}: {error:#}");
            }
        }
    }

    /// Counts what this machine cannot check, and says why.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.skipped += 1;
        println!("SKIPPED {name}: {reason}");
    }

    /// The times of all parts, and the last line.
    pub fn finish(self) -> Result<()> {
        if !self.times.is_empty() {
            println!("\n=== times");
            for (name, seconds) in &self.times {
                println!("{seconds:7.1} s  {name}");
            }
            let total: f64 = self.times.iter().map(|(_, seconds)| seconds).sum();
            println!("{total:7.1} s  in all");
        }
        println!(
            "\n{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        if self.failed > 0 {
            // The last line must stay the last.
            std::process::exit(1);
        }
        if self.passed == 0 {
            bail!("nothing was tested");
        }
        Ok(())
    }
}
