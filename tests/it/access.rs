//! Every route against every kind of caller: who may, who may not, and that those who may not
//! learn nothing, not even whether what they name is there.

mod routes;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::routes::{Api, Ids, Role, Route, routes};
use crate::support::*;

/// Words that stand in the one organisation's session and file and must reach nobody outside.
const SECRETS: [&str; 4] = ["secret-title", "secret-prompt", "secret-tag", "secret-bytes"];

/// A service whose agent is done at once: it is the access that is tested, not the work.
async fn service() -> TestApp {
    TestApp::builder().config("[agents.idle]\nprogram = \"/bin/true\"").start().await
}

/// A session with a file in the first organisation.
async fn furnish(app: &TestApp) -> Ids {
    let owner = app.v3();
    let attachment = owner.upload("secret.txt", "secret-bytes").await;
    let asked = json!({ "prompt": "secret-prompt", "title": "secret-title", "tags": ["secret-tag"],
                        "attachment_urls": [attachment.url] });
    let session = owner.post(&owner.in_org("/sessions"), &asked).await;
    let session = session.expect(200).json()["session_id"].as_str().unwrap().to_owned();
    Ids { org: app.org().to_owned(), session, attachment: attachment.id }
}

/// Ids that name nothing, of the same form.
fn unknown() -> Ids {
    let id = || uuid::Uuid::new_v4();
    Ids {
        org: format!("org-{}", id().simple()),
        session: format!("devin-{}", id().simple()),
        attachment: id().to_string(),
    }
}

/// Everything of an answer but its date, with the request's ids taken out.
fn seen(answer: &Answer, ids: &Ids) -> (u16, Vec<(String, String)>, String) {
    let bare = |text: &str| {
        let ids = [(&ids.org, "ORG"), (&ids.session, "SESSION"), (&ids.attachment, "ATTACHMENT")];
        ids.into_iter().fold(text.to_owned(), |text, (id, word)| text.replace(id.as_str(), word))
    };
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), bare(value.to_str().unwrap())))
        .collect();
    headers.sort();
    (answer.status, headers, bare(&answer.text()))
}

