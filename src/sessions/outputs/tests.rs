//! Tests of what is taken from `ws/output/`.

use std::collections::HashMap;

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn workspace() -> (tempfile::TempDir, Workspace, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("s1")).unwrap();
    let output = workspace.path().join("ws/output");
    (dir, workspace, output)
}

fn none_known() -> HashMap<String, String> {
    HashMap::new()
}

fn left_out(outputs: &Outputs) -> Vec<(&str, String)> {
    outputs.left_out.iter().map(|left| (left.path.as_str(), left.why.to_string())).collect()
}

#[test]
fn new_files_come_sorted_and_known_ones_are_passed_over() {
    let (_dir, workspace, output) = workspace();
    fs::create_dir(output.join("a")).unwrap();
    fs::write(output.join("b.txt"), "abc").unwrap();
    fs::write(output.join("a/z.txt"), "").unwrap();
    let outputs = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    let paths: Vec<_> = outputs.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a/z.txt", "b.txt"]);
    assert_eq!(outputs.files[1].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let mut text = String::new();
    (&outputs.files[1].file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
    let known = outputs.files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect();
    fs::write(output.join("a/z.txt"), "changed").unwrap();
    let again = collect(&workspace, &OutputLimits::default(), &known).unwrap();
    assert_eq!(again.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a/z.txt"]);
}

#[test]
fn what_is_no_plain_file_is_left_out_and_named() {
    let (dir, workspace, output) = workspace();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink(dir.path().join("secret"), output.join("link")).unwrap();
    symlink(dir.path(), output.join("folder-link")).unwrap();
    fs::hard_link(dir.path().join("secret"), output.join("hard")).unwrap();
    let folder = beneath::open_root(&output).unwrap();
    rustix::fs::mknodat(&folder, "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let outputs = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    assert!(outputs.files.is_empty());
    assert_eq!(
        left_out(&outputs),
        [
            ("output/folder-link", "it is a symbolic link".to_owned()),
            ("output/hard", "it is a hard link".to_owned()),
            ("output/link", "it is a symbolic link".to_owned()),
            ("output/pipe", "it is not a regular file".to_owned()),
        ]
    );
}

#[test]
fn an_output_that_is_a_link_is_not_entered_and_makes_room_for_a_folder() {
    let (dir, workspace, output) = workspace();
    fs::remove_dir(&output).unwrap();
    symlink(dir.path(), &output).unwrap();
    let outputs = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    assert!(outputs.files.is_empty());
    assert_eq!(outputs.left_out.len(), 1);
    let left = &outputs.left_out[0];
    assert_eq!(
        (left.path.as_str(), &left.why),
        ("output", &Why::NotAFolder { moved_to: "output-2".to_owned() })
    );
    assert_eq!(fs::read_link(output.with_file_name("output-2")).unwrap(), dir.path());
    fs::write(output.join("a"), "1").unwrap();
    let outputs = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    assert_eq!((outputs.files.len(), outputs.left_out.len()), (1, 0));
}

#[test]
fn limits_leave_out_what_is_over_them() {
    let (_dir, workspace, output) = workspace();
    for name in ["a", "b", "c", "d"] {
        fs::write(output.join(name), "12345").unwrap();
    }
    fs::write(output.join("big"), "0123456789").unwrap();
    fs::create_dir_all(output.join("x/y/z")).unwrap();
    let limits = OutputLimits { files: 2, file_bytes: 9, total_bytes: 11, depth: 2, entries: 100 };
    let outputs = collect(&workspace, &limits, &none_known()).unwrap();
    assert_eq!(outputs.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let left: Vec<_> = outputs.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["output/big", "output/c", "output/d", "output/x/y/z"]);
    let limits = OutputLimits { files: 9, ..limits };
    let outputs = collect(&workspace, &limits, &none_known()).unwrap();
    assert!(outputs.left_out.iter().any(|left| left.why == Why::TooMuch { limit: 11 }));
    assert!(outputs.left_out.iter().any(|left| left.why == Why::TooLarge { size: 10, limit: 9 }));
    let limits = OutputLimits { entries: 3, ..OutputLimits::default() };
    let outputs = collect(&workspace, &limits, &none_known()).unwrap();
    assert_eq!(outputs.left_out.last().unwrap().why, Why::TooManyNames { limit: 3 });
}

#[test]
fn known_files_count_towards_no_limit_of_new_ones() {
    let (_dir, workspace, output) = workspace();
    for name in ["a", "b", "c"] {
        fs::write(output.join(name), "12345").unwrap();
    }
    let all = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    let known = all.files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect();
    fs::write(output.join("aa"), "new").unwrap();
    fs::write(output.join("b"), "changed").unwrap();
    for limits in [
        OutputLimits { files: 1, ..OutputLimits::default() },
        OutputLimits { total_bytes: 4, ..OutputLimits::default() },
    ] {
        let outputs = collect(&workspace, &limits, &known).unwrap();
        assert_eq!(outputs.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["aa"]);
        let left: Vec<_> = outputs.left_out.iter().map(|left| left.path.as_str()).collect();
        assert_eq!(left, ["output/b"], "{limits:?}");
    }
}

#[test]
fn folders_that_were_locked_are_opened_again() {
    use std::os::unix::fs::PermissionsExt as _;

    let (_dir, workspace, output) = workspace();
    fs::write(output.join("a"), "1").unwrap();
    let ws = workspace.path().join("ws");
    for folder in [&output, &ws] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let outputs = collect(&workspace, &OutputLimits::default(), &none_known()).unwrap();
    assert_eq!((outputs.files.len(), outputs.left_out.len()), (1, 0));
    for folder in [&ws, &output] {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}
