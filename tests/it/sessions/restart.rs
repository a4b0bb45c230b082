//! Sessions survive the service: an orderly stop, and a kill.

use std::fs;

use crate::support::sessions::AT_WORK;
use crate::support::{TestApp, eventually};

/// Counts its runs before it is [`AT_WORK`].
fn counting() -> String {
    format!("echo x >> runs; {AT_WORK}")
}

#[tokio::test]
async fn a_turn_that_a_kill_cut_short_runs_again() {
    let mut app = TestApp::with_agent("", &counting()).await;
    for user in [app.v1(), app.v3()] {
        let data = user.upload("data.csv", &b"a,b\n"[..]).await;
        let session = user.open(&data.line()).await;
        app.written(&session, "ready").await;
        app.kill9();
        fs::remove_file(app.workspace(&session).join("ready")).unwrap();
        app.start_again().await;
        app.written(&session, "ready").await;
        app.let_go(&session);
        session.until_waiting().await;
        let answers = session.answers().await;
        assert_eq!(answers.len(), 2, "{answers:#?}");
        assert!(answers[0].contains("runs again (attempt 2 of 3)"), "{}", answers[0]);
        assert_eq!(answers[1], "done");
        assert_eq!(app.written(&session, "runs").await, "x\nx\n");
        assert_eq!(session.receipts().await[0]["state"], "delivered");
    }
}

#[tokio::test]
async fn a_turn_that_is_cut_short_again_and_again_is_given_up() {
    let mut app = TestApp::with_agent("", &counting()).await;
    let session = app.v3().open("hello").await;
    for _ in 0..3 {
        app.written(&session, "ready").await;
        app.kill9();
        fs::remove_file(app.workspace(&session).join("ready")).unwrap();
        app.start_again().await;
    }
    session.until("suspended/error").await;
    let said = session.answers().await.pop().unwrap();
    assert!(said.contains("cut short 3 times"), "{said}");
    assert_eq!(app.written(&session, "runs").await, "x\nx\nx\n");
    session.say("go on").await;
    app.written(&session, "ready").await;
}

#[tokio::test]
async fn the_end_of_a_turn_that_was_cut_short_waits_for_no_slot_and_no_limit() {
    let script = format!("echo half > output/half.txt; {AT_WORK}");
    for limit in ["session_slots = 1", "session_slots = 2\nsessions_per_org = 1"] {
        let mut app = TestApp::with_agent("session_slots = 2", &script).await;
        let keeper = app.v3().open("at work all the time").await;
        app.written(&keeper, "ready").await;
        let session = app.v3().open("hello").await;
        app.written(&session, "ready").await;
        app.kill9();
        fs::remove_file(app.workspace(&keeper).join("ready")).unwrap();
        let config = fs::read_to_string(app.home().join("satchel.toml")).unwrap();
        app.configure(&config.replace("session_slots = 2", limit));
        app.start_again().await;
        app.written(&keeper, "ready").await;
        let ended = session.end().await.expect(200).json();
        assert_eq!(ended["status"], "exit", "with {limit}");
        assert_eq!(session.receipts().await[0]["path"], "output/half.txt");
    }
}

#[tokio::test]
async fn a_session_whose_turn_was_cut_short_ends_while_the_disk_is_full() {
    let mut app = TestApp::with_agent("", &counting()).await;
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    app.kill9();
    let config = fs::read_to_string(app.home().join("satchel.toml")).unwrap();
    app.configure(&format!("min_free_bytes = 9_000_000_000_000_000_000\n{config}"));
    app.start_again().await;
    assert_eq!(session.end().await.expect(200).json()["status"], "exit");
}

#[tokio::test]
async fn an_orderly_stop_lets_turns_run_again_at_the_next_start() {
    let mut app = TestApp::with_agent("drain_seconds = 0", &counting()).await;
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    assert!(app.terminate().await.success());
    fs::remove_file(app.workspace(&session).join("ready")).unwrap();
    app.start_again().await;
    app.written(&session, "ready").await;
    assert_eq!(session.of(&app.v1()).standing().await, "working");
    app.let_go(&session);
    session.until_waiting().await;
    let answers = session.answers().await;
    assert!(answers[0].contains("runs again when the service is back"), "{}", answers[0]);
    assert_eq!(answers[1..], ["done"], "an orderly stop does not count as an attempt");
}

