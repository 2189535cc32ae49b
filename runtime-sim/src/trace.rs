//! What happened in a run: a hash over every delivered event, and lines for a person when a seed is replayed.
//!
//! The hash covers the readable form of each event, so that two runs with equal hashes saw the same events with the
//! same contents at the same times, in the same order (`SIM-1`).

use crate::world::SimTime;
use std::fmt::{self, Write};

/// The record of one run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A record that keeps lines only when `readable`.
    pub fn new(readable: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: readable.then(Vec::new) }
    }

    /// Notes what happened to `subject` at `at`.
    pub fn note(&mut self, at: SimTime, subject: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        self.events += 1;
        // Formatting straight into the hash allocates nothing.
        write!(Hasher(&mut self.hash), "{}|{subject}|{what};", at.0).expect("hashing cannot fail");
        if let Some(lines) = &mut self.lines {
            let mut line = format!("{:>10.3} ms  {subject}  {what}", at.millis());
            if line.len() > LINE_SIZE_MAX {
                let mut end = LINE_SIZE_MAX;
                while !line.is_char_boundary(end) {
                    end -= 1;
                }
                line.truncate(end);
                line.push('…');
            }
            lines.push(line);
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events noted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, when they are kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// Longer lines are cut; the hash still covers all of them.
const LINE_SIZE_MAX: usize = 400;

/// A rolling hash with the shape of FNV-1a, eight bytes at a time for speed.
struct Hasher<'a>(&'a mut u64);

impl Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            let mixed =
                (*self.0 ^ u64::from_le_bytes(word) ^ ((piece.len() as u64) << 60)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *self.0 = mixed ^ (mixed >> 29);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;
    use crate::world::SimTime;

    fn hash_of(notes: &[(u64, &str)]) -> u64 {
        let mut trace = Trace::new(false);
        for (at, what) in notes {
            trace.note(SimTime(*at), format_args!("n1"), format_args!("{what}"));
        }
        trace.hash()
    }

    #[test]
    fn the_hash_tells_time_order_and_content_apart() {
        let base = hash_of(&[(1, "a"), (2, "b")]);
        assert_eq!(base, hash_of(&[(1, "a"), (2, "b")]));
        assert_ne!(base, hash_of(&[(1, "a"), (3, "b")]));
        assert_ne!(base, hash_of(&[(2, "b"), (1, "a")]));
        assert_ne!(base, hash_of(&[(1, "a"), (2, "c")]));
    }

    #[test]
    fn a_readable_trace_has_a_line_per_event() {
        let mut trace = Trace::new(true);
        trace.note(SimTime(1500), format_args!("n1"), format_args!("woke"));
        assert_eq!(trace.lines(), ["     1.500 ms  n1  woke"]);
    }
}
