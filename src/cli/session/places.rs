//! Where the files that a session handed back go, below one folder.
//!
//! Guarantees: no path leaves the folder, and two files of a session never go to one place, whatever they are called:
//! where the harmless forms of two names are the same, or differ in letter case only, the later one is numbered as a
//! delivered file is (`data-2.csv`). The same paths in the same order always give the same places.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::attachments::filename::{fold, numbered, safe_name};

/// The places given out so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The name given to each folder (true) or file, by where it lies and how the session calls it.
    given: HashMap<(PathBuf, String, bool), String>,
    /// The folded names that are taken, by where they lie.
    taken: HashSet<(PathBuf, String)>,
}

impl Places {
    /// The place of the file that a session calls `path`, such as `output/report.md`, relative to the folder.
    pub(super) fn of(&mut self, path: &str) -> PathBuf {
        let mut place = PathBuf::new();
        let path = path.strip_prefix("output/").unwrap_or(path);
        let mut steps = path.split('/').filter(|step| !step.is_empty()).peekable();
        if steps.peek().is_none() {
            return place.join(self.step(Path::new(""), "", false));
        }
        while let Some(step) = steps.next() {
            let name = self.step(&place, step, steps.peek().is_some());
            place.push(name);
        }
        place
    }

    /// The name of a folder or file in a folder that has its place already.
    fn step(&mut self, folder: &Path, called: &str, is_folder: bool) -> String {
        let key = (folder.to_owned(), called.to_owned(), is_folder);
        if let Some(given) = self.given.get(&key) {
            return given.clone();
        }
        let safe = safe_name(called);
        let mut name = safe.clone();
        let mut n = 2;
        while !self.taken.insert((folder.to_owned(), fold(&name))) {
            name = numbered(&safe, n);
            n += 1;
        }
        self.given.insert(key, name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    #[test]
    fn no_path_of_a_receipt_leaves_the_folder() {
        for (path, expected) in [
            ("output/report.md", "report.md"),
            ("output/a/b.txt", "a/b.txt"),
            ("output/../../etc/passwd", "file/file/etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("output/./x", "file/x"),
            ("output/", "file"),
        ] {
            let place = Places::default().of(path);
            assert!(place.components().all(|step| matches!(step, Component::Normal(_))), "{place:?}");
            assert_eq!(place, PathBuf::from(expected), "{path}");
        }
    }

    #[test]
    fn two_paths_never_have_one_place_and_one_path_always_has_the_same() {
        let long = "x".repeat(200);
        let paths = [
            ("output/.env", "_env"),
            ("output/_env", "_env-2"),
            ("output/_env-2", "_env-2-2"),
            ("output/data.csv", "data.csv"),
            ("output/Data.csv", "Data-2.csv"),
            (&format!("output/{long}1"), &long),
            (&format!("output/{long}2"), &format!("{}-2", "x".repeat(198))),
            ("output/a/b", "a/b"),
            // Earlier turns may have had a file where there is a folder now.
            ("output/a", "a-2"),
            ("output/.git/config", "_git/config"),
            ("output/_git/config", "_git-2/config"),
            ("output/.git/head", "_git/head"),
        ];
        let mut places = Places::default();
        for _ in 0..2 {
            for (path, place) in &paths {
                assert_eq!(places.of(path), PathBuf::from(place), "{path}");
            }
        }
    }
}
