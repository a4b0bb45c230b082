//! Agents that speak the Agent Client Protocol, each after its own script: whatever they do, the session says the truth
//! and nothing of them is left.

use std::path::PathBuf;

use crate::support::sessions::Session;
use crate::support::{TestApp, eventually};

/// A service whose agent plays a script, and what its processes are known by.
pub(super) struct Scene {
    pub(super) app: TestApp,
    pub(super) token: String,
}

/// The program in `examples/`, which the tests' build makes beside the service.
fn program() -> PathBuf {
    let service = PathBuf::from(env!("CARGO_BIN_EXE_satchel"));
    service.parent().unwrap().join("examples/scripted_agent")
}

pub(super) fn profile(script: &str, token: &str, keys: &str) -> String {
    let program = program();
    format!(
        "[agents.scripted]\nkind = \"acp\"\nprogram = {program:?}\nargs = [{script:?}, {token:?}]\n\
         kill_grace_seconds = 1\n{keys}\n"
    )
}

impl Scene {
    pub(super) async fn with(script: &str, options: &str, keys: &str) -> Self {
        let token = uuid::Uuid::new_v4().to_string();
        let config = format!("agent_restart_seconds = [0, 0]\n{options}\n{}", profile(script, &token, keys));
        Self { app: TestApp::builder().config(&config).start().await, token }
    }

    pub(super) async fn open(&self, prompt: &str) -> Session {
        self.app.v3().open(prompt).await
    }

