//! The search for damage: what nobody reads is found and made anew, at the pace that was set, and not twice for nothing.

use super::world::{THREE, World, text};
use super::*;
use crate::node::config::ScrubPace;
use core::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const PACE: ScrubPace = ScrubPace { interval: Some(DAY), bytes_per_second: 1 << 20 };

#[test]
fn what_nobody_reads_is_made_anew_before_the_next_drive_goes() {
    let mut world = World::with_scrub(THREE, PACE);
    let bytes = text(1, 3 * STRIPE_SIZE + 5);
    world.put("a", &bytes);
    world.put("b", &text(2, SMALL));
    let whole = world.shards();
    world.lose_drive(DriveId(1));
    let mut world = world.crash();
    assert!(world.shards() < whole);
    world.pass(Duration::from_secs(60));
    let status = world.status();
    assert_eq!((status.scrubbed.damaged, status.moved.repaired), (5, 2), "{status:?}");
    assert_eq!((world.shards(), status.scrubbed.suspects), (whole, 0), "SCRUB-3: and it was looked at again");

    world.lose_drive(DriveId(0));
    let mut world = world.crash();
    assert_eq!(world.get("a").as_deref(), Ok(&bytes[..]));
}

#[test]
fn a_pass_keeps_its_pace_and_rests_until_the_next() {
    // SCRUB-2
    let mut world = World::with_scrub(THREE, PACE);
    for key in 0..20 {
        world.put(&format!("{key}"), &text(key, 2 * STRIPE_SIZE));
    }
    let mut world = world.crash();
    let held: u64 = world.status().drives.iter().map(|(_, usage)| usage.live_bytes).sum();
    let (mut before, mut seconds) = (world.status().scrubbed, 0);
    while world.status().scrubbed.passes == 0 {
        world.pass(Duration::from_secs(1));
        let now = world.status().scrubbed;
        // One record more may have been begun.
        assert!(now.bytes - before.bytes <= PACE.bytes_per_second + STRIPE_SIZE as u64, "{before:?} to {now:?}");
        (before, seconds) = (now, seconds + 1);
        assert!(seconds < 200, "{now:?}");
    }
    assert!(before.bytes > held / 2, "a whole pass reads everything: {before:?} of {held}");
    assert_eq!((before.clean_passes, before.damaged), (1, 0));

    world.pass(DAY / 2);
    assert_eq!(world.status().scrubbed, before, "nothing is read between two passes");
    world.pass(DAY);
    assert_eq!(world.status().scrubbed.passes, 2);
}

#[test]
fn what_cannot_be_made_anew_is_said_and_left_for_the_next_pass() {
    let mut world = World::with_scrub(ONE, PACE);
    world.put("a", &text(1, SMALL));
    world.lose_drive(DriveId(0));
    let mut world = world.crash();
    world.pass(DAY / 2);
    let scrubbed = world.status().scrubbed;
    // The first pass may have begun behind it.
    assert!((7..=14).contains(&scrubbed.damaged), "SCRUB-3: {scrubbed:?}");
    assert!(world.suspects.iter().any(|note| note.contains("the scrub found")), "{:?}", world.suspects);
    world.pass(DAY / 4);
    assert_eq!(world.status().scrubbed.damaged, scrubbed.damaged, "it is not asked for without end");
}

#[test]
fn a_body_that_was_given_up_meanwhile_is_not_made_anew() {
    // SCRUB-1
    let mut world = World::with_scrub(THREE, ScrubPace { bytes_per_second: 1_000, ..PACE });
    world.put("a", &text(1, SMALL));
    world.lose_drive(DriveId(1));
    let mut world = world.crash();
    world.hold(|effect| matches!(effect, Effect::Query { query: Query::Body { .. }, .. }));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.status().scrubbed.damaged, 1, "it was read, and the question is held back");
    world.delete("a");
    world.pass(2 * SWEEP);
    world.release();
    world.pass(Duration::from_secs(60));
    assert_eq!((world.shards(), world.status().moved.repaired), (0, 0));
}

#[test]
fn an_operator_does_not_wait_for_the_next_pass() {
    let mut world = World::with_scrub(THREE, ScrubPace { interval: None, ..PACE });
    world.put("a", &text(1, SMALL));
    world.lose_drive(DriveId(1));
    let mut world = world.crash();
    world.pass(2 * DAY);
    assert_eq!(world.status().scrubbed.shards, 0, "nothing is read by itself");
    let Reply::Status(before) = world.ask(Request::Scrub) else { panic!("it says what there was") };
    assert_eq!(before.scrubbed.shards, 0);
    world.pass(Duration::from_secs(60));
    let status = world.status();
    assert_eq!((status.scrubbed.passes, status.scrubbed.damaged, status.moved.repaired), (1, 1, 1));
    world.pass(2 * DAY);
    assert_eq!(world.status().scrubbed.passes, 1);
}
