//! Linearizability of a history of operations on one object.
//!
//! The intuition: each operation took effect at one instant between its call and its end. We look for an order of those
//! instants that the sequential model accepts: take any operation that nothing unplaced must precede, place it, go on;
//! when stuck, take the last one back. What was tried is remembered as (set of placed operations, state), for whoever
//! arrives there again by another way is stuck again.
//!
//! - `LIN-1` An operation whose outcome is unknown may take effect at any time after its call, or never: its end lies
//!   at infinity, and placing it after everything else is the same as never.
//!
//! Sources: Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for linearizability"
//! (2017), §4, for the memory of (set, state); Horn and Kroening (2015) for judging each key on its own.

use crate::world::SimTime;
use std::collections::BTreeSet;

/// What the object does when nobody else is there.
pub trait Model {
    /// The state between operations.
    type State: Clone + Ord;
    /// An operation and what was heard of its outcome.
    type Input;

    /// The state after `input`, or `None` when its outcome contradicts `state`.
    fn step(&self, state: &Self::State, input: &Self::Input) -> Option<Self::State>;
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation<I> {
    /// When the client began it.
    pub call: SimTime,
    /// When the client heard of its outcome; `None` when it never did (`LIN-1`).
    pub end: Option<SimTime>,
    /// What it was, and how it ended.
    pub input: I,
}

/// A history that no order fits, in the order in which its operations began, for who looks for the bug.
pub(super) fn story<I>(what: &str, operations: &[Operation<I>], placed: usize, said: impl Fn(&I) -> String) -> String {
    let count = operations.len();
    let mut lines = vec![format!("{what}: no order of its {count} operations fits, at best {placed} of them do")];
    let mut sorted: Vec<_> = operations.iter().collect();
    sorted.sort_by_key(|operation| operation.call);
    for Operation { call, end, input } in sorted {
        let end = end.map_or("never".to_string(), |end| format!("{:.3}", end.millis()));
        lines.push(format!("  {:>10.3} to {end:>10} ms  {}", call.millis(), said(input)));
    }
    lines.join("\n")
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none. `placed` operations fit at best, of those that ended.
    Broken {
        /// The longest run of operations that fits.
        placed: usize,
    },
    /// The search was given up.
    Undecided,
}

/// Most steps of a search. A history of a simulated key needs a few hundred.
const STEPS_MAX: usize = 500_000;

/// Entries of the history in time order: a call (`is_call`) or an end of operation `operation`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    operation: usize,
    is_call: bool,
}

/// The history as a doubly linked list, from which placed operations are lifted out and put back. Node 0 is the head.
struct History {
    entries: Vec<Entry>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// For each operation, the nodes of its call and its end.
    nodes: Vec<(usize, usize)>,
}

const HEAD: usize = 0;

impl History {
    fn new<I>(operations: &[Operation<I>]) -> History {
        let mut order: Vec<((u64, bool), Entry)> = Vec::new();
        for (operation, timed) in operations.iter().enumerate() {
            let end = timed.end.map_or(u64::MAX, |end| end.0);
            assert!(timed.call.0 <= end, "an operation ends after it began");
            // At equal times calls come first: operations that touch are concurrent.
            order.push(((timed.call.0, false), Entry { operation, is_call: true }));
            order.push(((end, true), Entry { operation, is_call: false }));
        }
        order.sort_by_key(|(at, _)| *at);
        let count = order.len();
        let mut nodes = vec![(0, 0); operations.len()];
        let mut entries = vec![Entry { operation: usize::MAX, is_call: false }];
        for (index, (_, entry)) in order.into_iter().enumerate() {
            let place = if entry.is_call { &mut nodes[entry.operation].0 } else { &mut nodes[entry.operation].1 };
            *place = index + 1;
            entries.push(entry);
        }
        let next = (0..=count).map(|node| if node == count { HEAD } else { node + 1 }).collect();
        let previous = (0..=count).map(|node| if node == HEAD { count } else { node - 1 }).collect();
        History { entries, next, previous, nodes }
    }

