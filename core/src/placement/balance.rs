//! Moves positions from drives that have too many to drives that have too few, one at a time.
//!
//! A move is worth its cost when the excess of the two drives differs by more than one shard: then the sum of the
//! squares of all excesses falls, so the search ends, and a second search finds nothing to do. Drives end within one
//! shard of their targets, unless the spread forbids the moves that would be left: then a few may end further away.

use super::rendezvous::start_draw;
use super::solve::Draft;
use super::target::SHARD;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

/// A slot that changes its drive.
struct Step {
    slot: usize,
    from: usize,
    to: usize,
}

/// Takes steps until none is worthwhile. The draft has no holes.
pub(super) fn balance(draft: &mut Draft<'_>) {
    let mut held: Vec<Vec<usize>> = vec![Vec::new(); draft.excess.len()];
    for (slot, drive) in draft.slots.iter().enumerate() {
        held[drive.expect("every hole was filled")].push(slot);
    }
    let mut by_excess: BTreeSet<(i64, usize)> = draft.excess.iter().copied().zip(0..).collect();
    // Pairs that had no legal slot. Few get one by the steps of others, so asking each again after every step would
    // cost more than all else; they are asked again when there are no others left.
    let mut stuck = BTreeSet::new();
    loop {
        let is_first_look = stuck.is_empty();
        let Some(Step { slot, from, to }) = worthwhile(draft, &held, &by_excess, &mut stuck) else {
            if is_first_look {
                break;
            }
            stuck.clear();
            continue;
        };
        for drive in [from, to] {
            by_excess.remove(&(draft.excess[drive], drive));
        }
        held[from].retain(|other| *other != slot);
        held[to].push(slot);
        draft.put(slot, to);
        by_excess.extend([from, to].map(|drive| (draft.excess[drive], drive)));
    }
}

/// The best step: to the drive that needs it most and can be helped, from the fullest that can help. Pairs that cannot
/// are added to `stuck`, and not tried when they are there.
fn worthwhile(
    draft: &Draft<'_>,
    held: &[Vec<usize>],
    by_excess: &BTreeSet<(i64, usize)>,
    stuck: &mut BTreeSet<(usize, usize)>,
) -> Option<Step> {
    for (low, to) in by_excess {
        // PLACE-3
        for (_, from) in by_excess.iter().rev().take_while(|(high, _)| high - low > SHARD) {
            if stuck.contains(&(*from, *to)) {
                continue;
            }
            if let Some(slot) = slot_for(draft, &held[*from], *from, *to) {
                return Some(Step { slot, from: *from, to: *to });
            }
            stuck.insert((*from, *to));
        }
    }
    None
}

/// The slot of those that `from` holds which `to` should have: one that moves anyway rather than another. The search
/// begins at a drawn place, since drives that come should not all end up in the first groups together.
fn slot_for(draft: &Draft<'_>, held: &[usize], from: usize, to: usize) -> Option<usize> {
    let places = draft.cluster.places();
    let (before, after) = held.split_at(start_draw(places[from].drive, places[to].drive, held.len()));
    let slots = || after.iter().chain(before).copied();
    let is_legal = |slot: &usize| draft.admits(*slot, to);
    slots().find(|slot| draft.is_moving(*slot) && is_legal(slot)).or_else(|| slots().find(is_legal))
}
