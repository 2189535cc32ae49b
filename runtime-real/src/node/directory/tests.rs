//! Starts that die half-way, old directories, and joining.

use super::format::read_format;
use super::*;
use crate::peers::{Admission, JoinToken, NodeKey};

/// Directories of drives, in the order of their numbers.
struct Drives(tempfile::TempDir);

impl Drives {
    fn new() -> Drives {
        Drives(tempfile::tempdir().unwrap())
    }

    fn path(&self, drive: usize) -> PathBuf {
        self.0.path().join(drive.to_string())
    }

    fn open(&self, count: usize) -> Result<usize, DirectoryError> {
        let paths: Vec<PathBuf> = (0..count).map(|drive| self.path(drive)).collect();
        NodeDirectory::open(&paths, "node1", None).map(|directory| directory.drives.len())
    }

    /// A start that cannot write the format of drive `cut`, as if the power had failed or the drive were full.
    fn open_until(&self, count: usize, cut: usize) {
        let in_the_way = self.path(cut).join("format.new");
        fs::create_dir_all(&in_the_way).unwrap();
        let error = self.open(count).expect_err("a format cannot be written");
        assert!(matches!(&error, DirectoryError::Io { path, .. } if *path == self.path(cut)), "{error}");
        fs::remove_dir(&in_the_way).unwrap();
    }

    fn counts(&self, count: usize) -> Vec<u32> {
        (0..count).map(|drive| read_format(&self.path(drive)).unwrap().unwrap().drives).collect()
    }
}

#[test]
fn a_first_start_that_died_between_two_drives_is_completed_by_the_next() {
    for cut in 0..3 {
        let drives = Drives::new();
        drives.open_until(3, cut);
        assert_eq!(drives.open(3).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 3);
        assert_eq!(drives.counts(3), [3, 3, 3], "cut at {cut}");
    }
}

#[test]
fn adding_drives_that_died_half_way_is_completed_by_the_next_start() {
    // The cuts at drives 2 and 3 come while these are made, those at 0 and 1 while the others count them.
    for cut in [2, 3, 0, 1] {
        let drives = Drives::new();
        assert_eq!(drives.open(2).unwrap(), 2);
        drives.open_until(4, cut);
        if cut != 1 {
            // Drive 0 does not count the new ones yet, so the node is what it was.
            assert_eq!(drives.open(2).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 2);
        }
        assert_eq!(drives.open(4).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 4);
        assert_eq!(drives.counts(4), [4, 4, 4, 4], "cut at {cut}");
    }
}

#[test]
fn a_missing_drive_is_named() {
    let drives = Drives::new();
    assert_eq!(drives.open(3).unwrap(), 3);
    assert!(matches!(drives.open(2), Err(DirectoryError::MissingDrive { drive: DriveId(2) })));
}

const MEMBER: &str = "node2";

/// A cluster that admits anybody to `first_drive`.
fn admit(ca: &Ca, candidate: &Candidate, first_drive: u32) -> Admission {
    Admission {
        ca: ca.clone(),
        identity: ca.identity(candidate.node, candidate.key.clone()),
        first_drive,
        root_key: RootKey([7; 32]),
        access_key_id: "AK".to_owned(),
        secret_access_key: "SK".to_owned(),
        peers: vec![KnownPeer { node: NodeId(1), address: "10.0.0.1:8000".parse().unwrap(), name: "node1".to_owned() }],
    }
}

fn candidate(paths: &[PathBuf], token: Option<&JoinToken>) -> Candidate {
    match NodeDirectory::begin_join(paths, MEMBER, token, None).unwrap() {
        Begun::Candidate(candidate) => *candidate,
        Begun::Member(_) => panic!("it was not admitted yet"),
    }
}

#[test]
fn a_new_node_has_a_random_number_and_keeps_it() {
    let (one, two) = (Drives::new(), Drives::new());
    let open = |drives: &Drives| NodeDirectory::open(&[drives.path(0)], "node1", None).unwrap();
    let (first, second) = (open(&one), open(&two));
    assert_ne!(first.node, second.node, "the same name, two nodes");
    let (node, cluster, fingerprint) = (first.node, first.cluster, first.ca.fingerprint());
    assert_eq!((first.identity.node(), first.identity.cluster()), (node, cluster));
    assert!(first.fresh && first.peers.is_empty());
    drop(first);
    let again = open(&one);
    assert_eq!((again.node, again.cluster, again.ca.fingerprint(), again.fresh), (node, cluster, fingerprint, false));
}

