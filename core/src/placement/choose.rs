//! The drives of one new body: what the table says, with substitutes for drives that are down.
//!
//! A substitute is drawn for the version and not for the group, so that the bodies which a dead drive would have taken
//! spread over all others. What the table says about drives that are alive stays where it is: only the substitutes
//! have to be carried home later. Such drives may be more in a domain than the spread over those alive would have: the
//! table was made when there were others. The rest can be completed all the same, since what one domain has too many,
//! no other has to take.

use super::rendezvous::Draw;
use super::spread::Cluster;
use super::{DriveSpec, Infeasible, Table};
use crate::stripe::Profile;
use crate::types::{DriveId, VersionId};
use alloc::vec;
use alloc::vec::Vec;

/// The drives of a new body in position order: the table's where they are listed and alive, and otherwise drawn among
/// those that are, in proportion to their weights and under the rule of spread (`PLACE-1`). All are drawn when there
/// is no table, or one for another profile.
///
/// Costs a look at each drive when the table's are all usable, else a draw for each drive and sorting them.
pub fn choose(
    table: Option<&Table>,
    version: VersionId,
    alive: &dyn Fn(DriveId) -> bool,
    drives: &[DriveSpec],
    profile: Profile,
) -> Result<Vec<DriveId>, Infeasible> {
    let table = table.filter(|table| table.profile() == profile);
    let planned = table.map_or(&[][..], |table| table.drives(table.group_of(version)));
    let is_usable = |drive: &DriveId| drives.iter().any(|spec| spec.drive == *drive) && alive(*drive);
    if !planned.is_empty() && planned.iter().all(is_usable) {
        return Ok(planned.to_vec());
    }
    let cluster = Cluster::of(drives.iter().filter(|spec| alive(spec.drive)).collect(), profile)?;
    let mut group: Vec<Option<usize>> = vec![None; profile.total()];
    for (position, drive) in group.iter_mut().zip(planned) {
        *position = cluster.index_of(*drive);
    }
    // A drive that one hole may not have is not for the later ones either: the group only fills up. So one pass does.
    let mut ranked = ranked(&cluster, version).into_iter();
    for position in 0..group.len() {
        if group[position].is_none() {
            group[position] = ranked.find(|index| cluster.admits(&group, position, *index));
        }
    }
    let drive = |index: Option<usize>| cluster.places()[index.expect("PLACE-1: a legal choice can be completed")].drive;
    Ok(group.into_iter().map(drive).collect())
}

/// All drives, the first being the one that the version would have if there were one position.
fn ranked(cluster: &Cluster, version: VersionId) -> Vec<usize> {
    let draw = |index: usize| {
        let place = cluster.places()[index];
        (Draw::of(version, place.drive, place.weight), index)
    };
    let mut draws: Vec<(Draw, usize)> = (0..cluster.places().len()).map(draw).collect();
    draws.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    draws.into_iter().map(|(_, index)| index).collect()
}