    /// What the agent noted in a file, line by line.
    pub(super) fn noted(&self, session: &Session, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.app.workspace(session).join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Processes of the agent, those included that it started.
    pub(super) fn processes(&self) -> usize {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        words.filter(|words| String::from_utf8_lossy(words).contains(&self.token)).count()
    }

    pub(super) async fn until_nothing_is_left(&self) {
        eventually("no process of the agent is left", async || (self.processes() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn what_an_agent_does_is_told_while_it_does_it_and_it_lives_on() {
    let scene = Scene::with("slow", "", "mode = \"full\"\nconfig_options = { model = \"b\" }").await;
    let session = scene.open("hand back a file").await;
    scene.app.written(&session, "ready").await;
    eventually("its first message is there", async || {
        (session.answers().await == ["Looking at it."]).then_some(())
    })
    .await;
    assert_eq!(session.standing().await, "running/working");
    scene.app.let_go(&session);
    session.until_waiting().await;
    let answers = session.answers().await;
    assert_eq!(answers[..2], ["Looking at it.", "Done by 1."]);
    assert!(answers[2].starts_with("ATTACHMENT:"), "{answers:#?}");
    let handshake =
        ["initialize", "session/new", "session/set_mode", "full", "session/set_config_option", "\"b\""];
    assert_eq!(scene.noted(&session, "seen")[..6], handshake);
    assert!(scene.processes() > 0, "it waits for the next message");

    let data = session.user.upload("data.csv", &b"a,b\n"[..]).await;
    scene.app.let_go(&session);
    session.say(&format!("and this\n{}", data.line())).await;
    session.until_waiting().await;
    assert_eq!(scene.noted(&session, "starts").len(), 1, "the process is the same");
    let prompts = scene.noted(&session, "prompts").join("\n");
    let (first, second) = prompts.split_once("\n--\n").unwrap();
    assert!(first.contains("Write every file that is to be handed back"), "{first}");
    let expected = "and this\n[Attached file: attachments/data.csv (text/csv, 4 bytes). Read-only.]\n\n--";
    assert_eq!(second, expected, "only what is new is told");
    assert_eq!(session.end().await.expect(200).json()["status"], "exit");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn what_an_agent_says_between_its_turns_is_told_at_once() {
    let scene = Scene::with("late", "", "").await;
    let session = scene.open("hello").await;
    session.until_waiting().await;
    let before = session.answers().await.len();
    std::fs::write(scene.app.workspace(&session).join("late"), "").unwrap();
    let said = eventually("it is told", async || session.answers().await.get(before).cloned()).await;
    assert_eq!(said, "One thing more: \u{1f600}");
    assert_eq!(session.standing().await, "running/waiting_for_user");
    session.say("again").await;
    session.until_waiting().await;
    std::fs::write(scene.app.workspace(&session).join("late"), "").unwrap();
    eventually("it is told again", async || {
        (session.answers().await.iter().filter(|text| **text == said).count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_waits_takes_no_slot() {
    let scene = Scene::with("good", "session_slots = 1\nsessions_per_org = 1", "").await;
    let first = scene.open("one").await;
    first.until_waiting().await;
    let second = scene.open("two").await;
    second.until_waiting().await;
    first.say("three").await;
    first.until_waiting().await;
    assert_eq!(scene.noted(&first, "starts").len(), 1);
}

#[tokio::test]
async fn agents_that_wait_share_what_their_organisation_may_run_whatever_else_happens() {
    let scene = Scene::with("good", "session_slots = 2\nsessions_per_org = 1", "").await;
    let (first, second) = (scene.open("first").await, scene.open("second").await);
    first.until_waiting().await;
    second.until_waiting().await;
    for round in 0..10 {
        // Each message is a hint to every agent that waits, in the middle of whatever it does.
        let text = format!("round {round}");
        tokio::join!(first.say(&text), second.say(&text), first.say(&text), second.say(&text));
        first.until_waiting().await;
        second.until_waiting().await;
    }
    for session in [&first, &second] {
        let told = scene.noted(session, "prompts").iter().filter(|line| line.starts_with("round ")).count();
        assert_eq!(told, 20, "each message was told once");
        assert_eq!(scene.noted(session, "starts").len(), 1);
    }
}

#[tokio::test]
async fn an_end_wins_over_a_message_that_waits_for_a_slot() {
    let scene = Scene::with("slow", "session_slots = 1", "").await;
    let parked = scene.open("hand back a file").await;
    scene.app.written(&parked, "ready").await;
    scene.app.let_go(&parked);
    parked.until_waiting().await;
    let keeper = scene.open("keep the slot").await;
    scene.app.written(&keeper, "ready").await;
    parked.say("one more thing").await;
    assert_eq!(parked.end().await.expect(200).json()["status"], "exit");
    assert_eq!(scene.noted(&parked, "prompts").iter().filter(|line| *line == "one more thing").count(), 0);
    scene.app.let_go(&keeper);
    keeper.until_waiting().await;
}

#[tokio::test]
async fn the_longest_idle_is_stopped_where_too_many_wait() {
    let scene = Scene::with("good+resume", "max_parked_agents = 1", "").await;
    let first = scene.open("one").await;
    first.until_waiting().await;
    let second = scene.open("two").await;
    second.until_waiting().await;
    first.until("suspended/inactivity").await;
    assert_eq!(second.standing().await, "running/waiting_for_user");
    first.say("three").await;
    first.until_waiting().await;
    assert_eq!(scene.noted(&first, "starts").len(), 2);
}

#[tokio::test]
async fn an_organisation_with_many_agents_that_wait_makes_room_for_its_own() {
    let scene = Scene::with("good+resume", "max_parked_agents = 2", "").await;
    let longest = scene.open("one").await;
    longest.until_waiting().await;
    let org = scene.app.other_org().await;
    let other = scene.app.key(&["--kind", "service-user", "--role", "org_admin", "--org", &org]).await;
    let first = other.open("two").await;
    first.until_waiting().await;
    let second = other.open("three").await;
    second.until_waiting().await;
    first.until("suspended/inactivity").await;
    assert_eq!(longest.standing().await, "running/waiting_for_user", "though it waits for longer");
    assert_eq!(second.standing().await, "running/waiting_for_user");
}

#[tokio::test]
async fn the_idle_limit_stops_an_agent_and_its_conversation_goes_on_as_it_can() {
    for (script, method) in
        [("good+resume", "session/resume"), ("good+load", "session/load"), ("good", "session/new")]
    {
        let scene = Scene::with(script, "idle_limit_seconds = 1", "").await;
        let session = scene.open("remember 42").await;
        session.until("suspended/inactivity").await;
        scene.until_nothing_is_left().await;
        session.say("what was it?").await;
        eventually("the second turn ends", async || (session.answers().await.len() == 4).then_some(())).await;
        let seen = scene.noted(&session, "seen");
        assert!(seen[3..].contains(&method.to_owned()), "{seen:?}");
        let prompts = scene.noted(&session, "prompts").join("\n");
        let told_again = prompts.matches("remember 42").count() == 2;
        assert_eq!(told_again, method == "session/new", "{prompts}");
        assert!(!session.answers().await.contains(&"this was said before".to_owned()));
    }
}

#[tokio::test]
async fn an_agent_that_crashed_is_started_again_and_told_so() {
    let scene = Scene::with("crash-once+resume", "", "").await;
    let session = scene.open("do it").await;
    session.until_waiting().await;
    let answers = session.answers().await;
    assert_eq!(answers[0], "half of it");
    assert!(answers[1].contains("ended with exit code 3"), "{}", answers[1]);
    assert!(answers[1].contains("\n\nit went wrong\n\nIt is started again in 0 s"), "{}", answers[1]);
    assert_eq!(answers[2..], ["Looking at it.", "Done by 1."]);
    let prompts = scene.noted(&session, "prompts").join("\n");
    assert!(prompts.contains("--\nYour last turn was interrupted"), "{prompts}");
    assert!(scene.noted(&session, "seen").contains(&"session/resume".to_owned()));
}

#[tokio::test]
async fn an_agent_that_always_crashes_is_given_up_after_the_third_time() {
    for (script, said) in [
        ("crash-always", "ended with exit code 3"),
        ("no-start", "ended with exit code 4"),
        ("long-line", "a line of more than 100000 bytes"),
    ] {
        let scene = Scene::with(script, "", "max_line_bytes = 100000").await;
        let session = scene.open("do it").await;
        session.until("suspended/error").await;
        let mut answers = session.answers().await;
        answers.retain(|answer| answer != "half of it");
        assert_eq!(answers.len(), 3, "{answers:#?}");
        assert!(answers.iter().all(|answer| answer.contains(said)), "{answers:#?}");
        assert!(answers[2].contains("It failed 3 times"), "{answers:#?}");
        assert_eq!(scene.noted(&session, "starts").len(), 3);
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_start_that_hangs_ends_and_is_tried_again() {
    for step in ["initialize", "new", "set_mode"] {
        let scene =
            Scene::with(&format!("hang-{step}"), "", "start_timeout_seconds = 1\nmode = \"full\"").await;
        let session = scene.open("do it").await;
        session.until("suspended/error").await;
        let answers = session.answers().await;
        assert_eq!(answers.len(), 3, "{answers:#?}");
        let step = if step == "initialize" { step.to_owned() } else { format!("session/{step}") };
        assert!(
            answers[0].contains(&format!("had not answered `{step}` 1 s after its start")),
            "{answers:#?}"
        );
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_turn_that_hangs_is_cancelled_and_not_repeated() {
    for script in ["hang", "hang+stubborn"] {
        let scene = Scene::with(script, "", "turn_timeout_seconds = 1").await;
        let session = scene.open("do it").await;
        session.until("suspended/error").await;
        let answers = session.answers().await;
        assert!(answers.last().unwrap().contains("a turn may take 1 s"), "{answers:#?}");
        assert!(scene.noted(&session, "seen").contains(&"session/cancel".to_owned()));
        assert_eq!(scene.noted(&session, "starts").len(), 1);
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn an_end_during_a_turn_cancels_it_and_questions_for_leave_are_answered_so() {
    for script in ["hang", "hang+stubborn"] {
        let scene = Scene::with(script, "", "").await;
        let session = scene.open("do it").await;
        scene.app.written(&session, "ready").await;
        assert_eq!(session.end().await.expect(200).json()["status"], "exit");
        assert_eq!(scene.processes(), 0);
        let seen = scene.noted(&session, "seen");
        assert_eq!(seen.contains(&"cancelled".to_owned()), script == "hang", "{seen:?}");
        let answers = session.answers().await.concat();
        assert_eq!(answers.contains("stopping"), script == "hang", "{answers}");
    }
}

#[tokio::test]
async fn questions_for_leave_are_answered_by_the_profile() {
    for (keys, chosen) in [("", "once"), ("permissions = \"reject\"", "no")] {
        let scene = Scene::with("permission", "", keys).await;
        let session = scene.open("do it").await;
        session.until_waiting().await;
        assert_eq!(session.answers().await[0], format!("leave: {chosen}"));
    }
}

#[tokio::test]
async fn what_is_not_understood_does_no_harm() {
    let scene = Scene::with("garbage+odd-reason", "", "").await;
    let session = scene.open("do it").await;
    session.until_waiting().await;
    let answers = session.answers().await;
    assert_eq!(answers[..2], ["Looking at it.", "Done by 1."]);
    assert!(answers[2].contains("a reason that is not known here: `of_tomorrow`"), "{answers:#?}");
    assert!(scene.noted(&session, "seen").contains(&"-32601".to_owned()), "an unknown request is refused");
    session.say("again").await;
    session.until_waiting().await;
    assert_eq!(scene.noted(&session, "starts").len(), 1);
}

#[tokio::test]
async fn what_cannot_go_well_ends_the_session_and_says_what_would_be_right() {
    for (script, keys, said) in [
        ("auth", "", "`scripted` wants somebody to log in first (it offers: api-key)"),
        ("version-2", "", "speaks version 2 of the protocol, and this service version 1: install a release"),
        ("good", "mode = \"root\"", "has no mode `root`; its modes: ask, full"),
        ("good", "config_options = { speed = true }", "has no option `speed`; its options: model"),
    ] {
        let scene = Scene::with(script, "", keys).await;
        let session = scene.open("do it").await;
        session.until("error").await;
        let answers = session.answers().await;
        assert!(answers[0].contains(said), "{answers:#?}");
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn an_error_for_a_prompt_is_told_in_the_agents_words() {
    let scene = Scene::with("refused", "", "").await;
    let session = scene.open("do it").await;
    session.until("suspended/error").await;
    let answers = session.answers().await;
    assert!(
        answers[0].contains("answered `session/prompt` with an error: the model is not there"),
        "{answers:#?}"
    );
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn an_agent_that_leaves_is_started_again_by_the_next_message() {
    for (script, notice) in
        [("leave", None), ("leave-later", Some("The agent `scripted` ended with exit code 7"))]
    {
        let scene = Scene::with(script, "", "").await;
        let session = scene.open("one").await;
        session.until_waiting().await;
        std::fs::write(scene.app.workspace(&session).join("leave"), "").unwrap();
        scene.until_nothing_is_left().await;
        if let Some(notice) = notice {
            let said =
                async || session.answers().await.iter().any(|said| said.starts_with(notice)).then_some(());
            eventually("it is told", said).await;
        }
        assert_eq!(session.standing().await, "running/waiting_for_user");
        session.say("two").await;
        session.until_waiting().await;
        assert_eq!(scene.noted(&session, "starts").len(), 2);
    }
}

#[tokio::test]
async fn what_an_agent_leaves_running_goes_with_it() {
    let scene = Scene::with("setsid", "", "").await;
    let session = scene.open("do it").await;
    session.until_waiting().await;
    assert_eq!(session.end().await.expect(200).json()["status"], "exit");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_service_that_stops_ends_waiting_agents_at_once_and_they_go_on_later() {
    let mut scene = Scene::with("good+resume", "drain_seconds = 60", "").await;
    let session = scene.open("one").await;
    session.until_waiting().await;
    assert!(scene.app.terminate().await.success());
    assert_eq!(scene.processes(), 0);
    scene.app.start_again().await;
    assert_eq!(session.standing().await, "running/waiting_for_user");
    session.say("two").await;
    session.until_waiting().await;
    assert!(scene.noted(&session, "seen").contains(&"session/resume".to_owned()));
}

#[tokio::test]
async fn a_killed_service_takes_its_agents_along_and_the_next_goes_on() {
    let mut scene = Scene::with("slow+load", "", "").await;
    let session = scene.open("one").await;
    scene.app.written(&session, "ready").await;
    scene.app.kill9();
    scene.until_nothing_is_left().await;
    scene.app.let_go(&session);
    scene.app.start_again().await;
    session.until_waiting().await;
    let prompts = scene.noted(&session, "prompts").join("\n");
    assert!(prompts.contains("--\nYour last turn was interrupted"), "{prompts}");
    assert!(session.answers().await.iter().any(|answer| answer.contains("runs again (attempt 2 of 3)")));
}

#[tokio::test]
async fn a_profile_is_tried_out_before_a_session_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("satchel.toml");
    let check = async |script: &str, keys: &str| {
        std::fs::write(&config, profile(script, "check", keys)).unwrap();
        let config = config.to_str().unwrap();
        crate::support::app::run(&["agents", "check", "scripted", "--json", "--config", config], &[]).await
    };
    let good = check("good+resume", "mode = \"full\"").await.json();
    assert_eq!((&good["ok"], &good["agent"]["name"]), (&true.into(), &"scripted".into()));
    assert_eq!((&good["agent"]["can_resume"], &good["agent"]["modes"][1]), (&true.into(), &"full".into()));
    for (script, keys, problem) in [
        ("good", "mode = \"root\"", "its modes: ask, full"),
        ("auth", "", "wants somebody to log in"),
        ("hang-initialize", "start_timeout_seconds = 1", "had not answered `initialize`"),
        ("no-start", "", "exit code 4"),
    ] {
        let said = check(script, keys).await;
        assert_eq!(said.status.code(), Some(1), "{said:#?}");
        assert!(said.stdout.contains(problem), "{said:#?}");
    }
}