/// As version 1 wrote it before nodes had numbers and clusters authorities.
fn make_old(path: &Path, drive: &str, drives: &str) {
    fs::create_dir_all(path.join("shards")).unwrap();
    let lines = [("anvil", "1"), ("cluster", "c1"), ("node", "node1"), ("drive", drive), ("drives", drives)];
    checked_file::write(&path.join("format"), &lines).unwrap();
    if drive == "0" {
        fs::create_dir_all(path.join("log")).unwrap();
        fs::create_dir_all(path.join("keys")).unwrap();
        checked_file::write(&path.join("keys/root"), &[("root", &"ab".repeat(32))]).unwrap();
        checked_file::write(&path.join("keys/access"), &[("id", "AK1"), ("secret", "S1")]).unwrap();
    }
}

#[test]
fn an_old_directory_keeps_its_number_and_gets_an_authority() {
    let drives = Drives::new();
    make_old(&drives.path(0), "0", "2");
    make_old(&drives.path(1), "1", "2");
    let paths = [drives.path(0), drives.path(1)];
    // A start that dies after it made the authority, before it wrote any number.
    let in_the_way = drives.path(0).join("format.new");
    fs::create_dir_all(&in_the_way).unwrap();
    NodeDirectory::open(&paths, "node1", None).expect_err("a format cannot be written");
    fs::remove_dir(&in_the_way).unwrap();

    let opened = NodeDirectory::open(&paths, "node1", None).unwrap();
    // `printf node1 | md5sum`
    assert_eq!(opened.node, NodeId(0x1645_46F6_0261_C7E4));
    assert_eq!((opened.root_key.clone(), opened.access_key_id.as_str()), (RootKey([0xAB; 32]), "AK1"));
    assert_eq!((opened.identity.cluster(), opened.identity.node()), (0xC1, opened.node));
    let fingerprint = opened.ca.fingerprint();
    drop(opened);
    assert_eq!(NodeDirectory::open(&paths, "node1", None).unwrap().ca.fingerprint(), fingerprint);
    // From then on an authority that is missing is missed.
    fs::remove_file(drives.path(0).join("keys/ca")).unwrap();
    let error = NodeDirectory::open(&paths, "node1", None).unwrap_err();
    assert!(matches!(&error, DirectoryError::Missing { path } if path.ends_with("keys/ca")), "{error}");
}

#[test]
fn a_node_joins_with_drives_that_follow_those_of_others() {
    let drives = Drives::new();
    let paths = [drives.path(0), drives.path(1)];
    let ca = Ca::generate(0xC1);
    let asking = candidate(&paths, None);
    assert_eq!(asking.drives(), paths);
    let (node, admission) = (asking.node, admit(&ca, &asking, 30));
    let joined = asking.complete(&admission, None).unwrap();
    assert_eq!((joined.node, joined.cluster, joined.fresh), (node, 0xC1, true));
    assert_eq!(joined.drives.keys().map(|drive| drive.0).collect::<Vec<_>>(), [30, 31]);
    assert_eq!(joined.first(), drives.path(0));
    assert_eq!((joined.root_key.clone(), joined.access_key_id.as_str()), (RootKey([7; 32]), "AK"));
    assert_eq!(joined.peers, admission.peers);
    let joined_epoch = joined.peers_epoch;
    let moved = KnownPeer { address: "10.0.0.9:1".parse().unwrap(), ..admission.peers[0].clone() };
    joined.write_peers(std::slice::from_ref(&moved), 7).unwrap();
    drop(joined);
    // In another order, with a third drive, and without asking anybody.
    let paths = [drives.path(2), drives.path(1), drives.path(0)];
    let again = NodeDirectory::open(&paths, MEMBER, None).unwrap();
    assert_eq!((again.node, again.peers.clone(), again.fresh), (node, vec![moved], false));
    let numbers: Vec<_> = again.drives.iter().map(|(drive, path)| (drive.0, path.clone())).collect();
    assert_eq!(numbers, [(30, drives.path(0)), (31, drives.path(1)), (32, drives.path(2))]);
    assert_eq!((joined_epoch, again.peers_epoch), (0, 7));
    again.write_peers(&[], 8).unwrap();
    drop(again);
    assert!(NodeDirectory::open(&paths, MEMBER, None).unwrap().peers.is_empty());
}

