//! The rules of the source tree that the compiler does not know: headers, crate direction, the code map, invariants.
//!
//! It stands in this crate because it compiles in a moment. It reads the sources as text and believes nothing else.
//! Each test lists everything that is wrong at once, and says what to do about it.
//!
//! Not here: what clippy and the compiler check (`clippy.toml`, the workspace's lints), and that `anvil-core` needs no
//! `std` (`core/no-std-check`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file that does one thing.
const LINES_MAX: usize = 500;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[
    ("runtime-real/src/s3/tests.rs", "one table of cases for each pure part of the gateway"),
    ("runtime-real/tests/s3_gateway.rs", "one conversation for each operation of the gateway"),
];

/// Which crates of this repository a crate may depend on. A crate that is not here has no direction yet.
const DIRECTION: &[(&str, &[&str])] = &[
    ("anvil-core", &[]),
    ("anvil-no-std-check", &["anvil-core"]),
    ("anvil-proto", &["anvil-core"]),
    ("anvil-state-store", &["anvil-core"]),
    ("anvil", &["anvil-core", "anvil-proto", "anvil-state-store"]),
    ("anvil-sim", &["anvil-core", "anvil-proto", "anvil-state-store"]),
    ("anvil-sim-tests", &["anvil-core", "anvil-proto", "anvil-state-store", "anvil-sim", "anvil"]),
    ("anvil-fuzz", &["anvil-core", "anvil-proto"]),
];

/// Invariants that no single line enforces, and what holds them instead.
const OF_THE_WHOLE: &[(&str, &str)] = &[
    ("SIM-1", "seeds are run twice, in two processes, and their trace hashes compared"),
    ("SIM-3", "the fault atlas, whose own invariants are ATLAS-1 to ATLAS-3"),
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of every crate: the workspace's members and those that it excludes.
fn crates() -> Vec<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let mut folders: Vec<String> = Vec::new();
    for list in ["members = [", "exclude = ["] {
        let (_, rest) = manifest.split_once(list).expect("the workspace lists its members and what it excludes");
        let (names, _) = rest.split_once(']').expect("a list ends");
        folders.extend(names.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(folders.len() >= 6, "the manifest lists {folders:?} only: did its form change?");
    folders
}

/// Every Rust file of a folder, as a path from the root. Folders of other crates inside it are left out.
fn sources(folder: &str, others: &[String], found: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.expect("a folder can be listed");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if name != "target" && !others.contains(&path) {
                sources(&path, others, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn sources_of(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    sources(folder, &crates(), &mut found);
    found.sort();
    found
}

fn all_sources() -> Vec<String> {
    let found: Vec<String> = crates().iter().flat_map(|folder| sources_of(folder)).collect();
    assert!(found.len() > 100, "only {} Rust files were found: the walk is broken", found.len());
    found
}

/// Fails with all complaints at once.
fn expect_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}\n", complaints.join("\n  "));
}

#[test]
fn every_file_opens_with_a_header() {
    let bare: Vec<String> = all_sources()
        .into_iter()
        .filter(|path| {
            let text = read(&root().join(path));
            let first = text.lines().next().and_then(|line| line.strip_prefix("//!"));
            first.is_none_or(|sentence| sentence.trim().len() <= 10)
        })
        .collect();
    expect_none("a file opens with `//!` and a sentence that says what it is for; these do not:", &bare);
}

#[test]
fn files_are_small_rooms() {
    let mut complaints = Vec::new();
    for path in all_sources() {
        let lines = read(&root().join(&path)).lines().count();
        let may_be_long = LONG_FILES.iter().any(|(long, _)| *long == path);
        if lines > LINES_MAX && !may_be_long {
            complaints.push(format!("{path}: {lines} lines"));
        }
    }
    let gone = LONG_FILES.iter().filter(|(path, _)| !root().join(path).exists());
    complaints.extend(gone.map(|(path, _)| format!("{path}: is listed as long, and does not exist")));
    expect_none(&format!("a file has at most {LINES_MAX} lines; split these:"), &complaints);
}

/// The package's name and the packages of this repository in any of its dependency tables.
fn dependencies(manifest: &str) -> (String, BTreeSet<String>) {
    let (mut table, mut name, mut ours) = (String::new(), String::new(), BTreeSet::new());
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').to_owned();
            // The form `[dependencies.name]`.
            if let Some((_, package)) = table.split_once("dependencies.") {
                note_ours(package, &mut ours);
            }
        } else if table == "package" && line.starts_with("name") {
            name = line.split('"').nth(1).expect("a package's name is in quotes").to_owned();
        } else if table.ends_with("dependencies") && !line.starts_with('#') {
            let key = line.split(['=', '.', ' ']).next().unwrap_or("");
            note_ours(key, &mut ours);
            if let Some((_, renamed)) = line.split_once("package = \"") {
                note_ours(renamed.split('"').next().unwrap_or(""), &mut ours);
            }
        }
    }
    assert!(!name.is_empty(), "a manifest names its package");
    (name, ours)
}

fn note_ours(package: &str, ours: &mut BTreeSet<String>) {
    if DIRECTION.iter().any(|(known, _)| *known == package) || package.starts_with("anvil") {
        ours.insert(package.to_owned());
    }
}

#[test]
fn dependencies_are_recognized_in_every_form() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nanvil-core.workspace = true\nbytes = \"1\"\n\
                    [dev-dependencies]\nthe-real = { package = \"anvil\", path = \"..\" }\n\
                    [target.'cfg(unix)'.dependencies.anvil-sim]\npath = \"y\"\n";
    let (name, ours) = dependencies(manifest);
    assert_eq!(name, "x");
    assert_eq!(ours.into_iter().collect::<Vec<_>>(), ["anvil", "anvil-core", "anvil-sim"]);
}

