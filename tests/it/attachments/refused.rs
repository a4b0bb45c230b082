//! Uploads that are refused: with which status and body, how early, and that the client sees it.

use serde_json::json;

use crate::support::form::{self, field, file, form, part};
use crate::support::wire::{Wire, upload_head};
use crate::support::*;

async fn send(user: &User, content_type: &str, body: Vec<u8>) -> Answer {
    let request = user.request("POST", &user.upload_path()).header("Content-Type", content_type);
    Answer::to(request.body(body)).await
}

#[tokio::test]
async fn without_a_file_the_answer_is_fastapis_422() {
    let app = TestApp::start().await;
    let missing = json!([{ "loc": ["body", "file"], "msg": "Field required", "type": "missing" }]);
    for (what, content_type, body) in [
        ("another field", form::content_type(), form(&[field("other", b"x")])),
        ("a field of that name", form::content_type(), form(&[field("file", b"x")])),
        (
            "such a field behind a file",
            form::content_type(),
            form(&[file("a.csv", b"a,b"), field("file", b"x")]),
        ),
        (
            "an empty file name",
            form::content_type(),
            form(&[part("form-data; name=\"file\"; filename=\"\"", b"x")]),
        ),
        ("no parts", form::content_type(), form(&[])),
        ("another kind of body", "application/json".to_owned(), b"{}".to_vec()),
    ] {
        let answer = send(&app.v1(), &content_type, body.clone()).await;
        assert_eq!(answer.expect(422).json(), json!({ "detail": missing }), "{what}");
        assert_eq!(answer.header("content-type"), "application/json");

        let answer = send(&app.v3(), &content_type, body).await;
        let expected = json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
            "detail": missing, "instance": app.v3().upload_path(),
        });
        assert_eq!(answer.expect(422).json(), expected, "{what}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}

#[tokio::test]
async fn a_malformed_or_unfinished_form_is_a_422_that_points_at_the_body() {
    let app = TestApp::start().await;
    let whole = form(&[file("data.csv", b"a,b")]);
    let unfinished = whole[..whole.len() - 10].to_vec();
    let no_boundary = "multipart/form-data".to_owned();
    let headless = format!("--{}\r\nnonsense\r\n\r\nx\r\n{}", form::BOUNDARY, form::end()).into_bytes();
    for (what, content_type, body) in [
        ("cut off", form::content_type(), unfinished),
        ("another boundary", form::content_type(), b"--other\r\n\r\nx\r\n--other--\r\n".to_vec()),
        ("no boundary", no_boundary, whole),
        ("a part's header without a colon", form::content_type(), headless),
        ("nothing at all", form::content_type(), Vec::new()),
    ] {
        let answer = send(&app.v1(), &content_type, body).await;
        let detail = answer.expect(422).json()["detail"].clone();
        assert_eq!(detail[0]["loc"], json!(["body"]), "{what}: {detail}");
        assert_eq!(detail[0]["type"], "multipart_invalid", "{what}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}

#[tokio::test]
async fn more_than_a_mebibyte_of_other_parts_is_a_413() {
    let app = TestApp::start().await;
    let half = noise(1, 600_000);
    let body = form(&[field("a", &half), field("b", &half), file("data.csv", b"a,b")]);
    let answer = send(&app.v1(), &form::content_type(), body).await;
    assert!(answer.expect(413).detail().contains("1048576 bytes"), "{}", answer.text());
    let mut body = form(&[field("a", &half), file("data.csv", b"a,b")]);
    body.extend_from_slice(&half);
    let answer = send(&app.v1(), &form::content_type(), body).await;
    assert!(answer.expect(413).detail().contains("1048576 bytes"), "{}", answer.text());
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}

#[tokio::test]
async fn the_size_limit_is_exact_and_named() {
    let app = TestApp::builder().config("max_upload_bytes = 100000").start().await;
    for user in [app.v1(), app.v3()] {
        user.upload("fits.bin", noise(1, 100_000)).await;
        let answer = user.try_upload("large.bin", noise(1, 100_001)).await;
        assert!(answer.expect(413).detail().contains("limit of 100000 bytes"), "{}", answer.text());
        let kind = if user.is_v3() { "application/problem+json" } else { "application/json" };
        assert_eq!(answer.header("content-type"), kind);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 2);
}

/// A blocking client (`requests`, say) sends its whole body before it reads a byte of the answer.
#[tokio::test]
async fn a_client_that_sends_on_without_reading_sees_the_413() {
    let app = TestApp::builder().config("max_upload_bytes = 1000").start().await;
    for (what, size) in [("one byte over", 1001), ("twice as much", 2000), ("far more", 32 << 20)] {
        let body = form(&[file("large.bin", &noise(1, size))]);
        let mut wire = Wire::open(app.address()).await;
        wire.send(upload_head(&app.v1(), body.len() as u64, "")).await.unwrap();
        for piece in body.chunks(100_000) {
            wire.send(piece).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let answer = wire.answer().await.unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert_eq!(answer.status, 413, "{what}");
        assert!(answer.text().contains("limit of 1000 bytes"), "{what}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends_anything() {
    let app = TestApp::builder().config("max_upload_bytes = 1000").start().await;
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.v1(), 1 << 30, "Expect: 100-continue\r\n")).await.unwrap();
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.status, 413, "{}", answer.head);
    assert!(answer.text().contains("limit of 1000 bytes"), "{}", answer.text());
}

#[tokio::test]
async fn a_client_that_asks_first_without_a_credential_is_refused_before_it_sends_anything() {
    let app = TestApp::start().await;
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.bearer("apk_nonsense"), 1000, "Expect: 100-continue\r\n")).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 401);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let app = TestApp::start().await;
    let body = form(&[file("data.csv", b"a,b")]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.v1(), body.len() as u64, "Expect: 100-continue\r\n")).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send(body).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn too_many_uploads_of_one_key_are_a_429_and_others_go_on() {
    let app = TestApp::builder().config("uploads_per_key = 1").start().await;
    let (ada, bob) = (app.v1(), app.v1_service());
    let body = form(&[file("data.csv", b"a,b")]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&ada, body.len() as u64, "Expect: 100-continue\r\n")).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 100, "the upload is under way");

    let refused = ada.try_upload("second.csv", "x").await;
    assert!(refused.expect(429).detail().contains("at most 1"), "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    bob.upload("other.csv", "x").await;
    ada.get("/v1/auth_status").await.expect(200);

    wire.send(body).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 200);
    eventually("the place is free again", async || {
        (ada.try_upload("third.csv", "x").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn below_the_floor_of_free_space_uploads_are_a_507_while_reading_goes_on() {
    let mut app = TestApp::start().await;
    let (ada, robot) = (app.v1(), app.v3());
    let uploaded = ada.upload("data.csv", "a,b\n").await;
    app.terminate().await;
    app.configure("min_free_bytes = 9000000000000000000");
    app.start_again().await;

    for user in [&ada, &robot] {
        for size in [10, 1_000_000] {
            let answer = user.try_upload("more.csv", noise(1, size)).await;
            assert!(answer.expect(507).detail().contains("storage is full"), "{}", answer.text());
        }
        assert_eq!(user.get(&uploaded.url).await.expect(200).text(), "a,b\n");
    }
    let ready = app.nobody().get("/health/ready").await;
    assert_eq!(ready.expect(200).json()["accepts_uploads"], false);
    ada.delete(&uploaded.url).await.expect(200);
}
