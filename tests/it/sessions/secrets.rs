//! Session secrets: only in the agent's environment, encrypted on disk, gone with their session; and
//! the file that holds the key.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::app::run;
use crate::support::sessions::{ECHO, agent};
use crate::support::{TestApp, eventually};

const SECRET: &str = "hunter2-4f1d9c";
/// An agent that shows its environment, its own command line and its prompt once it is let go.
const SHOW: &str = "echo > ready; until [ -e go ]; do sleep 0.01; done; rm ready; \
                    echo \"secret=$MY_TOKEN model=$MODEL\"; tr '\\0' ' ' < /proc/$$/cmdline; cat";

/// A folder beside the data folder with a key in it, made by the command.
pub(super) async fn key_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    run(&["secret-key", path.to_str().unwrap()], &[]).await.success();
    path
}

/// A service with a key, whose agent is this script and whose profile sets MODEL.
async fn with_key(script: &str) -> (TestApp, tempfile::TempDir) {
    let keys = tempfile::tempdir().unwrap();
    let key = key_in(keys.path(), "key").await;
    let app = TestApp::builder()
        .config(&format!("secret_key_file = {key:?}"))
        .config(&agent(script, "env = { MODEL = \"m\" }"))
        .start()
        .await;
    (app, keys)
}

fn asking(name: &str, value: &str) -> serde_json::Value {
    json!({ "prompt": "hello", "session_secrets": [{ "key": name, "value": value }] })
}

/// The command lines of all processes that can be seen.
fn command_lines() -> String {
    let lines =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ") + "\n").collect()
}

