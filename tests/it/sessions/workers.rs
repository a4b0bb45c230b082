//! Several processes on one data folder: one that takes requests, and workers.

use std::collections::HashSet;
use std::fs;

use rustix::process::Signal;

use crate::support::app::run;
use crate::support::sessions::{AT_WORK, ECHO, agent};
use crate::support::{TestApp, eventually};

/// A service that runs no session itself.
async fn api(options: &str, script: &str) -> TestApp {
    TestApp::builder().env("SATCHEL_ROLE", "api").config(options).config(&agent(script, "")).start().await
}

#[tokio::test]
async fn the_one_takes_requests_and_the_other_runs_sessions() {
    let app = api("", "cat; echo report > output/report.md").await;
    let user = app.v3();
    let data = user.upload("data.csv", &b"a,b\n"[..]).await;
    let session = user.open(&format!("hello\n{}", data.line())).await;
    let _worker = app.worker();
    session.until_waiting().await;
    assert!(session.answers().await[0].contains("attachments/data.csv"));
    let report = session.receipts().await.pop().unwrap();
    let url = report["url"].as_str().unwrap();
    assert!(url.starts_with(&app.url()), "{url}");
    assert_eq!(user.get(url).await.expect(200).text(), "report\n");
}

#[tokio::test]
async fn a_worker_outlives_the_service_and_works_for_the_next() {
    let mut app = api("", AT_WORK).await;
    let user = app.v3();
    let worker = app.worker();
    let session = user.open("one").await;
    app.written(&session, "ready").await;
    app.kill9();
    app.let_go(&session);
    app.start_again().await;
    session.until_waiting().await;
    assert_eq!(session.answers().await, ["done"], "its turn was not cut short");
    let next = user.open("two").await;
    app.written(&next, "ready").await;
    app.let_go(&next);
    next.until_waiting().await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_worker_wants_a_folder_that_was_set_up_and_a_second_server_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let data = empty.path().join("data");
    let worker = ["serve", "--role", "worker", "--data", data.to_str().unwrap()];
    let refused = run(&worker, &[]).await;
    assert!(!refused.status.success() && refused.stderr.contains("holds no service"), "{refused:?}");
    assert!(!data.exists(), "a mistyped name makes no folder");
    let app = api("", ECHO).await;
    let second = app.cli(&["serve", "--role", "api", "--listen", "127.0.0.1:0"]).await;
    assert!(!second.status.success() && second.stderr.contains("--role worker"), "{second:?}");
}

#[tokio::test]
async fn the_sessions_of_a_killed_worker_are_taken_up_by_another_long_before_their_lease_runs_out() {
    let app = api("", &format!("echo x >> runs; {AT_WORK}")).await;
    let session = app.v3().open("hello").await;
    let first = app.worker();
    app.written(&session, "ready").await;
    let _second = app.worker();
    fs::remove_file(app.workspace(&session).join("ready")).unwrap();
    let killed = std::time::Instant::now();
    drop(first);
    app.written(&session, "ready").await;
    assert!(killed.elapsed().as_secs() < 20, "a lease is 30 s");
    app.let_go(&session);
    session.until_waiting().await;
    let answers = session.answers().await;
    assert!(answers[0].contains("runs again (attempt 2 of 3)"), "{answers:#?}");
    assert_eq!(answers[1..], ["done"]);
    assert_eq!(app.written(&session, "runs").await, "x\nx\n");
}

