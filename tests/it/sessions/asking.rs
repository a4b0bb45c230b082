//! Creating and sending: idempotency, limits, fields without effect, strangers.

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::sessions::{AT_WORK, ECHO};

#[tokio::test]
async fn an_equal_request_gets_the_first_session_until_that_is_over() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v1();
    let body = json!({ "prompt": "hello", "tags": ["a"], "idempotent": true });
    let first = user.open_with(&body).await;
    // The same members in another order.
    let text = r#"{"idempotent": true, "tags": ["a"], "prompt": "hello"}"#;
    let request = user.request("POST", "/v1/sessions").header("content-type", "application/json").body(text);
    let again = crate::support::Answer::to(request).await.expect(200).json();
    assert_eq!((&first.created["is_new_session"], &again["is_new_session"]), (&json!(true), &json!(false)));
    assert_eq!(again["session_id"], first.id.as_str());

    let other = json!({ "prompt": "hello", "tags": ["b"], "idempotent": true });
    assert_ne!(user.open_with(&other).await.id, first.id, "another body");
    assert_ne!(app.v1_service().open_with(&body).await.id, first.id, "another principal");
    first.end().await.expect(200);
    assert_ne!(user.open_with(&body).await.id, first.id, "the first one is over");
}

#[tokio::test]
async fn without_idempotent_each_request_is_a_session() {
    let app = TestApp::with_agent("", ECHO).await;
    let (one, two) = (app.v1().open("hello").await, app.v1().open("hello").await);
    assert_ne!(one.id, two.id);
    assert_eq!(two.created["is_new_session"], true);
}

#[tokio::test]
async fn limits_are_named_with_both_numbers() {
    let options = "session_slots = 1\nmax_prompt_bytes = 1000\nmax_session_attachments = 2\n\
                   max_session_bytes = 10\nmax_queued_messages = 2";
    let app = TestApp::with_agent(options, AT_WORK).await;
    let keeper = app.v3().open("keep the slot").await;
    app.written(&keeper, "ready").await;
    for user in [app.v1(), app.v3()] {
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.push(user.upload("a.txt", &b"123456"[..]).await.line());
        }
        let fault = async |prompt: &str, loc: &str, numbers: [&str; 2]| {
            let session = user.open("hello").await;
            for member in ["prompt", "message"] {
                let body = json!({ member: prompt });
                let answer = match member {
                    "prompt" => user.try_open(&body).await,
                    _ => session.try_say(&body).await,
                };
                let fault = answer.expect(422).json()["detail"][0].clone();
                let place = if loc == "text" { member } else { loc };
                assert_eq!(fault["loc"], json!(["body", place]));
                let msg = fault["msg"].as_str().unwrap();
                assert!(numbers.iter().all(|number| msg.contains(number)), "{msg}");
            }
        };
        fault(&"x".repeat(1001), "text", ["1001", "1000"]).await;
        fault(&lines.join("\n"), "text", ["3 attachments", "at most 2"]).await;
        fault(&lines[1..].join("\n"), "text", ["12 bytes", "at most 10"]).await;

        let session = user.open(&lines[0]).await;
        let answer = session.try_say(&json!({ "message": lines[1] })).await;
        let msg = answer.expect(422).json()["detail"][0]["msg"].to_string();
        assert!(msg.contains("12 bytes"), "what it has counts: {msg}");
        session.say(&lines[0]).await;
        let full = session.try_say(&json!({ "message": "x" })).await;
        assert!(full.expect(429).detail().starts_with("2 messages wait"), "{}", full.text());
        assert!(full.header("retry-after").parse::<u32>().is_ok());
    }
}

