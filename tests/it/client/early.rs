//! What ends a client command before its work is done: ^C, and a reader of its output that goes away.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{StreamExt as _, future, stream};
use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn a_command_whose_output_nobody_reads_any_more_ends_quietly() {
    let app = TestApp::with_agent("session_slots = 2", AT_WORK).await;
    let user = app.v3();
    let shell = Shell::of(&app, &user);
    let session = user.open("Wait.").await;
    app.written(&session, "ready").await;
    for args in [&["logs", &session.id, "--follow"][..], &["run", "--prompt", "Wait too."]] {
        let mut child = shell.start(args);
        let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next_line().await.unwrap().expect("what happens is shown") != "-- running/working" {}
        // Nothing more happens in the session, so the command has nothing to write.
        drop(lines);
        let told = end_of(child).await.code(141);
        assert!(!told.err.contains("satchel:"), "{}", told.err);
    }
    assert_eq!(session.standing().await, "running/working");
}

#[tokio::test]
async fn a_printed_list_that_nobody_reads_is_no_success() {
    let app = TestApp::start().await;
    let data = app.data();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let command = crate::support::app::clean(std::process::Command::new(env!("CARGO_BIN_EXE_satchel")));
    let mut command = Command::from(command);
    command.args(["keys", "list", "--data"]).arg(data).stdout(write).stderr(Stdio::piped());
    let told = end_of(command.spawn().unwrap()).await.code(141);
    assert_eq!(told.err, "");
}

#[tokio::test]
async fn an_interrupted_run_leaves_the_session_running_and_says_how_to_follow_it() {
    let app = TestApp::with_agent("", AT_WORK).await;
    let user = app.v3();
    let shell = Shell::of(&app, &user);
    let mut child = shell.start(&["run", "--prompt", "Wait."]);
    let session = only_session(&user).await;
    app.written(&session, "ready").await;
    // What is shown comes from a command that hears the signal.
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    while lines.next_line().await.unwrap().expect("the run shows what happens") != "-- running/working" {}
    interrupt(&child);
    let told = end_of(child).await.code(130);
    assert!(told.err.contains(&format!("satchel session logs {} --follow", session.id)), "{}", told.err);
    assert_eq!(session.standing().await, "running/working");
    app.let_go(&session);
    session.until_waiting().await;
}

#[tokio::test]
async fn an_interrupted_upload_ends_at_once_and_says_that_there_is_no_session() {
    let asked = Arc::new(Notify::new());
    let seen = Arc::clone(&asked);
    let never = post(async move || {
        seen.notify_one();
        future::pending::<()>().await;
    });
    let shell = Stalling::serve(Router::new().route("/v1/attachments", never)).await;
    shell.write("data.csv", "1");
    let child = shell.start(&["run", "--prompt", "Look.", "--attach", "data.csv"]);
    asked.notified().await;
    interrupt(&child);
    let told = end_of(child).await.code(130);
    assert_eq!(told.err, "satchel: interrupted; no session was created\n");
}

#[tokio::test]
async fn an_interrupted_request_for_a_session_says_that_it_may_be_there() {
    let asked = Arc::new(Notify::new());
    let seen = Arc::clone(&asked);
    let never = post(async move || {
        seen.notify_one();
        future::pending::<()>().await;
    });
    let shell = Stalling::serve(Router::new().route("/v1/sessions", never)).await;
    let child = shell.start(&["run", "--prompt", "Look."]);
    asked.notified().await;
    interrupt(&child);
    let told = end_of(child).await.code(130);
    assert!(told.err.contains("`satchel session list` says whether it is there"), "{}", told.err);
}

#[tokio::test]
async fn an_interrupted_download_leaves_no_partial_file_and_says_how_to_fetch_it() {
    let id = format!("devin-{}", uuid::Uuid::new_v4().simple());
    let (session, shown) = (format!("/v1/sessions/{id}"), json!({ "session_id": id }).to_string());
    let receipt = json!([{ "source": "devin", "state": "returned", "path": "output/large.bin", "size": 1000,
                           "attachment_id": "0a", "sha256": "ab" }]);
    let large = async || {
        let begun = stream::once(future::ready(Ok::<_, Infallible>(Bytes::from_static(b"begun"))));
        Response::builder().header("etag", "\"ab\"").body(Body::from_stream(begun.chain(stream::pending())))
    };
    let service = Router::new()
        .route(&session, get(async || "{}"))
        .route("/v1/sessions", post(async move || shown))
        .route(&format!("{session}/events"), get(async || axum::http::StatusCode::NO_CONTENT))
        .route(&format!("{session}/receipts"), get(async move || receipt.to_string()))
        .route("/attachments/0a/file", get(async move || large().await.unwrap()));
    let shell = Stalling::serve(service).await;
    for args in [&["run", "--prompt", "Go."][..], &["show", &id, "--download"]] {
        let child = shell.start(args);
        let part = shell.folder.join("output/.0a.part");
        eventually("a part of the file is written", async || {
            std::fs::read(&part).ok().filter(|bytes| bytes == b"begun")
        })
        .await;
        interrupt(&child);
        let told = end_of(child).await.code(130);
        assert_eq!(std::fs::read_dir(shell.folder.join("output")).unwrap().count(), 0, "{told:#?}");
        if args[0] == "run" {
            for command in [format!("logs {id} --follow\n"), format!("show {id} --download\n")] {
                assert!(told.err.contains(&format!("satchel session {command}")), "{}", told.err);
            }
        }
    }
}

/// A service that answers what it is made to, and whose last answer never comes to its end.
struct Stalling {
    shell: Shell,
    _folder: tempfile::TempDir,
}

impl Stalling {
    async fn serve(service: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, service).await });
        let folder = tempfile::tempdir().unwrap();
        let shell = Shell { url, key: Some("apk_any".to_owned()), folder: folder.path().to_owned() };
        Self { shell, _folder: folder }
    }
}

impl std::ops::Deref for Stalling {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

/// ^C.
fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}
