//! How many sessions run at once, and that each of them runs once.

use crate::support::TestApp;
use crate::support::sessions::{AT_WORK, Session};

#[tokio::test]
async fn so_many_sessions_run_at_once_and_the_rest_wait() {
    let app = TestApp::with_agent("session_slots = 2", AT_WORK).await;
    let user = app.v3();
    let mut sessions: Vec<Session> = Vec::new();
    for number in 0..5 {
        sessions.push(user.open(&format!("number {number}")).await);
    }
    app.written(&sessions[0], "ready").await;
    app.written(&sessions[1], "ready").await;
    for next in 2..5 {
        assert_eq!(at_work(&sessions).await, [next - 2, next - 1], "they run in turn, two at a time");
        app.let_go(&sessions[next - 2]);
        sessions[next - 2].until_waiting().await;
        app.written(&sessions[next], "ready").await;
    }
}

/// Which of the sessions have left the queue and not ended their turn.
async fn at_work(sessions: &[Session]) -> Vec<usize> {
    let mut found = Vec::new();
    for (number, session) in sessions.iter().enumerate() {
        if session.standing().await == "running/working" {
            found.push(number);
        }
    }
    found
}

#[tokio::test]
async fn an_organisation_runs_so_many_and_others_go_on() {
    let app = TestApp::with_agent("session_slots = 4\nsessions_per_org = 1", AT_WORK).await;
    let user = app.v3();
    let first = user.open("one").await;
    app.written(&first, "ready").await;
    let second = user.open("two").await;
    let org = app.other_org().await;
    let stranger = app.key(&["--kind", "service-user", "--role", "org_admin", "--org", &org]).await;
    let other = stranger.open("three").await;
    app.written(&other, "ready").await;
    assert_eq!(second.standing().await, "new", "it waits for the first");
    first.end().await.expect(200);
    app.written(&second, "ready").await;
}

#[tokio::test]
async fn every_session_of_many_runs_once() {
    let script = "cat > /dev/null; echo x >> runs; cat runs";
    let app = TestApp::with_agent("session_slots = 4\nsessions_per_org = 3", script).await;
    let mut sessions = Vec::new();
    for number in 0..20 {
        let user = if number % 2 == 0 { app.v1() } else { app.v3() };
        sessions.push(user.open(&format!("number {number}")).await);
    }
    for session in &sessions {
        session.until_waiting().await;
        assert_eq!(session.answers().await, ["x"]);
    }
}

#[tokio::test]
async fn a_session_that_waits_in_the_queue_can_be_ended() {
    let app = TestApp::with_agent("session_slots = 1", AT_WORK).await;
    let user = app.v1();
    let keeper = user.open("one").await;
    app.written(&keeper, "ready").await;
    let waiting = user.open("two").await;
    waiting.end().await.expect(200);
    assert_eq!(waiting.of(&app.v3()).standing().await, "exit/user_request");
    app.let_go(&keeper);
    keeper.until_waiting().await;
    assert!(!app.folder(&waiting).exists(), "its agent never ran");
}
