//! The endpoints over a real catalogue and real keys, without a worker: sessions stay `new`.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::middleware;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use utoipa::OpenApi as _;

use super::*;
use crate::attachments::Attachments;
use crate::attachments::reference::ServiceUrls;
use crate::blobs::Blobs;
use crate::db::Db;
use crate::http::problem::render;
use crate::id::{OrgId, SessionId};
use crate::identity::setup::{KeyOrder, create_key, create_org};
use crate::identity::{KeyKind, Role};
use crate::sessions::command::CommandProfile;
use crate::sessions::process::Supervisor;
use crate::sessions::sandbox::{Isolation, Network, Sandbox};
use crate::sessions::{AgentProfile, Settings};

const PUBLIC: &str = "https://files.example.org";

#[derive(Clone)]
struct State {
    sessions: Arc<Sessions>,
    identity: Arc<Identity>,
}

impl FromRef<State> for Arc<Sessions> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.sessions)
    }
}

impl FromRef<State> for Arc<Identity> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.identity)
    }
}

struct App {
    router: Router,
    db: Db,
    org: OrgId,
    _folder: tempfile::TempDir,
}

/// The attachments room of a test.
fn attachments(db: &Db, folder: &std::path::Path) -> Attachments {
    let blobs = Arc::new(Blobs::open(&folder.join("blobs"), 0).unwrap());
    let settings = crate::attachments::Settings {
        max_upload_bytes: 1 << 20,
        body_silence: std::time::Duration::from_secs(60),
        uploads_per_key: 8,
    };
    Attachments::new(db.clone(), blobs, ServiceUrls::new(PUBLIC, &[]).unwrap(), settings)
}

impl App {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("satchel.db")).await.unwrap();
        let org = create_org(&db, "Acme").await.unwrap().id;
        let none = Some(Isolation::None);
        let sandbox =
            Sandbox::probe(none, Network::Host, folder.path(), &Supervisor::default()).await.unwrap();
        let agent = AgentProfile::new(CommandProfile::new("true", "/bin/true"));
        let settings = Settings::new(agent, sandbox, folder.path().join("sessions"), PUBLIC);
        let room = Arc::new(attachments(&db, folder.path()));
        let state = State {
            sessions: Arc::new(Sessions::new(db.clone(), room, settings)),
            identity: Arc::new(Identity::new(db.clone(), 8, Vec::new())),
        };
        let router = routes::<State>().layer(middleware::from_fn(render)).with_state(state);
        Self { router, db, org, _folder: folder }
    }

    async fn key(&self, kind: KeyKind, role: Option<Role>, org: &OrgId) -> String {
        let order = KeyOrder {
            kind,
            name: "Ada".to_owned(),
            org: Some(org.clone()),
            role,
            email: (kind == KeyKind::Personal).then(|| "ada@example.org".to_owned()),
            expires_at: None,
        };
        create_key(&self.db, &order).await.unwrap().key.reveal().to_owned()
    }

    async fn person(&self) -> String {
        self.key(KeyKind::Personal, None, &self.org).await
    }

    async fn service_user(&self, role: Role) -> String {
        self.key(KeyKind::ServiceUser, Some(role), &self.org).await
    }

    /// Sends a request; `call` is a method and a path. Answers with the status and the JSON body.
    async fn ask(&self, key: &str, call: &str, body: Value) -> (u16, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .body(body)
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn v3(&self, method: &str, rest: &str) -> String {
        format!("{method} /v3/organizations/{}/sessions{rest}", self.org)
    }
}

