//! The client commands, `satchel session …`, as a person runs them: the real program against a running service.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;
use tokio::process::{Child, Command};

use crate::support::sessions::*;
use crate::support::*;

mod early;
mod said;

/// A person at a shell in a folder beside the data folder, with a key in the environment.
struct Shell {
    url: String,
    key: Option<String>,
    folder: PathBuf,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell {
    fn of(app: &TestApp, user: &User) -> Self {
        Self { url: app.url(), key: user.key.clone(), folder: app.home().to_owned() }
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_satchel"));
        command.arg("session").args(args).current_dir(&self.folder);
        command.env("SATCHEL_URL", &self.url).env_remove("SATCHEL_API_KEY").env_remove("HTTP_PROXY");
        if let Some(key) = &self.key {
            command.env("SATCHEL_API_KEY", key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    async fn run(&self, args: &[&str]) -> Told {
        end_of(self.start(args)).await
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

impl Told {
    #[track_caller]
    fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The session that a run has named.
    fn session(&self, user: &User) -> Session {
        let id = self
            .err
            .lines()
            .find_map(|line| line.strip_prefix("session "))
            .unwrap_or_else(|| panic!("{self:#?}"));
        Session { user: user.clone(), id: id.to_owned(), created: Value::Null }
    }
}

async fn end_of(child: Child) -> Told {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the command ends");
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[tokio::test]
async fn a_run_uploads_follows_and_saves_the_report_with_either_kind_of_key() {
    let app = TestApp::start().await;
    for user in [app.v3(), app.v1()] {
        let shell = Shell::of(&app, &user);
        shell.write("data.csv", "day,units\n2026-01-01,3\n");
        shell.write("more.txt", "more");
        let folder = if user.is_v3() { "v3" } else { "v1" };
        let args = ["run", "--prompt", "Look.", "--attach", "data.csv", "more.txt", "--output", folder];
        let told = shell
            .run(&[&args[..], &["--title", "A title", "--tag", "one", "--tag", "two"]].concat())
            .await
            .code(0);
        let digest = sha256(b"day,units\n2026-01-01,3\n");
        assert!(told.err.contains(&format!("uploaded data.csv (23 B) sha256 {digest}")), "{}", told.err);
        for part in [
            "-- running/working\n",
            "user: Look.\n\nATTACHMENT:\"http",
            "-- delivered attachments/data.csv (23 B)\n",
            "-- delivered attachments/more.txt (4 B)\n",
            "agent: ",
            "-- handed back output/report.md (",
            "-- running/waiting_for_user\n",
        ] {
            assert!(told.out.contains(part), "{part:?} in {}", told.out);
        }
        assert!(told.out.contains(&format!("-- saved {folder}/report.md\n")), "{}", told.out);
        let session = told.session(&user);
        let receipts = session.receipts().await;
        let report = receipts.iter().find(|receipt| receipt["source"] == "devin").unwrap();
        assert_eq!(sha256(shell.read(&format!("{folder}/report.md")).as_bytes()), report["sha256"]);
        let made = session.get().await;
        assert_eq!((&made["title"], &made["tags"]), (&json!("A title"), &json!(["one", "two"])));
        let left: Vec<_> = std::fs::read_dir(shell.folder.join(folder)).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn a_run_with_json_prints_every_event_on_a_line_and_reads_the_prompt_from_a_file() {
    let app = TestApp::with_agent(
        "",
        "cat > /dev/null; mkdir output/deep; echo 1 > output/deep/one.txt; echo said",
    )
    .await;
    let shell = Shell::of(&app, &app.v3());
    shell.write("prompt.txt", "From a file.\nATTACHMENT: \"http://elsewhere/x\"\n");
    let told = shell.run(&["run", "--prompt-file", "prompt.txt", "--json"]).await.code(0);
    let lines: Vec<Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (file, events) = lines.split_last().unwrap();
    let (created, events) = events.split_first().unwrap();
    assert_eq!(created["event"], "session");
    assert_eq!(created["data"]["session_id"], told.session(&app.v3()).id);
    assert_eq!((&file["file"], &file["sha256"]), (&json!("./output/deep/one.txt"), &json!(sha256(b"1\n"))));
    assert_eq!(file["path"], "output/deep/one.txt");
    assert_eq!(shell.read("output/deep/one.txt"), "1\n");
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().any(|event| event["data"]["message"] == "said"), "{}", told.out);
    assert!(told.err.contains("notice: line 2, column 12: "), "{}", told.err);
}

#[tokio::test]
async fn without_a_key_the_first_runs_token_is_used_on_this_machine_and_said_so() {
    let app = TestApp::with_agent("", ECHO).await;
    let mut shell = Shell::of(&app, &app.v3());
    shell.key = None;
    let told = shell.run(&["list"]).await.code(1);
    assert!(told.err.contains("there is no key: put it into the variable SATCHEL_API_KEY"), "{}", told.err);
    std::os::unix::fs::symlink(app.data(), shell.folder.join("satchel-data")).unwrap();
    let told = shell.run(&["run", "--prompt", "Hello."]).await.code(0);
    assert!(
        told.err.contains("with the service user token of ./satchel-data/first-run.json"),
        "{}",
        told.err
    );
    shell.url = "http://192.0.2.1:1".to_owned();
    let told = shell.run(&["list"]).await.code(1);
    assert!(told.err.contains("there is no key"), "the token goes to no other machine: {}", told.err);
}

#[tokio::test]
async fn a_key_that_is_refused_or_none_is_said_in_one_line_and_nothing_is_made() {
    let app = TestApp::with_agent("", ECHO).await;
    let revoked = app.key(&["--kind", "service-user"]).await;
    app.revoke(&revoked).await;
    let mut shell = Shell::of(&app, &revoked);
    shell.write("data.csv", "1");
    let run = ["run", "--prompt", "Hello.", "--attach", "data.csv"];
    let told = shell.run(&run).await.code(1);
    assert!(told.err.contains("Invalid credential") && told.err.contains("401"), "{}", told.err);
    assert_eq!(told.err.lines().count(), 1, "{}", told.err);
    shell.key = Some("nonsense".to_owned());
    assert!(shell.run(&run).await.code(1).err.contains("has to begin with cog_"));
    shell.key = None;
    shell.write("key", &format!("{}\n", app.v1().key.unwrap()));
    shell.run(&["list", "--key-file", "key"]).await.code(0);
    let told = shell.run(&["list", "--key-file", "nowhere"]).await.code(1);
    assert!(told.err.contains("the key file nowhere cannot be read"), "{}", told.err);
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stops_the_run_before_anything_is_sent() {
    let app = TestApp::with_agent("", ECHO).await;
    let shell = Shell::of(&app, &app.v3());
    shell.write("good.txt", "x");
    std::fs::create_dir(shell.folder.join("folder")).unwrap();
    for (bad, said) in
        [("missing.csv", "missing.csv cannot be read"), ("folder", "folder is no regular file")]
    {
        let told = shell.run(&["run", "--prompt", "Hello.", "--attach", "good.txt", "--attach", bad]).await;
        let told = told.code(1);
        assert!(told.err.contains(said), "{bad}: {}", told.err);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn a_file_that_is_there_is_overwritten_only_with_force() {
    let app = TestApp::with_agent("", "echo new > output/a.txt; echo new > output/b.txt").await;
    let shell = Shell::of(&app, &app.v3());
    std::fs::create_dir(shell.folder.join("output")).unwrap();
    shell.write("output/a.txt", "old");
    let told = shell.run(&["run", "--prompt", "Go."]).await.code(1);
    assert!(told.err.contains("./output/a.txt is there already and is not overwritten"), "{}", told.err);
    assert_eq!((shell.read("output/a.txt").as_str(), shell.read("output/b.txt").as_str()), ("old", "new\n"));
    let id = told.session(&app.v3()).id;
    shell.run(&["show", &id, "--download", "--force"]).await.code(0);
    assert_eq!(shell.read("output/a.txt"), "new\n");
    // A link that lies in wait is replaced and not followed.
    let outside = shell.folder.join("outside");
    std::fs::write(&outside, "kept").unwrap();
    std::fs::remove_file(shell.folder.join("output/a.txt")).unwrap();
    std::os::unix::fs::symlink(&outside, shell.folder.join("output/a.txt")).unwrap();
    shell.run(&["show", &id, "--download", "--output", "output"]).await.code(1);
    shell.run(&["show", &id, "--download", "--output", "output", "--force"]).await.code(0);
    assert_eq!((shell.read("outside").as_str(), shell.read("output/a.txt").as_str()), ("kept", "new\n"));
}

#[tokio::test]
async fn files_whose_names_become_one_are_numbered_and_it_is_said_which_is_which() {
    let script = "echo dot > output/.env; echo line > output/_env; echo upper > output/_ENV";
    let app = TestApp::with_agent("", script).await;
    let shell = Shell::of(&app, &app.v3());
    let told = shell.run(&["run", "--prompt", "Go."]).await.code(0);
    // In the order in which they were handed back: sorted by path.
    for (name, of, bytes) in [
        ("_env", ", which is output/.env", "dot\n"),
        ("_ENV-2", ", which is output/_ENV", "upper\n"),
        ("_env-3", ", which is output/_env", "line\n"),
    ] {
        assert!(told.out.contains(&format!("-- saved ./output/{name}{of}\n")), "{}", told.out);
        assert_eq!(shell.read(&format!("output/{name}")), bytes);
    }
}

#[tokio::test]
async fn a_file_that_rots_in_the_store_is_not_saved() {
    let app = TestApp::with_agent("", "head -c 100000 /dev/urandom > output/large.bin").await;
    let shell = Shell::of(&app, &app.v3());
    let id = shell.run(&["run", "--prompt", "Go."]).await.code(0).session(&app.v3()).id;
    let (path, ..) = app.blob_files().into_iter().find(|(_, size, _)| *size == 100_000).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let told = shell.run(&["show", &id, "--download", "--output", "again"]).await.code(1);
    assert!(told.err.contains("again/large.bin arrived with another SHA-256"), "{}", told.err);
    assert_eq!(std::fs::read_dir(shell.folder.join("again")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_run_that_fails_exits_with_1_and_one_that_takes_too_long_with_124() {
    let app = TestApp::with_agent("", "echo gone wrong >&2; exit 3").await;
    let shell = Shell::of(&app, &app.v3());
    let told = shell.run(&["run", "--prompt", "Fail."]).await.code(1);
    assert!(told.err.contains("the session stands at suspended/error"), "{}", told.err);
    assert!(told.out.contains("gone wrong"), "{}", told.out);

    let app = TestApp::with_agent("", AT_WORK).await;
    let shell = Shell::of(&app, &app.v3());
    let told = shell.run(&["run", "--prompt", "Wait.", "--timeout", "1"]).await.code(124);
    let session = told.session(&app.v3());
    assert!(told.err.contains(&format!("satchel session logs {} --follow", session.id)), "{}", told.err);
    app.written(&session, "ready").await;
    assert_eq!(session.standing().await, "running/working", "the session goes on");
}

#[tokio::test]
async fn a_run_outlives_a_restart_of_the_service_and_shows_everything_once() {
    let mut app = TestApp::with_agent("drain_seconds = 1", AT_WORK).await;
    let user = app.v3();
    let shell = Shell::of(&app, &user);
    let child = shell.start(&["run", "--prompt", "Wait."]);
    let session = only_session(&user).await;
    app.written(&session, "ready").await;
    app.kill9();
    let _ = std::fs::remove_file(app.workspace(&session).join("ready"));
    app.start_again().await;
    app.written(&session, "ready").await;
    app.let_go(&session);
    let told = end_of(child).await.code(0);
    for once in ["user: Wait.", "agent: done", "-- running/waiting_for_user", "-- claimed"] {
        assert_eq!(told.out.matches(once).count(), 1, "{once}: {}", told.out);
    }
    assert!(told.err.contains("the connection is lost; trying again"), "{}", told.err);
}

#[tokio::test]
async fn sessions_are_listed_shown_written_to_followed_and_stopped() {
    let app = TestApp::with_agent("", "tail -n 1; cat attachments/* 2> /dev/null").await;
    for user in [app.v3(), app.v1()] {
        let shell = Shell::of(&app, &user);
        let standing = if user.is_v3() { "running/waiting_for_user" } else { "blocked" };
        let id = shell
            .run(&["run", "--prompt", "One.", "--title", "Mine", "--tag", "t"])
            .await
            .code(0)
            .session(&user)
            .id;
        shell.run(&["run", "--prompt", "Other."]).await.code(0);

        let told = shell.run(&["list", "--tag", "t"]).await.code(0);
        let row = told.out.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{told:#?}"));
        assert!(row.contains(standing) && row.ends_with("Mine"), "{row}");
        let listed: Value =
            serde_json::from_str(&shell.run(&["list", "--json", "--limit", "1"]).await.out).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1);

        shell.write("late.txt", "late bytes\n");
        let follow = shell.start(&["logs", &id, "--follow"]);
        shell.run(&["send", &id, "--message", "Two.", "--attach", "late.txt"]).await.code(0);
        let session = Session { user: user.clone(), id: id.clone(), created: Value::Null };
        eventually("the second turn", async || {
            session.answers().await.iter().any(|said| said.contains("late bytes")).then_some(())
        })
        .await;
        session.until_waiting().await;

        let told = shell.run(&["show", &id]).await.code(0);
        for part in
            ["Mine", "user: One.", "user: Two.", "late bytes", "-- delivered attachments/late.txt (11 B)"]
        {
            assert!(told.out.contains(part), "{part}: {}", told.out);
        }
        let shown: Value = serde_json::from_str(&shell.run(&["show", &id, "--json"]).await.out).unwrap();
        assert_eq!((&shown["title"], shown["receipts"].as_array().unwrap().len()), (&json!("Mine"), 1));

        let logs = shell.run(&["logs", &id]).await.code(0);
        assert!(logs.out.starts_with("-- new\nuser: One.\n"), "{}", logs.out);
        shell.run(&["stop", &id]).await.code(0);
        let told = end_of(follow).await.code(0);
        assert!(
            told.out.starts_with(&logs.out) && told.out.ends_with("-- exit/user_request\n"),
            "{}",
            told.out
        );
        let again = shell.run(&["stop", &id]).await.code(1);
        assert!(again.err.contains("exit") && again.err.lines().count() == 1, "{}", again.err);
        let nothing = format!("devin-{}", uuid::Uuid::new_v4().simple());
        assert!(shell.run(&["show", &nothing]).await.code(1).err.contains("Session not found (404"));
        assert!(shell.run(&["show", "../x"]).await.code(2).err.contains("../x"));
    }
}

#[tokio::test]
async fn the_service_starts_with_the_clients_variables_around() {
    let key = "SATCHEL_API_KEY";
    let app = TestApp::builder().env(key, "x").env("SATCHEL_URL", "http://127.0.0.1:1").start().await;
    app.nobody().get("/health/live").await.expect(200);
}

/// The one session that there is, once it is there.
async fn only_session(user: &User) -> Session {
    let id = eventually("a session is created", async || {
        let page = user.get(&user.sessions_path("")).await.expect(200).json();
        page["items"][0]["session_id"].as_str().map(str::to_owned)
    })
    .await;
    Session { user: user.clone(), id, created: Value::Null }
}
