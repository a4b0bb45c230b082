//! Files that cannot be delivered, with agents that live across turns and workers that take over from each other, and
//! disks that are full: no agent gets a turn without its input, and neither what was asked of it nor what it did is lost.

use std::fs;

use serde_json::json;

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
    assert!(told.ends_with("create a new session without it."), "{told}");
    assert!(!app.workspace(&session).join("starts").exists(), "the agent was started");
    session.say("Then go on without it.").await;
    session.until("suspended/error").await;
    assert!(!app.workspace(&session).join("starts").exists(), "an agent never starts without its input");
}

/// The data folder as a disk of 24 MiB; a file `full` beside it has it filled up, and `room` emptied again.
const FULL_DISK: &str = "for word; do case $before in --data) data=$word;; esac; before=$word; done\n\
    mkdir \"$data.disk\" && mount -t tmpfs -o size=24m,mode=700 none \"$data.disk\" || exit 1\n\
    cp -a \"$data/.\" \"$data.disk\" && mount --bind \"$data.disk\" \"$data\" || exit 1\n\
    (until [ -e \"$data/../full\" ]; do sleep 0.02; done\n\
    head -c 99999999 /dev/zero > \"$data/filler\"; : > \"$data/../filled\"\n\
    until [ -e \"$data/../room\" ]; do sleep 0.02; done; rm \"$data/filler\") 2> /dev/null &\n\
    exec \"$@\"";

#[tokio::test]
async fn a_full_disk_is_answered_so_and_neither_what_was_acknowledged_nor_what_was_done_is_lost() {
    // From the working folder to what lies beside the data folder, which is on another disk.
    let script = "echo x >> runs; until [ -e ../../../../go ]; do sleep 0.02; done; cat runs";
    let config = format!("min_free_bytes = 0\nisolation = \"none\"\n{}", agent(script, ""));
    let under = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh"];
    let mut app = TestApp::builder().config(&config).start().await;
    app.run_under(&under);
    app.restart().await;
    let user = app.v3();
    let at_work = user.open("at work").await;
    at_work.until("running/working").await;
    fs::write(app.home().join("full"), "").unwrap();
    eventually("the disk is full", async || app.home().join("filled").exists().then_some(())).await;
    let mut created = vec![at_work];
    let refused = eventually("the database has no room either", async || {
        let answer = user.try_open(&json!({ "prompt": "x".repeat(100_000) })).await;
        if answer.status != 200 {
            return Some(answer);
        }
        let id = answer.json()["session_id"].as_str().unwrap().to_owned();
        created.push(Session { user: user.clone(), id, created: answer.json() });
        None
    })
    .await;
    assert!(refused.expect(507).detail().contains("The storage is full"), "{}", refused.text());
    user.get("/v3/self").await.expect(200);
    fs::write(app.home().join("go"), "").unwrap();
    let waits = "the end of a turn could not be written yet";
    eventually("a turn has ended", async || app.log().contains(waits).then_some(())).await;
    fs::write(app.home().join("room"), "").unwrap();
    eventually("there is room again", async || {
        (user.try_open(&json!({ "prompt": "x" })).await.status == 200).then_some(())
    })
    .await;
    for session in created {
        session.until_waiting().await;
        assert_eq!(session.answers().await.pop().unwrap(), "x", "its turn ran once, and its answer is there");
    }
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