#[tokio::test]
async fn a_turn_that_three_workers_died_of_is_given_up() {
    let app = api("", &format!("echo x >> runs; {AT_WORK}")).await;
    let session = app.v3().open("hello").await;
    for _ in 0..3 {
        let worker = app.worker();
        app.written(&session, "ready").await;
        fs::remove_file(app.workspace(&session).join("ready")).unwrap();
        drop(worker);
    }
    let _worker = app.worker();
    session.until("suspended/error").await;
    assert_eq!(app.written(&session, "runs").await, "x\nx\nx\n");
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_hands_its_session_to_another() {
    let app = api("drain_seconds = 0", &format!("echo x >> runs; {AT_WORK}")).await;
    let session = app.v3().open("hello").await;
    let first = app.worker();
    app.written(&session, "ready").await;
    let _second = app.worker();
    assert!(first.terminate().await.success());
    eventually("it runs again", async || {
        let runs = fs::read_to_string(app.workspace(&session).join("runs")).ok()?;
        (runs == "x\nx\n").then_some(())
    })
    .await;
    app.written(&session, "ready").await;
    app.let_go(&session);
    session.until_waiting().await;
    assert_eq!(session.answers().await.pop().unwrap(), "done");
}

#[tokio::test]
async fn messages_and_ends_reach_the_worker_that_holds_the_session() {
    let app = api("", &format!("echo half > output/half.txt; {AT_WORK}")).await;
    let worker = app.worker();
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    session.say("and more").await;
    let ended = session.end().await.expect(200).json();
    assert_eq!(ended["status"], "exit", "it is over when the call answers");
    assert_eq!(session.receipts().await[0]["path"], "output/half.txt");
    assert!(worker.log().contains("a session was left"));
    // Without anybody to work, what is not begun ends all the same.
    drop(worker);
    let waiting = app.v3().open("two").await;
    assert_eq!(waiting.end().await.expect(200).json()["status"], "exit");
}

#[tokio::test]
async fn outputs_of_a_turn_that_was_cut_short_at_its_end_are_handed_back_once() {
    const FILES: i64 = 100;
    let script = "for n in $(seq 100); do echo $n > output/$n.txt; done; echo done";
    let app = api("", script).await;
    let live = "SELECT COUNT(*) FROM attachments WHERE source = 'devin' AND deleted_at IS NULL";
    let session = app.v3().open("hello").await;
    let worker = app.worker();
    eventually("some are taken over", async || (app.count(live).await > 2).then_some(())).await;
    drop(worker);
    assert!(app.count(live).await < FILES && session.receipts().await.is_empty(), "the kill came too late");
    let _worker = app.worker();
    session.until_waiting().await;
    let receipts = session.receipts().await;
    let paths: HashSet<&str> = receipts.iter().map(|receipt| receipt["path"].as_str().unwrap()).collect();
    assert_eq!((receipts.len() as i64, paths.len() as i64), (FILES, FILES));
    assert!(app.count("SELECT COUNT(*) FROM attachments WHERE source = 'devin'").await > FILES);
    eventually("the others are removed", async || (app.count(live).await == FILES).then_some(())).await;
    let named = "SELECT COUNT(*) FROM attachments a, session_attachments s WHERE s.attachment_id = a.id \
        AND a.deleted_at IS NULL AND a.unnamed_since IS NULL";
    assert_eq!(app.count(named).await, FILES);
}

/// The worker that stands still is taken for dead; its agent is not, and keeps the workspace.
#[tokio::test]
async fn there_are_never_two_agents_in_one_workspace() {
    let app = api("session_slots = 2", &format!("echo x >> runs; {AT_WORK}")).await;
    let session = app.v3().open("hello").await;
    let stopped = app.worker();
    app.written(&session, "ready").await;
    stopped.signal(Signal::STOP);
    let second = app.worker();
    eventually("the lease runs out", async || second.log().contains("a lease ran out").then_some(())).await;
    let claimed_again = "SELECT COUNT(*) FROM sessions WHERE worker_id IS NOT NULL AND epoch = 3";
    eventually("the second claims it", async || (app.count(claimed_again).await == 1).then_some(())).await;
    // Whatever it wrongly began with that claim has begun when it has begun something later.
    let later = app.v3().open("later").await;
    app.written(&later, "ready").await;
    assert_eq!(app.written(&session, "runs").await, "x\n", "the second does not start beside it");
    app.let_go(&later);
    app.let_go(&session);
    eventually("the agent ends by itself", async || {
        (!app.workspace(&session).join("ready").exists()).then_some(())
    })
    .await;
    stopped.signal(Signal::CONT);
    session.until_waiting().await;
    let answers = session.answers().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "done").count(), 1, "{answers:#?}");
    assert!(stopped.log().contains("a claim was lost; nothing was written"), "{}", stopped.log());
}
