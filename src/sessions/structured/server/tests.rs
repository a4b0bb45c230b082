use super::*;

/// What the server answers to these messages, and the file that it was to write.
fn talk(schema: &Value, messages: &[Value]) -> (Vec<Value>, Option<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let (schema_file, output) = (folder.path().join("schema.json"), folder.path().join("in/output.json"));
    std::fs::write(&schema_file, schema.to_string()).unwrap();
    let said: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let mut answers = Vec::new();
    serve(&schema_file, &output, &mut said.as_bytes(), &mut answers).unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let answers = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (answers, std::fs::read(&output).ok().map(|text| serde_json::from_slice(&text).unwrap()))
}

fn call(arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": TOOL, "arguments": arguments}})
}

fn schema() -> Value {
    json!({"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}})
}

#[test]
fn a_session_of_the_protocol() {
    let (answers, _) = talk(
        &schema(),
        &[
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
            json!({"jsonrpc": "2.0", "id": 3, "method": "resources/list"}),
            json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "other"}}),
            json!({"jsonrpc": "2.0", "id": 5}),
            json!({"jsonrpc": "2.0", "id": 6, "result": {}}),
            json!([]),
        ],
    );
    assert_eq!(answers.len(), 7);
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-03-26");
    assert!(answers[0]["result"]["capabilities"]["tools"].is_object());
    assert_eq!((&answers[1]["id"], &answers[1]["result"]), (&json!("p"), &json!({})));
    let tool = &answers[2]["result"]["tools"][0];
    assert_eq!(
        (tool["name"].as_str(), &tool["inputSchema"]["properties"]["output"]),
        (Some(TOOL), &schema())
    );
    let codes: Vec<&Value> = answers[3..].iter().map(|answer| &answer["error"]["code"]).collect();
    assert_eq!(codes, [METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, INVALID_REQUEST]);
}

#[test]
fn every_revision_is_spoken_and_an_unknown_one_answered_with_the_newest() {
    for (wanted, spoken) in
        REVISIONS.map(|revision| (revision, revision)).into_iter().chain([("2030-01-01", REVISIONS[0])])
    {
        let params = json!({"protocolVersion": wanted});
        let asked = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        assert_eq!(talk(&schema(), &[asked]).0[0]["result"]["protocolVersion"], spoken);
    }
}

#[test]
fn a_line_that_is_no_json_is_answered_and_the_next_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schema.json");
    std::fs::write(&file, "{}").unwrap();
    let mut answers = Vec::new();
    let said = b"nonsense\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    serve(&file, &folder.path().join("o"), &mut &said[..], &mut answers).unwrap();
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.contains("-32700") && answers.lines().count() == 2, "{answers}");
}

#[test]
fn a_good_output_is_written_and_a_bad_one_answered_with_its_faults() {
    let good = json!({"output": {"total": 3}, "is_final": true});
    let (answers, written) = talk(&schema(), &[call(&good)]);
    assert_eq!(answers[0]["result"]["isError"], false);
    assert_eq!(written, Some(good));

    let large = "x".repeat(MAX_OUTPUT);
    for (arguments, said) in [
        (
            json!({"output": {"total": "3"}, "is_final": true}),
            "- at `/total`: \"3\" is not of type \"integer\"",
        ),
        (json!({"output": {}, "is_final": true}), "- \"total\" is a required property"),
        (json!({"is_final": true}), "`output` is missing"),
        (json!({"output": {"total": 1}, "is_final": "yes"}), "true or false"),
        (json!({"output": {"total": 1, "x": large}, "is_final": true}), "at most 1048576"),
    ] {
        let (answers, written) = talk(&schema(), &[call(&arguments)]);
        let text = answers[0]["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(answers[0]["result"]["isError"], true, "{text}");
        assert!(text.contains(said), "{text}");
        assert_eq!(written, None);
    }
}

#[test]
fn references_of_the_schema_lead_to_the_same_places_in_the_tools() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.org/s",
        "definitions": {"node": {"properties": {"next": {"$ref": "#/definitions/node"}}}},
        "properties": {"root": {"$ref": "#"}, "list": {"$ref": "#/definitions/node"}},
        "default": {"$ref": "#/definitions/node"}
    });
    let moved = nested(&schema);
    assert_eq!(moved["properties"]["root"]["$ref"], "#/properties/output");
    assert_eq!(moved["properties"]["list"]["$ref"], "#/properties/output/definitions/node");
    assert_eq!(
        moved["definitions"]["node"]["properties"]["next"]["$ref"],
        "#/properties/output/definitions/node"
    );
    assert_eq!(moved["default"], schema["default"], "a value is not touched");
    assert!(moved.get("$id").is_none() && moved.get("$schema").is_none());
}

#[test]
fn a_member_that_is_called_like_a_keyword_is_a_schema_all_the_same() {
    let reference = json!({"$ref": "#/definitions/enum"});
    let members = json!({"default": reference, "const": reference, "$ref": reference});
    let moved = nested(
        &json!({"properties": members, "definitions": {"enum": {"type": "integer"}}, "default": reference}),
    );
    for name in ["default", "const", "$ref"] {
        assert_eq!(moved["properties"][name]["$ref"], "#/properties/output/definitions/enum", "{name}");
    }
    assert_eq!(moved["default"], reference, "a value stays as it is");
}
