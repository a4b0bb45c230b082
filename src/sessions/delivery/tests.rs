//! Tests of deliveries: what arrives, under which name, and what is left of a failure.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn wanted(id: &str, name: &str, bytes: &[u8]) -> Wanted {
    Wanted {
        attachment_id: id.to_owned(),
        name: name.to_owned(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
    }
}

fn workspace() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("s1")).unwrap();
    (dir, workspace)
}

fn listed(workspace: &Workspace) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(workspace.path().join(ATTACHMENTS))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_delivered_file_is_whole_and_read_only() {
    let (_dir, workspace) = workspace();
    let delivered = workspace.deliver(&wanted("a1", "data.csv", b"a,b\n"), &b"a,b\n"[..]).await.unwrap();
    assert_eq!(delivered.path, "attachments/data.csv");
    let path = workspace.path().join(&delivered.path);
    assert_eq!(fs::read(&path).unwrap(), b"a,b\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
    assert_eq!(fs::metadata(workspace.path()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[tokio::test]
async fn a_wrong_digest_names_both_and_leaves_nothing() {
    let (_dir, workspace) = workspace();
    let asked = wanted("a1", "data.csv", b"right");
    let error = workspace.deliver(&asked, &b"wrong"[..]).await.unwrap_err();
    assert!(error.to_string().contains(&asked.sha256));
    assert!(error.to_string().contains(&hex::encode(Sha256::digest(b"wrong"))));
    assert!(listed(&workspace).is_empty());
}

#[tokio::test]
async fn a_short_or_long_file_is_refused() {
    let (_dir, workspace) = workspace();
    for bytes in [&b"righ"[..], b"right and more"] {
        let error = workspace.deliver(&wanted("a1", "data.csv", b"right"), bytes).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Size { wanted: 5, .. }), "{error}");
    }
    assert!(listed(&workspace).is_empty());
}

#[tokio::test]
async fn colliding_names_are_numbered_whatever_their_case() {
    let (_dir, workspace) = workspace();
    let mut paths = Vec::new();
    for (n, name) in ["data.csv", "DATA.CSV", "data.csv", "manifest.json"].iter().enumerate() {
        let bytes = n.to_string();
        let asked = wanted(&format!("a{n}"), name, bytes.as_bytes());
        paths.push(workspace.deliver(&asked, bytes.as_bytes()).await.unwrap().path);
    }
    assert_eq!(
        paths,
        [
            "attachments/data.csv",
            "attachments/DATA-2.CSV",
            "attachments/data-3.csv",
            "attachments/manifest-2.json"
        ]
    );
}

#[tokio::test]
async fn delivering_again_after_a_crash_changes_nothing() {
    let (_dir, workspace) = workspace();
    let files = [("a1", "one"), ("a2", "two")];
    let mut first = Vec::new();
    for (id, text) in files {
        first.push(
            workspace.deliver(&wanted(id, "data.csv", text.as_bytes()), text.as_bytes()).await.unwrap(),
        );
    }
    fs::write(workspace.path().join("attachments/.a3.part"), "cut short").unwrap();
    let path = workspace.path().to_owned();
    drop(workspace);
    let workspace = Workspace::open(&path).unwrap();
    for (n, (id, text)) in files.into_iter().enumerate() {
        let unread = tokio::io::empty();
        assert_eq!(
            workspace.deliver(&wanted(id, "data.csv", text.as_bytes()), unread).await.unwrap(),
            first[n]
        );
    }
    assert_eq!(listed(&workspace), ["data-2.csv", "data.csv"]);
}

#[tokio::test]
async fn a_cancelled_delivery_leaves_nothing() {
    let (_dir, workspace) = workspace();
    let (_writer, reader) = tokio::io::duplex(64);
    let asked = wanted("a1", "data.csv", b"never comes");
    let delivery = workspace.deliver(&asked, reader);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), delivery).await.is_err());
    assert!(listed(&workspace).is_empty());
}

#[tokio::test]
async fn a_link_in_place_of_a_delivered_file_is_neither_kept_nor_followed() {
    let (dir, workspace) = workspace();
    let outside = dir.path().join("outside");
    fs::write(&outside, "abc").unwrap();
    symlink(&outside, workspace.path().join("attachments/data.csv")).unwrap();
    symlink(&outside, workspace.path().join("attachments/.a1.part")).unwrap();
    let delivered = workspace.deliver(&wanted("a1", "data.csv", b"abc"), &b"abc"[..]).await.unwrap();
    assert_eq!(delivered.path, "attachments/data-2.csv");
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o222, 0o200);
}

#[tokio::test]
async fn names_that_are_paths_are_refused() {
    let (_dir, workspace) = workspace();
    for name in ["", ".", "..", "../x", "a/b", ".hidden"] {
        let error = workspace.deliver(&wanted("a1", name, b""), &b""[..]).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Name(_)), "{name:?}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_was_changed_is_not_there_any_more() {
    let (_dir, workspace) = workspace();
    let path = workspace.deliver(&wanted("a1", "data.csv", b"abc"), &b"abc"[..]).await.unwrap().path;
    let place = workspace.path().join(&path);
    assert!(workspace.still_has(&path, 3));
    assert!(!workspace.still_has(&path, 4));
    assert!(!workspace.still_has("log/../attachments/data.csv", 3));
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!workspace.still_has(&path, 3), "somebody may write to it");
    fs::remove_file(&place).unwrap();
    assert!(!workspace.still_has(&path, 3));
    symlink("/etc/hostname", &place).unwrap();
    assert!(!workspace.still_has(&path, fs::metadata("/etc/hostname").unwrap().len()));
}
