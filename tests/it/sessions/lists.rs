//! Lists of sessions and of messages: pages and filters; tags.

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::sessions::ECHO;

fn ids(items: &Value) -> Vec<String> {
    let id = |item: &Value| item["session_id"].as_str().unwrap().to_owned();
    items.as_array().unwrap().iter().map(id).collect()
}

/// Five sessions, newest first, the last of which is archived.
async fn five(app: &TestApp) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..5 {
        let body = json!({ "prompt": "x", "title": number.to_string(), "tags": [format!("n{number}"), "all", "all"] });
        ids.push(app.v3().open_with(&body).await.id);
    }
    let user = app.v3();
    user.post(&user.sessions_path(&format!("/{}/archive", ids[0])), &json!({})).await.expect(200);
    ids.reverse();
    ids
}

#[tokio::test]
async fn pages_of_v3_hold_every_session_once_newest_first() {
    let app = TestApp::with_agent("", ECHO).await;
    let expected = five(&app).await;
    let user = app.v3();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = user.get(&user.sessions_path(&format!("?first=2{after}"))).await.expect(200).json();
        assert_eq!(page["total"], 5);
        found.extend(ids(&page["items"]));
        if page["has_next_page"] == false {
            assert!(page["end_cursor"].is_null());
            break;
        }
        after = format!("&after={}", page["end_cursor"].as_str().unwrap());
    }
    assert_eq!(found, expected);
    let bad = user.get(&user.sessions_path("?after=x")).await.expect(422).json();
    assert_eq!(bad["detail"][0]["loc"], json!(["query", "after"]));
}

#[tokio::test]
async fn pages_of_v1_have_a_limit_and_an_offset() {
    let app = TestApp::with_agent("", ECHO).await;
    let expected = five(&app).await;
    let user = app.v1();
    for (query, range) in [("", 0..5), ("?limit=2", 0..2), ("?limit=2&offset=3", 3..5), ("?offset=9", 0..0)] {
        let page = user.get(&format!("/v1/sessions{query}")).await.expect(200).json();
        assert_eq!(ids(&page["sessions"]), expected[range], "{query}");
    }
    for query in ["limit=0", "limit=1001", "offset=-1", "limit=x"] {
        user.get(&format!("/v1/sessions?{query}")).await.expect(422);
    }
}

