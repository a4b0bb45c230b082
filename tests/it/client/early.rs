//! What ends a client command before its work is done: ^C, and a reader of its output that goes away.

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_satchel"));
    command.args(["keys", "list", "--data"]).arg(data).stdout(write).stderr(Stdio::piped());
    let told = end_of(command.spawn().unwrap()).await.code(141);
    assert_eq!(told.err, "");
}
