//! Tests of the folder of a session.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn workspace() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("s1")).unwrap();
    (dir, workspace)
}

#[test]
fn the_manifest_lists_what_became_of_every_reference() {
    let (_dir, workspace) = workspace();
    let entry = ManifestEntry {
        url: "https://example.com/a".to_owned(),
        name: Some("data.csv".to_owned()),
        path: Some("attachments/data.csv".to_owned()),
        size: Some(4),
        content_type: Some("text/csv".to_owned()),
        sha256: Some("00".to_owned()),
        error: None,
    };
    workspace.write_manifest(std::slice::from_ref(&entry)).unwrap();
    workspace.write_manifest(&[entry]).unwrap();
    let text = fs::read_to_string(workspace.path().join("attachments/MANIFEST.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["files"][0]["type"], "text/csv");
    assert_eq!(value["files"][0]["error"], serde_json::Value::Null);
}

#[tokio::test]
async fn the_way_to_the_attachments_is_restored() {
    let (_dir, workspace) = workspace();
    let place = workspace.path().join("ws/attachments");
    for way in [Way::Link, Way::MountPoint, Way::Link] {
        workspace.lead_to_attachments(way).await.unwrap();
        assert_eq!(fs::symlink_metadata(&place).unwrap().is_symlink(), way == Way::Link);
    }
    fs::remove_file(&place).unwrap();
    symlink("/etc", &place).unwrap();
    workspace.lead_to_attachments(Way::Link).await.unwrap();
    assert_eq!(fs::read_link(&place).unwrap(), Path::new("../attachments"));
}

#[test]
fn removing_takes_everything_and_follows_nothing() {
    let (dir, workspace) = workspace();
    let kept = dir.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    symlink(&kept, workspace.path().join("ws/output/link")).unwrap();
    let locked = workspace.path().join("ws/locked");
    fs::create_dir_all(locked.join("inner")).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let path = workspace.path().to_owned();
    remove_workspace(&path).unwrap();
    assert!(!path.exists());
    assert!(kept.join("file").exists());
    remove_workspace(&path).unwrap();
}
