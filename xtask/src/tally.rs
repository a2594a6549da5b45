//! Counting what passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Passed,
    /// And why.
    Failed(String),
    /// And what this machine lacks.
    Skipped(String),
}

/// One check that is over.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// As `data/*.toml` names it, if it is a test.
    pub name: String,
    pub end: End,
    /// How long it took, if that was measured.
    pub time: Duration,
    /// What it printed that is worth reading though it passed.
    pub said: String,
}

impl Outcome {
    /// A check of which nothing is known but how it ended.
    pub fn new(name: &str, end: End) -> Self {
        Self { name: name.into(), end, time: Duration::ZERO, said: String::new() }
    }
}

impl From<Result<()>> for End {
    fn from(result: Result<()>) -> Self {
        result.map_or_else(
            |error| Self::Failed(format!("{error:#}")),
            |()| Self::Passed,
        )
    }
}

/// What has passed, failed and been skipped so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub outcomes: Vec<Outcome>,
    times: Vec<(String, Duration)>,
}

/// How many of the slowest tests are told at the end.
const SLOWEST: usize = 10;

impl Tally {
    /// Runs one part, prints its name before it and notes its time. An error counts
    /// as one failure.
    pub fn part(&mut self, name: &str, part: impl FnOnce(&mut Self) -> Result<()>) {
        println!("\n=== {name}");
        let begin = Instant::now();
        let outcome = part(self);
        self.time(name, begin.elapsed());
        self.note(name, outcome);
    }

    /// Notes how long a part has taken.
    pub fn time(&mut self, part: &str, time: Duration) {
        self.times.push((part.to_owned(), time));
    }

    /// Counts one check; nothing is printed if it passed.
    pub fn note(&mut self, name: &str, outcome: Result<()>) {
        self.add(Outcome::new(name, outcome.into()));
    }

    /// Counts what this machine cannot check, and says why.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.add(Outcome::new(name, End::Skipped(reason.to_owned())));
    }

    /// Counts a check, and prints what its reader should know of it.
    pub fn add(&mut self, outcome: Outcome) {
        match &outcome.end {
            End::Passed => {}
            End::Failed(why) => println!("FAILED {}: {why}", outcome.name),
            End::Skipped(why) => println!("SKIPPED {}: {why}", outcome.name),
        }
        if !outcome.said.is_empty() {
            println!("{}:\n{}", outcome.name, outcome.said);
        }
        self.outcomes.push(outcome);
    }

    /// How the test of this name ended, if it ran.
    pub fn of(&self, name: &str) -> Option<&End> {
        let found = self.outcomes.iter().find(|outcome| outcome.name == name);
        found.map(|outcome| &outcome.end)
    }

    /// The times of all parts, the slowest tests, and the last line.
    pub fn finish(self) -> Result<()> {
        let seconds = |time: &Duration| time.as_secs_f64();
        if !self.times.is_empty() {
            println!("\n=== times");
            for (name, time) in &self.times {
                println!("{:7.1} s  {name}", seconds(time));
            }
            let total: Duration = self.times.iter().map(|(_, time)| *time).sum();
            println!("{:7.1} s  in all", seconds(&total));
            let mut slowest: Vec<_> = self.outcomes.iter().collect();
            slowest.sort_by_key(|outcome| std::cmp::Reverse(outcome.time));
            println!("\n=== the {SLOWEST} slowest");
            for outcome in slowest.iter().take(SLOWEST) {
                println!("{:7.1} s  {}", seconds(&outcome.time), outcome.name);
            }
        }
        let count = |is: fn(&End) -> bool| {
            self.outcomes.iter().filter(|outcome| is(&outcome.end)).count()
        };
        let passed = count(|end| *end == End::Passed);
        let failed = count(|end| matches!(end, End::Failed(_)));
        let skipped = count(|end| matches!(end, End::Skipped(_)));
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            // The last line must stay the last.
            std::process::exit(1);
        }
        if passed == 0 {
            bail!("nothing was tested");
        }
        Ok(())
    }
}
