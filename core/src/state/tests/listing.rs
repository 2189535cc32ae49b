//! Pages of a bucket: what is on them, and what they cost.

use super::*;
use crate::rows::Scan;
use alloc::collections::BTreeSet;
use alloc::string::String;
use core::cell::Cell;
use proptest::prelude::*;

fn filled(keys: &[&str]) -> Replica {
    let mut replica = Replica::with_bucket();
    for (version, key) in (1..).zip(keys) {
        let answer = replica.object(5, put(key, inline(version), 1, 0));
        assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
    }
    replica
}

fn list(prefix: &str, delimiter: &str, start_after: &str, limit: usize) -> Query {
    Query::List {
        bucket: bucket("bkt"),
        prefix: prefix.to_string(),
        delimiter: delimiter.to_string(),
        start_after: start_after.to_string(),
        limit,
    }
}

fn page(replica: &Replica, question: &Query) -> Listing {
    match replica.query(question) {
        QueryAnswer::Listing(listing) => listing,
        other => panic!("{other:?}"),
    }
}

fn lines(listing: &Listing) -> (Vec<&str>, Vec<&str>, Option<&str>) {
    let objects = listing.objects.iter().map(|listed| listed.key.as_str()).collect();
    (objects, listing.prefixes.iter().map(String::as_str).collect(), listing.next.as_deref())
}

#[test]
fn pages() {
    let keys = [
        "a",
        "a/",
        "a/1",
        "a/2",
        "a0",
        "b/x/1",
        "b/x/2",
        "b/y",
        "c",
        "c\0",
        "c\0d",
        "ab",
        "xaby",
        "xabz",
        "\u{10FFFF}",
    ];
    let replica = filled(&keys);
    type Lines = (Vec<&'static str>, Vec<&'static str>, Option<&'static str>);
    let cases: [(&str, &str, &str, usize, Lines); 17] = [
        (
            "",
            "/",
            "",
            99,
            (vec!["a", "a0", "ab", "c", "c\0", "c\0d", "xaby", "xabz", "\u{10FFFF}"], vec!["a/", "b/"], None),
        ),
        ("", "/", "", 2, (vec!["a"], vec!["a/"], Some("a/"))),
        ("", "/", "a/", 2, (vec!["a0", "ab"], vec![], Some("ab"))),
        ("", "/", "ab", 1, (vec![], vec!["b/"], Some("b/"))),
        ("", "/", "b/", 99, (vec!["c", "c\0", "c\0d", "xaby", "xabz", "\u{10FFFF}"], vec![], None)),
        // Not a common prefix of this delimiter: what follows in it is rolled up.
        ("", "/", "a/1", 2, (vec!["a0"], vec!["a/"], Some("a0"))),
        ("a/", "/", "", 99, (vec!["a/", "a/1", "a/2"], vec![], None)),
        ("a/", "/", "a/", 99, (vec!["a/1", "a/2"], vec![], None)),
        ("b/", "/", "", 99, (vec!["b/y"], vec!["b/x/"], None)),
        ("b", "/", "", 99, (vec![], vec!["b/"], None)),
        ("c\0", "", "", 99, (vec!["c\0", "c\0d"], vec![], None)),
        ("c", "", "c", 99, (vec!["c\0", "c\0d"], vec![], None)),
        ("x", "ab", "", 99, (vec![], vec!["xab"], None)),
        ("", "ab", "c\0d", 99, (vec!["\u{10FFFF}"], vec!["xab"], None)),
        ("a", "", "zz", 99, (vec![], vec![], None)),
        ("", "", "", 0, (vec![], vec![], None)),
        ("c", "", "", 3, (vec!["c", "c\0", "c\0d"], vec![], None)),
    ];
    for (prefix, delimiter, start_after, limit, expected) in cases {
        let listing = page(&replica, &list(prefix, delimiter, start_after, limit));
        assert_eq!(lines(&listing), expected, "{prefix:?} {delimiter:?} {start_after:?} {limit}");
    }
    let listing = page(&replica, &list("c", "", "", 1));
    let first = Listed { key: "c".to_string(), size: 6, etag: etag(1), modified: WallTime(5), owner: None };
    assert_eq!(listing.objects, [first]);
    let question = Query::List {
        bucket: bucket("other"),
        prefix: String::new(),
        delimiter: String::new(),
        start_after: String::new(),
        limit: 1,
    };
    assert_eq!(replica.query(&question), QueryAnswer::Refused(Refusal::NoSuchBucket));
}

/// Counts the rows that a query sees.
struct Counting<'a> {
    rows: &'a MemoryRows,
    seen: Cell<usize>,
}

impl Rows for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.seen.set(self.seen.get() + 1);
        self.rows.get(key)
    }
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        self.rows.scan(from, to, &mut |key, value| {
            self.seen.set(self.seen.get() + 1);
            visit(key, value)
        })
    }
}

