//! An agent never starts without its input, whole and as it was uploaded.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::sessions::Session;
use crate::support::{TestApp, Uploaded, noise, sha256};

/// Shows that it ran, then what it was told, then the digest of its file.
const DIGEST: &str = "echo > started; cat; sha256sum < attachments/data.bin";

/// The file of the store that holds some bytes, and where in it they begin.
fn stored(app: &TestApp, bytes: &[u8]) -> (PathBuf, usize) {
    let found = app.blob_files().into_iter().find_map(|(path, _, _)| {
        let held = fs::read(&path).unwrap();
        let at = held.windows(64).position(|window| window == &bytes[..64])?;
        Some((path, at))
    });
    found.expect("the bytes are stored")
}

/// Creates a session with a file that cannot be delivered and checks that the agent did not run.
async fn undelivered(app: &TestApp, file: &Uploaded, why: &str) -> Session {
    let session = app.v3().open(&format!("first\n{}", file.line())).await;
    session.until("claimed").await;
    assert_eq!(session.of(&app.v1()).standing().await, "working", "it is tried more than once");
    session.until("suspended/error").await;
    assert_eq!(session.of(&app.v1()).standing().await, "blocked");
    let said = session.answers().await.remove(0);
    assert!(
        said.contains("was not started") && said.contains("- data.bin: ") && said.contains(why),
        "{said}"
    );
    let receipt = session.receipts().await.remove(0);
    assert_eq!((&receipt["state"], &receipt["path"]), (&json!("failed"), &json!(null)));
    assert!(receipt["error"].as_str().unwrap().contains(why), "{receipt}");
    assert!(!app.workspace(&session).join("started").exists(), "the agent was started");
    let manifest = fs::read(app.folder(&session).join("attachments/MANIFEST.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let entry = &manifest["files"][0];
    assert!(entry["error"].as_str().unwrap().contains(why) && entry["path"].is_null(), "{entry}");
    session
}

/// After the repair a message tries the file again; the agent gets both messages.
async fn delivered_at_last(session: &Session, bytes: &[u8]) {
    session.say("second").await;
    session.until_waiting().await;
    let answer = session.answers().await.pop().unwrap();
    assert!(answer.starts_with("first\n[Attached file: attachments/data.bin"), "{answer}");
    assert!(answer.contains("\n\nsecond\n"), "{answer}");
    assert!(answer.contains(&sha256(bytes)), "{answer}");
    assert_eq!(session.receipts().await[0]["state"], "delivered");
}

#[tokio::test]
async fn a_flipped_byte_of_a_small_file_keeps_the_agent_from_starting_until_it_is_repaired() {
    flipped(3000, "the stored bytes have changed").await;
}

#[tokio::test]
async fn a_flipped_byte_of_a_large_file_keeps_the_agent_from_starting_until_it_is_repaired() {
    flipped(300_000, "the stored file has SHA-256").await;
}

async fn flipped(size: usize, why: &str) {
    let app = TestApp::with_agent("", DIGEST).await;
    let bytes = noise(7, size);
    let file = app.v3().upload("data.bin", bytes.clone()).await;
    let (path, at) = stored(&app, &bytes);
    let flip = || {
        let mut held = fs::read(&path).unwrap();
        held[at + size / 2] ^= 1;
        // In place, because the service may have the file open.
        fs::write(&path, held).unwrap();
    };
    flip();
    let session = undelivered(&app, &file, why).await;
    flip();
    delivered_at_last(&session, &bytes).await;
}

#[tokio::test]
async fn a_missing_file_keeps_the_agent_from_starting_until_it_is_back() {
    let app = TestApp::with_agent("", DIGEST).await;
    let bytes = noise(8, 300_000);
    let file = app.v3().upload("data.bin", bytes.clone()).await;
    let (path, _) = stored(&app, &bytes);
    let aside = app.home().join("aside");
    fs::rename(&path, &aside).unwrap();
    let session = undelivered(&app, &file, "the stored bytes are missing").await;
    fs::rename(&aside, &path).unwrap();
    delivered_at_last(&session, &bytes).await;
}

#[tokio::test]
async fn a_truncated_file_keeps_the_agent_from_starting() {
    let app = TestApp::with_agent("", DIGEST).await;
    let bytes = noise(9, 300_000);
    let file = app.v3().upload("data.bin", bytes.clone()).await;
    let (path, _) = stored(&app, &bytes);
    fs::File::options().write(true).open(path).unwrap().set_len(1000).unwrap();
    undelivered(&app, &file, "the stored bytes have changed: there are 1000, not 300000").await;
}

#[tokio::test]
async fn a_file_deleted_before_its_delivery_keeps_the_agent_from_starting() {
    let script =
        "read line; [ \"$line\" != wait ] || { echo > ready; until [ -e go ]; do sleep 0.01; done; }";
    let app = TestApp::with_agent("session_slots = 1", script).await;
    let user = app.v3();
    let keeper = user.open("wait").await;
    app.written(&keeper, "ready").await;
    let file = user.upload("data.bin", &b"abc"[..]).await;
    let session = user.open(&file.line()).await;
    user.delete(&file.v3_path(&user.org)).await.expect(200);
    app.let_go(&keeper);
    session.until("suspended/error").await;
    let said = session.answers().await.remove(0);
    assert!(said.contains("data.bin: it is gone since ") && said.contains("deleted on request"), "{said}");
}

#[tokio::test]
async fn a_workspace_that_is_lost_is_filled_again() {
    let app = TestApp::with_agent("", "cat attachments/data.csv").await;
    let user = app.v1();
    let data = user.upload("data.csv", &b"right"[..]).await;
    let session = user.open(&data.line()).await;
    session.until_waiting().await;
    fs::remove_dir_all(app.folder(&session)).unwrap();
    session.say("again").await;
    session.until_waiting().await;
    assert_eq!(session.answers().await, ["right", "right"]);
}

#[tokio::test]
async fn a_workspace_is_removed_some_time_after_the_end() {
    let app = TestApp::with_agent("workspace_keep_seconds = 0\nidle_limit_seconds = 1", "cat").await;
    let session = app.v3().open("hello").await;
    session.until("suspended/inactivity").await;
    let folder = app.folder(&session);
    assert!(folder.exists(), "a suspended session keeps its workspace");
    session.end().await.expect(200);
    crate::support::eventually("the workspace is removed", async || (!folder.exists()).then_some(())).await;
}

#[tokio::test]
async fn what_is_delivered_is_a_copy_that_nobody_can_write_to() {
    use std::os::unix::fs::MetadataExt;
    let app = TestApp::with_agent("", "cat attachments/MANIFEST.json").await;
    let user = app.v3();
    let file = user.upload("data.bin", noise(3, 100_000)).await;
    let session = user.open(&file.line()).await;
    session.until_waiting().await;
    let there = fs::metadata(app.folder(&session).join("attachments/data.bin")).unwrap();
    assert_eq!((there.mode() & 0o7777, there.nlink()), (0o444, 1));
    let manifest = session.answers().await.remove(0);
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let entry = &manifest["files"][0];
    let told =
        json!([entry["url"], entry["name"], entry["path"], entry["size"], entry["sha256"], entry["error"]]);
    let digest = sha256(&noise(3, 100_000));
    assert_eq!(told, json!([file.url, "data.bin", "attachments/data.bin", 100_000, digest, null]));
}