#[tokio::test]
async fn a_v1_session_from_creation_to_its_end() {
    let app = App::start().await;
    let ada = app.person().await;
    let new = json!({"prompt": "Hello", "title": "T", "tags": ["a"], "playbook_id": "p", "typo": 1});
    let (status, created) = app.ask(&ada, "POST /v1/sessions", new).await;
    assert_eq!((status, &created["is_new_session"]), (200, &json!(true)), "{created}");
    let id = created["session_id"].as_str().unwrap().to_owned();
    assert_eq!(created["url"], format!("{PUBLIC}/sessions/{id}"));
    let reasons: Vec<_> = created["notices"].as_array().unwrap().iter().map(|n| &n["reason"]).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].as_str().unwrap().contains("`playbook_id`"));
    assert!(reasons[1].as_str().unwrap().contains("`typo`"));

    let (status, sent) = app
        .ask(&ada, &format!("POST /v1/session/{id}/message"), json!({"message": "more\nATTACHMENT: \"x\""}))
        .await;
    assert_eq!((status, &sent["detail"]), (200, &json!("Message sent successfully")));
    assert_eq!(sent["notices"][0]["line"], 2);

    let (_, got) = app.ask(&ada, &format!("GET /v1/session/{}", &id["devin-".len()..]), Value::Null).await;
    let types: Vec<_> = got["messages"].as_array().unwrap().iter().map(|m| m["type"].clone()).collect();
    let first = got["messages"][0].as_object().unwrap();
    assert_eq!(types[0], "initial_user_message");
    assert!(types.contains(&json!("user_message")) && types.contains(&json!("devin_message")));
    assert_eq!((&first["message"], &first["username"]), (&json!("Hello"), &json!("Ada")));
    assert_eq!((&got["status"], &got["status_enum"]), (&json!("new"), &json!("working")));
    assert_eq!((&got["playbook_id"], &got["title"]), (&json!("p"), &json!("T")));
    assert_eq!(got["requesting_user_email"], "ada@example.org");

    let tags = format!("PUT /v1/sessions/{id}/tags");
    let (_, said) = app.ask(&ada, &tags, json!({"tags": ["b", "b"]})).await;
    assert_eq!(said, json!({"detail": "Tags updated successfully"}));
    let (_, listed) = app.ask(&ada, "GET /v1/sessions?tags=b&limit=5", Value::Null).await;
    assert_eq!(listed["sessions"][0]["tags"], json!(["b"]));
    assert_eq!(
        app.ask(&ada, &format!("GET /v1/sessions/{id}/receipts"), Value::Null).await,
        (200, json!([]))
    );

    let delete = format!("DELETE /v1/sessions/{id}");
    let (_, said) = app.ask(&ada, &delete, Value::Null).await;
    assert_eq!(said, json!({"detail": "Session terminated successfully"}));
    assert_eq!(app.ask(&ada, &delete, Value::Null).await.0, 400);
    let (status, said) =
        app.ask(&ada, &format!("POST /v1/sessions/{id}/message"), json!({"message": "x"})).await;
    assert_eq!(status, 400);
    assert!(said["detail"].as_str().unwrap().contains("exit"));
}

#[tokio::test]
async fn an_equal_idempotent_request_gets_the_first_ones_session() {
    let app = App::start().await;
    let ada = app.person().await;
    let new = json!({"prompt": "once", "idempotent": true});
    let (_, one) = app.ask(&ada, "POST /v1/sessions", new.clone()).await;
    let (_, two) = app.ask(&ada, "POST /v1/sessions", new).await;
    let other = json!({"prompt": "twice", "idempotent": true});
    let (_, other) = app.ask(&ada, "POST /v1/sessions", other).await;
    assert_eq!((&one["session_id"], &two["is_new_session"]), (&two["session_id"], &json!(false)));
    assert_ne!(one["session_id"], other["session_id"]);
}