#[test]
fn a_page_costs_as_many_rows_as_it_has_lines() {
    let mut replica = Replica::with_bucket();
    let mut version = 0;
    for directory in 0..5 {
        for file in 0..200 {
            version += 1;
            let key = format!("d{directory}/f{file:03}");
            assert!(matches!(replica.object(1, put(&key, inline(version), 1, 0)), Answer::Put { .. }));
        }
    }
    for (question, lines) in [
        (list("", "/", "", 99), 5),
        (list("", "/", "", 3), 3),
        (list("", "", "d2/f100", 7), 7),
        (list("d4/", "/", "d4/f190", 7), 7),
        (list("", "/", "d3/", 9), 1),
    ] {
        let counting = Counting { rows: &replica.rows, seen: Cell::new(0) };
        let QueryAnswer::Listing(listing) = query(GROUP, &question, &counting).expect("memory does not fail") else {
            panic!("not a listing")
        };
        assert_eq!(listing.objects.len() + listing.prefixes.len(), lines);
        // The bucket's row, each line, and the row that shows that there is a further page.
        assert!(counting.seen.get() <= lines + 2, "{question:?} saw {} rows", counting.seen.get());
    }
}

#[test]
fn only_the_newest_version_of_a_key_is_seen() {
    let mut replica = filled(&["a", "b", "c"]);
    // A second version of `b` that is older than the one there: rows as a versioned bucket would keep them.
    let layout = layout::Layout(GROUP);
    let (key, value) = {
        let range = layout.versions_of(&object("b"));
        let found = replica.rows.0.iter().find(|(key, _)| range.contains(key));
        found.map(|(key, value)| (key.clone(), value.clone())).expect("b is there")
    };
    let mut row: objects::rows::VersionRow = codec::open(&key, &value).expect("it is whole");
    row.decided = LogIndex(1);
    row.version = VersionId(99);
    let older = layout.version(&object("b"), row.decided);
    assert!(older > key, "older versions stand behind newer ones");
    replica.rows.0.insert(older.clone(), codec::seal(&older, &row));
    assert_eq!(replica.version("b"), Some(VersionId(2)));
    assert_eq!(lines(&page(&replica, &list("", "", "", 9))).0, ["a", "b", "c"]);
    assert_eq!(lines(&page(&replica, &list("", "", "", 2))), (vec!["a", "b"], vec![], Some("b")));
    assert_eq!(lines(&page(&replica, &list("", "", "b", 2))), (vec!["c"], vec![], None));
}

/// The lines of a listing, said naively: roll up each key, drop doubles.
fn naive(keys: &BTreeSet<String>, prefix: &str, delimiter: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let line = match rest.find(delimiter) {
            Some(at) if !delimiter.is_empty() => key[..prefix.len() + at + delimiter.len()].to_string(),
            Some(_) | None => key.clone(),
        };
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines
}

proptest! {
    #[test]
    fn pages_put_together_are_the_listing(
        keys in proptest::collection::btree_set("[ab/\u{0}é]{1,5}", 0..25),
        prefix in "[ab/\u{0}]{0,2}",
        delimiter in prop_oneof![Just(""), Just("/"), Just("ab"), Just("\0"), Just("aa")],
        limit in 1_usize..6,
    ) {
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let replica = filled(&names);
        let mut found: Vec<String> = Vec::new();
        let mut start_after = String::new();
        for _ in 0..100 {
            let listing = page(&replica, &list(&prefix, delimiter, &start_after, limit));
            let mut merged: Vec<String> = listing.objects.iter().map(|listed| listed.key.clone()).collect();
            prop_assert!(merged.is_sorted() && listing.prefixes.is_sorted());
            merged.extend(listing.prefixes.iter().cloned());
            merged.sort();
            prop_assert!(merged.len() <= limit);
            prop_assert!(listing.next.is_none() || merged.len() == limit);
            found.extend(merged);
            match listing.next {
                Some(next) => start_after = next,
                None => break,
            }
        }
        prop_assert_eq!(found, naive(&keys, &prefix, delimiter));
    }

    #[test]
    fn user_keys_are_listed_by_prefix_page_by_page(
        keys in proptest::collection::btree_set(proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 1..4), 0..20),
        prefix in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255)], 0..3),
        limit in 1_usize..5,
        bytes_max in 1_usize..200,
    ) {
        let mut replica = Replica::default();
        for key in &keys {
            replica.run(1, Operation::Key(key_put(key, b"v", KeyCondition::Any)));
        }
        let prefix = Bytes::from(prefix);
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut start_after = Bytes::new();
        loop {
            let question = Query::Keys { prefix: prefix.clone(), start_after: start_after.clone(), limit, bytes_max };
            let QueryAnswer::Keys { keys: page, more } = replica.query(&question) else { panic!("not keys") };
            prop_assert!(page.len() <= limit && (!more || !page.is_empty()), "a page that is not the last moves on");
            if let Some((last, _)) = page.last() {
                start_after = last.clone();
            }
            found.extend(page.into_iter().map(|(key, _)| key.to_vec()));
            if !more {
                break;
            }
        }
        let expected: Vec<Vec<u8>> = keys.into_iter().filter(|key| key.starts_with(&prefix)).collect();
        prop_assert_eq!(found, expected);
    }
}
