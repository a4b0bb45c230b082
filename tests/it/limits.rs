//! Slow, greedy and malformed clients: each meets its limit, and a healthy client beside them goes on.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::wire::{Wire, upload_head};
use crate::support::{PATIENCE, TestApp, User, eventually, form, noise};

/// What a healthy client does: it keeps a file and reads it back.
async fn works(user: &User, seed: u64) {
    let file = user.upload("data.bin", noise(seed, 100_000)).await;
    assert!(user.get(&file.url).await.expect(200).body == noise(seed, 100_000));
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off_at_its_deadline() {
    let app = TestApp::builder().config("header_timeout_seconds = 1").start().await;
    let (began, mut wire) = (Instant::now(), Wire::open(app.address()).await);
    wire.send("GET /health/live HTTP/1.1\r\nHost: satchel\r\n").await.unwrap();
    eventually("the service closes", async || wire.send("X-More: 1\r\n").await.err()).await;
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_at_the_same_deadline() {
    let app = TestApp::builder().config("header_timeout_seconds = 1").start().await;
    let mut silent = Wire::open(app.address()).await;
    assert_eq!(silent.rest().await, b"");

    let mut done = Wire::open(app.address()).await;
    done.send("GET /health/live HTTP/1.1\r\nHost: satchel\r\n\r\n").await.unwrap();
    assert_eq!(done.answer().await.unwrap().status, 200);
    assert_eq!(done.rest().await, b"");
}

#[tokio::test]
async fn silence_in_a_body_is_answered_408_and_leaves_nothing() {
    let app = TestApp::builder().config("body_silence_seconds = 1").start().await;
    let body = form::form(&[form::file("data.bin", &noise(1, 300_000))]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.v1(), body.len() as u64, "")).await.unwrap();
    wire.send(&body[..200_000]).await.unwrap();
    let answer = wire.answer().await.expect("an answer");
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert!(answer.text().contains("nothing was received for 1 s"), "{}", answer.text());
    eventually("its bytes are gone", async || app.blob_files().is_empty().then_some(())).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}

#[tokio::test]
async fn a_slow_body_that_is_never_silent_arrives() {
    let app = TestApp::builder().config("body_silence_seconds = 3").start().await;
    let body = form::form(&[form::file("data.bin", &noise(1, 300_000))]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.v1(), body.len() as u64, "")).await.unwrap();
    // Longer in all than the silence that is allowed.
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    for piece in body.chunks(body.len() / 8) {
        beat.tick().await;
        wire.send(piece).await.unwrap();
    }
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_flood_of_connections_passes_and_a_healthy_client_is_served() {
    let app = TestApp::builder().config("max_connections = 8\nheader_timeout_seconds = 1").start().await;
    let mut flood = Vec::new();
    for _ in 0..32 {
        let mut wire = Wire::open(app.address()).await;
        wire.send("GET /").await.unwrap();
        flood.push(wire);
    }
    let began = Instant::now();
    works(&app.v1(), 1).await;
    // Four rounds of eight, a second each; lingering for those who were told nothing would cost ten more.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn requests_in_flight_are_bounded_for_each_key_and_for_that_key_alone() {
    let app = TestApp::builder().config("requests_per_key = 2").start().await;
    let (greedy, other) = (app.v1(), app.v3());
    let body = form::form(&[form::file("data.bin", b"1,2,3")]);
    let mut in_flight = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::open(app.address()).await;
        let head = upload_head(&greedy, body.len() as u64, "Expect: 100-continue\r\n");
        wire.send(head).await.unwrap();
        assert_eq!(wire.answer().await.expect("leave to go on").status, 100);
        in_flight.push(wire);
    }
    let third = greedy.get("/v1/auth_status").await;
    third.expect(429);
    assert!(third.header("retry-after").parse::<u64>().is_ok());
    assert!(third.detail().contains('2'), "{}", third.text());
    other.get("/v3/self").await.expect(200);

    let mut first = in_flight.pop().unwrap();
    first.send(&body).await.unwrap();
    assert_eq!(first.answer().await.unwrap().status, 200);
    eventually("there is room again", async || {
        (greedy.get("/v1/auth_status").await.status == 200).then_some(())
    })
    .await;
}

/// Sends a whole body with a boundary of its own; the status of the answer.
async fn send_form(app: &TestApp, user: &User, boundary: &str, body: &[u8]) -> u16 {
    let head = upload_head(user, body.len() as u64, "").replace(form::BOUNDARY, boundary);
    let mut wire = Wire::open(app.address()).await;
    wire.send(&head).await.unwrap();
    // The service may have answered and closed before it has read everything.
    let _ = wire.send(body).await;
    wire.answer().await.map_or(0, |answer| answer.status)
}

