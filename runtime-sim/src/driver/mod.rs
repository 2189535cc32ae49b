//! The madsim driver: turns the world's answers into deliveries on madsim nodes.
//!
//! The intuition: one queue holds everything that will happen, ordered by true time in microseconds and then by when
//! it was decided. The driver takes the next item, lets madsim's clock catch up (madsim sleeps whole milliseconds, so
//! the queue and not the clock orders what falls into one), hands it to the process it is for, waits for that process's
//! effects, asks the world what becomes of each, and queues the answers. Only one task ever has something to do, so a
//! run is a function of its plan (`SIM-1`).
//!
//! What madsim gives: tasks that die with their node, time that nobody can read from the outside, hash maps of
//! dependencies seeded, and an error when anything starts a thread. What it does not give is in [`crate::world`].

mod brief;
mod cluster;
mod effects;
mod finish;
mod machine;
pub mod plan;
mod process;
mod stall;
mod trouble;

pub use plan::{DamagePlan, NodePlan, Plan, Report};

use crate::check::Complaint;
use cluster::Cluster;
use madsim::runtime::Runtime;
use process::panic_message;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Where the last panic of a simulated thread struck; `None` on threads that do not simulate.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a plan to its end, on a thread of its own: madsim seeds the thread's hash maps once.
///
/// A panic anywhere in the core or in a checker is a complaint, not a crash of the runner.
pub fn run(plan: Plan) -> Report {
    install_hook();
    let runner = std::thread::Builder::new().name(format!("seed {}", plan.seed));
    let thread = runner.spawn(move || run_here(plan)).expect("the machine has a thread to spare");
    thread.join().expect("a simulated thread catches its panics")
}

fn run_here(plan: Plan) -> Report {
    LAST_PANIC.with(|last| last.replace(Some(String::new())));
    let runtime = Runtime::with_seed_and_config(plan.seed, madsim::Config::default());
    let mut cluster = Cluster::new(plan);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cluster.live_through())));
    let verdict = outcome.unwrap_or_else(|panic| {
        Err(Complaint::new("no assertion fails", format!("{}{}", panic_message(panic.as_ref()), last_panic())))
    });
    // madsim never frees a task that is alive when its runtime goes, nor what the task holds.
    let _the_verdict_stands = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cluster.kill_all())));
    let report = cluster.report(verdict.err());
    LAST_PANIC.with(|last| last.replace(None));
    report
}

/// Where the last panic of this thread struck.
fn last_panic() -> String {
    LAST_PANIC.with(|last| last.borrow().clone().unwrap_or_default())
}

/// Panics of simulated threads are noted instead of printed: a hunt for planted bugs provokes many.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let simulated = LAST_PANIC.with(|last| {
                let mut last = last.borrow_mut();
                let simulated = last.is_some();
                if simulated {
                    let place = info.location().map(|at| format!(" (at {}:{})", at.file(), at.line()));
                    *last = Some(place.unwrap_or_default());
                }
                simulated
            });
            if !simulated {
                previous(info);
            }
        }));
    });
}
