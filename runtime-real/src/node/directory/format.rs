//! `format`: whose a directory is, and which drive.
//!
//! ```text
//! anvil 1            layout version
//! cluster <32 hex>
//! node <name>
//! id <16 hex>        the node's number; absent in directories from before it was drawn, where the name gives it
//! first <number>     of the node's first drive; absent when 0
//! drive <number>     of this directory
//! drives <count>     of the node when this was written
//! place <number>     of this drive among the node's, from 0; absent where it is `drive` less `first`
//! numbers <n>,<n>..  of the node's drives; absent where they are the `drives` numbers from `first` on
//! ```

use super::error::DirectoryError;
use super::read_checked;
use crate::node::checked_file;
use anvil_core::types::{DriveId, NodeId};
use std::io;
use std::path::Path;

/// The version of the directory's layout that this binary reads and writes.
pub(super) const FORMAT_VERSION: &str = "1";

/// What every directory of a node says in the same words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: u128,
    pub(super) name: String,
    pub(super) node: NodeId,
    /// The number of the node's first drive.
    pub(super) first: u32,
}

/// What `format` says.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) owner: Owner,
    /// Whether the node's number stands there.
    pub(super) numbered: bool,
    /// The place of this drive among the node's, from 0.
    pub(super) place: u32,
    /// Its number in the cluster.
    pub(super) drive: DriveId,
    /// Drives that the node had when this file was written.
    pub(super) drives: u32,
    /// Their numbers.
    pub(super) numbers: Vec<DriveId>,
    /// Whether these stood there. A build from before they were written may mean others.
    pub(super) listed: bool,
}

/// The drive at a place of a node whose first one has the number `first`.
pub(super) fn drive_at(first: u32, place: u32) -> Result<DriveId, DirectoryError> {
    first.checked_add(place).map(DriveId).ok_or(DirectoryError::TooManyDrives)
}

pub(super) fn read_format(path: &Path) -> Result<Option<Format>, DirectoryError> {
    let file = path.join("format");
    let lines = match read_checked(&file) {
        Err(DirectoryError::Missing { .. }) => return Ok(None),
        lines => lines?,
    };
    let damaged = |what| DirectoryError::Damaged { path: file.clone(), what };
    let get = |name: &'static str| lines.get(name).ok_or_else(|| damaged("a line is missing"));
    let version = get("anvil")?;
    if version != FORMAT_VERSION {
        return Err(DirectoryError::Version { path: path.to_owned(), version: version.clone() });
    }
    let bad = |_| damaged("a number is no number");
    let name = get("node")?.clone();
    let id = lines.get("id").map(|id| u64::from_str_radix(id, 16).map(NodeId)).transpose().map_err(bad)?;
    let first: u32 = lines.get("first").map_or(Ok(0), |first| first.parse()).map_err(bad)?;
    let drive: u32 = get("drive")?.parse().map_err(bad)?;
    let place = match lines.get("place") {
        Some(place) => place.parse().map_err(bad)?,
        None => drive.checked_sub(first).ok_or_else(|| damaged("the drive comes before the node's first"))?,
    };
    let cluster = u128::from_str_radix(get("cluster")?, 16).map_err(bad)?;
    let node = id.unwrap_or_else(|| node_of_name(&name));
    let owner = Owner { cluster, name, node, first };
    let drives = get("drives")?.parse().map_err(bad)?;
    let numbers = match lines.get("numbers") {
        Some(numbers) => {
            numbers.split(',').map(|number| number.parse().map(DriveId)).collect::<Result<_, _>>().map_err(bad)?
        }
        None => consecutive(first, drives)?,
    };
    Ok(Some(Format {
        owner,
        numbered: id.is_some(),
        place,
        drive: DriveId(drive),
        drives,
        numbers,
        listed: lines.contains_key("numbers"),
    }))
}

fn consecutive(first: u32, drives: u32) -> Result<Vec<DriveId>, DirectoryError> {
    (0..drives).map(|place| drive_at(first, place)).collect()
}