#[tokio::test]
async fn a_boundary_may_have_256_bytes_and_no_more() {
    let app = TestApp::start().await;
    for (length, status) in [(1, 200), (256, 200), (257, 422)] {
        let boundary = "b".repeat(length);
        let body = String::from_utf8(form::form(&[form::file("data.csv", b"a,1")])).unwrap();
        let body = body.replace(form::BOUNDARY, &boundary);
        let got = send_form(&app, &app.v1(), &boundary, body.as_bytes()).await;
        assert_eq!(got, status, "a boundary of {length} bytes");
    }
}

#[tokio::test]
async fn parts_and_headers_are_bounded_in_number_and_size() {
    let app = TestApp::start().await;
    let user = app.v1();
    for (what, body, status) in bombs() {
        assert_eq!(send_form(&app, &user, form::BOUNDARY, &body).await, status, "{what}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 2);
}

#[tokio::test]
async fn a_request_with_a_huge_head_is_refused() {
    let app = TestApp::start().await;
    let mut wire = Wire::open(app.address()).await;
    let head =
        format!("GET /health/live HTTP/1.1\r\nHost: satchel\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let _ = wire.send(head).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 431);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_client_goes_on_beside_bombs() {
    let app = std::sync::Arc::new(TestApp::start().await);
    let (hostile, healthy) = (app.v1(), app.v3());
    let mut attackers = JoinSet::new();
    for (what, body, status) in bombs() {
        let (app, hostile) = (app.clone(), hostile.clone());
        attackers.spawn(async move {
            loop {
                let got = send_form(&app, &hostile, form::BOUNDARY, &body).await;
                assert_eq!(got, status, "{what}");
            }
        });
    }
    for seed in 0..20 {
        tokio::time::timeout(PATIENCE / 6, works(&healthy, seed)).await.expect("it is served in time");
    }
    let failed = attackers.try_join_next();
    assert!(failed.is_none(), "{failed:?}");
    attackers.shutdown().await;
}

/// Bodies that are made to cost much, and what they are answered.
fn bombs() -> Vec<(&'static str, Vec<u8>, u16)> {
    let file = form::file("data.csv", b"a,1");
    let delimiter = format!("\r\n--{}", form::BOUNDARY);
    let nearly = delimiter[..delimiter.len() - 1].repeat(40_000);
    let followed = format!("{delimiter}x").repeat(40_000);
    let headers = |line: &str, count: usize| {
        let start = format!("--{}\r\nContent-Disposition: form-data; name=\"x\"\r\n", form::BOUNDARY);
        [start.as_bytes(), line.repeat(count).as_bytes(), b"\r\n\r\n"].concat()
    };
    vec![
        ("delimiters that are none, one byte short", form::form(&[form::file("a", nearly.as_bytes())]), 200),
        ("delimiters that are none, one byte long", form::form(&[form::file("a", followed.as_bytes())]), 200),
        ("a flood of parts", [form::field("x", b"").repeat(50_000), form::form(&[file])].concat(), 422),
        ("a flood of headers", headers("X-More: 1\r\n", 50_000), 422),
        ("a header without end", headers("X-More-and-more-and-more", 50_000), 422),
        ("a field without end", form::form(&[form::field("x", &noise(1, 2 * 1024 * 1024))]), 413),
    ]
}

#[tokio::test]
async fn a_stop_lets_an_upload_in_flight_finish() {
    let mut app = TestApp::start().await;
    let (user, address) = (app.v1(), app.address());
    let bytes = noise(1, 300_000);
    let body = form::form(&[form::file("data.bin", &bytes)]);
    let mut wire = Wire::open(address).await;
    wire.send(upload_head(&user, body.len() as u64, "")).await.unwrap();
    wire.send(&body[..150_000]).await.unwrap();
    eventually("the upload is under way", async || (!app.blob_files().is_empty()).then_some(())).await;

    let finish = async {
        eventually("nobody is let in any more", async || tokio::net::TcpStream::connect(address).await.err())
            .await;
        wire.send(&body[150_000..]).await.unwrap();
        let answer = wire.answer().await.expect("an answer");
        wire.finish().await;
        answer
    };
    let (status, answer) = tokio::join!(app.terminate(), finish);
    assert!(status.success());
    assert_eq!(answer.status, 200, "{}", answer.text());

    app.start_again().await;
    let url: String = serde_json::from_slice(&answer.body).unwrap();
    assert!(user.get(&url).await.expect(200).body == bytes);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_and_what_it_cuts_off_leaves_nothing() {
    let mut app = TestApp::builder().config("drain_seconds = 1").start().await;
    let body = form::form(&[form::file("data.bin", &noise(1, 300_000))]);
    let mut wire = Wire::open(app.address()).await;
    wire.send(upload_head(&app.v1(), body.len() as u64, "")).await.unwrap();
    wire.send(&body[..150_000]).await.unwrap();
    eventually("the upload is under way", async || (!app.blob_files().is_empty()).then_some(())).await;

    assert!(app.terminate().await.success());
    assert_eq!(app.blob_files(), []);
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}
