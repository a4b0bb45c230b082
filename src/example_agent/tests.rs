//! The agent as the service runs it: files in a workspace, a prompt in, an answer and a report out.

mod tables;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

struct Workspace(TempDir);

impl Workspace {
    fn with(files: &[(&str, &[u8])]) -> Workspace {
        let workspace = Workspace(TempDir::new().unwrap());
        fs::create_dir(workspace.path().join("attachments")).unwrap();
        for (name, bytes) in files {
            workspace.put(name, bytes);
        }
        workspace
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join("attachments").join(name), bytes).unwrap();
    }

    /// Runs the agent and returns its answer and its report.
    fn run(&self) -> (String, String) {
        let mut answer = Vec::new();
        run(self.path(), &mut &b"Please summarise."[..], &mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("Example agent, not a language model: it did not act on your prompt.\n"));
        assert!(answer.ends_with("The full report is in output/report.md.\n"));
        let output = self.path().join("output");
        assert_eq!(fs::read_dir(&output).unwrap().count(), 1, "only the report is left");
        (answer, fs::read_to_string(output.join("report.md")).unwrap())
    }
}

fn report_of(name: &str, bytes: &[u8]) -> String {
    Workspace::with(&[(name, bytes)]).run().1
}

#[track_caller]
fn assert_has(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
}

#[test]
fn text_is_counted() {
    let (answer, report) = Workspace::with(&[("notes.md", "# Über\n\nzwei Wörter\n".as_bytes())]).run();
    assert_has(&answer, &["`notes.md` (22 bytes): text, 3 lines and 4 words"]);
    assert_has(
        &report,
        &["- Encoding: UTF-8\n", "- Lines: 3\n", "- Words: 4\n", "- Longest line: 11 characters"],
    );
    assert_has(&report_of("prog.rs", b"fn main() {}\n"), &["- Kind: text", "ASCII only", "- Lines: 1\n"]);
}

#[test]
fn json_is_measured() {
    let json = br#"[{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": [], "note": null}, {"id": "x"}]"#;
    let (answer, report) = Workspace::with(&[("list.json", json)]).run();
    assert_has(&answer, &["JSON, an array of 3 elements"]);
    assert_has(
        &report,
        &[
            "- Kind: JSON document",
            "- Top level: array, 3 elements",
            "- Depth: 4\n",
            "| object | 3 |",
            "| array | 3 |",
            "| string | 3 |",
            "| number | 2 |",
            "| null | 1 |",
            "Members of 3 objects:",
            "| id | 3 | string, number | 1 |",
            "| tags | 2 | array | 0 to 2 |",
            "| note | 1 | null |  |",
        ],
    );
    assert_has(
        &report_of("one.json", br#"{"name": "n", "items": [1, 2, 3], "deep": {"x": true}}"#),
        &[
            "- Top level: object, 3 members",
            "| items | 1 | array | 3 |",
            "| boolean | 1 |",
            "Members of 1 object:",
        ],
    );
    assert_has(
        &report_of("log.jsonl", b"{\"a\": 1}\n{\"a\": 2, \"b\": 2}\n\n"),
        &["JSON values, one after another", "- Values: 2\n", "| a | 2 | number |  |", "| b | 1 | number |"],
    );
    assert_has(&report_of("bom.json", b"\xef\xbb\xbf[]"), &["- Top level: array, 0 elements"]);
    assert_has(&report_of("noext", b" {\"a\": 1}"), &["- Top level: object, 1 member\n"]);
}

#[test]
fn what_is_not_json_is_a_text_with_a_reason() {
    assert_has(
        &report_of("broken.json", b"{\"a\": 1,\n \"b\": }\n"),
        &["- Kind: text", "- Not valid JSON: expected value at line 2 column 7", "- Lines: 2\n"],
    );
    assert_has(
        &report_of("deep.json", "[".repeat(100_000).as_bytes()),
        &["- Not valid JSON: recursion limit exceeded"],
    );
    let mut long = b"[\"".to_vec();
    long.resize(9 * 1024 * 1024, b'x');
    assert_has(&report_of("long.json", &long), &["- Not valid JSON: a string is longer than 8 MiB"]);
}

#[test]
fn other_files_have_type_size_and_digest() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
    let (answer, report) = Workspace::with(&[
        ("empty.csv", b""),
        ("photo.csv", png),
        ("unknown.bin", b"\0\x01\x02"),
        ("paper", b"%PDF-1.7\n1 0 obj\n"),
    ])
    .run();
    assert_has(
        &report,
        &[
            "- Type by its first bytes: image/png",
            "- Size: 29 bytes",
            "application/pdf",
            "- Kind: not a text",
        ],
    );
    assert_has(&report, &["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]);
    assert_has(
        &answer,
        &[
            "It looked at 4 files",
            "`empty.csv` (0 bytes): empty",
            "`photo.csv` (29 bytes): image/png",
            "of unknown type",
        ],
    );
}

#[test]
fn names_and_cells_cannot_act_as_markup() {
    let csv = b"<script>,a|b\n[x](http://evil.example),\"line\nbreak\"\n[x](http://evil.example),`tick`\n";
    let (answer, report) = Workspace::with(&[("a`b|<i>.csv", csv)]).run();
    assert_has(
        &report,
        &["## a&#96;b&#124;&#60;i&#62;.csv", "a&#124;b", "&#91;x&#93;(http&#58;//evil.example)"],
    );
    for harmful in ["<script>", "<i>", "[x]", "http:", "`", "line\nbreak"] {
        assert!(!report.contains(harmful), "{harmful:?} in:\n{report}");
    }
    assert_has(&answer, &["`a'b|<i>.csv`"]);
}

#[test]
fn the_manifest_helps_but_is_not_needed() {
    let workspace = Workspace::with(&[("export", b"a,b\n1,2\n"), ("other.txt", b"x")]);
    let digest = crate::hex::encode(Sha256::digest(b"a,b\n1,2\n"));
    let list = format!(
        r#"[{{"url": "http://h/attachments/1/export", "name": "export", "path": "attachments/export", "size": 8,
             "type": "text/csv; charset=utf-8", "sha256": "{digest}", "error": null}},
            {{"name": "other.txt", "path": "attachments/other.txt", "type": "text/plain", "sha256": "00"}}]"#
    );
    for manifest in [list.clone(), format!(r#"{{"files": {list}}}"#)] {
        workspace.put("MANIFEST.json", manifest.as_bytes());
        let (answer, report) = workspace.run();
        assert_has(
            &report,
            &[
                "- Files: 2\n",
                "- Kind: table",
                "- Declared type: text/csv; charset=utf-8",
                "(as the manifest declares)",
            ],
        );
        assert_has(&report, &["(**not what the manifest declares**)"]);
        assert_has(&answer, &["its SHA-256 is not what the manifest declares"]);
    }
    workspace.put("structured_output.schema.json", b"{}");
    assert_has(&workspace.run().1, &["- Files: 2\n"]);
    workspace.put("MANIFEST.json", b"{ nonsense");
    assert_has(&workspace.run().1, &["## export", "- Kind: text"]);
}

