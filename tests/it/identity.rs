//! Who one is and how long: keys good, mistyped, expired, revoked; what is recorded of their use.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_service_user_is_told_who_it_is() {
    let app = TestApp::start().await;
    let expected = json!({
        "principal_type": "service_user", "service_user_id": app.first_run()["service_user_id"],
        "service_user_name": "first service user", "org_id": app.org(),
    });
    assert_eq!(app.v3().get("/v3/self").await.expect(200).json(), expected);

    let admin = app.key(&["--kind", "service-user", "--role", "account_admin", "--name", "root"]).await;
    let me = admin.get("/v3/self").await.expect(200).json();
    assert_eq!(me["service_user_name"], "root");
    assert_eq!(me["org_id"], json!(null), "an enterprise role has no home organisation");
}

#[tokio::test]
async fn a_v1_key_is_told_that_it_is_good_and_where() {
    let app = TestApp::start().await;
    for user in [app.v1(), app.v1_service()] {
        let answer = user.get("/v1/auth_status").await;
        assert_eq!(answer.expect(200).json(), json!({ "status": "authenticated", "org_id": app.org() }));
    }
}

#[tokio::test]
async fn a_key_of_the_other_api_is_told_which_kind_is_wanted() {
    let app = TestApp::start().await;
    let answer = app.v3().get("/v1/auth_status").await;
    assert!(answer.expect(403).detail().contains("v1 key (apk_user_"), "{}", answer.text());
    for user in [app.v1(), app.v1_service()] {
        let answer = user.get("/v3/self").await;
        assert!(answer.expect(403).detail().contains("cog_"), "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn whatever_is_no_good_key_gets_one_and_the_same_401() {
    let app = TestApp::start().await;
    let key = app.v1().key.unwrap();
    let flipped = if key.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{}{flipped}", &key[..key.len() - 1]);
    let unknown = satchel::identity::PlainKey::generate(satchel::identity::KeyKind::Personal).unwrap();
    let revoked = app.key(&["--kind", "personal"]).await;
    app.revoke(&revoked).await;
    let expired = app.expired_key("personal").await;

    let expected = app.bearer("nonsense").get("/v1/auth_status").await;
    assert_eq!(expected.expect(401).header("www-authenticate"), "Bearer");
    for (what, user) in [
        ("mistyped", app.bearer(&mistyped)),
        ("unknown", app.bearer(unknown.reveal())),
        ("cut off", app.bearer(&key[..20])),
        ("revoked", revoked),
        ("expired", expired),
    ] {
        let answer = user.get("/v1/auth_status").await;
        assert_eq!(answer.expect(401).body, expected.body, "{what}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case_and_nothing_else() {
    let app = TestApp::start().await;
    let key = app.v1().key.unwrap();
    for (header, status) in [
        (format!("bearer {key}"), 200),
        (format!("BEARER {key}"), 200),
        (format!("Basic {key}"), 401),
        (key, 401),
        ("Bearer ".to_owned(), 401),
    ] {
        let answer = app.nobody().get_with("/v1/auth_status", "Authorization", &header).await;
        assert_eq!(answer.status, status);
    }
    let answer = app.nobody().get("/v1/auth_status").await;
    assert!(answer.expect(401).detail().starts_with("Missing credential"), "{}", answer.text());
}

#[tokio::test]
async fn a_key_is_good_until_it_expires() {
    let app = TestApp::start().await;
    let user = app.key(&["--kind", "service-user", "--expires-in-seconds", "8"]).await;
    user.get("/v3/self").await.expect(200);
    let refused = eventually("the key expires", async || {
        Some(user.get("/v3/self").await).filter(|answer| answer.status != 200)
    })
    .await;
    refused.expect(401);
}

/// The key is in use all the time, so the running server remembers it as good.
#[tokio::test]
async fn a_key_revoked_beside_the_running_server_is_refused_within_two_seconds() {
    let app = TestApp::start().await;
    for kind in ["personal", "service", "service-user"] {
        let user = app.key(&["--kind", kind]).await;
        let path = if user.is_v3() { "/v3/self" } else { "/v1/auth_status" };
        user.get(path).await.expect(200);
        app.revoke(&user).await;
        let revoked = Instant::now();
        let refused = eventually("the key is refused", async || {
            let asked = revoked.elapsed();
            let answer = user.get(path).await;
            assert!(answer.status != 200 || asked < Duration::from_secs(2), "still good after {asked:?}");
            Some(answer).filter(|answer| answer.status != 200)
        })
        .await;
        refused.expect(401);
    }
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted() {
    let app = TestApp::start().await;
    let user = app.key(&["--kind", "personal"]).await;
    let last_use = async || {
        let keys = app.cli(&["keys", "list", "--json"]).await.json();
        let keys = keys.as_array().unwrap();
        keys.iter().find(|key| key["id"] == user.key_id).unwrap()["last_used_at"].clone()
    };
    assert_eq!(last_use().await, json!(null));
    let before = satchel::clock::now().iso8601();
    user.get("/v1/auth_status").await.expect(200);
    let noted = eventually("the use is noted", async || last_use().await.as_str().map(str::to_owned)).await;
    assert!(noted >= before, "{noted} {before}");
}

#[tokio::test]
async fn every_request_that_changes_something_leaves_an_audit_row() {
    let app = TestApp::start().await;
    let robot = app.key(&["--kind", "service-user", "--role", "org_admin"]).await;
    let me = robot.get("/v3/self").await.json()["service_user_id"].clone();
    let uploaded = robot.upload("data.csv", "a,b\n").await;
    let created = robot.post(&robot.in_org("/sessions"), &json!({ "prompt": "Hello." })).await;
    let session = created.expect(200).json()["session_id"].as_str().unwrap().to_owned();
    let one = robot.in_org(&format!("/sessions/{session}"));
    robot.post(&format!("{one}/messages"), &json!({ "message": "More." })).await.expect(200);
    robot.put(&format!("{one}/tags"), &json!({ "tags": ["a"] })).await.expect(200);
    robot.post(&format!("{one}/archive"), &json!({})).await.expect(200);
    robot.delete(&one).await.expect(200);
    robot.delete(&uploaded.url).await.expect(200);

    let rows = app.rows("SELECT * FROM audit_logs WHERE key_id IS NOT NULL ORDER BY created_at, id").await;
    let acts: Vec<_> = rows.iter().map(|row| (row["action"].as_str().unwrap(), &row["subject"])).collect();
    let (file, session) = (json!(uploaded.id), json!(session));
    let expected = [
        ("attachment.create", &file),
        ("session.create", &session),
        ("session.message", &session),
        ("session.tag", &session),
        ("session.archive", &session),
        ("session.terminate", &session),
        ("attachment.delete", &file),
    ];
    assert_eq!(acts, expected);
    for row in &rows {
        assert_eq!(row["org_id"], app.org());
        assert_eq!(row["principal_id"], me);
        assert_eq!(row["key_id"], robot.key_id);
        assert_eq!(row["address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn what_the_operator_does_leaves_an_audit_row_too() {
    let app = TestApp::start().await;
    let other = app.other_org().await;
    let user = app.key(&["--kind", "personal", "--org", &other]).await;
    app.revoke(&user).await;
    let rows = app
        .rows("SELECT action, subject, principal_id FROM audit_logs ORDER BY created_at DESC LIMIT 3")
        .await;
    let row = |action, subject| json!({ "action": action, "subject": subject, "principal_id": null });
    let expected = [
        row("key.revoke", &user.key_id),
        row("key.create", &user.key_id),
        row("organization.create", &other),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn requests_that_are_refused_leave_no_audit_row() {
    let app = TestApp::start().await;
    let before = app.count("SELECT COUNT(*) FROM audit_logs").await;
    app.nobody().try_upload("data.csv", "x").await.expect(401);
    app.v1().delete("/attachments/00000000-0000-4000-8000-000000000000/x").await.expect(404);
    app.v3().post("/v3/organizations/org-x/sessions", &json!({ "prompt": "x" })).await.expect(403);
    assert_eq!(app.count("SELECT COUNT(*) FROM audit_logs").await, before);
}

#[tokio::test]
async fn the_forwarded_address_counts_only_from_a_trusted_proxy() {
    for (config, expected) in [("", "127.0.0.1"), ("trusted_proxies = [\"127.0.0.0/8\"]", "203.0.113.7")] {
        let app = TestApp::builder().config(config).start().await;
        let ada = app.v1();
        let uploaded = ada.upload("data.csv", "x").await;
        let request =
            ada.request("DELETE", &uploaded.url).header("X-Forwarded-For", "198.51.100.1, 203.0.113.7");
        Answer::to(request).await.expect(200);
        let rows = app.rows("SELECT address FROM audit_logs WHERE action = 'attachment.delete'").await;
        assert_eq!(rows, [json!({ "address": expected })]);
    }
}

/// Keys are shown when they are made and kept as hashes; prompts and files' bytes stay out of the log.
#[tokio::test]
async fn no_key_is_found_in_the_log_or_on_the_disk() {
    let mut app = TestApp::builder().config("log = \"debug\"").start().await;
    let (ada, robot) = (app.v1(), app.v3());
    let extra = app.key(&["--kind", "service"]).await;
    for user in [&ada, &robot, &extra] {
        let uploaded = user.upload("data.csv", "a,b\n").await;
        user.get(&uploaded.url).await.expect(200);
        user.post("/v1/sessions", &json!({ "prompt": "Hello." })).await;
        user.get("/v1/nowhere").await.expect(404);
    }
    app.bearer(&format!("{}x", ada.key.as_ref().unwrap())).get("/v1/auth_status").await.expect(401);
    let log = app.log() + &app.stdout();
    app.terminate().await;

    let first_run = app.data().join("first-run.json");
    let mut files = vec![("the log".into(), log.into_bytes())];
    let mut folders = vec![app.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() || path == first_run {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    assert!(files.iter().any(|(path, _)| path.ends_with("satchel.db")));
    for user in [&ada, &robot, &extra] {
        let secret = user.key.as_ref().unwrap();
        let random = &secret[secret.len() - 49..secret.len() - 6];
        for (path, bytes) in &files {
            assert!(
                memchr::memmem::find(bytes, random.as_bytes()).is_none(),
                "a key is in {}",
                path.display()
            );
        }
    }
}
