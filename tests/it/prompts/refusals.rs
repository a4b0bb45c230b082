//! What is refused, in which words, and that nothing happens then.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

use crate::support::sessions::ECHO;
use crate::support::{TestApp, Uploaded, User};

const UNKNOWN: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";

/// Calls that name a URL: a body for each way, and whether it goes to a session that is there.
fn ways(user: &User, url: &str) -> Vec<(bool, Value)> {
    let line = format!("ATTACHMENT:\"{url}\"");
    let mut ways = vec![(false, json!({ "prompt": line })), (true, json!({ "message": line }))];
    if user.is_v3() {
        ways.push((false, json!({ "prompt": "x", "attachment_urls": [url] })));
        ways.push((true, json!({ "message": "x", "attachment_urls": [url] })));
    }
    ways
}

/// The answers to all [`ways`], each of which must be a 422, as they came.
async fn refusals(user: &User, url: &str) -> Vec<Vec<u8>> {
    let session = user.open("hello").await;
    let mut bodies = Vec::new();
    for (to_session, body) in ways(user, url) {
        let answer = if to_session { session.try_say(&body).await } else { user.try_open(&body).await };
        bodies.push(answer.expect(422).body.to_vec());
    }
    bodies
}

/// A file of another organisation.
async fn foreign_file(app: &TestApp) -> Uploaded {
    let org = app.other_org().await;
    let stranger = app.key(&["--kind", "personal", "--org", &org]).await;
    stranger.upload("data.csv", &b"theirs"[..]).await
}

#[tokio::test]
async fn a_foreign_file_is_refused_as_one_that_does_not_exist() {
    let app = TestApp::with_agent("", ECHO).await;
    let theirs = foreign_file(&app).await;
    for user in [app.v1(), app.v3()] {
        // The path of a message holds the session's id, so both are sent to the same one.
        let session = user.open("hello").await;
        let unknown = theirs.url.replace(&theirs.id, UNKNOWN);
        for ((to_session, foreign), (_, unknown)) in
            ways(&user, &theirs.url).into_iter().zip(ways(&user, &unknown))
        {
            let ask = async |body: Value| match to_session {
                true => session.try_say(&body).await,
                false => user.try_open(&body).await,
            };
            let (foreign, unknown) = (ask(foreign).await, ask(unknown).await);
            assert_eq!((foreign.status, foreign.text()), (422, unknown.text()));
            let head = |answer: &crate::support::Answer| {
                let mut headers = answer.headers.clone();
                headers.remove("date");
                headers
            };
            assert_eq!(head(&foreign), head(&unknown));
            assert!(!foreign.text().contains(&theirs.id), "{}", foreign.text());
        }
    }
}

#[tokio::test]
async fn a_refusal_says_where_each_fault_lies_and_creates_nothing() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let own = user.upload("data.csv", &b"a,b\n"[..]).await;
    let foreign = "https://evil.example/a";
    let prompt = format!("{}\r\nATTACHMENT:\"{foreign}\"\r\rATTACHMENT:\"\"{foreign}\"\"", own.line());
    let body = json!({ "prompt": prompt, "attachment_urls": [own.url, foreign, "not a URL"] });
    let answer = user.try_open(&body).await.expect(422).json();
    let places: Vec<&Value> = answer["detail"].as_array().unwrap().iter().map(|f| &f["loc"]).collect();
    let expected = [
        json!(["body", "prompt", 2]),
        json!(["body", "prompt", 4]),
        json!(["body", "attachment_urls", 1]),
        json!(["body", "attachment_urls", 2]),
    ];
    assert_eq!(places, expected.iter().collect::<Vec<_>>());
    assert_eq!((&answer["status"], answer["title"].is_string()), (&json!(422), true));
    let all = user.get(&user.sessions_path("")).await.json();
    assert_eq!(all["total"], 0);
    for count in [
        "SELECT COUNT(*) AS n FROM sessions",
        "SELECT COUNT(*) AS n FROM session_messages",
        "SELECT COUNT(*) AS n FROM session_attachments",
    ] {
        assert_eq!(app.count(count).await, 0, "{count}");
    }
    let audited = app.rows("SELECT action FROM audit_logs").await;
    assert!(audited.iter().all(|row| !row["action"].as_str().unwrap().starts_with("session.")));
}

#[tokio::test]
async fn a_file_of_ones_own_that_was_deleted_is_said_to_be_so_and_when() {
    let app = TestApp::with_agent("", ECHO).await;
    for user in [app.v1(), app.v3()] {
        let file = user.upload("data.csv", &b"a,b\n"[..]).await;
        let path = if user.is_v3() { file.v3_path(&user.org) } else { file.v1_path() };
        user.delete(&path).await.expect(200);
        let today = &satchel::clock::now().iso8601()[..10];
        for body in refusals(&user, &file.url).await {
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains(&format!("is gone since {today}T")), "{body}");
            assert!(body.contains("deleted on request"), "{body}");
        }
    }
}

