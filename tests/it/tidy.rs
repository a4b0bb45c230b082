//! The house rules that a machine can check: who may use whom, and what a file looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room by room, the rooms that it uses.
type Table = BTreeMap<String, BTreeSet<String>>;

const HEADING: &str = "## Who may use whom";
const LONGEST: usize = 450;
const VAGUE: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "shared"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder of the repository, with their text.
fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    files
}

/// The room that a file of `src` belongs to: the folder, or the file's own name.
fn room(path: &Path) -> String {
    let first = path.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names: `crate::room`, `crate::{room, room::…}`, and `satchel::room`.
fn named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n").replace("satchel::", "crate::");
    for rest in code.split("crate::").skip(1) {
        let mut depth = 0;
        let mut word = String::new();
        let mut fresh = true;
        for c in rest.chars() {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            // A room stands first, or first after a comma or bracket of the outermost group.
            if fresh && !word.is_empty() {
                rooms.insert(std::mem::take(&mut word));
                fresh = false;
            }
            word.clear();
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            match c {
                _ if depth <= 0 => break,
                '{' | ',' if depth == 1 => fresh = true,
                _ => {}
            }
        }
    }
    rooms
}

/// What the code does.
fn used() -> Table {
    let mut table = Table::new();
    for (path, text) in rust_files("src") {
        if path.ends_with("lib.rs") {
            continue;
        }
        table.entry(room(&path)).or_default().extend(named(&text));
    }
    let rooms: BTreeSet<String> = table.keys().cloned().collect();
    for (room, others) in &mut table {
        others.retain(|other| other != room && rooms.contains(other));
    }
    table
}

/// What ARCHITECTURE.md says: in the block of code after the heading, lines `room → other, other`, or
/// `room → nothing`.
fn allowed() -> Table {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let after = text.split_once(HEADING).unwrap_or_else(|| panic!("no heading `{HEADING}`")).1;
    let block = after.split("```").nth(1).expect("a fenced block after the heading");
    let rows = block.lines().filter_map(|line| line.split_once('→'));
    let others = |list: &str| {
        let others = list.split(',').map(str::trim).filter(|other| !matches!(*other, "" | "nothing"));
        others.map(str::to_owned).collect()
    };
    rows.map(|(room, list)| (room.trim().to_owned(), others(list))).collect()
}

#[test]
fn rooms_use_each_other_as_the_architecture_says() {
    let (used, allowed) = (used(), allowed());
    let lines = |table: &Table| {
        let line = |(room, others): (&String, &BTreeSet<String>)| {
            format!("{room} → {}", others.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        table.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    assert!(used == allowed, "the code:\n{}\n\nARCHITECTURE.md:\n{}", lines(&used), lines(&allowed));
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::db::{Conn, Row};\nuse crate::{app, http::{self, form}, id::OrgId};\n\
        // use crate::nothing;\nfn f() { crate::clock::now() }\nuse satchel::cli;";
    let expected = ["app", "cli", "clock", "db", "http", "id"].map(str::to_owned);
    assert_eq!(named(text), BTreeSet::from(expected));
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    for (path, text) in rust_files("src").into_iter().chain(rust_files("tests")) {
        let shown = path.display();
        let first = text.lines().next().unwrap_or_default();
        let says = first.starts_with("//! ") && first.len() > 10;
        // A sibling file of unit tests is named by what it tests.
        let tests =
            path.ends_with("tests.rs") || path.iter().any(|part| part == "tests") && path.starts_with("src");
        assert!(says || tests, "{shown} does not begin with what it is");
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{shown} has {lines} lines: split it");
    }
}

#[test]
fn names_say_something() {
    for (path, _) in rust_files("src").into_iter().chain(rust_files("tests")) {
        let vague = path.iter().find(|part| {
            let name = part.to_str().unwrap().trim_end_matches(".rs").to_lowercase();
            name.split('_').any(|word| VAGUE.contains(&word))
        });
        assert!(vague.is_none(), "{} says nothing: name it by what it does", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (path, text) in rust_files("src").into_iter().chain(rust_files("tests")) {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unim", "plemented!")] {
            assert!(!text.contains(word), "{} has a {word}", path.display());
        }
    }
}
