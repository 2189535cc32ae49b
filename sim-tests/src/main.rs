//! The seed runner: `replay` shows one seed, `run` runs many, `hunt` measures whether planted bugs are found.
//!
//! It is a tool for people at a terminal, so it prints; and it measures the machine's own time, which never enters a
//! simulated world.
#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]
#![expect(clippy::disallowed_methods, reason = "speed is measured with the machine's clock, outside of every world")]

use anvil_core::planted::Planted;
use anvil_sim::driver;
use anvil_sim_tests::Scenario;
use anvil_sim_tests::runner::{Finding, Totals, run_seeds, seconds};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

const COMMANDS: &str = "\
Usage: anvil-sim-tests <command>

  replay --scenario S --seed N [--bug B]        one seed, with its trace
  run    --scenario S|all --seeds A..B [--jobs J] [--keep-going] [--bug B]
                                                many seeds; prints seeds per core-minute
  hash   --scenario S --seeds A..B              a line `seed hash` for each seed
  hunt   [--bug B] [--scenario S] [--seeds N] [--jobs J]
                                                in how many seeds each planted bug is found
  help                                          this text";

/// What was asked for.
#[derive(Debug)]
struct Options {
    scenarios: Vec<Scenario>,
    seeds: Range<u64>,
    jobs: usize,
    keep_going: bool,
    bug: Option<String>,
    one_seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match carry_out(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("{why}\n\n{}", usage());
            ExitCode::from(2)
        }
    }
}

/// Whether what was asked for went well, or why it was not understood.
fn carry_out(arguments: &[String]) -> Result<bool, String> {
    let (command, rest) = arguments.split_first().ok_or("a command is missing")?;
    match command.as_str() {
        "help" | "--help" | "-h" => {
            println!("{}", usage());
            Ok(true)
        }
        "replay" => replay(&options(rest)?),
        "run" => run(&options(rest)?),
        "hash" => hash(&options(rest)?),
        "hunt" => hunt(&options(rest)?),
        other => Err(format!("there is no command `{other}`")),
    }
}

