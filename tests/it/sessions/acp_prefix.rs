//! Agents behind a prefix of the operator's, whose program runs outside of every isolation: what tenants and agents
//! write does not reach it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::acp::{Scene, profile};
use super::secrets::key_in;
use crate::support::sessions::Session;

/// A prefix that notes where it runs, what its HOME is, and one variable, and then runs the agent. `words` are its own.
fn prefix(words: &str) -> String {
    let script = r#"printf '%s\n' "$PWD" "$HOME" "$MY_TOKEN" > "$OUT/prefix"; cd "$WS"; exec "$@""#;
    format!("prefix = [\"sh\", \"-c\", {script:?}, {words}]")
}

fn with_secret(name: &str) -> Value {
    json!({ "prompt": "hello", "session_secrets": [{ "key": name, "value": "hunter2" }] })
}

/// A service with a key for secrets whose agent is behind a prefix; the prefix writes its notes into the last folder.
async fn scene(words: &str, env: &str) -> (Scene, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = key_in(folder.path(), "key").await;
    let scene =
        Scene::with("secret", &format!("secret_key_file = {key:?}"), &keys(words, env, folder.path())).await;
    (scene, folder)
}

fn keys(words: &str, env: &str, out: &Path) -> String {
    format!("{}\nenv = {{ {env}OUT = {out:?}, WS = \".\" }}", prefix(words))
}

fn noted(folder: &tempfile::TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path().join("prefix")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_prefix_isolates_in_the_place_of_the_service() {
    let scene = Scene::with("good", "", "prefix = [\"env\", \"PLACE={home}\"]").await;
    let data = scene.app.v3().upload("data.csv", &b"a\n"[..]).await;
    let session = scene.open(&data.line()).await;
    session.until_waiting().await;
    let answers = session.answers().await;
    assert!(answers[0].contains("isolated by what its profile names"), "{answers:#?}");
    let prompts = scene.noted(&session, "prompts").join("\n");
    assert!(prompts.contains("(text/csv, 2 bytes).]"), "nothing promises that it is read-only: {prompts}");
    assert!(scene.app.workspace(&session).join("attachments/data.csv").exists());
}

/// Words that hand `MY_TOKEN` on as a container runtime's do.
const BEHIND_E: &str = r#""x", "sh", "-c", "shift 2; exec \"$@\"", "sh", "-e", "MY_TOKEN""#;

#[tokio::test]
async fn a_secret_reaches_a_prefix_only_where_it_is_named() {
    for words in [r#""--env=MY_TOKEN""#, r#""x""#] {
        let (scene, _folder) = scene(words, "").await;
        for user in [scene.app.v1(), scene.app.v3()] {
            for name in ["DOCKER_HOST", "TOKEN", "env"] {
                let fault = user.try_open(&with_secret(name)).await.expect(422).json()["detail"][0].clone();
                assert_eq!(fault["loc"], json!(["body", "session_secrets", 0]));
                let said = fault["msg"].as_str().unwrap();
                assert!(said.contains(&format!("`{name}` would not reach the agent")), "{said}");
                assert!(said.contains(&format!("`-e {name}`")), "{said}");
            }
        }
    }
    // A word alone may be what the prefix takes away.
    let (taking_away, _folder) = scene(r#""x", "env", "-u", "MY_TOKEN""#, "").await;
    taking_away.app.v3().try_open(&with_secret("MY_TOKEN")).await.expect(422);
    for words in [r#""--env=MY_TOKEN""#, BEHIND_E] {
        let (scene, folder) = scene(words, "").await;
        let session = scene.app.v3().open_with(&with_secret("MY_TOKEN")).await;
        session.until_waiting().await;
        assert!(session.answers().await.concat().contains("The secret is hunter2."));
        assert_eq!(noted(&folder)[2], "hunter2");
    }
}

#[tokio::test]
async fn a_secret_that_a_new_prefix_does_not_name_keeps_the_agent_from_starting() {
    let (mut scene, folder) = scene(BEHIND_E, "").await;
    let session = scene.app.v3().open_with(&with_secret("MY_TOKEN")).await;
    session.until_waiting().await;
    let config = format!(
        "secret_key_file = {:?}\n{}",
        folder.path().join("key"),
        profile("secret", &scene.token, &keys(r#""x""#, "", folder.path()))
    );
    scene.app.configure(&config);
    scene.app.restart().await;
    session.say("again").await;
    session.until("suspended/error").await;
    let last = session.answers().await.pop().unwrap();
    assert!(last.contains("was not started: the variable `MY_TOKEN` would not reach the agent"), "{last}");
    assert_eq!(scene.noted(&session, "starts").len(), 1);
}

#[tokio::test]
async fn a_prefix_runs_where_no_agent_writes_and_its_home_is_there_too() {
    let beside = |scene: &Scene, session: &Session, path: &str| {
        let (path, folder) = (PathBuf::from(path), scene.app.folder(session));
        let shown = ["ws", "home", "attachments"].map(|name| folder.join(name));
        path.starts_with(&folder) && !shown.iter().any(|shown| path.starts_with(shown))
    };
    let (plain, folder) = scene(r#""x""#, "").await;
    let session = plain.open("hello").await;
    session.until_waiting().await;
    let at = noted(&folder);
    assert!(beside(&plain, &session, &at[1]), "{at:?}");
    assert_eq!(
        PathBuf::from(&at[0]),
        plain.app.workspace(&session),
        "nothing else would lead the agent there"
    );

    // The word after the script's name stands for what a container runtime would mount.
    let (mounting, folder) = scene(r#""x", "env", "A={attachments}""#, "").await;
    let session = mounting.open("hello").await;
    session.until_waiting().await;
    let at = noted(&folder);
    assert!(at[..2].iter().all(|path| beside(&mounting, &session, path)), "{at:?}");

    let (own, folder) = scene(r#""x""#, "HOME = \"/nowhere\", ").await;
    let session = own.open("hello").await;
    session.until_waiting().await;
    assert_eq!(noted(&folder)[1], "/nowhere");
}
