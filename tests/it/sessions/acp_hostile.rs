//! Agents that want more of the service than they may have: it stays small, other sessions go on, and the session says
//! the truth.

use super::acp::Scene;
use crate::support::eventually;
use crate::support::sessions::Session;

/// What the service may take, at most, while an agent writes lines of 15 MiB.
const PEAK_MIB: usize = 160;

impl Scene {
    /// The most memory that the service has taken so far, in MiB.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.app.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    /// The service is small, another session comes to its end, and nothing is left of this one when it ends.
    async fn goes_on_and_ends(&self, session: &Session) {
        let other = self.open("hello").await;
        other.until_waiting().await;
        assert!(self.peak() < PEAK_MIB, "{} MiB", self.peak());
        for session in [&other, session] {
            assert_eq!(session.end().await.expect(200).json()["status"], "exit");
        }
        self.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn an_agent_that_does_not_read_its_answers_waits() {
    let scene = Scene::with("flood", "session_slots = 2", "turn_timeout_seconds = 4").await;
    let session = scene.open("attack").await;
    session.until("suspended/error").await;
    let answers = session.answers().await;
    assert!(answers[0].contains("a turn may take 4 s"), "{answers:#?}");
    assert!(scene.noted(&session, "flooded").is_empty(), "its requests were all taken");
    scene.goes_on_and_ends(&session).await;
}

#[tokio::test]
async fn large_requests_are_not_kept() {
    for script in ["flood-ids", "flood-ids-later"] {
        let scene = Scene::with(script, "", "").await;
        let session = scene.open("attack").await;
        scene.app.written(&session, "flooded").await;
        session.until_waiting().await;
        assert_eq!(session.answers().await, ["Looking at it.", "Done by 1."]);
        scene.goes_on_and_ends(&session).await;
    }
}

#[tokio::test]
async fn a_large_update_is_told_by_its_name_and_long_text_as_a_whole() {
    let scene = Scene::with("wide+long-text", "", "").await;
    let session = scene.open("attack").await;
    let events = session.user.events(&session.path("/events?until=idle"), None).await.rest().await;
    session.until_waiting().await;
    for id in ["wide", "deep"] {
        let told = events.iter().find(|event| event.data["toolCallId"] == id).unwrap();
        assert_eq!((&told.kind[..], &told.data["cut"]), ("tool_call_update", &true.into()));
    }
    let said = session.answers().await.concat();
    assert_eq!(said.matches('x').count(), 900_000);
    assert!(said.ends_with("Looking at it.Done by 1."), "{}", &said[said.len() - 100..]);
    scene.goes_on_and_ends(&session).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_a_fault_of_the_agent() {
    let scene = Scene::with("large-answer", "", "").await;
    let session = scene.open("hello").await;
    session.until("suspended/error").await;
    let answers = session.answers().await;
    assert!(
        answers[0].contains("an answer of it had more than 1048576 bytes or 50000 values"),
        "{answers:#?}"
    );
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn an_end_waits_for_an_agent_that_is_just_being_stopped() {
    // Bubblewrap would hold its standard output open.
    let scene = Scene::with("silent", "isolation = \"none\"", "").await;
    let session = scene.open("hello").await;
    // It has closed its output, was asked to end, and does not.
    scene.app.written(&session, "terminated").await;
    assert_eq!(session.end().await.expect(200).json()["status"], "exit");
    assert_eq!(scene.processes(), 0);
    assert_eq!(scene.noted(&session, "terminated").len(), 2, "it was asked again, and waited for");
}

#[tokio::test]
async fn an_agent_that_stops_listening_while_it_waits_is_ended_though_it_ignores_sigterm() {
    let scene = Scene::with("silent", "isolation = \"none\"", "").await;
    let session = scene.open("hello").await;
    scene.app.written(&session, "terminated").await;
    scene.until_nothing_is_left().await;
    let told =
        async || session.answers().await.into_iter().find(|said| said.contains("closed its standard output"));
    let said = eventually("its end is told", told).await;
    assert!(said.contains("It was waiting for a message; the next one starts it again."), "{said}");
}

#[tokio::test]
async fn the_last_words_of_an_agent_that_leaves_while_it_waits_are_told() {
    let scene = Scene::with("late+leave", "", "").await;
    let session = scene.open("hello").await;
    session.until_waiting().await;
    std::fs::write(scene.app.workspace(&session).join("late"), "").unwrap();
    let gone = async || {
        session.answers().await.iter().position(|said| said.contains("the next one starts it again"))
    };
    let gone = eventually("its end is told", gone).await;
    assert_eq!(session.answers().await[gone - 1], "One thing more: \u{1f600}");
}

#[tokio::test]
async fn what_an_agent_calls_things_is_bounded() {
    for (script, keys, said) in [
        ("long-id", "", "with a session id of 1025 bytes; at most 1024 are taken"),
        ("nul-id", "", "with a NUL in the session id"),
        ("many-modes", "mode = \"full\"", "has no mode `full`; its first modes: mode-0, mode-1"),
    ] {
        let scene = Scene::with(script, "", keys).await;
        let session = scene.open("do it").await;
        session.until("error").await;
        let answers = session.answers().await;
        assert!(answers[0].contains(said) && answers[0].len() < 2000, "{answers:#?}");
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_a_turn_leaves_is_bounded_and_that_is_said_once() {
    let scene = Scene::with("many-messages+many-events", "", "").await;
    let session = scene.open("attack").await;
    let events = session.user.events(&session.path("/events?until=idle"), None).await.rest().await;
    session.until_waiting().await;
    let said: Vec<&str> = events.iter().filter_map(|event| event.data["message"].as_str()).collect();
    let once = |words: &str| said.iter().filter(|said| said.contains(words)).count() == 1;
    assert!(once("has sent 2000 messages in this turn") && once("10000 events, 16 MiB of them together"));
    assert!(said.len() < 2010, "{} messages", said.len());
    assert!(once("2000;\n2001;\n2002;") && once("2499;"), "nothing that it said is lost");
    let told = events.iter().filter(|event| event.kind == "tool_call_update").count();
    assert_eq!(told, (16 << 20) / 63_000);
}
