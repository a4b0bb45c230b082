//! Uploads that never come to their end leave nothing: no row, no bytes.

use crate::support::form::{self, file, form};
use crate::support::wire::{Wire, upload_head};
use crate::support::*;

/// An upload of which the service has read a beginning; the rest of its form.
async fn begun(app: &TestApp, user: &User, size: usize) -> (Wire, Vec<u8>) {
    let mut body = form(&[file("data.bin", &noise(7, size))]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(user, body.len() as u64, "Expect: 100-continue\r\n")).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 100);
    let rest = body.split_off(body.len() - form::end().len() - 100);
    wire.send(body).await.unwrap();
    if size > 1_000_000 {
        eventually("the bytes reach the disk", async || bytes_on_disk(app).gt(&0).then_some(())).await;
    }
    (wire, rest)
}

fn bytes_on_disk(app: &TestApp) -> u64 {
    app.blob_files().iter().map(|(_, _, taken)| taken).sum()
}

async fn nothing_is_left(app: &TestApp) {
    eventually("nothing is left on the disk", async || (bytes_on_disk(app) == 0).then_some(())).await;
    let large = app.blob_files().into_iter().filter(|(path, ..)| path.extension().is_none());
    assert_eq!(large.count(), 0, "a file is left: {:?}", app.blob_files());
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM discarded_blobs").await, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let app = TestApp::start().await;
    for size in [1000, 8_000_000] {
        let (wire, _rest) = begun(&app, &app.v1(), size).await;
        drop(wire);
        nothing_is_left(&app).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_writing_side_too_early_leaves_nothing() {
    let app = TestApp::start().await;
    for size in [1000, 8_000_000] {
        let (mut wire, _rest) = begun(&app, &app.v3(), size).await;
        wire.finish().await;
        if let Some(answer) = wire.answer().await {
            assert_eq!(answer.status, 400, "{}", answer.head);
        }
        nothing_is_left(&app).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_behind_its_form_leaves_nothing() {
    let app = TestApp::start().await;
    for size in [1000, 8_000_000] {
        let body = form(&[file("data.bin", &noise(7, size))]);
        let mut wire = Wire::open(app.address()).await;
        wire.send(upload_head(&app.v1(), body.len() as u64 + 10, "")).await.unwrap();
        wire.send(body).await.unwrap();
        wire.send("epilog").await.unwrap();
        wire.finish().await;
        if let Some(answer) = wire.answer().await {
            assert_eq!(answer.status, 400, "{}", answer.head);
        }
        nothing_is_left(&app).await;
    }
}

#[tokio::test]
async fn a_form_that_breaks_off_leaves_nothing() {
    let app = TestApp::start().await;
    let mut body = form(&[file("data.bin", &noise(7, 2_000_000))]);
    body.truncate(body.len() - 4);
    let request = app.v1().request("POST", "/v1/attachments").header("Content-Type", form::content_type());
    Answer::to(request.body(body)).await.expect(422);
    nothing_is_left(&app).await;
}

#[tokio::test]
async fn a_key_revoked_in_the_middle_of_an_upload_uploads_nothing() {
    let app = TestApp::start().await;
    for (kind, size) in
        [("personal", 1000), ("service", 8_000_000), ("service-user", 1000), ("service-user", 8_000_000)]
    {
        let user = app.key(&["--kind", kind]).await;
        let (mut wire, rest) = begun(&app, &user, size).await;
        app.revoke(&user).await;
        wire.send(rest).await.unwrap();
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 401, "{kind}, {size} bytes: {}", answer.text());
        assert!(answer.text().contains("revoked"), "{}", answer.text());
        nothing_is_left(&app).await;
        assert_eq!(app.count("SELECT COUNT(*) FROM audit_logs WHERE action = 'attachment.create'").await, 0);
    }
}

#[tokio::test]
async fn a_key_that_expires_in_the_middle_of_an_upload_uploads_nothing() {
    let app = TestApp::start().await;
    let user = app.key(&["--kind", "personal", "--expires-in-seconds", "8"]).await;
    let (mut wire, rest) = begun(&app, &user, 1000).await;
    eventually("the key expires", async || (user.get("/v1/auth_status").await.status == 401).then_some(()))
        .await;
    wire.send(rest).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 401);
    nothing_is_left(&app).await;
}