#[test]
fn a_join_that_died_anywhere_is_asked_again_with_the_same_number_and_key() {
    // Files that cannot be written, in the order in which they are; the last two come after the first `format`.
    for (cut, is_member) in [
        ("0/keys/root.new", false),
        ("0/keys/access.new", false),
        ("0/keys/ca.new", false),
        ("0/keys/node.new", false),
        ("0/keys/peers.new", false),
        ("0/format.new", false),
        ("1/format.new", true),
    ] {
        let drives = Drives::new();
        let paths = [drives.path(0), drives.path(1)];
        let ca = Ca::generate(0xC1);
        let asking = candidate(&paths, None);
        let (node, key) = (asking.node, asking.key.public());
        let admission = admit(&ca, &asking, 5);
        let in_the_way = drives.0.path().join(cut);
        fs::create_dir_all(&in_the_way).unwrap();
        asking.complete(&admission, None).expect_err(cut);
        fs::remove_dir(&in_the_way).unwrap();
        if !is_member {
            let refused = NodeDirectory::open(&paths, MEMBER, None);
            assert!(matches!(refused, Err(DirectoryError::Joining { .. })), "{cut}: it founded a cluster");
            let asking = candidate(&paths, None);
            assert_eq!((asking.node, asking.key.public()), (node, key), "{cut}");
            asking.complete(&admission, None).unwrap();
        }
        let member = NodeDirectory::open(&paths, MEMBER, None).unwrap_or_else(|error| panic!("{cut}: {error}"));
        assert_eq!((member.node, member.drives.len(), member.identity.key().public()), (node, 2, key), "{cut}");
        assert!(!drives.path(0).join("keys/joining").exists(), "{cut}");
    }
}

#[test]
fn what_looks_like_a_node_of_a_cluster_is_one() {
    let drives = Drives::new();
    let paths = [drives.path(0)];
    let (ca, other) = (Ca::generate(0xC1), Ca::generate(0xC2));
    let asking = candidate(&paths, None);
    drop(asking);
    let renamed = NodeDirectory::begin_join(&paths, "node3", None, None);
    assert!(matches!(renamed, Err(DirectoryError::OtherNode { name, .. }) if name == MEMBER));
    let asking = candidate(&paths, None);
    let admission = admit(&ca, &asking, 0);
    drop(asking.complete(&admission, None).unwrap());
    let (ours, theirs) = (JoinToken::draw(&ca), JoinToken::draw(&other));
    let begin = |token| NodeDirectory::begin_join(&paths, MEMBER, Some(token), None);
    assert!(matches!(begin(&ours), Ok(Begun::Member(_))));
    assert!(matches!(begin(&theirs), Err(DirectoryError::OtherThanToken { .. })));
    // A certificate of another key.
    let node = drives.path(0).join("keys/node");
    let stolen = other.identity(NodeId(5), NodeKey::generate());
    let (certificate, key) = (keys::to_hex(stolen.certificate()), keys::to_hex(stolen.key().pkcs8()));
    checked_file::write(&node, &[("certificate", &certificate), ("key", &key)]).unwrap();
    assert!(matches!(begin(&ours), Err(DirectoryError::Keys { path, .. }) if path == node));
}

/// The node's rows say what the cluster knows; without them only the operator can say that a drive is gone.
#[test]
fn a_node_does_without_a_drive_only_when_it_is_said_to_be_lost() {
    let drives = Drives::new();
    assert_eq!(drives.open(3).unwrap(), 3);
    let without = [drives.path(0), drives.path(2)];
    let error = NodeDirectory::open(&without, "node1", None).unwrap_err();
    assert!(matches!(error, DirectoryError::MissingDrive { drive: DriveId(1) }), "{error}");
    let rest = [drives.path(1), drives.path(2)];
    let error = NodeDirectory::open(&rest, "node1", None).unwrap_err();
    assert!(matches!(error, DirectoryError::MissingFirst), "{error}");

    let open = |paths: &[PathBuf], lost: &[DriveId]| {
        let opened = NodeDirectory::open(Given { paths, lost }, "node1", None).unwrap();
        opened.drives.into_keys().map(|drive| drive.0).collect::<Vec<_>>()
    };
    assert_eq!(open(&without, &[DriveId(1)]), [0, 2]);
    // A start without the word would forget the drive before the cluster knows that it is gone.
    let error = NodeDirectory::open(&without, "node1", None).unwrap_err();
    assert!(matches!(error, DirectoryError::MissingDrive { drive: DriveId(1) }), "{error}");
    // Another one takes its place, under a number of its own, and the place stays empty.
    let replaced = [drives.path(0), drives.path(7), drives.path(2)];
    assert_eq!(open(&replaced, &[DriveId(1)]), [0, 2, 3]);
    assert_eq!(open(&replaced, &[DriveId(1)]), [0, 2, 3]);
}
