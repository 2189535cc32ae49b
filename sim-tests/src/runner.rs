//! Runs seeds of a scenario on several threads, and says how fast.

use crate::Scenario;
use anvil_core::planted::Planted;
use anvil_sim::driver::{self, Report};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

/// A seed and how it ended.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub report: Report,
}

impl Finding {
    /// What broke, where, and how to see it again.
    pub fn story(&self) -> String {
        let what = self.report.complaint.as_ref().map_or("nothing".to_string(), ToString::to_string);
        format!(
            "scenario {} seed {} after {:.3} simulated seconds: {what}\nreplay it with: {}",
            self.scenario.name(),
            self.seed,
            seconds(self.report.simulated_micros),
            replay_command(self.scenario, self.seed)
        )
    }
}

/// The command that shows a seed to a person.
pub fn replay_command(scenario: Scenario, seed: u64) -> String {
    format!("cargo run -p anvil-sim-tests -- replay --scenario {} --seed {seed}", scenario.name())
}

/// Figures over many seeds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Events delivered.
    pub events: u64,
    /// Operations of clients whose outcome is known.
    pub operations: u64,
    /// Simulated time.
    pub simulated_micros: u64,
    /// Searches that a checker gave up.
    pub undecided: u64,
    /// What struck.
    pub struck: std::collections::BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.events;
        self.operations += report.operations as u64;
        self.simulated_micros += report.simulated_micros;
        self.undecided += report.undecided as u64;
        for (what, times) in &report.struck {
            *self.struck.entry(what).or_default() += times;
        }
    }
}

/// Runs a seed.
pub fn run_seed(scenario: Scenario, seed: u64, planted: Planted) -> Report {
    driver::run(scenario.plan(seed, planted))
}

/// Runs seeds on `jobs` threads. Ends at the first broken promise when `stop_at_first`; `progress` hears of each seed.
pub fn run_seeds(
    scenario: Scenario,
    seeds: Range<u64>,
    jobs: usize,
    planted: Planted,
    stop_at_first: bool,
    progress: &mut dyn FnMut(&Totals),
) -> (Totals, Vec<Finding>) {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let broken: Mutex<Vec<Finding>> = Mutex::new(Vec::new());
    let mut totals = Totals::default();
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let report = run_seed(scenario, seed, planted);
                    if report.complaint.is_some() {
                        stop.store(stop_at_first, Ordering::Relaxed);
                        let finding = Finding { scenario, seed, report: report.clone() };
                        broken.lock().expect("no runner panics while holding it").push(finding);
                    }
                    if sender.send(report).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            totals.add(&report);
            progress(&totals);
        }
    });
    let mut broken = broken.into_inner().expect("no runner panics while holding it");
    broken.sort_by_key(|finding| finding.seed);
    (totals, broken)
}

/// Microseconds as seconds, for people.
pub fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