#[test]
fn without_files_there_is_a_report_all_the_same() {
    let (answer, report) = Workspace::with(&[]).run();
    assert_has(&answer, &["No files were attached."]);
    assert_has(&report, &["- Files: 0", "No files were attached.", "- Prompt: 17 bytes"]);
    let bare = Workspace(TempDir::new().unwrap());
    assert_has(&bare.run().0, &["No files were attached."]);
}

#[test]
fn a_second_run_replaces_the_report() {
    let workspace = Workspace::with(&[("a.txt", b"one")]);
    let first = workspace.run();
    assert_eq!(workspace.run(), first);
    workspace.put("b.txt", b"two");
    // What a killed run left behind is no obstacle.
    fs::write(workspace.path().join("output/.report.md.part"), "half").unwrap();
    assert_has(&workspace.run().1, &["## a.txt", "## b.txt"]);
}

#[test]
fn many_files_are_all_in_the_report() {
    let workspace = Workspace::with(&[]);
    for number in 0..25 {
        workspace.put(&format!("{number:02}.txt"), b"x");
    }
    fs::create_dir(workspace.path().join("attachments/folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", workspace.path().join("attachments/link")).unwrap();
    let (answer, report) = workspace.run();
    assert_has(&answer, &["It looked at 25 files", "`19.txt`", "- and 5 more"]);
    assert!(!answer.contains("20.txt") && !report.contains("link"));
    assert_has(&report, &["## 24.txt"]);
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let workspace = Workspace::with(&[]);
    let gone = inspect_file(&workspace.path().join("gone"), "gone", &Manifest::default());
    let mut report = Vec::new();
    report::write_file(&mut report, "gone", &gone).unwrap();
    assert_has(&String::from_utf8(report).unwrap(), &["## gone", "could not be read: No such file"]);
    assert_has(&answer::line("gone", &gone), &["`gone` could not be read: No such file"]);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let workspace = Workspace::with(&[("a.txt", b"one")]);
    fs::write(workspace.path().join("output"), "in the way").unwrap();
    let mut answer = Vec::new();
    let error = run(workspace.path(), &mut io::empty(), &mut answer).unwrap_err();
    assert!(matches!(error, ExampleAgentError::Report(_)));
    assert!(answer.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_under_any_name_can_be_looked_at(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "[a-c0-9,;\"\t\r\n {}\\[\\]:.-]{0,200}",
    ) {
        let names = ["x.csv", "x.tsv", "x.json", "x.txt", "x"];
        for content in [&bytes[..], text.as_bytes()] {
            let (_, report) = Workspace::with(&names.map(|name| (name, content))).run();
            prop_assert!(!report.contains("could not be read"));
            let size = format!("- Size: {} bytes", content.len());
            prop_assert_eq!(report.matches(&size).count(), names.len());
        }
    }
}
