//! The stream of a session's events: replayed, resumed, followed live, ended, and closed to those who may not read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::events::Event;
use crate::support::sessions::*;
use crate::support::*;

const IDLE: &str = "/events?until=idle";

fn kinds(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| event.standing().unwrap_or_else(|| event.kind.clone());
    events.iter().map(word).collect()
}

#[tokio::test]
async fn a_stream_tells_a_whole_turn_in_order_and_ends_when_the_session_waits() {
    let app = TestApp::with_agent("", "cat >/dev/null; echo seen; echo 42 > output/answer.txt").await;
    for user in [app.v1(), app.v3()] {
        let file = user.upload("data.csv", "a,b\n1,2\n").await;
        let session = user.open(&format!("Count.\n{}", file.line())).await;
        let events = user.events(&session.path(IDLE), None).await.rest().await;
        let mut told = kinds(&events);
        // Where agents are not isolated, a notice says so.
        told.dedup();
        let expected = [
            "new",
            "receipt",
            "message",
            "claimed",
            "receipt",
            "running/working",
            "receipt",
            "message",
            "running/waiting_for_user",
        ];
        assert_eq!(told, expected);
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids, (1..=events.len() as i64).collect::<Vec<_>>());

        // Messages and receipts are those of the other endpoints.
        let of = |kind: &str| -> Vec<Value> {
            events.iter().filter(|event| event.kind == kind).map(|event| event.data.clone()).collect()
        };
        let listed = match user.is_v3() {
            true => user.get(&session.path("/messages")).await.json()["items"].clone(),
            false => session.get().await["messages"].clone(),
        };
        assert_eq!(json!(of("message")), listed);
        let receipts = of("receipt");
        assert_eq!(receipts[1..], session.receipts().await, "in the state that they have at last");
        assert_eq!((&receipts[0]["state"], &receipts[0]["path"]), (&json!("pending"), &json!(null)));
        assert_eq!(events.last().unwrap().data["status_enum"], "blocked");
    }
}

#[tokio::test]
async fn a_stream_goes_on_behind_any_event_without_a_gap_or_a_double() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let session = user.open("Hello.").await;
    let all = user.events(&session.path(IDLE), None).await.rest().await;
    for cut in 0..all.len() {
        let last = all[cut].id;
        if cut + 1 == all.len() {
            let request = user.request("GET", &session.path(IDLE)).header("Last-Event-ID", last.to_string());
            Answer::to(request).await.expect(204);
        } else {
            let rest = user.events(&session.path(IDLE), Some(last)).await.rest().await;
            assert_eq!(rest, all[cut + 1..], "behind {last}");
            let path = session.path(&format!("{IDLE}&after={last}"));
            assert_eq!(user.events(&path, None).await.rest().await, all[cut + 1..]);
            let after = session.path(&format!("{IDLE}&after=0"));
            let rest = user.events(&after, Some(last)).await.rest().await;
            assert_eq!(rest, all[cut + 1..], "the header counts before the query");
        }
    }
    assert_eq!(user.events(&session.path(IDLE), Some(0)).await.rest().await, all);
}

#[tokio::test]
async fn many_followers_are_told_the_same_while_it_happens_and_the_end_ends_them() {
    let app = TestApp::with_agent("", AT_WORK).await;
    let user = app.v3();
    let session = user.open("Begin.").await;
    let mut one = user.events(&session.path("/events"), None).await;
    let mut seen = one.until(|event| event.stands_at("running/working")).await;
    app.written(&session, "ready").await;
    // A second one comes late, and a third goes on from the middle.
    let late = tokio::spawn(user.events(&session.path("/events"), None).await.rest());
    let middle = tokio::spawn(user.events(&session.path("/events"), Some(seen[0].id)).await.rest());
    session.say("And this.").await;
    seen.extend(one.until(|event| event.kind == "message").await);
    assert_eq!(seen.last().unwrap().data["message"], "And this.");
    session.end().await.expect(200);
    seen.extend(one.rest().await);
    assert!(seen.last().unwrap().stands_at("exit/user_request"), "{seen:#?}");
    assert_eq!(late.await.unwrap(), seen);
    assert_eq!(middle.await.unwrap(), seen[1..]);
    let again = user.request("GET", &session.path("/events"));
    let again = again.header("Last-Event-ID", seen.last().unwrap().id.to_string());
    Answer::to(again).await.expect(204);
}

#[tokio::test]
async fn a_stream_until_the_end_stays_open_while_the_session_waits() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v1();
    let session = user.open("One.").await;
    let mut events = user.events(&session.path("/events"), None).await;
    events.until(|event| event.stands_at("running/waiting_for_user")).await;
    session.say("Two.").await;
    let turn = events.until(|event| event.stands_at("running/waiting_for_user")).await;
    assert!(turn.iter().any(|event| event.data["message"] == "Two."), "{turn:#?}");
}