#[tokio::test]
async fn fields_without_effect_are_accepted_and_named() {
    let app = TestApp::with_agent("", ECHO).await;
    let v1 =
        json!({ "prompt": "x", "playbook_id": "p", "unlisted": true, "tag": ["x"], "snapshot_id": null });
    let v3 = json!({ "prompt": "x", "playbook_id": "p", "platform": "linux", "tag": ["x"], "repos": [] });
    for (user, body, known) in
        [(app.v1(), v1, ["playbook_id", "unlisted"]), (app.v3(), v3, ["platform", "playbook_id"])]
    {
        let session = user.open_with(&body).await;
        let notices = session.created["notices"].as_array().unwrap();
        let reasons: Vec<&str> = notices.iter().map(|notice| notice["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons.len(), 3, "{reasons:#?}");
        for name in known {
            let named = reasons.iter().any(|reason| reason.contains(&format!("`{name}`")));
            assert!(named, "{name}: {reasons:#?}");
        }
        assert!(reasons[2].contains("`tag`") && reasons[2].contains("spelling"), "{}", reasons[2]);
        assert_eq!(session.get().await["playbook_id"], "p", "it is kept");
    }
}

#[tokio::test]
async fn secrets_are_refused_and_not_repeated() {
    let app = TestApp::with_agent("", ECHO).await;
    let body = json!({ "prompt": "x", "session_secrets": [{ "key": "K", "value": "hunter2" }] });
    for user in [app.v1(), app.v3()] {
        let answer = user.try_open(&body).await;
        let fault = &answer.expect(422).json()["detail"][0];
        assert_eq!(fault["loc"], json!(["body", "session_secrets"]));
        assert!(!answer.text().contains("hunter2"));
        user.open_with(&json!({ "prompt": "x", "session_secrets": [] })).await;
    }
    assert!(!app.log().contains("hunter2"));
}

#[tokio::test]
async fn a_prompt_is_required_and_a_text() {
    let app = TestApp::with_agent("", ECHO).await;
    for user in [app.v1(), app.v3()] {
        for (body, kind) in [(json!({}), "missing"), (json!({ "prompt": 1 }), "string_type")] {
            let fault = &user.try_open(&body).await.expect(422).json()["detail"][0];
            assert_eq!((&fault["loc"], &fault["type"]), (&json!(["body", "prompt"]), &json!(kind)));
        }
    }
}

#[tokio::test]
async fn a_stranger_finds_what_is_not_there() {
    let app = TestApp::with_agent("", ECHO).await;
    let org = app.other_org().await;
    let strangers = [
        app.key(&["--kind", "personal", "--org", &org]).await,
        app.key(&["--kind", "service-user", "--role", "org_admin", "--org", &org]).await,
    ];
    let theirs = app.v3().open("hello").await;
    for stranger in strangers {
        let found = theirs.of(&stranger);
        let absent = crate::support::sessions::Session { id: "devin-0".repeat(2), ..found.clone() };
        let mut answers: Vec<[crate::support::Answer; 2]> = Vec::new();
        let message = json!({ "message": "x" });
        answers.push([found.try_say(&message).await, absent.try_say(&message).await]);
        answers.push([found.end().await, absent.end().await]);
        for rest in ["", "/receipts"] {
            answers.push([stranger.get(&found.path(rest)).await, stranger.get(&absent.path(rest)).await]);
        }
        for [found, absent] in answers {
            assert_eq!((found.status, absent.status), (404, 404));
            let plain = |answer: &crate::support::Answer| {
                let mut body = answer.json();
                if let Some(members) = body.as_object_mut() {
                    members.remove("instance");
                }
                body
            };
            assert_eq!(plain(&found), plain(&absent));
            assert_eq!(found.detail(), "Session not found");
        }
        let list = stranger.get(&stranger.sessions_path("")).await.json();
        let sessions = list["items"].as_array().or(list["sessions"].as_array()).map(Vec::len);
        assert_eq!(sessions, Some(0));
    }
    let after: Value = theirs.get().await;
    assert_ne!(after["status"], "exit");
}

#[tokio::test]
async fn a_session_is_found_with_and_without_its_prefix_and_by_its_alias() {
    let app = TestApp::with_agent("", ECHO).await;
    let session = app.v1().open("hello").await;
    let bare = session.id.strip_prefix("devin-").unwrap();
    let (v1, v3) = (app.v1(), app.v3());
    let paths = [
        (&v1, format!("/v1/sessions/{bare}")),
        (&v1, format!("/v1/session/{}", session.id)),
        (&v3, v3.in_org(&format!("/sessions/{bare}"))),
        (&v3, format!("/v3beta1/organizations/{}/sessions/{}", v3.org, session.id)),
    ];
    for (user, path) in paths {
        assert_eq!(user.get(&path).await.expect(200).json()["session_id"], session.id.as_str(), "{path}");
    }
    v1.post(&format!("/v1/session/{bare}/message"), &json!({ "message": "x" })).await.expect(200);
}
