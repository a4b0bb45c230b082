//! What the service was started with: open files and a log that it can or cannot write.

use crate::support::TestApp;
use crate::support::sessions::{ECHO, agent};

/// A service that is started by a shell's script, which ends in `exec "$@"`.
async fn started_by(script: &str, agent_script: &str) -> TestApp {
    let script = format!("{script} exec \"$@\"");
    let builder = TestApp::builder().config(&agent(agent_script, ""));
    builder.under(&["sh", "-c", &script, "sh"]).start().await
}

#[tokio::test]
async fn files_that_the_service_inherited_do_not_reach_an_agent() {
    let app = started_by(
        "exec 9</etc/hostname 8</tmp;",
        "for fd in 8 9; do [ -e /proc/self/fd/$fd ] && echo open; done; echo done",
    )
    .await;
    let session = app.v1().open("hello").await;
    session.until_waiting().await;
    assert_eq!(session.answers().await, ["done"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_breaks_nothing() {
    let mut app = started_by("exec 2>/dev/full;", ECHO).await;
    let session = app.v1().open("hello").await;
    session.until_waiting().await;
    assert!(app.terminate().await.success());
}
