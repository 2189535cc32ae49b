//! Bodies that are cut anew: what names the bytes, what is owed to the queue, and what stays the same.

use super::*;

/// Three shards of the old body are on drives 0 to 2, six of the new one on 3 to 8.
fn wide(version: u128, size: u64) -> Body {
    let drives = (3..9).map(DriveId).collect();
    let place = Place::Striped { profile: Profile { data: 4, parity: 2 }, drives };
    Body { version: VersionId(version), size, key: WrappedKey(vec![8; 60]), place }
}

fn recode(version: u128, body: Body, expires: u64) -> ObjectOperation {
    ObjectOperation::Recode { version: VersionId(version), body, expires: WallTime(expires) }
}

fn body_of(replica: &Replica, version: u128) -> Option<Body> {
    match replica.query(&Query::Body { version: VersionId(version) }) {
        QueryAnswer::Body(body) => body,
        other => panic!("not a body: {other:?}"),
    }
}

fn bodies(replica: &Replica) -> Vec<u128> {
    match replica.query(&Query::Bodies { after: None, limit: usize::MAX }) {
        QueryAnswer::Bodies { bodies, .. } => bodies.into_iter().map(|(body, _)| body.version.0).collect(),
        other => panic!("not bodies: {other:?}"),
    }
}

fn opened(replica: &Replica, key: &str) -> Object {
    match replica.query(&Query::Object { object: object(key), version: None }) {
        QueryAnswer::Object(object) => object,
        other => panic!("not an object: {other:?}"),
    }
}

/// Says that the shards of everything in the queue are gone.
fn reclaim_all(replica: &mut Replica, time: u64) -> Vec<(u128, Vec<DriveId>)> {
    let QueryAnswer::Reclaimable(queue) = replica.query(&Query::Reclaimable { after: None, limit: usize::MAX }) else {
        panic!("not a queue")
    };
    let places = queue.iter().map(|entry| entry.place).collect();
    assert_eq!(replica.object(time, ObjectOperation::ReclaimedAt { places }), Answer::Done);
    queue.into_iter().map(|entry| (entry.version.0, entry.drives)).collect()
}

fn fate_on(replica: &mut Replica, time: u64, drive: u32, version: u128, expires: u64) -> Fate {
    let versions = vec![(VersionId(version), WallTime(expires))];
    match replica.object(time, ObjectOperation::ResolveOn { drive: DriveId(drive), versions }) {
        Answer::Resolved(fates) => fates[0],
        other => panic!("not fates: {other:?}"),
    }
}

#[test]
fn the_object_stays_and_its_bytes_lie_elsewhere() {
    let mut replica = Replica::with_bucket();
    let first = put("a", striped(1, 9), 1, 50);
    assert!(matches!(replica.object(10, first.clone()), Answer::Put { .. }));
    let before = opened(&replica, "a");
    assert_eq!(replica.object(20, recode(1, wide(2, 9), 90)), Answer::Done);

    let after = opened(&replica, "a");
    assert_eq!(after.bodies, [wide(2, 9)]);
    assert_eq!(Object { bodies: before.bodies.clone(), ..after }, before, "nothing else changed");
    assert_eq!((bodies(&replica), body_of(&replica, 1)), (vec![2], Some(wide(2, 9))));
    // STATE-6
    assert!(matches!(replica.object(21, first.clone()), Answer::Put { version: VersionId(1), .. }));
    assert_eq!(replica.object(21, recode(1, wide(2, 9), 90)), Answer::Done, "a repeat");
    assert_eq!(opened(&replica, "a").bodies, [wide(2, 9)]);
    assert_eq!(fate_on(&mut replica, 22, 3, 2, 5), Fate::Committed);
    // The old shards go by the queue alone.
    assert_eq!(fate_on(&mut replica, 95, 0, 1, 50), Fate::Pending);
    let owed: Vec<_> = (0..3).map(|drive| (1, vec![DriveId(drive)])).collect();
    assert_eq!(reclaim_all(&mut replica, 96), owed);
    assert_eq!(fate_on(&mut replica, 97, 0, 1, 50), Fate::Void, "what came late to the old drive");
    assert!(matches!(replica.object(97, first), Answer::Put { version: VersionId(1), .. }));

    // And once more, from the body in the place of the first.
    assert_eq!(replica.object(98, recode(2, striped(3, 9), 150)), Answer::Done);
    assert_eq!((bodies(&replica), body_of(&replica, 1)), (vec![3], Some(striped(3, 9))));
    assert_eq!(reclaim_all(&mut replica, 99), [(2, (3..9).map(DriveId).collect())]);

    assert_eq!(replica.object(100, delete("a")), Answer::Done);
    assert_eq!((bodies(&replica), body_of(&replica, 1)), (vec![], None));
    assert_eq!(reclaim_all(&mut replica, 101), [(3, (0..3).map(DriveId).collect())]);
    for (version, body) in [(1, striped(1, 9)), (2, wide(2, 9)), (3, striped(3, 9))] {
        assert!(
            matches!(replica.object(102, put("a", body, 1, 500)), Answer::Put { .. }),
            "STATE-6: {version} is past"
        );
        assert_eq!(replica.version("a"), None);
    }
}