#[tokio::test]
async fn a_revoked_key_is_told_nothing_more_within_two_seconds() {
    let app = TestApp::with_agent("", AT_WORK).await;
    let user = app.key(&["--kind", "service-user", "--role", "org_member"]).await;
    let session = user.open("Begin.").await;
    let mut events = user.events(&session.path("/events"), None).await;
    events.until(|event| event.stands_at("running/working")).await;
    app.revoke(&user).await;
    let revoked = Instant::now();
    assert_eq!(events.next().await, None);
    assert!(revoked.elapsed() < Duration::from_secs(3), "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn a_bad_beginning_is_refused_and_says_so() {
    let app = TestApp::with_agent("", ECHO).await;
    for user in [app.v1(), app.v3()] {
        let session = user.open("Hello.").await;
        session.until_waiting().await;
        for (value, wrong) in [
            ("x", "should be the id"),
            ("-1", "should be the id"),
            ("+1", "should be the id"),
            ("99999999999999999999", "should be the id"),
            ("5000", "the session has no event 5000; its last one is"),
        ] {
            let refused = user.get_with(&session.path("/events"), "Last-Event-ID", value).await;
            let fault = &refused.expect(422).json()["detail"][0];
            assert_eq!(fault["loc"], json!(["header", "last-event-id"]), "{value}");
            assert!(fault["msg"].as_str().unwrap().contains(wrong), "{value}: {fault}");
        }
        for (query, loc) in
            [("after=-1", "after"), ("after=x", "after"), ("after=5000", "after"), ("until=never", "until")]
        {
            let refused = user.get(&session.path(&format!("/events?{query}"))).await;
            assert_eq!(refused.expect(422).json()["detail"][0]["loc"], json!(["query", loc]), "{query}");
        }
    }
}

#[tokio::test]
async fn the_streams_of_one_key_are_bounded_and_a_place_comes_back() {
    let app = TestApp::with_agent("streams_per_key = 2", AT_WORK).await;
    let user = app.v3();
    let session = user.open("Begin.").await;
    let path = session.path("/events");
    let one = user.events(&path, None).await;
    let _two = user.events(&path, None).await;
    let refused = user.get(&path).await;
    assert!(refused.expect(429).detail().contains("at most 2"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    let another = app.key(&["--kind", "service-user", "--role", "org_member"]).await;
    drop(another.events(&path, None).await);
    drop(one);
    eventually("the place comes back", async || {
        let answer = user.request("GET", &path).send().await.unwrap();
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_of_the_service_ends_streams_at_once_and_the_next_start_goes_on() {
    let mut app = TestApp::with_agent("drain_seconds = 30", ECHO).await;
    let user = app.v3();
    let session = user.open("One.").await;
    session.until_waiting().await;
    let mut events = user.events(&session.path("/events"), None).await;
    let seen = events.until(|event| event.stands_at("running/waiting_for_user")).await;
    let asked = Instant::now();
    assert!(app.terminate().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(events.next().await, None, "the stream is ended in order, not cut");
    app.start_again().await;
    session.say("Two.").await;
    let rest = user.events(&session.path(IDLE), Some(seen.last().unwrap().id)).await.rest().await;
    assert_eq!(rest[0].id, seen.last().unwrap().id + 1);
    assert!(rest.iter().any(|event| event.data["message"] == "Two."), "{rest:#?}");
}

#[tokio::test]
async fn a_reader_who_does_not_read_costs_no_memory_and_holds_up_nobody() {
    // Each answer has a megabyte, so a few of them fill every buffer between.
    let app = TestApp::with_agent("", "head -c 1000000 /dev/zero | tr '\\0' x; echo").await;
    let user = app.v3();
    let session = user.open("One.").await;
    session.until_waiting().await;
    for turn in 0..8 {
        session.say(&format!("Turn {turn}.")).await;
        session.until_waiting().await;
    }
    let before = resident(&app);
    let mut idle = Vec::new();
    for _ in 0..24 {
        idle.push(user.events(&session.path("/events"), None).await);
    }
    let all = user.events(&session.path(IDLE), None).await.rest().await;
    assert!(
        all.iter().filter(|event| event.data["message"].as_str().is_some_and(|m| m.len() > 900_000)).count()
            >= 9
    );
    // Twenty-four readers with nine messages each: 216 MB, if they were kept.
    let grown = resident(&app).saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB more", grown >> 20);
}

/// Bytes of memory that the service holds.
fn resident(app: &TestApp) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", app.pid())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
