//! The suspicion's timeout against the formula of the paper, in floating point.

extern crate std;

use crate::swim::Config;
use crate::swim::suspicion::{Span, Suspicion, log2};
use crate::types::{NodeId, Time};
use core::time::Duration;

fn assert_near(ours: Duration, paper: f64, what: &str) {
    let ours = ours.as_secs_f64();
    assert!((ours - paper).abs() <= 0.001 * paper.max(1.0), "{what}: {ours} and {paper}");
}

#[test]
fn logarithms_are_right() {
    for number in (1..3000).chain([1 << 40, (1 << 62) - 1, 1 << 62, u64::MAX]) {
        let float = (number as f64).log2();
        let ours = log2(number) as f64 / 65536.0;
        assert!(ours <= float + 1e-9 && float - ours < 2.0 / 65536.0, "log2({number}): {ours} and {float}");
    }
}

#[test]
fn the_timeout_is_that_of_the_paper() {
    let config = Config::lan(NodeId(1));
    for nodes in 2..200_usize {
        let span = Span::of(&config, nodes);
        let interval = config.probe_interval.as_secs_f64();
        let min = f64::from(config.suspicion_min) * (nodes as f64).log10().max(1.0) * interval;
        let max = f64::from(config.suspicion_max) * min;
        assert_near(span.min, min, "min");
        assert_near(span.max, max, "max");
        let wanted = 3.min(nodes - 2);
        assert_eq!(span.confirmations, wanted);
        for confirmations in 0..=5_usize {
            let ratio = if wanted == 0 { 1.0 } else { (confirmations as f64 + 1.0).ln() / (wanted as f64 + 1.0).ln() };
            let paper = (max - (max - min) * ratio).max(min);
            assert_near(span.timeout(confirmations), paper, "timeout");
        }
    }
}

#[test]
fn each_accuser_counts_once_and_four_are_enough() {
    let span = Span::of(&Config::lan(NodeId(1)), 9);
    let mut suspicion = Suspicion::new(Time(7), span, &[NodeId(2)]);
    assert_eq!(suspicion.ends_at(), Time(7).after(span.max));
    assert!(!suspicion.accuse(NodeId(2)));
    assert_eq!(suspicion.ends_at(), Time(7).after(span.max));
    assert!(suspicion.accuse(NodeId(3)));
    assert_eq!(suspicion.ends_at(), Time(7).after(span.timeout(1)));
    assert!(suspicion.accuse(NodeId(4)) && suspicion.accuse(NodeId(5)));
    assert_eq!(suspicion.ends_at(), Time(7).after(span.min));
    assert!(!suspicion.accuse(NodeId(6)));
    assert_eq!(suspicion.accusers(), [2, 3, 4, 5].map(NodeId));
}
