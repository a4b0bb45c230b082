use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::super::requests;
use super::*;

fn body(value: &Value) -> Fields {
    Fields::parse(value.to_string().as_bytes()).unwrap()
}

fn query(text: &str) -> Query {
    Query::of(&format!("/x?{text}").parse().unwrap())
}

/// The types of the faults that a request is refused with.
fn faults<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Vec<String> {
    match result {
        Err(ApiError::Invalid(entries)) => entries.into_iter().map(|entry| entry.r#type).collect(),
        other => panic!("{other:?}"),
    }
}

fn properties<T: PartialSchema>() -> Vec<String> {
    let RefOr::T(Schema::Object(object)) = T::schema() else { panic!("an object") };
    object.properties.keys().cloned().collect()
}

#[test]
fn a_prompt_alone_is_enough() {
    let (v1, fields) = v1_session(body(&json!({"prompt": "hello"}))).unwrap();
    assert_eq!((v1.prompt.as_str(), v1.api, v1.idempotency_key), ("hello", Api::V1, None));
    assert!(v1.fields.is_empty() && fields.known.is_empty() && fields.unknown.is_empty());
    let (v3, _) = v3_session(body(&json!({"prompt": "hello", "attachment_urls": ["u"]}))).unwrap();
    assert_eq!((v3.api, v3.attachment_urls), (Api::V3, vec!["u".to_owned()]));
}

#[test]
fn fields_without_effect_are_kept_and_named_unless_they_ask_for_nothing() {
    let asking = json!({"prompt": "x", "platform": "windows", "resumable": false, "max_acu_limit": 5,
        "knowledge_ids": ["k"], "attachments_urls": []});
    let (new, fields) = v3_session(body(&asking)).unwrap();
    let kept = json!({"knowledge_ids": ["k"], "max_acu_limit": 5, "platform": "windows", "resumable": false});
    assert_eq!(Value::Object(new.fields), kept);
    assert_eq!(fields.known, ["knowledge_ids", "max_acu_limit", "platform", "resumable"]);
    assert_eq!(fields.unknown, ["attachments_urls"]);

    let idle = json!({"prompt": "x", "platform": null, "resumable": true, "bypass_approval": false,
        "knowledge_ids": [], "session_secrets": [], "structured_output_required": false,
        "structured_output_schema": {}});
    let (new, fields) = v3_session(body(&idle)).unwrap();
    assert!(new.fields.is_empty() && fields.known.is_empty() && fields.unknown.is_empty());

    let (new, fields) = v1_session(body(&json!({"prompt": "x", "unlisted": true}))).unwrap();
    assert_eq!((new.fields.len(), fields.known), (1, vec!["unlisted"]));
}

#[test]
fn what_cannot_be_kept_is_refused_without_repeating_it() {
    let secret = json!({"prompt": "x", "session_secrets": [{"value": "hunter2"}]});
    let Err(ApiError::Invalid(entries)) = v1_session(body(&secret)) else { panic!("refused") };
    assert!(!format!("{entries:?}").contains("hunter2"));
    let demanded = json!({"prompt": "x", "structured_output_required": true});
    assert_eq!(faults(v3_session(body(&demanded))), ["value_error"]);
    let large = json!({"prompt": "x", "structured_output_schema": {"title": "x".repeat(MAX_SCHEMA)}});
    assert_eq!(faults(v1_session(body(&large))), ["value_error"]);
}

#[test]
fn all_faults_of_a_create_call_come_together() {
    let wrong = json!({
        "idempotent": null, "unlisted": 1, "title": [], "tags": vec!["t"; 51], "snapshot_id": 1,
        "max_acu_limit": 0, "secret_ids": "s", "structured_output_schema": [],
        "session_secrets": [{"key": "", "value": 1}],
    });
    let mut types = faults(v1_session(body(&wrong)));
    types.sort();
    let mut expected = [
        "missing",
        "bool_type",
        "bool_type",
        "string_type",
        "too_long",
        "string_type",
        "greater_than",
        "list_type",
        "dict_type",
        "string_too_short",
        "string_type",
    ];
    expected.sort_unstable();
    assert_eq!(types, expected);
}

#[test]
fn an_equal_body_has_an_equal_digest_whatever_its_order() {
    let key = |text: &str| {
        let (new, _) = v1_session(Fields::parse(text.as_bytes()).unwrap()).unwrap();
        new.idempotency_key.unwrap()
    };
    let one = key(r#"{"prompt":"x","idempotent":true,"structured_output_schema":{"a":1,"b":[1,2]}}"#);
    let two = key(r#"{"structured_output_schema":{"b":[1,2],"a":1}, "idempotent":true, "prompt":"x"}"#);
    let other = key(r#"{"prompt":"x","idempotent":true,"structured_output_schema":{"a":1,"b":[2,1]}}"#);
    assert_eq!(one, two);
    assert_ne!(one, other);
    assert_eq!(one.len(), 64);
}

#[test]
fn secrets_are_read_and_have_no_part_in_the_digest() {
    let with = |value: &str| {
        let secrets = json!([{"key": "K", "value": value, "sensitive": false}]);
        v1_session(body(&json!({"prompt": "x", "idempotent": true, "session_secrets": secrets}))).unwrap().0
    };
    let (one, two) = (with("hunter2"), with("hunter3"));
    assert_eq!(one.idempotency_key, two.idempotency_key);
    assert_eq!((one.secrets.len(), one.secrets[0].name.as_str()), (1, "K"));
    assert!(!format!("{one:?}").contains("hunter2"));
}

#[test]
fn a_list_query_becomes_a_filter() {
    let id = SessionId::new();
    let text = format!(
        "first=7&after=c&session_ids={id}&session_ids=none&created_after=10&updated_before=-5&tags=a&tags=b\
         &user_ids=user-1&service_user_ids=service-user-2&is_archived=false&unknown=1"
    );
    let filter = v3_filter(query(&text)).unwrap();
    assert_eq!((filter.first, filter.after.as_deref()), (7, Some("c")));
    assert_eq!(filter.session_ids, Some(vec![id]));
    assert_eq!(filter.created_after, Some(Moment(10_000_000)));
    assert_eq!(filter.updated_before, Some(Moment(-5_000_000)));
    assert_eq!(filter.tags, ["a", "b"]);
    assert_eq!(filter.created_by, ["user-1", "service-user-2"]);
    assert_eq!(filter.is_archived, Some(false));

    let plain = v3_filter(query("after=")).unwrap();
    assert_eq!((plain.first, plain.after, plain.session_ids), (100, None, None));
    assert_eq!(v3_filter(query("session_ids=x")).unwrap().session_ids, Some(Vec::new()));
    assert_eq!(faults(v3_filter(query("first=201&is_archived=2"))), ["less_than_equal", "bool_parsing"]);
    let v1 = v1_filter(query("limit=1000&offset=3&user_email=a%40b.c")).unwrap();
    assert_eq!((v1.first, v1.offset, v1.user_email.as_deref()), (1000, 3, Some("a@b.c")));
    assert_eq!(faults(v1_filter(query("limit=0&offset=-1"))), ["greater_than_equal"; 2]);
}

#[test]
fn what_is_described_is_what_is_read() {
    let nothing = |names: &[String], texts: &[&str]| {
        let value = |name: &String| match name.as_str() {
            "idempotent" | "unlisted" => json!(false),
            name if texts.contains(&name) => json!("x"),
            "tags" if texts.is_empty() => json!([]),
            _ => Value::Null,
        };
        body(&names.iter().map(|name| (name.clone(), value(name))).collect())
    };
    let v1 = properties::<requests::CreateSessionRequest>();
    assert!(v1_session(nothing(&v1, &["prompt"])).unwrap().1.unknown.is_empty());
    let v3 = properties::<requests::SessionCreateRequest>();
    assert!(v3_session(nothing(&v3, &["prompt"])).unwrap().1.unknown.is_empty());
    for (table, described) in [(V1_WITHOUT_EFFECT, &v1), (V3_WITHOUT_EFFECT, &v3)] {
        assert!(table.iter().all(|(name, _)| described.iter().any(|known| known == name)));
    }
    let message = properties::<requests::SessionMessageCreateRequest>();
    assert!(v3_message(nothing(&message, &["message"])).unwrap().without_effect.unknown.is_empty());
    assert_eq!(properties::<requests::SendMessageRequest>(), ["message"]);
    assert!(tags(nothing(&properties::<requests::UpdateTagsRequest>(), &[])).is_ok());
    assert!(tags(nothing(&properties::<requests::SessionTagsUpdateRequest>(), &[])).is_ok());
}

#[test]
fn fields_without_effect_have_a_limit_together() {
    let ids = |count: usize| vec!["x".repeat(200); count];
    let asking = |count| body(&json!({"prompt": "x", "secret_ids": ids(count), "knowledge_ids": ids(count)}));
    assert!(v1_session(asking(150)).is_ok());
    assert!(v1_session(asking(200)).is_err());
}
