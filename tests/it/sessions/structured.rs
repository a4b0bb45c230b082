//! Structured output: asked for with a schema, handed over in a file or by the tool server, judged by
//! the service, shown in both versions.

use serde_json::{Value, json};

use crate::support::sessions::{ECHO, Session, agent};
use crate::support::{Answer, TestApp, User};

fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["total"],
        "properties": { "total": { "type": "integer" }, "rows": { "type": "array", "items": { "$ref": "#/definitions/row" } } },
        "definitions": { "row": { "type": "object", "required": ["name"] } }
    })
}

fn asking(required: Option<bool>) -> Value {
    let mut body = json!({ "prompt": "Add it up.", "structured_output_schema": schema() });
    if let Some(required) = required {
        body["structured_output_required"] = json!(required);
    }
    body
}

/// A script that writes this text as the structured output.
fn giving(text: &str) -> String {
    format!("printf %s '{text}' > structured_output.json; echo done")
}

/// The session as it is read and as it is listed.
async fn shown(session: &Session) -> (Value, Value) {
    let list = session.user.get(&session.user.sessions_path("")).await.expect(200).json();
    let listed = list["items"].as_array().or(list["sessions"].as_array()).unwrap();
    let listed = listed.iter().find(|item| item["session_id"] == session.id.as_str()).unwrap();
    (session.get().await["structured_output"].clone(), listed["structured_output"].clone())
}

async fn in_both(app: &TestApp) -> [User; 2] {
    [app.v1(), app.v3()]
}

fn finished(user: &User) -> &'static str {
    if user.is_v3() { "running/finished" } else { "finished" }
}