#[test]
fn crates_look_one_way() {
    let mut complaints = Vec::new();
    for folder in crates() {
        let (name, ours) = dependencies(&read(&root().join(&folder).join("Cargo.toml")));
        let Some((_, allowed)) = DIRECTION.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!("{name} ({folder}) is not in DIRECTION of this test"));
            continue;
        };
        let wrong = ours.iter().filter(|other| !allowed.contains(&other.as_str()));
        complaints.extend(wrong.map(|other| format!("{name} depends on {other}")));
    }
    expect_none("core <- proto, state-store <- runtimes <- sim-tests, never the other way:", &complaints);
}

fn is_path(word: &str) -> bool {
    word.contains('/') && !word.starts_with('/')
}

/// The paths in backticks of the code map. `/kv` and its like are routes.
fn mapped(architecture: &str) -> BTreeSet<String> {
    let (_, rest) = architecture.split_once("\n## Code map\n").expect("ARCHITECTURE.md has a section `Code map`");
    let section = rest.split("\n## ").next().unwrap_or(rest);
    section.split('`').skip(1).step_by(2).filter(|word| is_path(word)).map(str::to_owned).collect()
}

#[test]
fn the_code_map_is_right() {
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let map = mapped(&architecture);
    let mut complaints: Vec<String> = map
        .iter()
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("{path} is on the map and does not exist"))
        .collect();
    for folder in crates() {
        if !map.contains(&format!("{folder}/")) {
            complaints.push(format!("the crate {folder}/ is not on the map"));
        }
        for module in fs::read_dir(root().join(&folder).join("src")).into_iter().flatten() {
            let module = module.expect("a folder can be listed");
            let path = format!("{folder}/src/{}/", module.file_name().to_string_lossy());
            if module.path().is_dir() && module.path().join("mod.rs").exists() && !map.contains(&path) {
                complaints.push(format!("the module {path} is not on the map"));
            }
        }
    }
    let lines = architecture.lines().count();
    if lines > 200 {
        complaints.push(format!("{lines} lines are more than anyone reads; 200 at most"));
    }
    expect_none("the code map of ARCHITECTURE.md is wrong:", &complaints);
}

/// The id at the start of `text`, such as `RAFT-3`: words of capitals joined by `-`, then a number.
fn leading_id(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')).unwrap_or(text.len());
    let id = &text[..end];
    let (words, number) = id.rsplit_once('-')?;
    let words_are_words = words.starts_with(|c: char| c.is_ascii_uppercase());
    let number_is_one = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (words_are_words && number_is_one).then_some(id)
}

/// The ids that a line mentions.
fn ids_in(line: &str) -> Vec<&str> {
    let mut ids = Vec::new();
    let mut inside_word = false;
    for (at, c) in line.char_indices() {
        if !inside_word && let Some(id) = leading_id(&line[at..]) {
            ids.push(id);
        }
        inside_word = c.is_ascii_alphanumeric() || c == '-' || c == '_';
    }
    ids
}

#[test]
fn ids_are_recognized() {
    assert_eq!(ids_in("// RAFT-3, `WORLD-DISK-12`: and S3-1."), ["RAFT-3", "WORLD-DISK-12", "S3-1"]);
    assert!(ids_in("AES-GCM, X-RAFT-, raft-3, us-east-1, 2026-01-01").is_empty());
}

/// The invariant that a line of a header defines.
fn defined(line: &str) -> Option<&str> {
    leading_id(line.strip_prefix("//! - `")?)
}

#[test]
fn every_invariant_stands_again_where_it_is_enforced() {
    let (mut stated, mut cited) = (Vec::new(), BTreeSet::new());
    for folder in crates() {
        for path in sources_of(&folder) {
            let text = read(&root().join(&path));
            for line in text.lines() {
                if let Some(id) = defined(line) {
                    stated.push((id.to_owned(), folder.clone(), path.clone()));
                } else if !line.trim_start().starts_with("//!") {
                    cited.extend(ids_in(line).into_iter().map(str::to_owned));
                }
            }
        }
    }
    let mut complaints = Vec::new();
    let mut homes: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, folder, path) in &stated {
        // What the core asks of its runtimes is enforced in them, so any crate will do.
        let of_the_whole = OF_THE_WHOLE.iter().any(|(whole, _)| whole == id);
        if !cited.contains(id) && !of_the_whole {
            complaints.push(format!("{id} of {path}: no line says that it enforces it"));
        }
        // A file may repeat what its crate's module states; two crates mean two different things.
        let home = homes.entry(id).or_insert(folder);
        if home != folder {
            complaints.push(format!("{id} is stated in {home} and in {path}: one of them needs a name of its own"));
        }
    }
    assert!(homes.len() > 50, "only {} invariants were found: the walk is broken", homes.len());
    expect_none("an invariant's id stands in a comment at the line that enforces it:", &complaints);
}