#[tokio::test]
async fn a_file_of_ones_own_that_has_expired_is_said_to_be_so_and_when() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let file = user.upload("data.csv", &b"a,b\n"[..]).await;
    let options = SqliteConnectOptions::new().filename(app.data().join("satchel.db"));
    let mut conn = options.connect().await.unwrap();
    conn.execute("UPDATE attachments SET expires_at = 1000000").await.unwrap();
    for body in refusals(&user, &file.url).await {
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("is gone since 1970-01-01T00:00:01") && body.contains("expired"), "{body}");
    }
    let stranger = app.key(&["--kind", "personal", "--org", &app.other_org().await]).await;
    for body in refusals(&stranger, &file.url).await {
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("there is no attachment with this id"), "{body}");
    }
}

#[tokio::test]
async fn no_request_is_ever_made_to_a_url_in_a_prompt() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let host = canary.local_addr().unwrap();
    let app = TestApp::with_agent("lenient_references = true", ECHO).await;
    for user in [app.v1(), app.v3()] {
        let own = user.upload("data.csv", &b"a,b\n"[..]).await;
        let mut urls = vec![format!("http://{host}/attachments/{}/data.csv", own.id)];
        urls.push(format!("http://localhost:{}/", host.port()));
        urls.push(format!("{}/attachments/{UNKNOWN}/x?next=http://{host}/", app.url()));
        for url in &urls {
            refusals(&user, url).await;
        }
        // What is not recognised is no cause for a refusal, and goes all the way to the agent.
        let near = format!("ATTACHMENT: \"{0}\"\n{0}\nattachment:{0}\n{1}", urls[0], own.line());
        let session = user.open(&near).await;
        session.until_waiting().await;
        session.say(&near).await;
        session.until_waiting().await;
    }
    assert_eq!(canary.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody called");
}

#[tokio::test]
async fn attachment_urls_are_lines_at_the_end() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let (first, second) = (user.upload("a.txt", &b"a"[..]).await, user.upload("b.txt", &b"b"[..]).await);
    let v1_form = format!("{}{}", app.url(), second.v1_path());
    let body = json!({ "prompt": "Look.", "attachment_urls": [first.url, v1_form, first.url] });
    let session = user.open_with(&body).await;
    let lines = format!("Look.\n{}\n{}\n{}", first.line(), second.line(), first.line());
    assert_eq!(session.messages().await[0].1, lines);
    session.until_waiting().await;
    session.try_say(&json!({ "message": "More.", "attachment_urls": [second.url] })).await.expect(200);
    session.until_waiting().await;
    let receipts = session.receipts().await;
    let paths: Vec<&str> = receipts.iter().map(|receipt| receipt["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["attachments/a.txt", "attachments/b.txt"], "each file once");
    let told = session.answers().await.pop().unwrap();
    assert!(told.contains("The new message:\n\nMore.\n[Attached file: attachments/b.txt ("), "{told}");
}

#[tokio::test]
async fn attachment_urls_have_a_length_and_may_be_null() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    user.open_with(&json!({ "prompt": "x", "attachment_urls": null })).await;
    for (url, kind) in [(String::new(), "string_too_short"), ("x".repeat(2084), "string_too_long")] {
        let answer = user.try_open(&json!({ "prompt": "x", "attachment_urls": [url] })).await;
        let fault = &answer.expect(422).json()["detail"][0];
        assert_eq!(fault["loc"], json!(["body", "attachment_urls", 0]));
        assert_eq!(fault["type"], kind);
    }
}

#[tokio::test]
async fn too_many_files_are_refused_before_any_is_looked_up() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let url = |n: usize| format!("{}/attachments/f47ac10b-58cc-4372-a567-{n:012x}/x", app.url());
    let prompt: String = (0..2000).map(|n| format!("ATTACHMENT:\"{}\"\n", url(n))).collect();
    let fault = &user.try_open(&json!({ "prompt": prompt })).await.expect(422).json()["detail"][0];
    assert!(fault["msg"].as_str().unwrap().contains("2000 attachments; at most 50"), "{fault}");
    assert_eq!(fault["loc"], json!(["body", "prompt"]));
    // Where the text alone names few enough, the list is at fault.
    let urls: Vec<String> = (0..50).map(url).collect();
    let body = json!({ "prompt": format!("ATTACHMENT:\"{}\"", url(50)), "attachment_urls": urls });
    let fault = &user.try_open(&body).await.expect(422).json()["detail"][0];
    assert!(fault["msg"].as_str().unwrap().contains("51 attachments; at most 50"), "{fault}");
    assert_eq!(fault["loc"], json!(["body", "attachment_urls"]));
    let urls: Vec<String> = (0..1001).map(url).collect();
    let answer = user.try_open(&json!({ "prompt": "x", "attachment_urls": urls })).await;
    let fault = &answer.expect(422).json()["detail"][0];
    assert_eq!((&fault["loc"], &fault["type"]), (&json!(["body", "attachment_urls"]), &json!("too_long")));
}

#[tokio::test]
async fn of_many_faults_the_first_are_named_and_the_number_of_the_rest() {
    let app = TestApp::with_agent("", ECHO).await;
    let prompt = "ATTACHMENT:\"https://evil.example/a\"\n".repeat(1000);
    let answer = app.v3().try_open(&json!({ "prompt": prompt })).await.expect(422).json();
    let faults = answer["detail"].as_array().unwrap();
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100]["msg"], "and 900 more");
}
