//! Tests that run beside each other, as many as the machine has room for.
//!
//! Most tests of servers wait: for an object to fall asleep, an alarm, a server to
//! start. One after the other they leave the machine idle. Here each job says how it
//! runs, in the `runs:` line above the test:
//!
//! - `waits`: it does little but wait;
//! - `alone`: it measures, so nothing runs beside it;
//! - any other word, such as `port 8787`: something of which there is one, so jobs with
//!   the same word run one after the other.
//!
//! cargo-nextest can do this for tests of Rust. The console blocks and Vitest would
//! still stand outside of it and load the machine beside what measures; and a reader
//! would have to compile it first.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use crate::tally::{End, Outcome, Tally};

/// How much room there is for each core, and what a job takes of it.
const ROOM: usize = 3;
const WAITS: usize = 1;
const WORKS: usize = 2;

/// Something that runs beside others, and brings outcomes.
pub struct Job {
    /// What is printed when it is over; the part that its time belongs to.
    pub name: String,
    pub part: &'static str,
    /// The words of its `runs:` line.
    pub runs: Vec<String>,
    pub work: Work,
}

/// What a job does. A panic is a failure of the job.
pub type Work = Box<dyn FnOnce() -> Vec<Outcome> + Send>;

impl Job {
    fn says(&self, word: &str) -> bool {
        self.runs.iter().any(|of| of == word)
    }

    fn takes(&self, room: usize) -> usize {
        match (self.says("alone"), self.says("waits")) {
            (true, _) => room,
            (_, true) => WAITS,
            _ => WORKS.min(room),
        }
    }

    /// What it needs for itself.
    fn needs(&self) -> BTreeSet<String> {
        let words = self
            .runs
            .iter()
            .filter(|word| !["alone", "waits"].contains(&word.as_str()));
        words.cloned().collect()
    }

    /// Long chains begin first, then what waits; what runs alone comes last, when
    /// nothing has to be waited for any more.
    fn rank(&self) -> usize {
        match (self.says("alone"), self.needs().is_empty(), self.says("waits")) {
            (true, ..) => 3,
            (_, false, _) => 0,
            (_, _, true) => 1,
            _ => 2,
        }
    }
}

/// Runs all jobs, and counts and prints what becomes of each. Returns how long the jobs
/// of each part took, one after the other.
pub fn run(mut jobs: Vec<Job>, tally: &mut Tally) -> Vec<(&'static str, Duration)> {
    let cores = available_parallelism().map_or(2, usize::from);
    let room = ROOM * cores;
    jobs.sort_by_key(Job::rank);
    let (send, done) = channel();
    let mut free = room;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut running = 0;
    let mut parts: Vec<(&'static str, Duration)> = Vec::new();
    while !jobs.is_empty() || running > 0 {
        let next = jobs.iter().position(|job| {
            job.takes(room) <= free && job.needs().is_disjoint(&taken)
        });
        if let Some(at) = next {
            let job = jobs.remove(at);
            let (takes, needs) = (job.takes(room), job.needs());
            free -= takes;
            taken.extend(needs.iter().cloned());
            running += 1;
            let send = send.clone();
            thread::spawn(move || {
                let begin = Instant::now();
                let Job { name, part, work, .. } = job;
                let outcomes = thread::spawn(work).join().unwrap_or_else(|_| {
                    vec![Outcome::new(&name, End::Failed("it panicked".into()))]
                });
                // The receiver outlives all jobs.
                let _ = send.send((
                    name,
                    part,
                    takes,
                    needs,
                    outcomes,
                    begin.elapsed(),
                ));
            });
            continue;
        }
        let Ok((name, part, takes, needs, outcomes, time)) = done.recv() else {
            break;
        };
        free += takes;
        taken.retain(|word| !needs.contains(word));
        running -= 1;
        match parts.iter_mut().find(|(of, _)| *of == part) {
            Some((_, sum)) => *sum += time,
            None => parts.push((part, time)),
        }
        println!("{:7.1} s  {name}", time.as_secs_f64());
        for outcome in outcomes {
            tally.add(outcome);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Which jobs ran at the same time, by their names.
    fn pairs(jobs: &[(&str, &[&str])]) -> BTreeSet<(String, String)> {
        let now: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let met: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
        let jobs = jobs.iter().map(|(name, runs)| {
            let (now, met, name) = (now.clone(), met.clone(), (*name).to_owned());
            let mine = name.clone();
            Job {
                name,
                part: "part",
                runs: runs.iter().map(|word| (*word).to_owned()).collect(),
                work: Box::new(move || {
                    now.lock().unwrap().insert(mine.clone());
                    thread::sleep(Duration::from_millis(150));
                    let mut now = now.lock().unwrap();
                    let others = now.iter().filter(|other| **other != mine);
                    let pairs = others.map(|other| (mine.clone(), other.clone()));
                    met.lock().unwrap().extend(pairs);
                    now.remove(&mine);
                    vec![Outcome::new(&mine, End::Passed)]
                }),
            }
        });
        let count = jobs.len();
        let mut tally = Tally::default();
        run(jobs.collect(), &mut tally);
        assert_eq!(tally.outcomes.len(), count);
        drop(now);
        Arc::try_unwrap(met).unwrap().into_inner().unwrap()
    }

    /// Jobs that wait do so beside each other; what measures is alone; of what there
    /// is one, one job has it.
    #[test]
    fn side_by_side() {
        let met = pairs(&[
            ("a", &["waits"]),
            ("b", &["waits"]),
            ("first", &["serve", "waits"]),
            ("second", &["serve", "waits"]),
            ("alone", &["alone"]),
        ]);
        let together = |a: &str, b: &str| {
            met.contains(&(a.into(), b.into()))
                || met.contains(&(b.into(), a.into()))
        };
        assert!(together("a", "b") && together("a", "first"), "{met:?}");
        assert!(!together("first", "second"), "{met:?}");
        for other in ["a", "b", "first", "second"] {
            assert!(!together("alone", other), "{met:?}");
        }
    }

    /// A job that panics is a failure, and the others go on.
    #[test]
    fn a_panic_is_a_failure() {
        static RUN: AtomicUsize = AtomicUsize::new(0);
        let job = |name: &str, work: Work| Job {
            name: name.into(),
            part: "part",
            runs: vec!["same".into()],
            work,
        };
        let mut tally = Tally::default();
        let jobs = vec![
            job("bad", Box::new(|| panic!("on purpose"))),
            job(
                "good",
                Box::new(|| {
                    RUN.fetch_add(1, SeqCst);
                    Vec::new()
                }),
            ),
        ];
        run(jobs, &mut tally);
        assert_eq!(RUN.load(SeqCst), 1);
        assert_eq!(tally.of("bad"), Some(&End::Failed("it panicked".into())));
    }
}