/// Writes the format of the drive `number` at `place`, when the node has the drives `numbers`.
pub(super) fn write_format(
    path: &Path,
    owner: &Owner,
    place: u32,
    number: DriveId,
    drives: u32,
    numbers: &[DriveId],
) -> io::Result<()> {
    let (cluster, node) = (format!("{:032x}", owner.cluster), format!("{:016x}", owner.node.0));
    let (first, drive, count) = (owner.first.to_string(), number.0.to_string(), drives.to_string());
    let placed = place.to_string();
    let mut lines = vec![("anvil", FORMAT_VERSION), ("cluster", &cluster), ("node", &owner.name), ("id", &node)];
    if owner.first != 0 {
        lines.push(("first", &first));
    }
    lines.extend([("drive", drive.as_str()), ("drives", &count)]);
    if owner.first.checked_add(place) != Some(number.0) {
        lines.push(("place", &placed));
    }
    let listed = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if consecutive(owner.first, drives).ok().as_deref() != Some(numbers) {
        lines.push(("numbers", &listed));
    }
    checked_file::write(&path.join("format"), &lines)
}

/// The number of a node whose directory was made before numbers were drawn: the first 8 bytes of its name's MD5.
fn node_of_name(name: &str) -> NodeId {
    use md5::{Digest, Md5};
    let digest: [u8; 16] = Md5::digest(name.as_bytes()).into();
    let (first, _) = digest.split_at(8);
    NodeId(u64::from_be_bytes(first.try_into().expect("half of 16 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_format_has_its_golden_lines() {
        let home = tempfile::tempdir().unwrap();
        let owner = Owner { cluster: 0xC1, name: "n2".to_owned(), node: NodeId(0xA1), first: 30 };
        write_format(home.path(), &owner, 1, DriveId(31), 2, &[DriveId(30), DriveId(31)]).unwrap();
        let text = fs::read_to_string(home.path().join("format")).unwrap();
        let (lines, checksum) = text.trim_end().rsplit_once('\n').unwrap();
        let expected = "anvil 1\ncluster 000000000000000000000000000000c1\nnode n2\nid 00000000000000a1\nfirst 30\n\
                        drive 31\ndrives 2";
        assert_eq!((lines, checksum), (expected, "crc32c 8732842e"));
        let format = read_format(home.path()).unwrap().unwrap();
        let (place, drive, drives) = (format.place, format.drive.0, format.drives);
        assert_eq!((&format.owner, format.numbered, place, drive, drives), (&owner, true, 1, 31, 2));

        // A drive that was added when others had the next numbers.
        let numbers = [DriveId(30), DriveId(31), DriveId(77)];
        write_format(home.path(), &owner, 2, DriveId(77), 3, &numbers).unwrap();
        let text = fs::read_to_string(home.path().join("format")).unwrap();
        assert!(text.contains("\ndrive 77\ndrives 3\nplace 2\nnumbers 30,31,77\n"));
        let format = read_format(home.path()).unwrap().unwrap();
        assert_eq!((format.owner, format.place, format.drive.0, format.drives), (owner, 2, 77, 3));
        assert_eq!(format.numbers, numbers);
    }

    #[test]
    fn a_directory_from_before_numbers_were_drawn_has_that_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let lines = [("anvil", "1"), ("cluster", "c1"), ("node", "node1"), ("drive", "0"), ("drives", "1")];
        checked_file::write(&home.path().join("format"), &lines).unwrap();
        let format = read_format(home.path()).unwrap().unwrap();
        assert!(!format.numbered);
        // The first 8 bytes of `printf node1 | md5sum`.
        assert_eq!((format.owner.node, format.owner.first), (NodeId(0x1645_46F6_0261_C7E4), 0));
    }

    #[test]
    fn drives_have_numbers_that_fit() {
        assert_eq!(drive_at(30, 2).unwrap().0, 32);
        assert!(matches!(drive_at(u32::MAX, 1), Err(DirectoryError::TooManyDrives)));
    }
}