#[tokio::test]
async fn an_orderly_stop_waits_for_turns_that_end_in_time() {
    let mut app = TestApp::with_agent("drain_seconds = 60", &counting()).await;
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    let workspace = app.workspace(&session);
    let gone = app.v3();
    let (stopped, ()) = tokio::join!(app.terminate(), async {
        // Once it takes no more requests it is stopping, and the agent is still at work.
        eventually("the service stops listening", async || {
            gone.request("GET", "/health/live").send().await.is_err().then_some(())
        })
        .await;
        fs::write(workspace.join("go"), "").unwrap();
    });
    assert!(stopped.success());
    app.start_again().await;
    session.until_waiting().await;
    assert_eq!(session.answers().await, ["done"]);
    assert_eq!(app.written(&session, "runs").await, "x\n");
}

#[tokio::test]
async fn what_waited_in_the_queue_runs_after_a_kill() {
    let mut app = TestApp::with_agent("session_slots = 1", &counting()).await;
    let user = app.v1();
    let keeper = user.open("one").await;
    app.written(&keeper, "ready").await;
    let file = user.upload("data.csv", &b"a,b\n"[..]).await;
    let waiting = user.open(&file.line()).await;
    app.kill9();
    app.let_go(&keeper);
    app.start_again().await;
    app.written(&waiting, "ready").await;
    app.let_go(&waiting);
    waiting.until_waiting().await;
    assert_eq!(waiting.answers().await, ["done"], "it was not cut short");
    assert_eq!(waiting.receipts().await[0]["state"], "delivered");
}

#[tokio::test]
async fn a_session_whose_turn_a_stop_cut_short_can_be_ended_while_nobody_works_and_keeps_its_outputs() {
    let script = format!("echo half > output/half.txt; {AT_WORK}");
    let mut app = TestApp::with_agent("drain_seconds = 0", &script).await;
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    app.terminate().await;
    let config = fs::read_to_string(app.home().join("satchel.toml")).unwrap();
    app.configure(&format!("role = \"api\"\n{config}"));
    app.start_again().await;
    // It is answered before anybody has looked after it, because there is no worker.
    let ended = tokio::spawn({
        let session = session.clone();
        async move { session.end().await.expect(200).json() }
    });
    let _worker = app.worker();
    ended.await.unwrap();
    session.until("exit/user_request").await;
    assert_eq!(session.receipts().await[0]["path"], "output/half.txt");
}

#[tokio::test]
async fn a_session_whose_turn_a_kill_cut_short_can_be_ended_and_keeps_its_outputs() {
    let script = format!("echo half > output/half.txt; {AT_WORK}");
    let mut app = TestApp::with_agent("session_slots = 1", &script).await;
    let user = app.v3();
    let session = user.open("hello").await;
    app.written(&session, "ready").await;
    app.kill9();
    app.start_again().await;
    let ended = session.end().await.expect(200).json();
    assert_eq!(ended["status"], "exit");
    assert_eq!(session.receipts().await[0]["path"], "output/half.txt");
}

#[tokio::test]
async fn no_session_starts_while_the_disk_is_as_full_as_it_may_become() {
    let mut app = TestApp::with_agent("session_slots = 1\ndrain_seconds = 0", AT_WORK).await;
    let keeper = app.v3().open("one").await;
    app.written(&keeper, "ready").await;
    let waiting = app.v3().open("two").await;
    let file = app.home().join("satchel.toml");
    let config = fs::read_to_string(&file).unwrap();
    app.terminate().await;
    fs::remove_file(app.workspace(&keeper).join("ready")).unwrap();
    fs::write(&file, format!("min_free_bytes = 9_000_000_000_000_000_000\n{config}")).unwrap();
    app.start_again().await;
    eventually("the worker has looked", async || app.log().contains("sessions wait").then_some(())).await;
    assert_eq!(waiting.standing().await, "new");
    // Whatever the worker had begun by now would have left its traces once it has stopped.
    app.terminate().await;
    assert!(!app.folder(&waiting).exists());
    assert!(!app.workspace(&keeper).join("ready").exists());

    fs::write(&file, config).unwrap();
    app.let_go(&keeper);
    app.start_again().await;
    app.written(&waiting, "ready").await;
    app.let_go(&waiting);
    waiting.until_waiting().await;
    keeper.until_waiting().await;
}
