//! Scenarios of repeats and races that cross several operations.

use super::*;

const DONE: Answer = Answer::Done;

fn placed(version: u128, tag: u8) -> Answer {
    Answer::Put { etag: etag(tag), version: VersionId(version) }
}

#[test]
fn a_repeated_put_never_brings_back_a_replaced_version() {
    for body in [striped(1, 9), inline(1)] {
        let mut replica = Replica::with_bucket();
        assert_eq!(replica.object(10, put("k", body.clone(), 1, 1000)), placed(1, 1));
        assert_eq!(replica.object(11, put("k", striped(2, 9), 2, 1000)), placed(2, 2));
        assert_eq!(replica.object(12, put("k", body.clone(), 1, 1000)), placed(1, 1));
        assert_eq!(replica.version("k"), Some(VersionId(2)));
        assert_eq!(replica.object(13, delete("k")), DONE);
        assert_eq!(replica.object(14, put("k", body, 1, 1000)), placed(1, 1));
        assert_eq!(replica.version("k"), None);
    }
}

#[test]
fn a_repeated_put_is_refused_for_ever_after_its_shards_were_reclaimed() {
    let mut replica = Replica::with_bucket();
    let first = put("k", striped(1, 9), 1, 1000);
    assert_eq!(replica.object(10, first.clone()), placed(1, 1));
    assert_eq!(replica.object(11, delete("k")), DONE);
    assert_eq!(replica.reclaimable(), [VersionId(1)]);
    assert_eq!(replica.object(12, reclaimed(&[1])), DONE);
    assert_eq!(replica.reclaimable(), []);
    // Long before its expiry: only memory stands between the repeat and an object without bytes.
    assert_eq!(replica.object(13, first.clone()), placed(1, 1));
    assert_eq!(replica.version("k"), None);
    // After its expiry, with one that the gateway extended.
    assert_eq!(replica.object(2000, put("k", striped(1, 9), 1, 3000)), placed(1, 1));
    assert_eq!(replica.version("k"), None);
    // And when it is forgotten.
    replica.skip(70_000);
    assert_eq!(replica.object(20 * 60_000, delete("k")), DONE);
    replica.skip(16);
    let key = layout::Layout(GROUP).version_use(VersionId(1));
    assert!(!replica.rows.0.contains_key(&key), "what the expiry refuses need not be remembered for ever");
    assert_eq!(replica.object(20 * 60_000, first), Answer::Refused(Refusal::Expired));
}

#[test]
fn an_inline_version_is_forgotten_after_both_time_and_entries() {
    let key = layout::Layout(GROUP).version_use(VersionId(1));
    let expires = INLINE_EXPIRES.0;
    let mut replica = Replica::with_bucket();
    assert_eq!(replica.object(10, put("k", inline(1), 1, expires)), placed(1, 1));
    assert_eq!(replica.object(11, delete("k")), DONE);
    replica.skip(70_000);
    assert!(replica.rows.0.contains_key(&key), "entries alone");
    assert_eq!(replica.object(11 + 10 * 60_000 + 1, delete("k")), DONE);
    replica.skip(16);
    assert!(!replica.rows.0.contains_key(&key), "time and entries");

    assert_eq!(replica.object(0, put("k", inline(1), 1, expires)), placed(1, 1));
    assert_eq!(replica.object(0, delete("k")), DONE);
    assert_eq!(replica.object(1 << 40, delete("k")), DONE);
    replica.skip(60_000);
    assert!(replica.rows.0.contains_key(&key), "time alone: a clock that jumped");
}

#[test]
fn inline_parts_of_an_upload_that_was_aborted_are_forgotten() {
    let mut replica = Replica::with_bucket();
    assert_eq!(replica.object(10, create_upload("k", 70)), DONE);
    let part = put_part("k", 70, 1, inline(1), 1, INLINE_EXPIRES.0);
    assert_eq!(replica.object(11, part), placed(1, 1));
    assert_eq!(replica.object(12, abort("k", 70)), DONE);
    replica.skip(70_000);
    assert_eq!(replica.object(20 * 60_000, delete("k")), DONE);
    replica.skip(16);
    let left = [70, 1].map(|version| layout::Layout(GROUP).version_use(VersionId(version)));
    assert!(left.iter().all(|key| !replica.rows.0.contains_key(key)), "neither the upload nor its part is kept");
}

#[test]
fn the_reclaim_queue_is_read_page_by_page_from_the_oldest_on() {
    let mut replica = Replica::with_bucket();
    assert_eq!(replica.object(1, create_upload("k", 70)), DONE);
    for number in 1..=3 {
        let version = u128::from(number);
        assert_eq!(replica.object(2, put_part("k", 70, number, striped(version, 9), 1, 99)), placed(version, 1));
    }
    assert_eq!(replica.object(3, put("j", striped(4, 9), 1, 99)), placed(4, 1));
    assert_eq!(replica.object(4, delete("j")), DONE);
    assert_eq!(replica.object(5, abort("k", 70)), DONE, "three entries of one command");
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let QueryAnswer::Reclaimable(page) = replica.query(&Query::Reclaimable { after, limit: 2 }) else {
            panic!("not a queue")
        };
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        pages.push(page.iter().map(|entry| entry.version.0).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![4, 1], vec![2, 3]]);
}