#[tokio::test]
async fn a_commands_valid_file_finishes_the_session_and_is_shown() {
    let output = json!({ "total": 3, "rows": [{ "name": "a" }] });
    let app = TestApp::with_agent("", &format!("cat; {}", giving(&output.to_string()))).await;
    for user in in_both(&app).await {
        let session = user.open_with(&asking(None)).await;
        assert_eq!(session.created["notices"], json!([]), "the field has an effect");
        session.until(finished(&user)).await;
        assert_eq!(shown(&session).await, (output.clone(), output.clone()));
        let said = session.answers().await;
        assert!(
            said[0].contains("structured_output.json")
                && said[0].contains("attachments/structured_output.schema.json")
        );
        let lies =
            std::fs::read(app.folder(&session).join("attachments/structured_output.schema.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&lies).unwrap(), schema());
        assert!(!app.workspace(&session).join("structured_output.json").exists(), "it was taken");
        session.say("again").await;
        session.until(finished(&user)).await;
    }
}

#[tokio::test]
async fn one_with_faults_is_named_with_their_places_and_not_kept() {
    for (given, said) in [
        (r#"{"total": "3"}"#, "- at `/total`: \"3\" is not of type \"integer\""),
        (r#"{"total": 1, "rows": [{}]}"#, "- at `/rows/0`: \"name\" is a required property"),
        ("{", "it is not JSON"),
    ] {
        let app = TestApp::with_agent("", &giving(given)).await;
        let session = app.v3().open_with(&asking(Some(true))).await;
        session.until_waiting().await;
        let answers = session.answers().await;
        assert!(
            answers.iter().any(|text| text.contains("was not taken") && text.contains(said)),
            "{answers:#?}"
        );
        assert!(answers.last().unwrap().contains("requires structured output"), "{answers:#?}");
        assert_eq!(shown(&session).await, (Value::Null, Value::Null));
        assert!(app.workspace(&session).join("structured_output.json").exists(), "it is left to be mended");
    }
}

#[tokio::test]
async fn only_a_session_that_requires_it_says_that_it_is_missing() {
    let app = TestApp::with_agent("", "echo done").await;
    for (required, messages) in [(Some(true), 2), (Some(false), 1), (None, 1)] {
        let session = app.v3().open_with(&asking(required)).await;
        session.until_waiting().await;
        assert_eq!(session.answers().await.len(), messages, "{required:?}");
    }
    let plain = app.v3().open("hello").await;
    plain.until_waiting().await;
    assert!(!app.folder(&plain).join("attachments/structured_output.schema.json").exists());
}

#[tokio::test]
async fn what_an_agent_puts_in_its_place_is_not_followed_nor_waited_for() {
    for (script, said) in [
        ("ln -s /etc/passwd structured_output.json", "could not be read"),
        ("mkfifo structured_output.json", "not a regular file"),
        ("mkdir structured_output.json", "not a regular file"),
        ("echo 1 > a; ln a structured_output.json", "not a regular file"),
        ("head -c 1100000 /dev/zero > structured_output.json", "more than 1048576 bytes"),
        (
            "{ printf '{\"total\":4,\"x\":[0'; yes ,1e15 | head -n 100000; printf ']}'; } > structured_output.json",
            "more than 1048576 bytes, its numbers written out",
        ),
        ("ln -s /etc $HOME/.satchel", "could not be read"),
    ] {
        let app = TestApp::with_agent("", &format!("{script}; echo done")).await;
        let session = app.v3().open_with(&asking(None)).await;
        session.until_waiting().await;
        let last = session.answers().await.pop().unwrap();
        assert!(last.contains("was not taken") && last.contains(said), "{script}: {last}");
        assert!(!last.contains("root:"), "{last}");
    }
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_with_the_place() {
    let app = TestApp::with_agent("", ECHO).await;
    let at = |answer: &Answer| answer.expect(422).json()["detail"][0].clone();
    for user in in_both(&app).await {
        for (schema, place, said) in [
            (json!({"properties": {"a": {"type": "strin"}}}), json!(["properties", "a", "type"]), "strin"),
            (
                json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
                json!(["$schema"]),
                "not draft 7",
            ),
            (json!({"items": {"$ref": "http://127.0.0.1:1/x"}}), json!([]), "none is ever fetched"),
        ] {
            let fault =
                at(&user.try_open(&json!({ "prompt": "x", "structured_output_schema": schema })).await);
            let mut loc = vec![json!("body"), json!("structured_output_schema")];
            loc.extend(place.as_array().unwrap().clone());
            assert_eq!(fault["loc"], Value::from(loc));
            assert!(fault["msg"].as_str().unwrap().contains(said), "{fault}");
        }
        let large = json!({ "prompt": "x", "structured_output_schema": { "title": "x".repeat(65536) } });
        assert!(at(&user.try_open(&large).await)["msg"].as_str().unwrap().contains("at most 65536"));
    }
    let fault = at(&app.v3().try_open(&json!({ "prompt": "x", "structured_output_required": true })).await);
    assert_eq!(fault["loc"], json!(["body", "structured_output_required"]));
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn a_key_cannot_take_all_the_places_in_which_schemas_are_judged() {
    let app = TestApp::with_agent("", ECHO).await;
    let user = app.v3();
    let body = json!({ "prompt": "x", "structured_output_schema": { "type": "object" } });
    let answers = futures_util::future::join_all((0..64).map(|_| user.try_open(&body))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(answers.len() - refused.len() >= 8, "as many as may be are judged");
    assert!(!refused.is_empty(), "64 at once are too many");
    for answer in refused {
        assert!(answer.expect(429).detail().contains("at most 8 may be"), "{}", answer.text());
    }
    user.try_open(&body).await.expect(200);
}

#[tokio::test]
async fn a_schema_that_costs_any_amount_of_work_harms_nobody() {
    // Each level doubles the work: 2^60 steps for one value.
    let mut definitions = json!({ "d60": { "type": "integer" } });
    for level in 0..60 {
        let next = json!({ "$ref": format!("#/definitions/d{}", level + 1) });
        let member = json!({ "anyOf": [{ "allOf": [next.clone(), { "type": "string" }] }, next] });
        definitions[format!("d{level}")] = member;
    }
    let schema = json!({ "$ref": "#/definitions/d0", "definitions": definitions });
    let app = TestApp::with_agent("", &giving("\"x\"")).await;
    let body = json!({ "prompt": "x", "structured_output_schema": schema });
    let answer = app.v3().try_open(&body).await;
    if answer.status == 200 {
        let id = answer.json()["session_id"].as_str().unwrap().to_owned();
        let session = Session { user: app.v3(), id, created: answer.json() };
        session.until_waiting().await;
        let last = session.answers().await.pop().unwrap();
        assert!(last.contains("could not be judged"), "{last}");
    } else {
        assert!(answer.expect(422).text().contains("cannot be read within"), "{}", answer.text());
    }
    app.v1().get("/v1/auth_status").await.expect(200);
}

#[tokio::test]
async fn the_tool_server_in_the_agents_containment_hands_an_output_over() {
    let program = env!("CARGO_BIN_EXE_satchel");
    // What an agent would say to the server that it starts: a bad output, then a good one.
    let call = |id: u32, output: Value, is_final: bool| {
        let params = json!({ "name": "provide_structured_output", "arguments": { "output": output, "is_final": is_final } });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
    };
    let server = format!(
        "{program} structured-output attachments/structured_output.schema.json $HOME/.satchel/structured_output.json"
    );
    for is_final in [false, true] {
        let said = [call(1, json!({ "total": "3" }), is_final), call(2, json!({ "total": 4 }), is_final)]
            .join("\\n");
        let script = format!("printf '{said}\\n' | {server}");
        let keys = format!("read_paths = [{program:?}]");
        let app = TestApp::builder().config(&agent(&script, &keys)).start().await;
        let session = app.v3().open_with(&asking(Some(true))).await;
        session.until(if is_final { "running/finished" } else { "running/waiting_for_user" }).await;
        assert_eq!(shown(&session).await.0, json!({ "total": 4 }));
        let answer = session.answers().await.remove(0);
        assert!(answer.contains("/total") && answer.contains(r#""isError":true"#), "{answer}");
        assert!(answer.contains(r#""isError":false"#), "{answer}");
    }
}

#[tokio::test]
async fn what_the_tool_server_would_not_have_written_is_judged_all_the_same() {
    let forged = r#"{"output": {"total": "x"}, "is_final": true}"#;
    let script =
        format!("mkdir $HOME/.satchel; echo '{forged}' > $HOME/.satchel/structured_output.json; echo done");
    let app = TestApp::with_agent("", &script).await;
    let session = app.v3().open_with(&asking(None)).await;
    session.until_waiting().await;
    assert!(session.answers().await.pop().unwrap().contains("- at `/total`"));
    assert_eq!(shown(&session).await.0, Value::Null);
}

#[tokio::test]
async fn a_large_output_is_read_whole_and_left_out_of_lists() {
    let script = "printf '{\"total\": 1, \"x\": \"%s\"}' $(head -c 20000 /dev/zero | tr '\\0' a) > structured_output.json";
    let app = TestApp::with_agent("", script).await;
    for user in in_both(&app).await {
        let session = user.open_with(&asking(None)).await;
        session.until(finished(&user)).await;
        let (read, listed) = shown(&session).await;
        assert_eq!((read["x"].as_str().unwrap().len(), listed), (20000, Value::Null));
    }
}

#[tokio::test]
async fn a_finished_session_is_suspended_like_one_that_waits_and_takes_messages() {
    let app = TestApp::with_agent("idle_limit_seconds = 1", &giving(r#"{"total": 1}"#)).await;
    let session = app.v3().open_with(&asking(None)).await;
    session.until("suspended/inactivity").await;
    assert_eq!(shown(&session).await.0, json!({ "total": 1 }));
    session.say("again").await;
    session.until("running/finished").await;
}

/// The configuration of an ACP agent that plays a script.
fn scripted(script: &str) -> String {
    let service = std::path::PathBuf::from(env!("CARGO_BIN_EXE_satchel"));
    let program = service.parent().unwrap().join("examples/scripted_agent");
    format!("[agents.scripted]\nkind = \"acp\"\nprogram = {program:?}\nargs = [{script:?}, \"x\"]\n")
}

#[tokio::test]
async fn an_acp_agent_is_handed_the_tool_server_and_uses_it() {
    for (script, standing) in [("tool", "running/waiting_for_user"), ("tool+final", "running/finished")] {
        let app = TestApp::builder().config(&scripted(script)).start().await;
        let session = app.v3().open_with(&asking(Some(true))).await;
        session.until(standing).await;
        assert_eq!(shown(&session).await.0, json!({ "total": 4 }));
        let said = session.answers().await.join("\n");
        assert!(said.contains("provide_structured_output") && said.contains("- at `/total`"), "{said}");
        let prompt = std::fs::read_to_string(app.workspace(&session).join("prompts")).unwrap();
        assert!(prompt.contains("the tool `provide_structured_output`"), "{prompt}");
        assert!(!prompt.contains("structured_output.json"), "{prompt}");
        session.say("go on").await;
        session.until(standing).await;
        let prompts = std::fs::read_to_string(app.workspace(&session).join("prompts")).unwrap();
        assert_eq!(prompts.matches("provide_structured_output").count(), 1, "it remembers: {prompts}");
    }
}

#[tokio::test]
async fn an_acp_agent_that_gives_none_is_asked_once() {
    for (script, standing, messages) in
        [("tool+when-asked+final", "running/finished", 0), ("good", "running/waiting_for_user", 1)]
    {
        let app = TestApp::builder().config(&scripted(script)).start().await;
        let session = app.v3().open_with(&asking(Some(true))).await;
        session.until(standing).await;
        let prompts = std::fs::read_to_string(app.workspace(&session).join("prompts")).unwrap();
        assert_eq!(prompts.matches("still missing").count(), 1, "{prompts}");
        let mut said = session.answers().await;
        said.retain(|text| text.contains("requires structured output"));
        assert_eq!(said.len(), messages, "{script}");
    }
    let app = TestApp::builder().config(&scripted("good")).start().await;
    let session = app.v3().open_with(&asking(Some(false))).await;
    session.until_waiting().await;
    let prompts = std::fs::read_to_string(app.workspace(&session).join("prompts")).unwrap();
    assert!(!prompts.contains("still missing"), "{prompts}");
}
