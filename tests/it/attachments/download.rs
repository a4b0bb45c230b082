//! Downloads: validators, ranges, conditions, and headers under which a browser runs nothing.

use crate::support::*;

/// A packed file and one with a file of its own.
const SIZES: [usize; 2] = [1000, 200_000];

#[tokio::test]
async fn every_download_carries_the_headers_that_keep_a_browser_harmless() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for size in SIZES {
        let bytes = noise(1, size);
        let uploaded = ada.upload("data.bin", bytes.clone()).await;
        let answer = ada.get(&uploaded.url).await;
        for (name, value) in [
            ("accept-ranges", "bytes"),
            ("cache-control", "private, no-cache"),
            ("content-disposition", "attachment; filename=\"data.bin\"; filename*=UTF-8''data.bin"),
            ("content-length", &size.to_string()),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("content-type", "application/octet-stream"),
            ("cross-origin-resource-policy", "same-origin"),
            ("etag", &format!("\"{}\"", sha256(&bytes))),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.expect(200).header(name), value, "{name}");
        }
        let modified = satchel::clock::Moment::parse_http_date(answer.header("last-modified")).unwrap();
        assert!((satchel::clock::now().seconds() - modified.seconds()).abs() < 60);
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_bytes() {
    let app = TestApp::start().await;
    let (ada, robot) = (app.v1(), app.v3());
    for size in SIZES {
        let uploaded = ada.upload("data.bin", noise(1, size)).await;
        let v3 = uploaded.v3_path(app.org());
        for (user, path) in [(&ada, &uploaded.url), (&ada, &uploaded.v1_path()), (&robot, &v3)] {
            let (mut get, mut head) = (user.get(path).await, user.head(path).await);
            get.headers.remove("date");
            head.headers.remove("date");
            assert_eq!(head.expect(200).headers, get.headers, "{path}");
            assert!(head.body.is_empty());
        }
    }
}

#[tokio::test]
async fn a_range_answers_with_that_part() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for size in SIZES {
        let bytes = noise(1, size);
        let uploaded = ada.upload("data.bin", bytes.clone()).await;
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-99", 10..100),
            ("bytes=990-", 990..size),
            ("bytes=-7", size - 7..size),
            ("bytes=-999999999", 0..size),
            ("bytes=500-999999999", 500..size),
        ] {
            let answer = ada.get_with(&uploaded.url, "Range", range).await;
            answer.expect(206);
            let content_range = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
            assert_eq!(answer.header("content-range"), content_range, "{range}");
            assert!(answer.body == bytes[expected], "{range} of {size}: other bytes");
        }
    }
}

#[tokio::test]
async fn a_range_outside_the_file_is_a_416_that_names_the_size() {
    let app = TestApp::start().await;
    let (ada, robot) = (app.v1(), app.v3());
    for size in [0, SIZES[0], SIZES[1]] {
        let uploaded = ada.upload("data.bin", noise(1, size)).await;
        for (user, path) in [(&ada, uploaded.url.clone()), (&robot, uploaded.v3_path(app.org()))] {
            let answer = user.get_with(&path, "Range", &format!("bytes={size}-")).await;
            assert_eq!(answer.expect(416).header("content-range"), format!("bytes */{size}"));
        }
    }
}

#[tokio::test]
async fn a_range_that_cannot_be_read_or_is_several_is_answered_with_the_whole() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let uploaded = ada.upload("data.txt", "0123456789").await;
    for range in ["bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes", "bytes=-"] {
        assert_eq!(
            ada.get_with(&uploaded.url, "Range", range).await.expect(200).text(),
            "0123456789",
            "{range}"
        );
    }
}

#[tokio::test]
async fn who_has_the_file_already_is_told_so() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for size in SIZES {
        let uploaded = ada.upload("data.bin", noise(1, size)).await;
        let first = ada.get(&uploaded.url).await;
        let (tag, modified) = (first.header("etag"), first.header("last-modified"));
        for (name, value) in [
            ("If-None-Match", tag.to_owned()),
            ("If-None-Match", format!("\"other\", W/{tag}")),
            ("If-None-Match", "*".to_owned()),
            ("If-Modified-Since", modified.to_owned()),
        ] {
            let answer = ada.get_with(&uploaded.url, name, &value).await;
            assert!(answer.expect(304).body.is_empty(), "{name}: {value}");
            assert_eq!(answer.header("etag"), tag);
        }
        ada.get_with(&uploaded.url, "If-None-Match", "\"other\"").await.expect(200);
        ada.get_with(&uploaded.url, "If-Match", tag).await.expect(200);
        ada.get_with(&uploaded.url, "If-Match", "\"other\"").await.expect(412);
    }
}

#[tokio::test]
async fn a_download_is_resumed_only_where_the_file_is_the_same() {
    let app = TestApp::start().await;
    let ada = app.v1();
    for size in SIZES {
        let uploaded = ada.upload("data.bin", noise(1, size)).await;
        let first = ada.get(&uploaded.url).await;
        for (condition, status) in [
            (first.header("etag"), 206),
            (first.header("last-modified"), 206),
            ("\"other\"", 200),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ] {
            let request = ada.request("GET", &uploaded.url).header("Range", "bytes=100-");
            let answer = Answer::to(request.header("If-Range", condition)).await;
            assert_eq!(answer.status, status, "If-Range: {condition}");
        }
    }
}

#[tokio::test]
async fn only_four_images_and_plain_text_are_shown_inline() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let webp = b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0";
    for (name, bytes, kind, inline) in [
        ("a.png", &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "image/png", true),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg", true),
        ("a.gif", b"GIF89a\x01\0\x01\0\0\0\0", "image/gif", true),
        ("a.webp", webp, "image/webp", true),
        ("a.txt", b"hello", "text/plain; charset=utf-8", true),
        ("a.html", b"<script>alert(1)</script>", "text/html; charset=utf-8", false),
        ("a.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "image/svg+xml", false),
        ("a.xml", b"<a/>", "application/xml", false),
        ("a.pdf", b"%PDF-1.7\n", "application/pdf", false),
        ("a.csv", b"a,b\n", "text/csv; charset=utf-8", false),
        ("a.js", b"alert(1)", "text/javascript; charset=utf-8", false),
        ("a.png", b"<html>not an image", "text/plain; charset=utf-8", true),
        ("a.txt", b"\0\x01\x02\x03", "application/octet-stream", false),
    ] {
        let uploaded = ada.upload(name, bytes).await;
        let answer = ada.get(&uploaded.url).await;
        assert_eq!(answer.expect(200).header("content-type"), kind, "{name}");
        let wanted = if inline { "inline; " } else { "attachment; " };
        assert!(answer.header("content-disposition").starts_with(wanted), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn the_kind_that_the_client_claims_plays_no_part() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let part = reqwest::multipart::Part::text("a,b\n").file_name("data.csv").mime_str("text/html").unwrap();
    let request = ada.request("POST", "/v1/attachments");
    let answer = Answer::to(request.multipart(reqwest::multipart::Form::new().part("file", part))).await;
    let url = answer.expect(200).json().as_str().unwrap().to_owned();
    assert_eq!(ada.get(&url).await.header("content-type"), "text/csv; charset=utf-8");
}