#[tokio::test]
async fn every_filter_of_v3_lets_its_own_through() {
    let app = TestApp::with_agent("", ECHO).await;
    let all = five(&app).await;
    let user = app.v3();
    let newest = user.get(&user.sessions_path(&format!("/{}", all[0]))).await.json();
    let (at, by) = (newest["created_at"].as_i64().unwrap(), newest["service_user_id"].as_str().unwrap());
    let rows = [
        ("tags=n1&tags=n3&tags=x".to_owned(), 2),
        ("tags=al".to_owned(), 0),
        ("tags=all".to_owned(), 5),
        (format!("session_ids={}&session_ids={}", all[0], all[3]), 2),
        (format!("session_ids={}", all[0].trim_start_matches("devin-")), 1),
        ("session_ids=nonsense".to_owned(), 0),
        ("is_archived=true".to_owned(), 1),
        ("is_archived=false".to_owned(), 4),
        ("origins=slack".to_owned(), 0),
        ("origins=slack&origins=api".to_owned(), 5),
        ("created_after=1".to_owned(), 5),
        (format!("created_after={}", at + 1), 0),
        (format!("created_before={}", at + 1), 5),
        ("created_before=1".to_owned(), 0),
        ("updated_after=1".to_owned(), 5),
        ("updated_before=1".to_owned(), 0),
        (format!("service_user_ids={by}"), 5),
        ("service_user_ids=service-user-x".to_owned(), 0),
        ("user_ids=user-x".to_owned(), 0),
        ("is_archived=false&tags=n0".to_owned(), 0),
        ("no_such_parameter=1".to_owned(), 5),
    ];
    for (query, many) in rows {
        let page = user.get(&user.sessions_path(&format!("?{query}"))).await.expect(200).json();
        assert_eq!(
            (page["items"].as_array().unwrap().len(), &page["total"]),
            (many, &json!(many)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_filters_of_v1_let_their_own_through() {
    let app = TestApp::with_agent("", ECHO).await;
    let all = five(&app).await;
    let ada = app.key(&["--kind", "personal", "--email", "ada@example.org"]).await;
    let hers = ada.open("x").await;
    for (query, expected) in [
        ("tags=n4&tags=n0", vec![all[0].clone(), all[4].clone()]),
        ("tags=x", vec![]),
        ("user_email=ada%40example.org", vec![hers.id.clone()]),
        ("user_email=eve%40example.org", vec![]),
    ] {
        let page = ada.get(&format!("/v1/sessions?{query}")).await.expect(200).json();
        assert_eq!(ids(&page["sessions"]), expected, "{query}");
    }
    assert_eq!(hers.get().await["requesting_user_email"], "ada@example.org");
}

#[tokio::test]
async fn tags_are_added_replaced_and_bounded() {
    let app = TestApp::with_agent("", ECHO).await;
    let session = app.v3().open("hello").await;
    let (user, path) = (&session.user, session.path("/tags"));
    let tags = async |answer: crate::support::Answer| answer.expect(200).json()["tags"].clone();
    assert_eq!(tags(user.post(&path, &json!({ "tags": ["b", "a", "b"] })).await).await, json!(["b", "a"]));
    assert_eq!(tags(user.post(&path, &json!({ "tags": ["c", "a"] })).await).await, json!(["b", "a", "c"]));
    let many: Vec<String> = (0..48).map(|number| number.to_string()).collect();
    let refused = user.post(&path, &json!({ "tags": many })).await;
    assert!(refused.expect(422).text().contains("51 tags"), "{}", refused.text());
    assert_eq!(tags(user.put(&path, &json!({ "tags": ["z"] })).await).await, json!(["z"]));
    assert_eq!(tags(user.get(&path).await).await, json!(["z"]));

    let v1 = session.of(&app.v1());
    let answer = v1.user.put(&v1.path("/tags"), &json!({ "tags": ["y"] })).await;
    assert_eq!(answer.expect(200).detail(), "Tags updated successfully");
    assert_eq!(session.get().await["tags"], json!(["y"]));
}

#[tokio::test]
async fn messages_are_paged_oldest_first() {
    let app = TestApp::with_agent("", "echo answer").await;
    let session = app.v3().open("one").await;
    session.until_waiting().await;
    session.say("two").await;
    session.until_waiting().await;
    let page = session.user.get(&session.path("/messages?first=3")).await.expect(200).json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["total"]), (3, &json!(4)));
    assert_eq!(page["has_next_page"], true);
    let after = page["end_cursor"].as_str().unwrap();
    let rest = session.user.get(&session.path(&format!("/messages?first=3&after={after}"))).await.json();
    assert_eq!((&rest["has_next_page"], &rest["end_cursor"]), (&json!(false), &json!(null)));
    let all = page["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap());
    let all: Vec<_> = all.map(|item| json!([item["source"], item["message"]])).collect();
    let expected = [["user", "one"], ["devin", "answer"], ["user", "two"], ["devin", "answer"]];
    assert_eq!(all, expected.map(|pair| json!(pair)));
    session.user.get(&session.path("/messages?after=m-1")).await.expect(422);

    let messages = session.of(&app.v1()).get().await["messages"].clone();
    let kinds: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["type"]).collect();
    assert_eq!(kinds, ["initial_user_message", "devin_message", "user_message", "devin_message"]);
}

#[tokio::test]
async fn a_session_is_put_away_by_itself_or_with_its_end_and_listed_apart() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let (open, ended, both) = (user.open("a").await, user.open("b").await, user.open("c").await);
    for _ in 0..2 {
        let put_away = user.post(&open.path("/archive"), &json!({})).await.expect(200).json();
        assert_eq!(put_away["is_archived"], true, "twice is once");
    }
    open.until_waiting().await;
    let kept = user.delete(&ended.path("?archive=false")).await.expect(200).json();
    assert_eq!((&kept["status"], &kept["is_archived"]), (&json!("exit"), &json!(false)));
    let gone = user.delete(&both.path("?archive=true")).await.expect(200).json();
    assert_eq!((&gone["status"], &gone["is_archived"]), (&json!("exit"), &json!(true)));
    user.delete(&both.path("?archive=maybe")).await.expect(422);
    for (query, expected) in [("true", vec![both.id, open.id.clone()]), ("false", vec![ended.id])] {
        let page = user.get(&user.sessions_path(&format!("?is_archived={query}"))).await.expect(200).json();
        assert_eq!(ids(&page["items"]), expected, "{query}");
    }
    let member = app.key(&["--kind", "service-user", "--role", "org_member"]).await;
    member.post(&open.of(&member).path("/archive"), &json!({})).await.expect(403);
}

#[tokio::test]
async fn people_and_moments_of_change_select_sessions() {
    let app = TestApp::with_agent("", ECHO).await;
    let ada = app.key(&["--kind", "personal", "--email", "ada@example.org"]).await;
    let hers = ada.open("x").await;
    let theirs = app.v3().open("y").await;
    for session in [&hers, &theirs] {
        session.until_waiting().await;
    }
    let user = app.v3();
    let of_her = user.get(&user.sessions_path(&format!("/{}", hers.id))).await.expect(200).json();
    let (by, at) = (of_her["user_id"].as_str().unwrap(), of_her["updated_at"].as_i64().unwrap());
    for (query, expected) in [
        (format!("user_ids={by}"), vec![hers.id.clone()]),
        (format!("user_ids={by}&service_user_ids=service-user-x"), vec![hers.id.clone()]),
        (format!("user_ids={by}&updated_after={at}&updated_before={}", at + 1), vec![hers.id.clone()]),
        (format!("user_ids={by}&updated_before={at}"), vec![]),
        (format!("user_ids={by}&updated_after={}", at + 1), vec![]),
        (format!("user_ids={by}&tags=none"), vec![]),
    ] {
        let page = user.get(&user.sessions_path(&format!("?{query}"))).await.expect(200).json();
        assert_eq!(ids(&page["items"]), expected, "{query}");
    }
    for query in ["first=0", "first=201", "is_archived=2", "created_after=x"] {
        user.get(&user.sessions_path(&format!("?{query}"))).await.expect(422);
    }
}
