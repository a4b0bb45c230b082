//! File names as hostile or careless clients send them: safe in headers, URLs, on disk and in the
//! workspace, and still recognisable.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::form;
use crate::support::*;

/// What a client sends as `filename="…"`, and the name that it becomes.
fn names() -> Vec<(Vec<u8>, String)> {
    let text = |raw: &str, safe: &str| (raw.as_bytes().to_vec(), safe.to_owned());
    vec![
        text("data.csv", "data.csv"),
        text("../../etc/passwd", "passwd"),
        text("..", "file"),
        text("/etc/shadow", "shadow"),
        text(r"..\\..\\boot.ini", "boot.ini"),
        text("a/b/", "b"),
        text(".bashrc", "_bashrc"),
        text("-rf", "-rf"),
        text("%2e%2e%2fx.csv", "%2e%2e%2fx.csv"),
        text("line%0D%0ASet-Cookie: a=b.csv", "line%0D%0ASet-Cookie_ a=b.csv"),
        text("tab\tname.csv", "tab_name.csv"),
        text("nul\0byte.csv", "nul_byte.csv"),
        text("line\nSet-Cookie: a=b.csv", "line_Set-Cookie_ a=b.csv"),
        text(r#"quote\"; filename=\"x.csv"#, "quote_; filename=_x.csv"),
        text("\u{202e}gpj.exe", "gpj.exe"),
        text("zero\u{200b}width\u{feff}.csv", "zerowidth.csv"),
        text(
            "r\u{e9}sum\u{e9} \u{4f60}\u{597d} \u{1f600}.txt",
            "r\u{e9}sum\u{e9} \u{4f60}\u{597d} \u{1f600}.txt",
        ),
        text("<b>:|?*.csv", "_b_____.csv"),
        text("nul.txt", "_nul.txt"),
        text("MANIFEST.json", "MANIFEST.json"),
        text("data.csv", "data.csv"),
        text("DATA.CSV", "DATA.CSV"),
        text("data-2.csv", "data-2.csv"),
        text(&format!("{}.csv", "n".repeat(296)), &format!("{}.csv", "n".repeat(196))),
        text(&"\u{1f600}".repeat(75), &"\u{1f600}".repeat(50)),
        (b"latin-\xe9.csv".to_vec(), "latin-\u{e9}.csv".to_owned()),
    ]
}

async fn send(user: &User, name: &[u8], bytes: &[u8]) -> Answer {
    let disposition = [b"form-data; name=\"file\"; filename=\"", name, b"\""].concat();
    let mut body = format!("--{}\r\nContent-Disposition: ", form::BOUNDARY).into_bytes();
    body.extend([&disposition[..], b"\r\n\r\n", bytes, b"\r\n"].concat());
    body.extend(form::end().as_bytes());
    let request = user.request("POST", &user.upload_path()).header("Content-Type", form::content_type());
    Answer::to(request.body(body)).await
}

#[tokio::test]
async fn every_name_is_safe_in_the_answer_the_url_and_the_header() {
    let app = TestApp::start().await;
    let robot = app.v3();
    for (raw, _) in names() {
        let shown = String::from_utf8_lossy(&raw).into_owned();
        let answer = send(&robot, &raw, b"x").await;
        let body = answer.expect(200).json();
        let (name, url) = (body["name"].as_str().unwrap(), body["url"].as_str().unwrap());
        assert!(!name.is_empty() && name.len() <= 200, "{shown}: {name}");
        assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\0', '"']), "{shown}: {name}");

        let encoded = url.rsplit('/').next().unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
        assert!(encoded.bytes().all(plain), "{shown}: {url}");
        let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
        assert_eq!(decoded, name);

        let download = robot.get(url).await;
        let disposition = download.expect(200).header("content-disposition");
        assert_eq!(disposition.matches('"').count(), 2, "{shown}: {disposition}");
        assert!(disposition.ends_with(&format!("filename*=UTF-8''{encoded}")), "{shown}: {disposition}");
        assert!(download.headers.get("set-cookie").is_none());
    }
}

#[tokio::test]
async fn a_name_stays_recognisable() {
    let app = TestApp::start().await;
    for (raw, safe) in names() {
        let answer = send(&app.v3(), &raw, b"x").await;
        assert_eq!(answer.expect(200).json()["name"], safe, "{}", String::from_utf8_lossy(&raw));
    }
}

#[tokio::test]
async fn a_name_that_breaks_its_header_is_refused() {
    let app = TestApp::start().await;
    for raw in ["line\rSet-Cookie: a=b.csv", "line\r\n folded.csv"] {
        let answer = send(&app.v3(), raw.as_bytes(), b"x").await;
        assert_eq!(answer.expect(422).json()["detail"][0]["loc"], json!(["body"]), "{raw:?}");
    }
}

#[tokio::test]
async fn in_the_workspace_every_file_lies_under_a_name_of_its_own_with_its_own_bytes() {
    let app = TestApp::start().await;
    let robot = app.v3();
    let (mut urls, mut sent) = (Vec::new(), Vec::new());
    for (place, (raw, safe)) in names().into_iter().enumerate() {
        let bytes = format!("file {place}");
        let answer = send(&robot, &raw, bytes.as_bytes()).await;
        urls.push(answer.expect(200).json()["url"].clone());
        sent.push((safe, bytes));
    }
    let asked = json!({ "prompt": "Read these.", "attachment_urls": urls });
    let created = robot.post(&robot.in_org("/sessions"), &asked).await;
    let session = created.expect(200).json()["session_id"].as_str().unwrap().to_owned();
    let one = robot.in_org(&format!("/sessions/{session}"));
    eventually("the agent is done", async || {
        let detail = robot.get(&one).await.json()["status_detail"].clone();
        (detail == "waiting_for_user").then_some(())
    })
    .await;

    let receipts = robot.get(&format!("{one}/receipts")).await.expect(200).json();
    let receipts: Vec<_> = receipts.as_array().unwrap().iter().filter(|r| r["source"] == "user").collect();
    assert_eq!(receipts.len(), sent.len());
    let folder = app.data().join("sessions").join(&session).join("attachments");
    let mut taken = BTreeSet::from(["manifest.json".to_owned()]);
    for (receipt, (safe, bytes)) in receipts.iter().zip(&sent) {
        assert_eq!(receipt["state"], "delivered", "{receipt}");
        let name = receipt["path"].as_str().unwrap().strip_prefix("attachments/").unwrap();
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{name}");
        assert!(taken.insert(name.to_lowercase()), "{name} is taken twice");
        let stem = safe.rsplit_once('.').map_or(&**safe, |(stem, _)| stem);
        let kept: String = stem.chars().take(40).collect();
        assert!(name.starts_with(&kept), "{safe} lies as {name}");
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), *bytes, "{name}");
    }
    let found = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(found, sent.len() + 1, "the files and the manifest, nothing else");
}