#[tokio::test]
async fn a_v3_session_from_creation_to_its_archive() {
    let app = App::start().await;
    let admin = app.service_user(Role::OrgAdmin).await;
    let new = json!({"prompt": "Hello", "devin_mode": "fast", "create_as_user_id": "user-1"});
    let (status, created) = app.ask(&admin, &app.v3("POST", ""), new).await;
    assert_eq!(status, 200, "{created}");
    let id = created["session_id"].as_str().unwrap().to_owned();
    assert!(created["service_user_id"].as_str().unwrap().starts_with("service-user-"));
    assert_eq!((&created["user_id"], &created["status"]), (&Value::Null, &json!("new")));
    assert!(created["created_at"].is_i64() && created["acus_consumed"].is_number());
    assert_eq!(created["notices"].as_array().unwrap().len(), 2);

    let one = |rest: &str| format!("/{id}{rest}");
    let (_, got) = app.ask(&admin, &app.v3("GET", &one("")), Value::Null).await;
    assert!(got.get("notices").is_none());
    let message = json!({"message": "more", "attachment_urls": null});
    assert_eq!(app.ask(&admin, &app.v3("POST", &one("/messages")), message).await.0, 200);
    let (_, page) = app.ask(&admin, &app.v3("GET", &one("/messages?first=1")), Value::Null).await;
    assert_eq!((&page["items"][0]["source"], &page["has_next_page"]), (&json!("user"), &json!(true)));
    let mut rest = 0;
    let mut after = page["end_cursor"].as_str().map(str::to_owned);
    while let Some(cursor) = after {
        let path = app.v3("GET", &one(&format!("/messages?first=1&after={cursor}")));
        let (_, page) = app.ask(&admin, &path, Value::Null).await;
        rest += page["items"].as_array().unwrap().len();
        after = page["end_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(page["total"], rest + 1);

    let tags = |method| app.v3(method, &one("/tags"));
    assert_eq!(app.ask(&admin, &tags("PUT"), json!({"tags": ["a"]})).await, (200, json!({"tags": ["a"]})));
    let both = json!({"tags": ["a", "b"]});
    assert_eq!(app.ask(&admin, &tags("POST"), json!({"tags": ["b"]})).await, (200, both.clone()));
    assert_eq!(app.ask(&admin, &tags("GET"), Value::Null).await, (200, both));
    let many: Vec<String> = (0..49).map(|i| format!("t{i}")).collect();
    assert_eq!(app.ask(&admin, &tags("POST"), json!({ "tags": many })).await.0, 422);

    for (path, expected) in [("/attachments", 200), ("/receipts", 200)] {
        assert_eq!(app.ask(&admin, &app.v3("GET", &one(path)), Value::Null).await, (expected, json!([])));
    }
    let (_, ended) = app.ask(&admin, &app.v3("DELETE", &one("?archive=true")), Value::Null).await;
    assert_eq!((&ended["status"], &ended["is_archived"]), (&json!("exit"), &json!(true)));
    assert_eq!(ended["status_detail"], "user_request");
    let listed = app.v3("GET", "?is_archived=true").replace("/v3/", "/v3beta1/");
    let (_, page) = app.ask(&admin, &listed, Value::Null).await;
    assert_eq!((&page["items"][0]["session_id"], &page["end_cursor"]), (&json!(id), &Value::Null));
    assert_eq!(app.ask(&admin, &app.v3("POST", &one("/archive")), Value::Null).await.0, 200);
}

#[tokio::test]
async fn what_is_foreign_looks_like_what_is_not_there() {
    let app = App::start().await;
    let ada = app.person().await;
    let (_, created) = app.ask(&ada, "POST /v1/sessions", json!({"prompt": "mine"})).await;
    let id = created["session_id"].as_str().unwrap();
    let other = create_org(&app.db, "Other").await.unwrap().id;
    let eve = app.key(KeyKind::Service, None, &other).await;
    let unknown = SessionId::new();
    for (method, rest, body) in [
        ("GET", "", Value::Null),
        ("DELETE", "", Value::Null),
        ("POST", "/message", json!({"message": "x"})),
        ("PUT", "/tags", json!({"tags": []})),
        ("GET", "/receipts", Value::Null),
    ] {
        let mut answers = Vec::new();
        for name in [id, unknown.as_str(), "devin-nonsense", "%ff"] {
            let call = format!("{method} /v1/sessions/{name}{rest}");
            answers.push(app.ask(&eve, &call, body.clone()).await);
        }
        let expected = (404, json!({"detail": "Session not found"}));
        assert!(answers.iter().all(|answer| *answer == expected), "{method} {rest}: {answers:?}");
    }
    assert_eq!(app.ask(&eve, "GET /v1/sessions", Value::Null).await.1, json!({"sessions": []}));
}

#[tokio::test]
async fn each_v3_call_wants_its_permission() {
    let app = App::start().await;
    let member = app.service_user(Role::OrgMember).await;
    let admin = app.service_user(Role::OrgAdmin).await;
    let account = app.service_user(Role::AccountAdmin).await;
    let (_, created) = app.ask(&member, &app.v3("POST", ""), json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().unwrap().to_owned();
    let calls = [
        ("POST", "", json!({"prompt": "x"}), [200, 200, 403]),
        ("POST", "", json!({"prompt": "x", "create_as_user_id": "u"}), [403, 200, 403]),
        ("GET", "", Value::Null, [200, 200, 200]),
        ("GET", "/{id}", Value::Null, [200, 200, 200]),
        ("GET", "/{id}/messages", Value::Null, [200, 200, 200]),
        ("POST", "/{id}/messages", json!({"message": "x"}), [200, 200, 200]),
        ("POST", "/{id}/messages", json!({"message": "x", "message_as_user_id": "u"}), [403, 200, 403]),
        ("GET", "/{id}/tags", Value::Null, [200, 200, 200]),
        ("POST", "/{id}/tags", json!({"tags": []}), [403, 200, 200]),
        ("PUT", "/{id}/tags", json!({"tags": []}), [403, 200, 200]),
        ("GET", "/{id}/attachments", Value::Null, [200, 200, 200]),
        ("GET", "/{id}/receipts", Value::Null, [200, 200, 200]),
        ("POST", "/{id}/archive", Value::Null, [403, 200, 200]),
    ];
    for (method, rest, body, expected) in calls {
        let call = app.v3(method, &rest.replace("{id}", &id));
        for (key, expected) in [&member, &admin, &account].into_iter().zip(expected) {
            let (status, answer) = app.ask(key, &call, body.clone()).await;
            assert_eq!(status, expected, "{call}: {answer}");
        }
    }
    let enterprise = format!("GET /v3/enterprise/sessions/{id}/attachments");
    let of_org = format!("{enterprise}?org_id={}", app.org);
    for (key, expected) in [(&member, 403), (&admin, 403), (&account, 200)] {
        assert_eq!(app.ask(key, &of_org, Value::Null).await.0, expected);
    }
    assert_eq!(app.ask(&account, &enterprise, Value::Null).await.0, 422);
    for org in [OrgId::new().as_str(), "acme"] {
        let call = format!("{enterprise}?org_id={org}");
        assert_eq!(app.ask(&account, &call, Value::Null).await.0, 404);
    }
}

#[tokio::test]
async fn the_permission_comes_before_the_faults_of_the_body() {
    let app = App::start().await;
    let member = app.service_user(Role::OrgMember).await;
    let mut answers = Vec::new();
    for org in [OrgId::new().as_str(), "acme", "%ff"] {
        let call = format!("POST /v3/organizations/{org}/sessions");
        let (status, mut answer) = app.ask(&member, &call, json!({"prompt": 1})).await;
        answer.as_object_mut().unwrap().remove("instance");
        answers.push((status, answer));
    }
    assert_eq!(answers[0].0, 403);
    assert_eq!(answers[0].1["detail"], "Missing required permission 'org.devins.use' on this organization");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let (status, answer) = app.ask(&member, &app.v3("POST", ""), json!({"prompt": 1})).await;
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", "prompt"])));
}

#[tokio::test]
async fn a_bad_reference_is_placed_in_the_member_that_carried_it() {
    let app = App::start().await;
    let member = app.service_user(Role::OrgMember).await;
    let url = format!("{PUBLIC}/attachments/{}/data.csv", crate::id::AttachmentId::new());
    let prompt = json!({"prompt": format!("look\nATTACHMENT:\"{url}\""), "attachment_urls": [url]});
    let (status, answer) = app.ask(&member, &app.v3("POST", ""), prompt).await;
    let locs: Vec<_> = answer["detail"].as_array().unwrap().iter().map(|e| e["loc"].clone()).collect();
    assert_eq!(status, 422);
    assert_eq!(locs, [json!(["body", "prompt", 2]), json!(["body", "attachment_urls", 0])]);
    let (_, created) = app.ask(&member, &app.v3("POST", ""), json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().unwrap();
    let message = json!({"message": format!("ATTACHMENT:\"{url}\"")});
    let (_, answer) = app.ask(&member, &app.v3("POST", &format!("/{id}/messages")), message).await;
    assert_eq!(answer["detail"][0]["loc"], json!(["body", "message", 1]));
    let (_, answer) = app.ask(&member, &app.v3("GET", "?after=rubbish"), Value::Null).await;
    assert_eq!(answer["detail"][0]["loc"], json!(["query", "after"]));
}

#[tokio::test]
async fn the_page_of_a_session_is_the_same_for_every_id() {
    let app = App::start().await;
    let mut pages = Vec::new();
    for id in [SessionId::new().as_str(), "nonsense"] {
        let request = Request::get(format!("/sessions/{id}")).body(Body::empty()).unwrap();
        let response = app.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("'none'"));
        pages.push(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap());
    }
    assert_eq!(pages[0], pages[1]);
}

#[test]
fn the_documents_hold_together() {
    for document in [V1Docs::openapi(), V3Docs::openapi()] {
        let document = serde_json::to_value(document).unwrap();
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not described");
        }
        let operations =
            || document["paths"].as_object().unwrap().values().flat_map(|p| p.as_object().unwrap().values());
        let ids: std::collections::HashSet<_> = operations().map(|o| o["operationId"].as_str()).collect();
        assert_eq!(ids.len(), operations().count());
        for operation in operations() {
            for status in ["200", "401", "403", "422", "429", "500"] {
                assert!(operation["responses"].get(status).is_some(), "{operation}");
            }
        }
    }
}
