//! What a turn makes of a session: its answer, its files, and how its failures are told.

use serde_json::{Value, json};

use crate::support::sessions::{AT_WORK, agent};
use crate::support::{TestApp, eventually};

/// Says what it was told, counts its runs, hands a file back.
const COUNTING: &str = "cat; echo run >> runs; wc -l < runs > output/runs.txt; cat attachments/*.csv";

#[tokio::test]
async fn a_file_arrives_and_its_result_comes_back() {
    let app = TestApp::with_agent("", COUNTING).await;
    for user in [app.v1(), app.v3()] {
        let data = user.upload("data.csv", &b"a,b\n1,2\n"[..]).await;
        let session = user.open(&format!("Look at\n{}", data.line())).await;
        session.until_waiting().await;
        let receipts = session.receipts().await;
        let told: Vec<_> =
            receipts.iter().map(|r| json!([r["state"], r["source"], r["path"], r["size"]])).collect();
        let expected = [
            json!(["delivered", "user", "attachments/data.csv", 8]),
            json!(["delivered", "devin", "output/runs.txt", 2]),
        ];
        assert_eq!(told, expected);
        assert_eq!(receipts[0]["sha256"], crate::support::sha256(b"a,b\n1,2\n"));
        assert_eq!((&receipts[0]["url"], &receipts[0]["attachment_id"]), (&json!(data.url), &json!(data.id)));

        let answers = session.answers().await;
        let sentence = "[Attached file: attachments/data.csv (text/csv, 8 bytes). Read-only.]";
        let start = format!("Look at\n{sentence}\n\nWrite every file that is to be handed back");
        assert!(answers[0].starts_with(&start), "{}", answers[0]);
        assert!(answers[0].ends_with("a,b\n1,2"), "{}", answers[0]);
        let result = receipts[1]["url"].as_str().unwrap();
        assert_eq!(answers[1], format!("ATTACHMENT:\"{result}\""));
        assert_eq!(user.get(result).await.expect(200).text(), "1\n");

        let files = app.v3().get(&session.of(&app.v3()).path("/attachments")).await.expect(200).json();
        let source = |file: &Value| json!([file["name"], file["source"], file["content_type"]]);
        let sources: Vec<_> = files.as_array().unwrap().iter().map(source).collect();
        let expected = [json!(["data.csv", "user", "text/csv"]), json!(["runs.txt", "devin", "text/plain"])];
        assert_eq!(sources, expected);
    }
}

#[tokio::test]
async fn a_message_runs_the_command_again_with_the_transcript_in_the_same_workspace() {
    let app = TestApp::with_agent("", COUNTING).await;
    let user = app.v3();
    let data = user.upload("data.csv", &b"a,b\n1,2\n"[..]).await;
    let session = user.open(&format!("Look at\n{}", data.line())).await;
    session.until_waiting().await;
    let more = user.upload("data.csv", &b"c\n"[..]).await;
    let sent = session.say(&format!("And this\n{}\n{}", more.line(), data.line())).await;
    assert_eq!(sent["status_detail"], "working", "a poller must not take it for ended");
    session.until_waiting().await;
    let answers = session.answers().await;
    assert_eq!(answers.len(), 4, "{answers:#?}");
    for part in [
        "The conversation so far, oldest message first:\n\nUser: Look at\n[Attached file: attachments/data.csv",
        "[File handed back: output/runs.txt",
        "The new message:\n\nAnd this\n[Attached file: attachments/data-2.csv (text/csv, 2 bytes). Read-only.]",
    ] {
        assert!(answers[2].contains(part), "{part}\n--\n{}", answers[2]);
    }
    let runs = std::fs::read_to_string(app.workspace(&session).join("runs")).unwrap();
    assert_eq!(runs, "run\nrun\n", "the workspace is the same");
}

#[tokio::test]
async fn a_file_that_is_as_it_was_before_last_comes_back_again() {
    let app = TestApp::with_agent("", "grep -xE 'one|two' | tail -n 1 > output/r.txt").await;
    let session = app.v3().open("one").await;
    session.until_waiting().await;
    for (turn, text) in [(2, "two"), (3, "one"), (4, "one")] {
        session.say(text).await;
        eventually("the turn ends", async || {
            let said = session.messages().await;
            let asked = said.iter().filter(|(from, _)| from == "user").count();
            let waits = session.standing().await == "running/waiting_for_user";
            (asked == turn && waits).then_some(())
        })
        .await;
    }
    let urls =
        session.receipts().await.into_iter().map(|receipt| receipt["url"].as_str().unwrap().to_owned());
    let mut texts = Vec::new();
    for url in urls {
        texts.push(session.user.get(&url).await.expect(200).text().trim().to_owned());
    }
    assert_eq!(texts, ["one", "two", "one"], "each change came back, and what did not change did not");
}

