//! An agent that the system did not let start: it never ran, and is told nothing else.

use super::acp::{Scene, profile};
use crate::support::{TestApp, eventually};

/// Runs the service under strace, the first time only: then no symbolic link can be made, which the start of an agent
/// needs where it is not isolated.
const WITHOUT_LINKS_AT_FIRST: &str = "if mkdir \"$0\" 2>/dev/null; then exec strace -D -f -q -o \"$0/trace\" \
    -e trace=symlinkat -e inject=symlinkat:error=ENOSPC \"$@\"; else exec \"$@\"; fi";

#[tokio::test]
async fn a_start_that_the_system_refused_was_no_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let token = uuid::Uuid::new_v4().to_string();
    let app = TestApp::builder()
        .config(&format!("retry_seconds = 1\nisolation = \"none\"\n{}", profile("good", &token, "")))
        .under(&["sh", "-c", WITHOUT_LINKS_AT_FIRST, mark.to_str().unwrap()])
        .start()
        .await;
    let mut scene = Scene { app, token };
    let session = scene.open("do it").await;
    let refused = async || scene.app.log().contains("could not be started now").then_some(());
    eventually("the start is refused", refused).await;
    scene.app.restart().await;
    session.until_waiting().await;
    let prompts = scene.noted(&session, "prompts").join("\n");
    assert!(!prompts.contains("interrupted"), "{prompts}");
    assert!(!session.answers().await.concat().contains("attempt 2"), "it is no attempt");
}