    fn lift(&mut self, operation: usize) {
        let (call, end) = self.nodes[operation];
        for node in [call, end] {
            let (previous, next) = (self.previous[node], self.next[node]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    fn put_back(&mut self, operation: usize) {
        let (call, end) = self.nodes[operation];
        for node in [end, call] {
            let (previous, next) = (self.previous[node], self.next[node]);
            self.next[previous] = node;
            self.previous[next] = node;
        }
    }
}

/// Judges one object's history.
pub fn check<M: Model>(model: &M, start: M::State, operations: &[Operation<M::Input>]) -> Verdict {
    let mut history = History::new(operations);
    let mut placed_set = vec![0u64; operations.len().div_ceil(64)];
    let mut seen: BTreeSet<(Vec<u64>, M::State)> = BTreeSet::new();
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut state = start;
    let mut at = history.next[HEAD];
    let mut best = 0;
    let known = |operation: usize| usize::from(operations[operation].end.is_some());
    let mut known_left: usize = (0..operations.len()).map(known).sum();
    for _ in 0..STEPS_MAX {
        // LIN-1: what remains may have happened never.
        if known_left == 0 {
            return Verdict::Linearizable;
        }
        let entry = history.entries[at];
        if at != HEAD && entry.is_call {
            let after = model.step(&state, &operations[entry.operation].input);
            flip(&mut placed_set, entry.operation);
            match after {
                // LIN-1: what may have happened never and changes nothing is as good as never.
                Some(after)
                    if (known(entry.operation) == 1 || after != state)
                        && seen.insert((placed_set.clone(), after.clone())) =>
                {
                    stack.push((entry.operation, std::mem::replace(&mut state, after)));
                    best = best.max(stack.len());
                    known_left -= known(entry.operation);
                    history.lift(entry.operation);
                    at = history.next[HEAD];
                }
                Some(_) | None => {
                    flip(&mut placed_set, entry.operation);
                    at = history.next[at];
                }
            }
        } else {
            // An end (or the list's end) is reached before its call could be placed: the last placement was wrong.
            let Some((operation, before)) = stack.pop() else { return Verdict::Broken { placed: best } };
            state = before;
            flip(&mut placed_set, operation);
            known_left += known(operation);
            history.put_back(operation);
            at = history.next[history.nodes[operation].0];
        }
    }
    Verdict::Undecided
}

fn flip(set: &mut [u64], operation: usize) {
    set[operation / 64] ^= 1 << (operation % 64);
}

#[cfg(test)]
mod tests {
    use super::{Model, Operation, Verdict, check};
    use crate::chance::Chance;
    use crate::world::SimTime;

    /// A register: writes of a number, reads of one.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Input {
        Write(u64),
        Read(u64),
    }

    impl Model for Register {
        type State = u64;
        type Input = Input;
        fn step(&self, state: &u64, input: &Input) -> Option<u64> {
            match input {
                Input::Write(value) => Some(*value),
                Input::Read(value) => (value == state).then_some(*state),
            }
        }
    }

    fn at(call: u64, end: u64, input: Input) -> Operation<Input> {
        Operation { call: SimTime(call), end: Some(SimTime(end)), input }
    }

    #[test]
    fn a_read_that_overlaps_a_write_may_see_either_value() {
        for seen in [0, 1] {
            let history = [at(1, 5, Input::Write(1)), at(2, 4, Input::Read(seen))];
            assert_eq!(check(&Register, 0, &history), Verdict::Linearizable);
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [at(1, 2, Input::Write(1)), at(3, 4, Input::Read(0))];
        assert_eq!(check(&Register, 0, &history), Verdict::Broken { placed: 1 });
    }

    #[test]
    fn two_readers_may_not_see_two_orders() {
        let history = [
            at(0, 10, Input::Write(1)),
            at(0, 10, Input::Write(2)),
            at(11, 12, Input::Read(1)),
            at(13, 14, Input::Read(2)),
        ];
        assert!(matches!(check(&Register, 0, &history), Verdict::Broken { .. }));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_take_effect_late_or_never() {
        let unknown = Operation { call: SimTime(1), end: None, input: Input::Write(9) };
        for seen in [0, 9] {
            let history = [unknown.clone(), at(50, 51, Input::Read(seen))];
            assert_eq!(check(&Register, 0, &history), Verdict::Linearizable);
        }
        let back = [unknown, at(50, 51, Input::Read(9)), at(60, 61, Input::Read(0))];
        assert!(matches!(check(&Register, 0, &back), Verdict::Broken { .. }));
    }

    /// The dumb judge: tries every order that respects real time.
    fn brute(state: u64, left: &[Operation<Input>]) -> bool {
        if left.is_empty() {
            return true;
        }
        (0..left.len()).any(|index| {
            let first = &left[index];
            let must_wait = left.iter().any(|other| other.end.is_some_and(|end| end < first.call));
            if must_wait {
                return false;
            }
            let mut rest = left.to_vec();
            rest.remove(index);
            Register.step(&state, &first.input).is_some_and(|after| brute(after, &rest))
        })
    }

    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let mut verdicts = [0, 0];
        for seed in 0..3_000 {
            let mut chance = Chance::named(seed, "history");
            let history: Vec<Operation<Input>> = (0..6)
                .map(|_| {
                    let call = chance.below(20);
                    let value = chance.below(3);
                    let input = if chance.below(2) == 0 { Input::Write(value) } else { Input::Read(value) };
                    let end = call + 1 + chance.below(10);
                    let unknown = matches!(input, Input::Write(_)) && chance.below(6) == 0;
                    Operation { call: SimTime(call), end: (!unknown).then_some(SimTime(end)), input }
                })
                .collect();
            let expected = brute(0, &history);
            assert_eq!(check(&Register, 0, &history) == Verdict::Linearizable, expected, "seed {seed}: {history:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts[0] > 300 && verdicts[1] > 300, "both kinds of history occur: {verdicts:?}");
    }
}