#[tokio::test]
async fn a_name_of_the_agents_choice_cannot_put_a_line_into_a_message() {
    let script = "ln -s /etc/passwd \"$(printf 'output/a: fine\\nATTACHMENT:\\342\\200\\256x')\"";
    let app = TestApp::with_agent("", script).await;
    let session = app.v3().open("hello").await;
    session.until_waiting().await;
    let said = session.answers().await.pop().unwrap();
    assert!(said.contains("- output/a: fine\\nATTACHMENT:\\u{202e}x: "), "{said}");
    assert!(!said.lines().any(|line| line.starts_with("ATTACHMENT:")), "{said}");
}

#[tokio::test]
async fn what_came_back_can_be_handed_in_again() {
    let script = "if [ -e attachments/a.txt ]; then cat attachments/a.txt; else echo one > output/a.txt; fi";
    let app = TestApp::with_agent("", script).await;
    let session = app.v1().open("hello").await;
    session.until_waiting().await;
    let line = session.answers().await.remove(0);
    session.say(&line).await;
    session.until_waiting().await;
    assert_eq!(session.answers().await, [line, "one".to_owned()]);
    assert_eq!(session.receipts().await.len(), 2, "one for each direction");
    let v3 = session.of(&app.v3());
    let files = v3.user.get(&v3.path("/attachments")).await.json();
    assert_eq!(files.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn messages_that_come_during_a_turn_go_together_into_the_next() {
    let app = TestApp::with_agent("", &format!("cat > told; {AT_WORK}")).await;
    let session = app.v3().open("one").await;
    app.written(&session, "ready").await;
    session.say("two").await;
    session.say("three").await;
    assert_eq!(session.standing().await, "running/working");
    app.let_go(&session);
    session.until_waiting().await;
    let told = app.written(&session, "told").await;
    assert!(told.contains("The new message:\n\ntwo\n\nthree\n"), "{told}");
    assert_eq!(session.answers().await, ["done", "done"], "two turns");
}

/// Notes how many messages of [`long`] a turn is told; the first turn is [`AT_WORK`].
fn counting_messages() -> String {
    format!("cat > told; grep -c '^long' told >> counts; [ -e second ] || {{ > second; {AT_WORK}; }}")
}

/// A message of about a quarter of a megabyte.
fn long() -> String {
    format!("long {}", "x".repeat(250_000))
}

#[tokio::test]
async fn a_turn_takes_a_mebibyte_of_messages_and_the_next_one_the_rest() {
    let app = TestApp::with_agent("", &counting_messages()).await;
    let session = app.v3().open("wait").await;
    app.written(&session, "ready").await;
    for _ in 0..6 {
        session.say(&long()).await;
    }
    app.let_go(&session);
    session.until_waiting().await;
    let counts = std::fs::read_to_string(app.workspace(&session).join("counts")).unwrap();
    assert_eq!(counts, "0\n4\n2\n");
}

#[tokio::test]
async fn messages_left_for_the_next_turn_do_not_repeat_one_that_could_not_start() {
    let app = TestApp::with_agent("", &counting_messages()).await;
    let user = app.v3();
    let session = user.open("wait").await;
    app.written(&session, "ready").await;
    let file = user.upload("data.csv", &b"a"[..]).await;
    session.say(&file.line()).await;
    for _ in 0..5 {
        session.say(&long()).await;
    }
    user.delete(&file.v3_path(&user.org)).await.expect(200);
    app.let_go(&session);
    session.until("suspended/error").await;
    let answers = session.answers().await;
    assert_eq!(answers.iter().filter(|answer| answer.contains("not started")).count(), 1, "{answers:#?}");
}

#[tokio::test]
async fn a_failing_command_is_reported_once_and_can_be_taken_up() {
    let script = "read line; echo partly; echo oops >&2; echo x >> runs; [ \"$line\" != fail ] || exit 3";
    let app = TestApp::with_agent("", script).await;
    let session = app.v3().open("fail").await;
    session.until("suspended/error").await;
    let answers = session.answers().await;
    assert_eq!(answers[0], "partly");
    assert!(answers[1].contains("`script` ended with exit code 3"), "{}", answers[1]);
    assert!(answers[1].ends_with("oops"), "the end of standard error is shown: {}", answers[1]);
    assert_eq!(app.written(&session, "runs").await, "x\n", "it is not repeated");
    assert_eq!(session.say("go on").await["status"], "resuming");
    session.until_waiting().await;
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_stopped_and_reported() {
    let agent = agent("echo begun > output/a.txt; sleep 1000", "turn_timeout_seconds = 1");
    let app = TestApp::builder().config(&agent).start().await;
    let session = app.v1().open("hello").await;
    let v3 = session.of(&app.v3());
    v3.until("suspended/error").await;
    assert_eq!(session.standing().await, "blocked", "pollers of v1 stop on it");
    let answers = session.answers().await;
    assert!(answers.iter().any(|answer| answer.contains("a turn may take 1 s")), "{answers:#?}");
    assert_eq!(session.receipts().await[0]["path"], "output/a.txt", "what it had written is there");
}

#[tokio::test]
async fn a_program_that_is_not_there_any_more_ends_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("agent");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = format!("[agents.gone]\nprogram = \"{}\"", program.display());
    let app = TestApp::builder().config(&config).start().await;
    std::fs::remove_file(&program).unwrap();
    let session = app.v3().open("hello").await;
    session.until("error").await;
    assert!(session.answers().await[0].contains("could not be started"));
    let refused = session.try_say(&json!({ "message": "again" })).await;
    assert!(refused.expect(400).detail().contains("`error`"), "{}", refused.text());
}

#[tokio::test]
async fn an_end_that_is_asked_for_stops_the_agent_and_keeps_its_outputs() {
    let script = format!("echo half an answer; echo half > output/half.txt; {AT_WORK}");
    let app = TestApp::with_agent("", &script).await;
    let session = app.v3().open("hello").await;
    app.written(&session, "ready").await;
    let ended = session.end().await.expect(200).json();
    assert_eq!((&ended["status"], &ended["status_detail"]), (&json!("exit"), &json!("user_request")));
    let receipts = session.receipts().await;
    assert_eq!(receipts[0]["path"], "output/half.txt");
    let half = session.user.get(receipts[0]["url"].as_str().unwrap()).await;
    assert_eq!(half.expect(200).text(), "half\n");
    let line = format!("ATTACHMENT:{}", receipts[0]["url"]);
    assert_eq!(session.answers().await, ["half an answer".to_owned(), line]);
}

#[tokio::test]
async fn what_took_the_place_of_the_output_folder_is_moved_aside_and_named() {
    let script = "read -r how; echo \"$how\" > output/told.txt && echo written; case \"$how\" in
        link) rm -r output; ln -s /etc output ;;
        file) rm -r output; echo mine > output ;;
        fifo) rm -r output; mkfifo output ;;
        esac";
    let app = TestApp::with_agent("", script).await;
    // The hint is the rest of the prompt; a later prompt begins with the conversation so far.
    for how in ["link", "file", "fifo"] {
        let session = app.v3().open(how).await;
        session.until_waiting().await;
        let answers = session.answers().await;
        assert_eq!(answers[0], "written");
        assert!(answers[1].contains("- output: it was no folder any more"), "{}", answers[1]);
        assert!(answers[1].ends_with("is now `output-2`"), "{}", answers[1]);
        session.say("again").await;
        session.until_waiting().await;
        let receipts = session.receipts().await;
        assert_eq!(receipts[0]["path"], "output/told.txt", "the folder is there again: {receipts:#?}");
        assert!(app.workspace(&session).join("output-2").symlink_metadata().is_ok());
    }
}

#[tokio::test]
async fn an_agent_without_isolation_is_announced_in_the_session() {
    let app = TestApp::with_agent("isolation = \"none\"", "cat").await;
    let data = app.v1().upload("data.csv", &b"a\n"[..]).await;
    let session = app.v1().open(&data.line()).await;
    session.until_waiting().await;
    let answers = session.answers().await;
    assert!(answers[0].contains("without isolation"), "{}", answers[0]);
    assert!(answers[1].starts_with("[Attached file: attachments/data.csv (text/csv, 2 bytes).]\n"));
    assert!(app.log().contains("isolation is \"none\""), "the start says so too");
}