#[test]
fn a_sweep_and_a_decision_exclude_each_other() {
    let mut replica = Replica::with_bucket();
    // The proposer's clock is behind, and the log has not seen a later one: nothing is known yet.
    assert_eq!(replica.object(100, resolve(&[(1, 100)])), Answer::Resolved(vec![Fate::Pending]));
    assert_eq!(replica.object(90, put("a", striped(1, 9), 1, 100)), placed(1, 1));
    assert_eq!(
        replica.object(200, resolve(&[(1, 100), (2, 150)])),
        Answer::Resolved(vec![Fate::Committed, Fate::Void])
    );
    // However far behind the writer's clock is, and whatever expiry it has extended to.
    assert_eq!(replica.object(0, put("b", striped(2, 9), 1, 150)), Answer::Refused(Refusal::Expired));
    assert_eq!(replica.object(0, put("b", striped(2, 9), 1, 9999)), Answer::Refused(Refusal::Expired));
    assert_eq!(replica.object(0, put("b", striped(4, 9), 1, 9999)), placed(4, 1), "another version may");
    assert_eq!(replica.object(0, create_upload("c", 70)), DONE);
    let part = put_part("c", 70, 1, striped(3, 9), 1, 150);
    assert_eq!(replica.object(0, part), Answer::Refused(Refusal::Expired));
}

