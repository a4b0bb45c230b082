//! Uploads that succeed, in every shape that a client may send and ask for (contract, section 1).

use serde_json::json;

use crate::support::form::{self, field, file, form};
use crate::support::*;

/// Sends a form as it is.
async fn send(user: &User, path: &str, body: Vec<u8>) -> Answer {
    Answer::to(user.request("POST", path).header("Content-Type", form::content_type()).body(body)).await
}

#[tokio::test]
async fn v1_answers_the_canonical_url_as_a_json_string() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let answer = ada.try_upload("data file.csv", "a,b\n1,2\n").await;
    answer.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let url = answer.json().as_str().unwrap().to_owned();
    let tail = url.strip_prefix(&format!("{}/attachments/", app.url())).unwrap();
    let (id, name) = tail.split_once('/').unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().hyphenated().to_string(), id);
    assert_eq!(name, "data%20file.csv");
    assert_eq!(ada.get(&url).await.expect(200).text(), "a,b\n1,2\n");
}

#[tokio::test]
async fn v1_answers_the_bare_url_to_who_wants_plain_text() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for (accept, plain) in [
        ("text/plain", true),
        ("text/plain, */*;q=0.5", true),
        ("*/*", false),
        ("text/plain, application/json", false),
    ] {
        let request = ada.request("POST", "/v1/attachments").header("Accept", accept);
        let part = reqwest::multipart::Part::text("x").file_name("x.txt");
        let answer = Answer::to(request.multipart(reqwest::multipart::Form::new().part("file", part))).await;
        answer.expect(200);
        assert_eq!(answer.text().starts_with("http://"), plain, "Accept: {accept}");
        assert_eq!(answer.header("content-type").starts_with("text/plain"), plain, "Accept: {accept}");
    }
}

#[tokio::test]
async fn v3_answers_id_name_and_url_and_so_does_v3beta1() {
    let app = TestApp::start().await;
    let robot = app.v3();
    for version in ["v3", "v3beta1"] {
        let path = format!("/{version}/organizations/{}/attachments", app.org());
        let answer = send(&robot, &path, form(&[file("r\u{e9}sum\u{e9}.txt", b"hello")])).await;
        let got = answer.expect(200).json();
        let id = got["attachment_id"].as_str().unwrap();
        let url = format!("{}/attachments/{id}/r%C3%A9sum%C3%A9.txt", app.url());
        assert_eq!(got, json!({ "attachment_id": id, "name": "r\u{e9}sum\u{e9}.txt", "url": url }));
        assert_eq!(robot.get(&url).await.expect(200).text(), "hello");
    }
}

#[tokio::test]
async fn files_of_no_bytes_are_accepted_beside_others() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let (first, second) = (ada.upload("empty", "").await, ada.upload("empty", "").await);
    let third = ada.upload("full", "x").await;
    for (uploaded, text) in [(&first, ""), (&second, ""), (&third, "x")] {
        let answer = ada.get(&uploaded.url).await;
        assert_eq!(answer.expect(200).text(), text);
        assert_eq!(answer.header("content-length"), text.len().to_string());
    }
    ada.delete(&first.url).await.expect(200);
    assert_eq!(ada.get(&third.url).await.expect(200).text(), "x", "deleting an empty file frees no other");
}

#[tokio::test]
async fn of_several_files_the_last_counts_and_alone_is_kept() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let large = noise(1, 300_000);
    let parts = [file("first.bin", &large), field("other", b"ignored"), file("last.txt", b"the last one")];
    let answer = send(&ada, "/v1/attachments", form(&parts)).await;
    let url = answer.expect(200).json().as_str().unwrap().to_owned();
    assert!(url.ends_with("/last.txt"), "{url}");
    assert_eq!(ada.get(&url).await.text(), "the last one");
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 1);
    let kept: u64 = app.blob_files().iter().map(|(_, size, _)| size).sum();
    assert!(kept < 100_000, "the first file is kept: {kept} bytes");
}

#[tokio::test]
async fn other_parts_are_ignored_up_to_a_mebibyte() {
    let app = TestApp::start().await;
    let parts = [field("note", &noise(1, 1_000_000)), file("data.csv", b"a,b"), field("files", b"no file")];
    send(&app.v1(), "/v1/attachments", form(&parts)).await.expect(200);
}

#[tokio::test]
async fn a_file_comes_back_with_its_bytes_whatever_its_size() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for size in [1, 4095, 4096, 65_536, 65_537, 1 << 20, 5_000_003] {
        let bytes = noise(size as u64, size);
        let uploaded = ada.upload("data.bin", bytes.clone()).await;
        let answer = ada.get(&uploaded.url).await;
        assert_eq!(sha256(&answer.expect(200).body), sha256(&bytes), "{size} bytes");
        assert_eq!(answer.header("etag"), format!("\"{}\"", sha256(&bytes)));
    }
}

#[tokio::test]
async fn a_file_is_readable_by_every_credential_of_its_organisation_on_every_path() {
    let app = TestApp::start().await;
    let uploaded = app.v1().upload("data.csv", "a,b\n").await;
    let beta = uploaded.v3_path(app.org()).replace("/v3/", "/v3beta1/");
    for (user, paths) in [
        (app.v1(), vec![uploaded.url.clone(), uploaded.v1_path()]),
        (app.v1_service(), vec![uploaded.url.clone(), uploaded.v1_path()]),
        (app.v3(), vec![uploaded.url.clone(), uploaded.v3_path(app.org()), beta]),
    ] {
        for path in paths {
            assert_eq!(user.get(&path).await.expect(200).text(), "a,b\n", "{path}");
        }
    }
}

#[tokio::test]
async fn options_names_the_size_limit_without_a_credential() {
    let app = TestApp::builder().config("max_upload_bytes = 1000").start().await;
    for path in [app.v1().upload_path(), app.v3().upload_path()] {
        let answer = Answer::to(app.nobody().request("OPTIONS", &path)).await;
        assert_eq!(answer.expect(204).header("upload-limit"), "max-size=1000");
        assert_eq!(answer.header("allow"), "POST, OPTIONS");
    }
}

/// A file's part with a digest of its own.
fn digested(bytes: &str, digest: &str) -> Vec<u8> {
    let disposition = format!("form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Digest: {digest}");
    form(&[form::part(&disposition, bytes.as_bytes())])
}

/// The SHA-256 of `hello`, as a digest field (RFC 9530).
const HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

#[tokio::test]
async fn the_digest_that_was_taken_is_in_the_answers() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let answer = send(&ada, "/v1/attachments", digested("hello", HELLO)).await;
    assert_eq!(answer.expect(200).header("x-content-sha256"), sha256(b"hello"));
    let url = answer.json().as_str().unwrap().to_owned();
    assert_eq!(ada.get(&url).await.expect(200).header("repr-digest"), HELLO);
}

#[tokio::test]
async fn a_file_that_is_not_what_its_digest_says_is_refused_and_not_kept() {
    let app = TestApp::start().await;
    let answer = send(&app.v1(), "/v1/attachments", digested("hellO", HELLO)).await;
    let detail = &answer.expect(422).json()["detail"][0];
    assert_eq!(detail["loc"], json!(["body", "file"]));
    assert!(detail["msg"].as_str().unwrap().contains(&sha256(b"hello")), "{detail}");
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    let answer = send(&app.v1(), "/v1/attachments", digested("hello", "sha-256=:short:")).await;
    assert_eq!(answer.expect(422).json()["detail"][0]["loc"], json!(["body"]));
}