/// The files below a folder that hold these bytes.
fn holding(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_secret_is_in_the_agents_environment_and_nowhere_else() {
    let (app, _keys) = with_key(SHOW).await;
    for (user, secret) in [(app.v1(), "hunter2-v1"), (app.v3(), "hunter2-v3")] {
        let session = user.open_with(&asking("MY_TOKEN", secret)).await;
        app.written(&session, "ready").await;
        // Said without what was seen: those are the command lines of everything that runs here.
        let lines = command_lines();
        for seen in ["/proc/self/exe contain", "bwrap --", "$MY_TOKEN"] {
            assert!(lines.contains(seen), "no process has `{seen}` in its command line");
        }
        assert!(!lines.contains(secret), "a command line has the secret");
        assert_eq!(holding(&app.data(), secret), Vec::<PathBuf>::new(), "a file has the secret");
        assert!(!session.get().await.to_string().contains(secret));
        assert!(!session.created.to_string().contains(secret));
        assert!(!app.log().contains(secret));

        app.let_go(&session);
        session.until_waiting().await;
        let said = session.answers().await.join("\n");
        assert!(said.contains(&format!("secret={secret} model=m\n")), "{said}");
        assert_eq!(said.matches(secret).count(), 1, "neither the prompt nor the arguments have it: {said}");
    }
    let audit = app.rows("SELECT * FROM audit_logs").await;
    assert!(!serde_json::to_string(&audit).unwrap().contains("hunter2"));
}

#[tokio::test]
async fn a_session_that_is_over_has_no_secrets_left() {
    let (app, _keys) = with_key(SHOW).await;
    let kept = "SELECT COUNT(*) FROM session_secrets";
    let working = app.v3().open_with(&asking("MY_TOKEN", SECRET)).await;
    app.written(&working, "ready").await;
    assert_eq!(app.count(kept).await, 1);
    working.end().await.expect(200);
    assert_eq!(app.count(kept).await, 0, "ended during its turn");

    let waiting = app.v3().open_with(&asking("MY_TOKEN", SECRET)).await;
    app.written(&waiting, "ready").await;
    app.let_go(&waiting);
    waiting.until_waiting().await;
    assert_eq!(app.count(kept).await, 1, "a session that waits keeps them");
    waiting.end().await.expect(200);
    assert_eq!(app.count(kept).await, 0, "ended while it waited");
}

#[tokio::test]
async fn another_key_or_none_is_said_in_the_session_and_the_right_one_mends_it() {
    let (mut app, keys) = with_key(&SHOW.replace("until [ -e go ]; do sleep 0.01; done", ":")).await;
    let session = app.v3().open_with(&asking("MY_TOKEN", SECRET)).await;
    session.until_waiting().await;
    let agent = agent("echo secret=$MY_TOKEN", "");
    let other = key_in(keys.path(), "other").await;
    for (line, said) in [
        (format!("secret_key_file = {other:?}\n"), "encrypted with another key"),
        (String::new(), "started without the key"),
    ] {
        app.configure(&format!("{line}{agent}"));
        app.restart().await;
        session.say("again").await;
        session.until("suspended/error").await;
        let last = session.answers().await.pop().unwrap();
        assert!(last.contains(said) && last.contains("was not started"), "{last}");
    }
    app.configure(&format!("secret_key_file = {:?}\n{agent}", keys.path().join("key")));
    app.restart().await;
    session.say("again").await;
    session.until_waiting().await;
    assert_eq!(session.answers().await.pop().unwrap(), format!("secret={SECRET}"));
}

#[tokio::test]
async fn secrets_that_cannot_be_taken_are_refused_by_number() {
    let (app, _keys) = with_key(ECHO).await;
    for user in [app.v1(), app.v3()] {
        for (name, reason) in [
            ("1A", "letters of ASCII"),
            ("A-B", "letters of ASCII"),
            ("PATH", "not for secrets"),
            ("LD_PRELOAD", "not for secrets"),
            ("SATCHEL_DATA", "not for secrets"),
            ("MODEL", "set by the agent's profile"),
        ] {
            let secrets = json!([{ "key": "GOOD", "value": "x" }, { "key": name, "value": SECRET }]);
            let answer = user.try_open(&json!({ "prompt": "x", "session_secrets": secrets })).await;
            let fault = &answer.expect(422).json()["detail"][0];
            assert_eq!(fault["loc"], json!(["body", "session_secrets", 1]), "{name}");
            assert!(fault["msg"].as_str().unwrap().contains(reason), "{fault}");
            assert!(!answer.text().contains(SECRET));
        }
        for (name, value, loc) in [
            ("", "x".to_owned(), json!(["body", "session_secrets", 0, "key"])),
            (&"A".repeat(257), "x".to_owned(), json!(["body", "session_secrets", 0, "key"])),
            ("A", "x".repeat(65537), json!(["body", "session_secrets", 0, "value"])),
        ] {
            let answer = user.try_open(&asking(name, &value)).await;
            assert_eq!(answer.expect(422).json()["detail"][0]["loc"], loc);
        }
        user.open_with(&asking("A", &"x".repeat(65536))).await;
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM session_secrets").await, 2);
}

#[tokio::test]
async fn equal_requests_have_equal_secrets_and_the_catalogue_does_not_help_to_guess_them() {
    let (app, _keys) = with_key(ECHO).await;
    let user = app.v1();
    let body = |secret: &str| {
        let mut body = asking("K", secret);
        body["idempotent"] = json!(true);
        body
    };
    let first = user.open_with(&body(SECRET)).await;
    assert_eq!(user.open_with(&body(SECRET)).await.id, first.id);
    assert_ne!(user.open_with(&body("another")).await.id, first.id);
    let keys = app.rows("SELECT DISTINCT idempotency_key FROM sessions").await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    // What whoever has the catalogue alone would try: the digest of the body with a guess in it.
    let guess =
        r#"{"idempotent":true,"prompt":"hello","session_secrets":[{"key":"K","value":"hunter2-4f1d9c",},],}"#;
    let digest = crate::support::sha256(guess.as_bytes());
    assert!(!serde_json::to_string(&keys).unwrap().contains(&digest), "{keys:?}");
}

#[tokio::test]
async fn a_key_that_is_none_or_lies_open_is_refused_at_start() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let good = key_in(home.path(), "key").await;
    assert_eq!(fs::metadata(&good).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(&["secret-key", good.to_str().unwrap()], &[]).await;
    assert!(!again.status.success() && again.stderr.contains("cannot be written"), "{}", again.stderr);
    assert!(!again.stdout.contains(fs::read_to_string(&good).unwrap().trim()));

    let copy = |path: PathBuf, mode: u32| {
        fs::copy(&good, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let inside = copy(data.join("key"), 0o600);
    let through = home.path().join("link");
    symlink(&inside, &through).unwrap();
    let alias = home.path().join("alias");
    symlink(&data, &alias).unwrap();
    let twice = home.path().join("twice");
    fs::hard_link(&inside, &twice).unwrap();
    let text = home.path().join("text");
    fs::write(&text, "not a key").unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    let rows = [
        (inside, "lies in the data folder"),
        (through, "lies in the data folder"),
        (alias.join("key"), "lies in the data folder"),
        (twice, "one name"),
        (copy(home.path().join("open"), 0o604), "open to others (mode 604)"),
        (copy(home.path().join("group"), 0o660), "open to others (mode 660)"),
        (text, "holds no secret key"),
        (home.path().join("absent"), "cannot be read"),
        (PathBuf::from("/dev/null"), "not a regular file"),
        (PathBuf::from("/usr/bin/env"), "which agents may read"),
    ];
    for (path, reason) in rows {
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap(), "--secret-key-file"];
        let refused = run(&[&args[..], &[path.to_str().unwrap()]].concat(), &[]).await;
        assert!(!refused.status.success() && refused.stderr.contains(reason), "{path:?}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn the_key_may_be_named_by_the_environment() {
    let keys = tempfile::tempdir().unwrap();
    let key = key_in(keys.path(), "key").await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let builder = TestApp::builder().env("SATCHEL_SECRET_KEY_FILE", key.to_str().unwrap());
    let app = builder.config(&agent("echo secret=$MY_TOKEN", "")).start().await;
    let session = app.v1().open_with(&asking("MY_TOKEN", SECRET)).await;
    let said = eventually("the agent answers", async || session.answers().await.pop()).await;
    assert_eq!(said, format!("secret={SECRET}"));
}

#[tokio::test]
async fn an_acp_agent_finds_its_secrets_in_its_environment() {
    let keys = tempfile::tempdir().unwrap();
    let key = key_in(keys.path(), "key").await;
    let service = PathBuf::from(env!("CARGO_BIN_EXE_satchel"));
    let program = service.parent().unwrap().join("examples/scripted_agent");
    let agent =
        format!("[agents.a]\nkind = \"acp\"\nprogram = {program:?}\nargs = [\"slow+secret\", \"x\"]\n");
    let app = TestApp::builder().config(&format!("secret_key_file = {key:?}\n{agent}")).start().await;
    let session = app.v3().open_with(&asking("MY_TOKEN", SECRET)).await;
    app.written(&session, "ready").await;
    let lines = command_lines();
    assert!(lines.contains("slow+secret") && !lines.contains(SECRET), "a command line has the secret");
    app.let_go(&session);
    session.until_waiting().await;
    assert!(session.answers().await.join("\n").contains(&format!("The secret is {SECRET}.")));
}