#[test]
fn a_part_is_cut_anew_in_an_upload_and_in_the_object_that_it_became() {
    let mut replica = Replica::with_bucket();
    replica.object(1, create_upload("a", 70));
    replica.object(1, put_part("a", 70, 1, striped(1, 9), 4, 50));
    assert_eq!(replica.object(2, recode(1, wide(2, 9), 90)), Answer::Done);
    assert_eq!(replica.object(2, recode(1, wide(2, 9), 90)), Answer::Done, "a repeat");
    assert_eq!(reclaim_all(&mut replica, 3), [(1, (0..3).map(DriveId).collect())]);
    assert!(matches!(replica.object(4, complete("a", 70, &[(1, 4)])), Answer::Put { .. }));
    assert_eq!(replica.object(5, recode(2, striped(3, 9), 90)), Answer::Done);
    assert_eq!(opened(&replica, "a").bodies, [striped(3, 9)]);
    assert_eq!((bodies(&replica), fate_on(&mut replica, 6, 1, 3, 5)), (vec![3], Fate::Committed));
    replica.object(7, delete("a"));
    assert_eq!(reclaim_all(&mut replica, 8).into_iter().map(|(version, _)| version).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn what_is_not_as_the_recoder_read_it_stays() {
    let refused = |refusal| Answer::Refused(refusal);
    let mut replica = Replica::with_bucket();
    replica.object(10, put("a", striped(1, 9), 1, 50));
    replica.object(10, put("b", inline(5), 1, 50));
    // RECODE-1
    assert_eq!(replica.object(20, recode(8, wide(2, 9), 90)), refused(Refusal::NoSuchKey));
    assert_eq!(replica.object(20, recode(5, wide(2, 6), 90)), refused(Refusal::NoSuchKey));
    assert!(matches!(replica.object(20, recode(1, wide(2, 8), 90)), Answer::Refused(Refusal::Invalid(_))));
    assert!(matches!(replica.object(20, recode(1, wide(5, 9), 90)), Answer::Refused(Refusal::Invalid(_))));
    assert_eq!(replica.object(20, recode(1, wide(2, 9), 19)), refused(Refusal::Expired));
    // SWEEP-1
    assert_eq!(fate_on(&mut replica, 20, 3, 2, 19), Fate::Void);
    assert_eq!(replica.object(20, recode(1, wide(2, 9), 90)), refused(Refusal::Expired));
    assert_eq!(replica.object(21, recode(1, wide(3, 9), 90)), Answer::Done);
    assert_eq!(replica.object(22, recode(1, wide(4, 9), 90)), refused(Refusal::NoSuchKey), "another was first");
    assert_eq!(opened(&replica, "a").bodies, [wide(3, 9)]);
}

#[test]
fn a_version_under_another_one_is_cut_anew_as_well() {
    let mut replica = Replica::with_bucket();
    replica.object(1, put("a", striped(1, 9), 1, 50));
    let setting = BucketSetting::Versioning { enabled: true };
    replica.object(2, ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting });
    replica.object(3, put("a", striped(2, 9), 2, 50));
    replica.object(4, put("a", striped(3, 9), 3, 50));
    for (old, new) in [(1, 11), (2, 12), (3, 13)] {
        assert_eq!(replica.object(5, recode(old, wide(new, 9), 90)), Answer::Done);
        assert_eq!(body_of(&replica, old), Some(wide(new, 9)));
    }
    assert_eq!(bodies(&replica), [11, 12, 13]);
    assert_eq!(reclaim_all(&mut replica, 6).len(), 9, "each old shard by itself");
    for (old, new) in [(11, 21), (12, 22)] {
        assert_eq!(replica.object(7, recode(old, striped(new, 9), 90)), Answer::Done, "and once more");
    }
    let version = Some(VersionName::Null);
    let condition = DeleteCondition::NONE;
    let removal = Removal { version, marker: VersionId(0), condition, bypass: false };
    assert!(matches!(
        replica.object(8, ObjectOperation::Remove { object: object("a"), removal }),
        Answer::Deleted { marker: false, .. }
    ));
    assert_eq!((bodies(&replica), body_of(&replica, 1)), (vec![13, 22], None));
    let owed: Vec<u128> = reclaim_all(&mut replica, 9).into_iter().map(|(version, _)| version).collect();
    assert_eq!(owed, [11, 12, 21]);
}
