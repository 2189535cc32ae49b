//! The scenario of versions: few keys, several writers that race for them, leaders that fall, and clocks that disagree.

use anvil_sim::chance::Chance;
use anvil_sim::client::versions::VersionHabits;
use anvil_sim::driver::Plan;
use anvil_sim::world::MILLIS;

/// Operations on one key, by all clients: judging a history takes time that grows with it.
const OPERATIONS_PER_KEY: u64 = 65;

pub(super) fn versions(plan: &mut Plan, chance: &mut Chance) {
    let keys = chance.between(1, 3);
    let clients = chance.between(2, 5);
    let busy = *chance.pick(&[5, 20, 60]);
    plan.offset_ms_max = *chance.pick(&[0, 1_000, 10_000]);
    plan.version_clients = (0..clients)
        .map(|_| VersionHabits {
            keys,
            operations: u32::try_from(keys * OPERATIONS_PER_KEY / clients).expect("small"),
            think_micros: busy * MILLIS,
            patience_micros: *chance.pick(&[200, 600, 2_000]) * MILLIS,
            only_lists: false,
        })
        .collect();
    if plan.nodes > 1 {
        // Leaders fall while deletes are under way, and clients repeat them elsewhere.
        plan.trouble.depose_per_million = *chance.pick(&[0, 300_000, 800_000]);
        plan.trouble.depose_micros_max = *chance.pick(&[100, 600]) * MILLIS;
        plan.trouble.partition_micros = plan.span_micros / *chance.pick(&[8, 20]);
    }
}