#[test]
fn parts_are_resolved_through_the_whole_life_of_an_upload() {
    let mut replica = Replica::with_bucket();
    let fates = |replica: &mut Replica| match replica.object(5000, resolve(&[(1, 1000), (2, 1000), (3, 1000)])) {
        Answer::Resolved(fates) => fates,
        other => panic!("{other:?}"),
    };
    let mib5 = 5 << 20;
    assert_eq!(replica.object(1, create_upload("k", 70)), DONE);
    assert_eq!(replica.object(2, put_part("k", 70, 1, striped(1, mib5), 1, 1000)), placed(1, 1));
    assert_eq!(replica.object(3, put_part("k", 70, 2, striped(2, 1), 2, 1000)), placed(2, 2));
    assert_eq!(replica.object(3, put_part("k", 70, 9, striped(3, 1), 3, 1000)), placed(3, 3));
    assert_eq!(fates(&mut replica), [Fate::Committed; 3]);
    let answer = replica.object(4, complete("k", 70, &[(1, 1), (2, 2)]));
    assert!(matches!(answer, Answer::Put { etag: ETag { parts: 2, .. }, version: VersionId(70) }), "{answer:?}");
    assert_eq!(fates(&mut replica), [Fate::Committed, Fate::Committed, Fate::Committed]);
    assert_eq!(replica.reclaimable(), [VersionId(3)]);
    assert_eq!(replica.object(4, complete("k", 70, &[(1, 1), (2, 2)])), answer, "a repeat");
    match replica.query(&Query::Object { object: object("k"), version: None }) {
        QueryAnswer::Object(object) => assert_eq!(object.bodies, [striped(1, mib5), striped(2, 1)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(replica.object(5, put("k", inline(4), 4, 0)), placed(4, 4));
    assert_eq!(replica.reclaimable(), [VersionId(3), VersionId(1), VersionId(2)]);
    assert_eq!(fates(&mut replica), [Fate::Committed; 3]);
    assert_eq!(replica.object(4, reclaimed(&[1, 2, 3])), DONE);
    assert_eq!(fates(&mut replica), [Fate::Void; 3]);
    assert_eq!(replica.object(4, complete("k", 70, &[(1, 1), (2, 2)])), Answer::Refused(Refusal::NoSuchUpload));
}

#[test]
fn an_upload_that_is_over_cannot_be_opened_again_by_a_repeat() {
    let mut replica = Replica::with_bucket();
    let no_upload = Answer::Refused(Refusal::NoSuchUpload);
    assert_eq!(replica.object(1, create_upload("k", 70)), DONE);
    assert_eq!(replica.object(2, put_part("k", 70, 1, striped(1, 1), 1, 1000)), placed(1, 1));
    assert_eq!(replica.object(2, create_upload("k", 70)), DONE, "a repeat keeps the parts");
    assert!(matches!(replica.object(3, complete("k", 70, &[(1, 1)])), Answer::Put { .. }));
    assert_eq!(replica.object(4, create_upload("k", 70)), DONE);
    assert_eq!(replica.object(5, put_part("k", 70, 1, striped(2, 1), 2, 1000)), no_upload);
    assert_eq!(replica.object(5, abort("k", 70)), no_upload);
    assert_eq!(replica.object(5, put_part("k", 70, 1, striped(1, 1), 1, 1000)), placed(1, 1), "a repeat");
    assert_eq!(replica.object(6, delete("k")), DONE);
    assert_eq!(replica.object(7, create_upload("k", 70)), DONE);
    assert_eq!(replica.object(8, put_part("k", 70, 1, striped(2, 1), 2, 1000)), no_upload);

    assert_eq!(replica.object(9, create_upload("k", 71)), DONE);
    assert_eq!(replica.object(9, abort("k", 71)), DONE);
    assert_eq!(replica.object(9, create_upload("k", 71)), DONE);
    assert_eq!(replica.object(9, abort("k", 71)), no_upload);
}

#[test]
fn a_bucket_goes_only_without_objects_and_uploads() {
    let mut replica = Replica::with_bucket();
    let drop = || ObjectOperation::DeleteBucket { bucket: bucket("bkt") };
    assert_eq!(replica.object(1, put("k", inline(1), 1, 0)), placed(1, 1));
    assert_eq!(replica.object(1, drop()), Answer::Refused(Refusal::BucketNotEmpty));
    assert_eq!(replica.object(1, delete("k")), DONE);
    assert_eq!(replica.object(1, create_upload("k", 70)), DONE);
    assert_eq!(replica.object(1, drop()), Answer::Refused(Refusal::BucketNotEmpty));
    assert_eq!(replica.object(1, abort("k", 70)), DONE);
    assert_eq!(replica.object(1, drop()), DONE);
    assert_eq!(replica.object(1, drop()), Answer::Refused(Refusal::NoSuchBucket));
    assert_eq!(replica.object(1, put("k", inline(2), 1, 0)), Answer::Refused(Refusal::NoSuchBucket));
    // The first put was decided, whatever became of its bucket.
    assert_eq!(replica.object(1, put("k", inline(1), 1, 0)), placed(1, 1));
}

#[test]
fn buckets_of_one_name_prefix_and_of_tenants_are_apart() {
    let mut replica = Replica::with_bucket();
    let other = BucketName { tenant: TenantId(2), name: "bkt".to_string() };
    for name in [bucket("bkt-x"), other.clone()] {
        assert_eq!(replica.object(7, ObjectOperation::CreateBucket { bucket: name }), DONE);
    }
    assert_eq!(replica.object(8, put("k", inline(1), 1, 0)), placed(1, 1));
    for name in [bucket("bkt-x"), other.clone()] {
        assert_eq!(
            replica.query(&Query::Bucket { bucket: name.clone(), documents: vec![] }),
            QueryAnswer::Bucket { row: BucketRow::new(WallTime(7)), documents: vec![], rules: vec![] }
        );
        assert_eq!(replica.object(8, ObjectOperation::DeleteBucket { bucket: name }), DONE, "it is empty");
    }
    let buckets = replica.query(&Query::Buckets { tenant: TenantId::DEFAULT });
    assert_eq!(buckets, QueryAnswer::Buckets(vec![("bkt".to_string(), BucketRow::new(WallTime(0)))]));
    assert_eq!(replica.query(&Query::Buckets { tenant: TenantId(2) }), QueryAnswer::Buckets(vec![]));
}

#[test]
fn uploads_and_parts_are_listed_in_order() {
    let mut replica = Replica::with_bucket();
    for (key, upload) in [("b", 70), ("a", 72), ("a", 71), ("ab", 73)] {
        assert_eq!(replica.object(3, create_upload(key, upload)), DONE);
    }
    let uploads = |prefix: &str, limit| match replica.query(&Query::Uploads {
        bucket: bucket("bkt"),
        prefix: prefix.to_string(),
        limit,
    }) {
        QueryAnswer::Uploads { uploads, more } => {
            (uploads.into_iter().map(|upload| upload.upload.0).collect::<Vec<_>>(), more)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(uploads("", 9), (vec![71, 72, 73, 70], false));
    assert_eq!(uploads("a", 3), (vec![71, 72, 73], false));
    assert_eq!(uploads("a", 2), (vec![71, 72], true));
    assert_eq!(uploads("", 0), (vec![], true));
    let mut replica = replica.clone();
    for number in [300, 2, 10_000] {
        let version = u128::from(number);
        assert_eq!(replica.object(4, put_part("a", 71, number, striped(version, 9), 1, 99)), placed(version, 1));
    }
    let parts = |after, limit| match replica.query(&Query::Parts {
        object: object("a"),
        upload: VersionId(71),
        after,
        limit,
    }) {
        QueryAnswer::Parts { parts, more } => (parts.into_iter().map(|part| part.number).collect::<Vec<_>>(), more),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts(0, 9), (vec![2, 300, 10_000], false));
    assert_eq!(parts(2, 1), (vec![300], true));
    assert_eq!(parts(300, 1), (vec![10_000], false));
    assert_eq!(parts(10_000, 1), (vec![], false));
}