fn usage() -> String {
    let scenarios: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
    format!("{COMMANDS}\n\nScenarios: {}.\nBugs: as `hunt` prints them.", scenarios.join(", "))
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options =
        Options { scenarios: Vec::new(), seeds: 0..100, jobs, keep_going: false, bug: None, one_seed: None };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        if flag == "--trace" {
            continue;
        }
        if flag == "--keep-going" {
            options.keep_going = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
        match flag.as_str() {
            "--scenario" if value == "all" => options.scenarios = Scenario::ALL.to_vec(),
            "--scenario" => {
                let scenario = Scenario::named(value).ok_or_else(|| format!("there is no scenario `{value}`"))?;
                options.scenarios.push(scenario);
            }
            "--seed" => options.one_seed = Some(number(value)?),
            "--seeds" => options.seeds = range(value)?,
            "--jobs" => options.jobs = usize::try_from(number(value)?).map_err(|error| error.to_string())?,
            "--bug" => options.bug = Some(value.clone()),
            other => return Err(format!("there is no option `{other}`")),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `A..B`, or `N` for `0..N`.
fn range(text: &str) -> Result<Range<u64>, String> {
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(0..number(text)?),
    }
}

#[cfg(debug_assertions)]
fn planted(options: &Options) -> Result<Planted, String> {
    use anvil_core::planted::Bug;
    let Some(name) = &options.bug else { return Ok(Planted::default()) };
    let bug = Bug::ALL.iter().find(|bug| format!("{bug:?}") == *name);
    bug.map(|bug| Planted::arm(*bug)).ok_or_else(|| format!("there is no planted bug `{name}`: {:?}", Bug::ALL))
}

#[cfg(not(debug_assertions))]
fn planted(options: &Options) -> Result<Planted, String> {
    match &options.bug {
        None => Ok(Planted::default()),
        Some(_) => Err("planted bugs exist only in builds with debug assertions".to_string()),
    }
}

fn scenarios(options: &Options) -> Result<&[Scenario], String> {
    if options.scenarios.is_empty() { Err("`--scenario` is missing".to_string()) } else { Ok(&options.scenarios) }
}

fn replay(options: &Options) -> Result<bool, String> {
    let scenario = scenarios(options)?[0];
    let seed = options.one_seed.ok_or("`--seed` is missing")?;
    let mut plan = scenario.plan(seed, planted(options)?);
    plan.readable = true;
    println!("{plan:#?}");
    let report = driver::run(plan);
    for line in &report.lines {
        println!("{line}");
    }
    println!(
        "\n{} events, {} operations, {:.3} simulated seconds, trace hash {:016x}\nstruck: {:?}",
        report.events,
        report.operations,
        seconds(report.simulated_micros),
        report.hash,
        report.struck
    );
    let finding = Finding { scenario, seed, report };
    match &finding.report.complaint {
        Some(_) => println!("{}", finding.story()),
        None => println!("every promise was kept"),
    }
    Ok(finding.report.complaint.is_none())
}

fn hash(options: &Options) -> Result<bool, String> {
    let planted = planted(options)?;
    for scenario in scenarios(options)? {
        for seed in options.seeds.clone() {
            let report = driver::run(scenario.plan(seed, planted));
            println!("{} {seed} {:016x} {}", scenario.name(), report.hash, report.events);
        }
    }
    Ok(true)
}

fn run(options: &Options) -> Result<bool, String> {
    let planted = planted(options)?;
    let mut good = true;
    for scenario in scenarios(options)? {
        let started = Instant::now();
        let (cpu_before, count) = (cpu_seconds(), options.seeds.end - options.seeds.start);
        let mut last = Instant::now();
        let mut progress = |totals: &Totals| {
            if last.elapsed().as_secs() >= 10 {
                last = Instant::now();
                println!(
                    "{} {} of {count} seeds, {:.0} s",
                    scenario.name(),
                    totals.seeds,
                    started.elapsed().as_secs_f64()
                );
            }
        };
        let (totals, broken) =
            run_seeds(*scenario, options.seeds.clone(), options.jobs, planted, !options.keep_going, &mut progress);
        let cpu = cpu_seconds() - cpu_before;
        println!(
            "{}: {} seeds, {} events, {} operations, {} undecided; {:.0} seeds per core-minute, {:.0} simulated \
             seconds per CPU second; {:.0} s of wall time, {} broken\n  struck: {:?}",
            scenario.name(),
            totals.seeds,
            totals.events,
            totals.operations,
            totals.undecided,
            60.0 * precise(totals.seeds) / cpu,
            seconds(totals.simulated_micros) / cpu,
            started.elapsed().as_secs_f64(),
            broken.len(),
            totals.struck
        );
        for finding in &broken {
            println!("\n{}", finding.story());
        }
        good &= broken.is_empty();
    }
    Ok(good)
}

#[cfg(debug_assertions)]
fn hunt(options: &Options) -> Result<bool, String> {
    use anvil_core::planted::Bug;
    let mut good = true;
    for bug in Bug::ALL {
        if options.bug.as_ref().is_some_and(|name| *name != format!("{bug:?}")) {
            continue;
        }
        let one = [anvil_sim_tests::scenario::exposes(*bug)];
        let scenarios = if options.scenarios.is_empty() { one.as_slice() } else { &options.scenarios };
        for scenario in scenarios {
            let planted = Planted::arm(*bug);
            let (totals, broken) = run_seeds(
                *scenario,
                options.seeds.clone(),
                options.jobs,
                planted,
                !options.keep_going,
                &mut |_: &Totals| {},
            );
            match broken.first() {
                Some(first) => {
                    let what = first.report.complaint.as_ref().map_or("", |complaint| complaint.promise);
                    println!(
                        "{bug:?}: scenario {}, {} of {} seeds, first at seed {} ({what}); {} --bug {bug:?}",
                        scenario.name(),
                        broken.len(),
                        totals.seeds,
                        first.seed,
                        anvil_sim_tests::replay_command(*scenario, first.seed)
                    );
                }
                None => {
                    println!("{bug:?}: scenario {}, NOT FOUND in {} seeds", scenario.name(), totals.seeds);
                    good = false;
                }
            }
        }
    }
    Ok(good)
}

#[cfg(not(debug_assertions))]
fn hunt(_options: &Options) -> Result<bool, String> {
    Err("planted bugs exist only in builds with debug assertions".to_string())
}

/// CPU time of this process so far, in seconds; as Linux counts it, in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name may hold spaces; the fields after its closing parenthesis do not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum();
    precise(ticks) / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_help_is_shown_every_scenario_and_has_done_nothing_wrong() {
        for asked in ["help", "--help", "-h"] {
            assert_eq!(carry_out(&[asked.to_string()]), Ok(true));
        }
        let usage = usage();
        let (_, named) = usage.split_once("Scenarios: ").unwrap();
        for scenario in Scenario::ALL {
            assert!(named.contains(scenario.name()), "{} is missing: {usage}", scenario.name());
        }
    }

    #[test]
    fn an_unknown_command_is_named() {
        assert_eq!(carry_out(&["rum".to_string()]), Err("there is no command `rum`".to_string()));
    }
}
