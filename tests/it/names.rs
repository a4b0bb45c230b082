//! File names as hostile or careless clients send them: safe in headers, URLs, on disk and in the
//! workspace, and still recognisable.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::form::{self, form, part};
use crate::support::*;

/// What a client sends as `filename="…"`, and the name that it becomes.
fn names() -> Vec<(Vec<u8>, String)> {
    let text = |raw: &str, safe: &str| (raw.as_bytes().to_vec(), safe.to_owned());
    vec![
        text("data.csv", "data.csv"),
        text("../../etc/passwd", "passwd"),
        text("..", ".."),
        text("/etc/shadow", "shadow"),
        text(r"..\\..\\boot.ini", "boot.ini"),
        text("a/b/", "b"),
        text(".bashrc", "_bashrc"),
        text("-rf", "-rf"),
        text("nul\0byte.csv", "nul_byte.csv"),
        text("%2e%2e%2fx.csv", "%2e%2e%2fx.csv"),
        text("line%0D%0ASet-Cookie: a=b.csv", "line%0D%0ASet-Cookie_ a=b.csv"),
        text("tab\tname.csv", "tab_name.csv"),
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
        println!("{:?} -> {}", String::from_utf8_lossy(&raw), answer.json()["name"]);
        assert_eq!(answer.json()["name"], safe, "{}", String::from_utf8_lossy(&raw));
    }
}
