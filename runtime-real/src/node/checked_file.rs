//! Small text files that must be right or refused: `format` and the keys.
//!
//! Lines of `name value`, closed by the CRC-32C of everything above it. Written to a temporary name, synced, renamed,
//! and the directory synced, so that a crash leaves the old file, the new one, or none.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Why a file could not be used.
#[derive(Debug)]
pub(crate) enum CheckedFileError {
    /// The file is not there.
    Missing,
    /// It does not end with the checksum of its lines, or a line is not `name value`.
    Damaged(&'static str),
    /// The drive said no.
    Io(io::Error),
}

/// Reads the lines of `path`.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>, CheckedFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CheckedFileError::Missing),
        Err(error) => return Err(CheckedFileError::Io(error)),
    };
    let text = String::from_utf8(bytes).map_err(|_| CheckedFileError::Damaged("it is not text"))?;
    let (body, checksum) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once('\n'))
        .ok_or(CheckedFileError::Damaged("it is cut short"))?;
    if checksum != checksum_line(body) {
        return Err(CheckedFileError::Damaged("its checksum does not match"));
    }
    let pair = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
    body.lines().map(pair).collect::<Option<_>>().ok_or(CheckedFileError::Damaged("a line has no value"))
}

/// Writes lines to `path`, readable by the owner alone, durable when it returns.
pub(crate) fn write(path: &Path, lines: &[(&str, &str)]) -> io::Result<()> {
    let body = lines.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("\n");
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    write!(file, "{body}\n{}\n", checksum_line(&body))?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes a creation, rename or removal in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn checksum_line(body: &str) -> String {
    format!("crc32c {:08x}", CRC.checksum(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("format");
        write(&path, &[("anvil", "1"), ("cluster", "00ff")]).unwrap();
        let good = fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap()["cluster"], "00ff");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(read(&path), Err(CheckedFileError::Damaged(_))), "flip at {at} went unnoticed");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(matches!(read(&path), Err(CheckedFileError::Damaged(_))));
    }
}
