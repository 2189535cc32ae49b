//! Lines of the log that a stranger or a lasting fault could repeat without end.
//!
//! - `PACE-1` A line appears at most once in its interval, whatever happens; the next one says how many were left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Decides whether a line may appear.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Pace {
        Pace { interval, state: Mutex::default() }
    }

    /// What to add to the line, if it may appear at this time.
    pub(super) fn line(&self) -> Option<String> {
        self.line_at(Instant::now())
    }

    fn line_at(&self, now: Instant) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // PACE-1
        if state.last.is_some_and(|last| now.duration_since(last) < self.interval) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(match std::mem::take(&mut state.left_out) {
            0 => String::new(),
            count => format!(" ({count} lines like this one were left out)"),
        })
    }

    /// Lets the next line appear at once.
    pub(super) fn forget(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_left_out_and_counted() {
        let pace = Pace::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| pace.line_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0).as_deref(), Some(""));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10).as_deref(), Some(" (2 lines like this one were left out)"));
        assert_eq!(at(11), None);
        pace.forget();
        assert_eq!(at(12).as_deref(), Some(""));
    }
}
