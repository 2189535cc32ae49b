//! Scenarios and the seed runner.
