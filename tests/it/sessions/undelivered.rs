//! Files that cannot be delivered, with agents that live across turns and workers that take over from each other: no
//! agent gets a turn without its input, and what was asked of it is not lost.

use std::fs;

use super::acp::profile;
use crate::support::sessions::{Session, agent};
use crate::support::{TestApp, eventually, noise, sha256};

/// Lets the data folder's `sessions/` be a disk of 6 MiB, filled up but for one until there is a file `room` beside the
/// data folder.
const SMALL_DISK: &str = "for word; do case $before in --data) data=$word;; esac; before=$word; done\n\
    mkdir -m 700 -p \"$data\" \"$data/sessions\" && mount -t tmpfs -o size=6m,mode=700 none \"$data/sessions\" || exit 1\n\
    head -c 5242880 /dev/zero > \"$data/sessions/filler\"\n\
    (until [ -e \"$data/../room\" ]; do sleep 0.05; done; rm \"$data/sessions/filler\") &\n\
    exec \"$@\"";

async fn api_for_acp_agents() -> TestApp {
    let config = profile("good", "undelivered", "");
    TestApp::builder().env("SATCHEL_ROLE", "api").config(&config).start().await
}

/// What the agent was asked, prompt by prompt.
fn prompts(app: &TestApp, session: &Session) -> Vec<String> {
    let noted = fs::read_to_string(app.workspace(session).join("prompts")).unwrap_or_default();
    noted.split("\n--\n").filter(|prompt| !prompt.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn an_agent_that_waits_gets_no_turn_without_its_file_and_another_worker_brings_both_messages() {
    let app = api_for_acp_agents().await;
    let user = app.v3();
    let first = app.worker();
    let session = user.open("first").await;
    session.until_waiting().await;
    let bytes = noise(21, 300_000);
    let file = user.upload("data.bin", bytes.clone()).await;
    let (stored, _, _) = app.blob_files().into_iter().find(|(_, size, _)| *size >= 300_000).unwrap();
    let aside = app.home().join("aside");
    fs::rename(&stored, &aside).unwrap();
    session.say(&format!("second\n{}", file.line())).await;
    session.until("suspended/error").await;
    let told = session.answers().await.pop().unwrap();
    assert!(told.contains("- data.bin: the stored bytes are missing"), "{told}");
    assert_eq!(prompts(&app, &session).len(), 1, "the agent that waited was not asked");
    drop(first);
    fs::rename(&aside, &stored).unwrap();
    let _second = app.worker();
    session.say("third").await;
    session.until_waiting().await;
    let asked = prompts(&app, &session);
    assert_eq!(asked.len(), 2, "{asked:#?}");
    assert!(asked[1].contains("second\n[Attached file: attachments/data.bin"), "{}", asked[1]);
    assert!(asked[1].contains("third"), "{}", asked[1]);
    let delivered = fs::read(app.folder(&session).join("attachments/data.bin")).unwrap();
    assert_eq!(sha256(&delivered), sha256(&bytes));
}

#[tokio::test]
async fn an_agent_is_not_started_where_a_file_was_deleted_while_no_worker_ran() {
    let app = api_for_acp_agents().await;
    let user = app.v3();
    let file = user.upload("data.csv", &b"a,b\n"[..]).await;
    let session = user.open(&file.line()).await;
    user.delete(&file.v3_path(&user.org)).await.expect(200);
    let _worker = app.worker();
    session.until("suspended/error").await;
    let told = session.answers().await.remove(0);
    assert!(told.contains("- data.csv: it is gone since ") && told.contains("deleted on request"), "{told}");
    assert!(!app.workspace(&session).join("starts").exists(), "the agent was started");
    session.say("Then go on without it.").await;
    session.until("suspended/error").await;
    assert!(!app.workspace(&session).join("starts").exists(), "an agent never starts without its input");
}

#[tokio::test]
async fn a_file_that_finds_no_room_is_told_of_and_delivered_once_there_is_some() {
    let config = format!(
        "retry_seconds = 1\n{}",
        agent("echo x >> output/runs; sha256sum < attachments/data.bin", "")
    );
    let under = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh"];
    let app = TestApp::builder().under(&under).config(&config).start().await;
    let user = app.v3();
    let bytes = noise(22, 3_000_000);
    let file = user.upload("data.bin", bytes.clone()).await;
    let session = user.open(&file.line()).await;
    let no_room = "was not started, because not all of its files could be delivered:\n- data.bin: the disk of the service has no room for it";
    let told = eventually("the full disk is told of", async || session.answers().await.pop()).await;
    assert!(told.contains(no_room) && told.contains("every 1 s, 10 times in all"), "{told}");
    session.until("suspended/error").await;
    let told = session.answers().await;
    assert_eq!(told.len(), 2, "once at the first try and once at the last: {told:#?}");
    assert!(told[1].contains(no_room) && told[1].contains("Send another message"), "{told:#?}");
    assert_eq!(session.receipts().await.len(), 1, "nothing came back from an agent that never ran");
    fs::write(app.home().join("room"), "").unwrap();
    eventually("the disk has room", async || {
        session.say("again").await;
        let waits = eventually("it is tried", async || {
            let now = session.standing().await;
            (now == "running/waiting_for_user" || now == "suspended/error").then_some(now)
        });
        (waits.await == "running/waiting_for_user").then_some(())
    })
    .await;
    assert!(session.answers().await.iter().any(|answer| answer.contains(&sha256(&bytes))));
    assert_eq!(session.receipts().await[0]["state"], "delivered");
}
