//! Where a session stands, in the words of both versions (contract, section 3).

use std::fs;

use serde_json::json;

use crate::support::sessions::{AT_WORK, Session, agent};
use crate::support::{TestApp, eventually};

/// Waits until the session stands there in v3's words and in v1's.
async fn both(app: &TestApp, session: &Session, v3: &str, v1: &str) {
    let (in_v3, in_v1) = (session.of(&app.v3()), session.of(&app.v1()));
    in_v3.until(v3).await;
    in_v1.until(v1).await;
    assert_eq!(in_v3.standing().await, v3, "it went on");
}

#[tokio::test]
async fn a_session_goes_through_its_documented_standings() {
    let app = TestApp::with_agent("session_slots = 1\nidle_limit_seconds = 3", AT_WORK).await;
    let user = app.v3();
    let keeper = user.open("keep the slot").await;
    app.written(&keeper, "ready").await;

    let session = user.open("hello").await;
    assert_eq!(session.created["status"], "new");
    both(&app, &session, "new", "working").await;
    app.let_go(&keeper);
    app.written(&session, "ready").await;
    both(&app, &session, "running/working", "working").await;
    app.let_go(&session);
    both(&app, &session, "running/waiting_for_user", "blocked").await;
    both(&app, &session, "suspended/inactivity", "finished").await;

    // The keeper takes the slot again, so that the session cannot be taken up at once.
    fs::remove_file(app.workspace(&keeper).join("go")).unwrap();
    keeper.say("again").await;
    app.written(&keeper, "ready").await;
    assert_eq!(session.say("again").await["status"], "resuming");
    both(&app, &session, "resuming", "resume_requested").await;
    fs::remove_file(app.workspace(&session).join("go")).unwrap();
    app.let_go(&keeper);
    app.written(&session, "ready").await;
    both(&app, &session, "running/working", "working").await;
    session.end().await.expect(200);
    both(&app, &session, "exit/user_request", "finished").await;
}

/// Pollers as public clients of this API write them, each with what it takes for the end, for an agent of either kind.
#[tokio::test]
async fn every_public_poller_comes_to_its_end() {
    let acp = super::acp::profile("good", "pollers", "");
    for profile in [agent("cat", ""), acp] {
        let app = TestApp::builder().config("idle_limit_seconds = 2").config(&profile).start().await;
        let session = app.v1().open("hello").await;
        let in_v3 = session.of(&app.v3());
        let polls = async |field: &str, in_v3: &Session, ends: &[&str]| {
            eventually(&format!("`{field}` comes to one of {ends:?}"), async || {
                let now = in_v3.get().await[field].as_str().unwrap_or_default().to_owned();
                ends.contains(&now.as_str()).then_some(now)
            })
            .await
        };
        let (knows_blocked, knows_finished, by_detail, by_status) = tokio::join!(
            polls("status_enum", &session, &["blocked", "finished", "stopped"]),
            polls("status_enum", &session, &["finished", "stopped"]),
            polls("status_detail", &in_v3, &["waiting_for_user", "finished"]),
            polls("status", &in_v3, &["exit", "error", "suspended"]),
        );
        assert_eq!((&*knows_blocked, &*knows_finished), ("blocked", "finished"));
        assert_eq!((&*by_detail, &*by_status), ("waiting_for_user", "suspended"));
    }
}

#[tokio::test]
async fn a_failure_is_blocked_until_the_idle_limit_and_finished_afterwards() {
    let app = TestApp::with_agent("idle_limit_seconds = 3", "exit 1").await;
    let session = app.v1().open("hello").await;
    both(&app, &session, "suspended/error", "blocked").await;
    both(&app, &session, "suspended/error", "finished").await;
}

#[tokio::test]
async fn an_agent_that_cannot_start_is_blocked_until_the_idle_limit_and_finished_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("agent");
    fs::copy("/bin/true", &program).unwrap();
    let config = format!("idle_limit_seconds = 3\n[agents.gone]\nprogram = {program:?}");
    let app = TestApp::builder().config(&config).start().await;
    fs::remove_file(&program).unwrap();
    let session = app.v1().open("hello").await;
    both(&app, &session, "error", "blocked").await;
    both(&app, &session, "error", "finished").await;
}

#[tokio::test]
async fn a_message_to_a_waiting_session_shows_that_it_is_at_work_at_once() {
    let app = TestApp::with_agent("session_slots = 1", AT_WORK).await;
    let user = app.v1();
    let session = user.open("one").await;
    app.written(&session, "ready").await;
    app.let_go(&session);
    session.until_waiting().await;
    fs::remove_file(app.workspace(&session).join("go")).unwrap();
    session.say("two").await;
    assert_eq!(session.standing().await, "working", "a poller must not take it for ended");
}

#[tokio::test]
async fn a_session_that_is_over_takes_nothing_more_and_says_so() {
    let app = TestApp::with_agent("", "cat").await;
    for (user, name) in [(app.v1(), "v1"), (app.v3(), "v3")] {
        let session = user.open("hello").await;
        session.until_waiting().await;
        session.end().await.expect(200);
        for answer in [session.try_say(&json!({ "message": "x" })).await, session.end().await] {
            assert!(answer.expect(400).detail().contains("`exit`"), "{name}: {}", answer.text());
        }
        assert_eq!(session.answers().await.len(), 1, "it can still be read");
    }
}

#[tokio::test]
async fn what_changed_last_is_when_it_was_updated() {
    let app = TestApp::with_agent("", "cat").await;
    let session = app.v3().open("hello").await;
    session.until_waiting().await;
    let before = session.get().await;
    assert!(before["updated_at"].as_i64() >= before["created_at"].as_i64());
    eventually("a second passes", async || {
        (satchel::clock::now().seconds() > before["updated_at"].as_i64().unwrap()).then_some(())
    })
    .await;
    session.say("again").await;
    let after = session.get().await;
    assert!(after["updated_at"].as_i64() > before["updated_at"].as_i64());
    assert_eq!(after["created_at"], before["created_at"]);
}
