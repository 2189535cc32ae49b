//! Latencies of one run, and the figures that follow from them.

use std::time::Duration;

/// What one client, or all of a run, measured.
#[derive(Debug, Default)]
pub(super) struct Samples {
    latencies: Vec<Duration>,
    failures: u64,
    first_failure: Option<String>,
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) operations: usize,
    pub(super) failures: u64,
    pub(super) first_failure: Option<String>,
    pub(super) per_second: f64,
    pub(super) mib_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) p999: Duration,
    pub(super) longest: Duration,
    /// BENCH-3: processor time of the servers for each operation; `None` when no server was named.
    pub(super) processor: Option<Duration>,
}

impl Samples {
    /// An operation succeeded after `latency`.
    pub(super) fn success(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    /// An operation failed.
    pub(super) fn failure(&mut self, why: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(why);
    }

    /// Takes in what another client measured.
    pub(super) fn merge(&mut self, other: Samples) {
        self.latencies.extend(other.latencies);
        self.failures += other.failures;
        if let Some(why) = other.first_failure {
            self.first_failure.get_or_insert(why);
        }
    }

    /// The figures of operations of `size` bytes each, over `elapsed`.
    pub(super) fn figures(mut self, size: usize, elapsed: Duration) -> Figures {
        self.latencies.sort_unstable();
        let operations = self.latencies.len();
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let per_second = to_float(operations) / seconds;
        Figures {
            operations,
            failures: self.failures,
            first_failure: self.first_failure,
            per_second,
            mib_per_second: per_second * to_float(size) / to_float(1 << 20),
            p50: percentile(&self.latencies, 500),
            p99: percentile(&self.latencies, 990),
            p999: percentile(&self.latencies, 999),
            longest: self.latencies.last().copied().unwrap_or_default(),
            processor: None,
        }
    }
}

/// BENCH-1: the smallest of the sorted samples that `permille` thousandths of them do not exceed (nearest rank). Zero
/// when there are none.
pub(super) fn percentile(sorted: &[Duration], permille: usize) -> Duration {
    assert!((1..=1000).contains(&permille), "a percentile lies in 0.1 % to 100 %");
    let rank = (sorted.len() * permille).div_ceil(1000);
    rank.checked_sub(1).and_then(|index| sorted.get(index)).copied().unwrap_or_default()
}

/// Counts of a benchmark lie far below 2^53, where floats are exact.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
pub(super) fn to_float(count: usize) -> f64 {
    count as f64
}

/// A latency with three significant digits.
pub(super) fn shown(latency: Duration) -> String {
    let micros = latency.as_secs_f64() * 1e6;
    match micros {
        micros if micros < 1e3 => format!("{micros:.0} us"),
        micros if micros < 1e4 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1e5 => format!("{:.1} ms", micros / 1e3),
        micros if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// A size in the unit that divides it.
pub(super) fn shown_size(size: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = units.into_iter().find(|(unit, _)| size >= *unit && size.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{size} B"), |(unit, name)| format!("{} {name}", size / unit))
}

/// The head of a table.
const HEAD: &str =
    "operation             clients      ops/s     MiB/s       p50       p99     p99.9   longest  failed   cpu/op";

/// How figures are printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Printer {
    /// A table for people.
    Table,
    /// A line of JSON for each run, durations in microseconds.
    Json,
}

impl Printer {
    pub(super) fn new(json: bool) -> Printer {
        if json { Printer::Json } else { Printer::Table }
    }

    /// What is measured, and the table's head.
    #[expect(clippy::print_stdout, reason = "this is the command's output")]
    pub(super) fn head(self, title: &str) {
        match self {
            Printer::Table => println!("{title}\n\n{HEAD}"),
            Printer::Json => {}
        }
    }

    /// A run's figures.
    #[expect(clippy::print_stdout, reason = "this is the command's output")]
    pub(super) fn run(self, operation: &str, clients: usize, figures: &Figures) {
        match self {
            Printer::Table => println!("{}", line(operation, clients, figures)),
            Printer::Json => println!("{}", record(operation, clients, figures)),
        }
    }

    /// A sentence under a table.
    #[expect(clippy::print_stdout, reason = "this is the command's output")]
    pub(super) fn note(self, sentence: &str) {
        match self {
            Printer::Table => println!("{sentence}"),
            Printer::Json => {}
        }
    }
}

/// A line of a table.
fn line(operation: &str, clients: usize, figures: &Figures) -> String {
    format!(
        "{operation:20} {clients:>8} {:>10.1} {:>9.2} {:>9} {:>9} {:>9} {:>9} {:>7} {:>8}",
        figures.per_second,
        figures.mib_per_second,
        shown(figures.p50),
        shown(figures.p99),
        shown(figures.p999),
        shown(figures.longest),
        figures.failures,
        figures.processor.map_or_else(|| "-".to_owned(), shown)
    )
}

fn record(operation: &str, clients: usize, figures: &Figures) -> serde_json::Value {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    serde_json::json!({
        "operation": operation,
        "clients": clients,
        "operations": figures.operations,
        "per_second": figures.per_second,
        "mib_per_second": figures.mib_per_second,
        "p50_us": micros(figures.p50),
        "p99_us": micros(figures.p99),
        "p999_us": micros(figures.p999),
        "longest_us": micros(figures.longest),
        "failures": figures.failures,
        "processor_us": figures.processor.map(micros),
    })
}