#[test]
fn the_table_has_a_row_for_every_operation_of_the_documents() {
    let mut documented = BTreeSet::new();
    for document in [satchel::documents::v1(), satchel::documents::v3()] {
        for (path, item) in json!(document)["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let tested: BTreeSet<_> =
        routes().into_iter().map(|route| (route.method.to_owned(), route.path)).collect();
    let missing: Vec<_> = documented.difference(&tested).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[tokio::test]
async fn within_an_organisation_the_role_decides() {
    let app = service().await;
    let of_role = async |role| app.key(&["--kind", "service-user", "--role", role]).await;
    let callers = [
        (Role::V1, app.v1()),
        (Role::V1, app.v1_service()),
        (Role::OrgAdmin, app.v3()),
        (Role::OrgMember, of_role("org_member").await),
        (Role::AccountMember, of_role("account_member").await),
        (Role::AccountAdmin, of_role("account_admin").await),
    ];
    let untouched = furnish(&app).await;
    for route in routes() {
        for (role, caller) in &callers {
            let expected = route.status_for(*role);
            // What is allowed may change something, and is done to a session and file of its own.
            let own = expected == 200 && (route.names_a_session() || route.names_an_attachment());
            let ids = if own { furnish(&app).await } else { untouched.clone() };
            let answer = route.send(caller, &ids, true).await;
            assert_eq!(
                answer.status,
                expected,
                "{} {} as {role:?}: {}",
                route.method,
                route.path,
                answer.text()
            );
            if expected != 200 {
                assert_secret(&answer, &route, "who may not");
            }
        }
    }
    assert_untouched(&app, &untouched).await;
}

#[tokio::test]
async fn without_a_good_key_every_route_answers_401_and_does_nothing() {
    let app = service().await;
    let ids = furnish(&app).await;
    let mut callers = vec![("no key", app.nobody()), ("nonsense", app.bearer("nonsense"))];
    for kind in ["personal", "service-user"] {
        let revoked = app.key(&["--kind", kind]).await;
        app.revoke(&revoked).await;
        callers.push(("revoked", revoked));
        callers.push(("expired", app.expired_key(kind).await));
        let key = app.key(&["--kind", kind]).await.key.unwrap();
        callers.push(("mistyped", app.bearer(&format!("{}!", &key[..key.len() - 1]))));
    }
    let before = app.count("SELECT COUNT(*) FROM audit_logs").await;
    for route in routes() {
        for (what, caller) in &callers {
            let answer = route.send(caller, &ids, true).await;
            assert_eq!(answer.status, 401, "{} {}, {what}: {}", route.method, route.path, answer.text());
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            let nothing = unknown();
            let other = route.send(caller, &nothing, false).await;
            assert_eq!(
                seen(&answer, &ids),
                seen(&other, &nothing),
                "{} {}, {what}",
                route.method,
                route.path
            );
        }
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM audit_logs").await, before);
    assert_untouched(&app, &ids).await;
}

#[tokio::test]
async fn what_is_foreign_is_answered_byte_for_byte_as_what_is_not_there() {
    let app = service().await;
    let theirs = furnish(&app).await;
    let org = app.other_org().await;
    let stranger_v1 = app.key(&["--kind", "personal", "--org", &org]).await;
    let stranger_v3 = app.key(&["--kind", "service-user", "--role", "org_admin", "--org", &org]).await;
    for route in routes() {
        let strangers = match route.api {
            Api::V1 => vec![&stranger_v1],
            Api::V3 => vec![&stranger_v3],
            Api::Either => vec![&stranger_v1, &stranger_v3],
        };
        for stranger in strangers {
            // Once with the foreign organisation in the path, once with the stranger's own.
            let orgs = [(theirs.org.clone(), unknown().org), (org.clone(), org.clone())];
            for (foreign_org, unknown_org) in orgs {
                let foreign = Ids { org: foreign_org, ..theirs.clone() };
                let nothing = Ids { org: unknown_org, ..unknown() };
                for well_formed in [true, false] {
                    let one = route.send(stranger, &foreign, well_formed).await;
                    let other = route.send(stranger, &nothing, well_formed).await;
                    let what = format!("{} {}", route.method, route.path);
                    assert_secret(&one, &route, "a stranger");
                    let creates = route.method == "POST" && one.status == 200;
                    if !creates {
                        assert_eq!(seen(&one, &foreign), seen(&other, &nothing), "{what}");
                    }
                    let at_home = foreign.org == org || !route.names_an_org();
                    let expected = match () {
                        () if route.wants == routes::Wants::ViewAccount => 403,
                        () if !at_home => 403,
                        () if route.sends != routes::Sends::Nothing && !well_formed => 422,
                        () if route.names_a_session() || route.names_an_attachment() => 404,
                        () => 200,
                    };
                    assert_eq!(one.status, expected, "{what}: {}", one.text());
                }
            }
        }
    }
    assert_untouched(&app, &theirs).await;
}

/// Who may see every organisation's sessions finds each only under its own organisation.
#[tokio::test]
async fn a_session_is_found_only_under_its_own_organisation() {
    let app = service().await;
    let theirs = furnish(&app).await;
    let org = app.other_org().await;
    let admin = app.key(&["--kind", "service-user", "--role", "account_admin"]).await;
    for route in routes() {
        let names_something = route.names_a_session() || route.names_an_attachment();
        if route.api != Api::V3 || !names_something || route.status_for(Role::AccountAdmin) != 200 {
            continue;
        }
        let misplaced = Ids { org: org.clone(), ..theirs.clone() };
        let nothing = Ids { org: org.clone(), ..unknown() };
        let one = route.send(&admin, &misplaced, true).await;
        let other = route.send(&admin, &nothing, true).await;
        assert_eq!(one.status, 404, "{} {}: {}", route.method, route.path, one.text());
        assert_eq!(seen(&one, &misplaced), seen(&other, &nothing), "{} {}", route.method, route.path);
    }
    assert_untouched(&app, &theirs).await;
}

#[tokio::test]
async fn lists_and_filters_show_a_stranger_nothing() {
    let app = service().await;
    let theirs = furnish(&app).await;
    let org = app.other_org().await;
    let stranger_v1 = app.key(&["--kind", "personal", "--org", &org]).await;
    let stranger_v3 = app.key(&["--kind", "service-user", "--role", "org_admin", "--org", &org]).await;
    for query in ["", "?tags=secret-tag", "?limit=1000"] {
        let listed = stranger_v1.get(&format!("/v1/sessions{query}")).await;
        assert_eq!(listed.expect(200).json(), json!({ "sessions": [] }), "{query}");
    }
    for query in ["".to_owned(), "?tags=secret-tag".to_owned(), format!("?session_ids={}", theirs.session)] {
        let listed = stranger_v3.get(&stranger_v3.in_org(&format!("/sessions{query}"))).await;
        let page = listed.expect(200).json();
        assert_eq!((&page["items"], &page["has_next_page"]), (&json!([]), &json!(false)), "{query}");
    }
}

#[tokio::test]
async fn the_page_of_a_session_is_the_same_whether_or_not_the_session_is_there() {
    let app = service().await;
    let (there, not_there) = (furnish(&app).await, unknown());
    let page = async |ids: &Ids| app.nobody().get(&format!("/sessions/{}", ids.session)).await;
    let (one, other) = (page(&there).await, page(&not_there).await);
    assert_eq!(seen(one.expect(200), &there), seen(&other, &not_there));
}

#[tokio::test]
async fn what_is_no_path_of_the_service_is_a_404_with_and_without_a_key() {
    let app = TestApp::start().await;
    for user in [app.nobody(), app.v1(), app.v3()] {
        assert_eq!(user.get("/v1/nowhere").await.expect(404).json(), json!({ "detail": "Not Found" }));
        let problem = user.get("/v3/nowhere").await;
        let expected = json!({ "type": "about:blank", "title": "Not Found", "status": 404,
                               "detail": "Not Found", "instance": "/v3/nowhere" });
        assert_eq!(problem.expect(404).json(), expected);
        assert_eq!(problem.header("content-type"), "application/problem+json");
        user.put("/v1/attachments", &Value::Null).await.expect(405);
    }
}

#[track_caller]
fn assert_secret(answer: &Answer, route: &Route, who: &str) {
    for secret in SECRETS {
        let told = format!("{:?} {}", answer.headers, answer.text());
        assert!(!told.contains(secret), "{} {} tells {who}: {told}", route.method, route.path);
    }
}

/// The session and the file are as they were made.
async fn assert_untouched(app: &TestApp, ids: &Ids) {
    let owner = app.v3();
    let session = owner.get(&owner.in_org(&format!("/sessions/{}", ids.session))).await.expect(200).json();
    assert_eq!((&session["tags"], &session["is_archived"]), (&json!(["secret-tag"]), &json!(false)));
    assert_ne!(session["status"], "exit");
    let path = format!("/sessions/{}/messages", ids.session);
    let messages = owner.get(&owner.in_org(&path)).await.expect(200).json();
    let from_users = messages["items"].as_array().unwrap().iter().filter(|m| m["source"] == "user").count();
    assert_eq!(from_users, 1, "{messages}");
    let file = owner.get(&format!("/attachments/{}/x", ids.attachment)).await;
    assert_eq!(file.expect(200).text(), "secret-bytes");
}
