use axum::http::Uri;
use serde_json::json;

use super::*;

fn fields(value: &Value) -> Fields {
    Fields::parse(value.to_string().as_bytes()).unwrap()
}

/// A 422's entries as `loc type`, the location's steps joined by dots.
fn faults(result: Result<(), ApiError>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(ApiError::Invalid(entries)) => entries.iter().map(line).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn line(entry: &ValidationError) -> String {
    let loc: Vec<String> = entry
        .loc
        .iter()
        .map(|step| match step {
            Loc::Name(name) => name.clone(),
            Loc::Index(index) => index.to_string(),
        })
        .collect();
    format!("{} {}", loc.join("."), entry.r#type)
}

fn unreadable(text: &str) -> String {
    line(&Fields::parse(text.as_bytes()).unwrap_err()[0])
}

#[test]
fn only_an_object_is_a_body() {
    assert_eq!(unreadable(""), "body missing");
    assert_eq!(unreadable(" \n"), "body missing");
    assert_eq!(unreadable("null"), "body missing");
    assert_eq!(unreadable("\u{feff}"), "body missing");
    assert!(Fields::parse("\u{feff}{}".as_bytes()).is_ok());
    assert_eq!(unreadable("[]"), "body model_attributes_type");
    assert_eq!(unreadable("\"x\""), "body model_attributes_type");
    assert_eq!(unreadable("prompt=x"), "body.0 json_invalid");
    assert_eq!(unreadable("{\n \"ü\": x}"), "body.8 json_invalid");
    assert_eq!(unreadable(&"[".repeat(10_000)), "body.127 json_invalid");
}

#[test]
fn no_text_holds_a_nul_however_deep() {
    assert_eq!(unreadable(r#"{"prompt": "a\u0000"}"#), "body.prompt value_error");
    let deep = r#"{"a": [{"b\u0000": 1}, {"c": "\u0000"}]}"#;
    let entries = Fields::parse(deep.as_bytes()).unwrap_err();
    let lines: Vec<String> = entries.iter().map(line).collect();
    assert_eq!(lines, ["body.a.0.b\0 value_error", "body.a.1.c value_error"]);
}

#[test]
fn all_faults_come_in_one_answer() {
    let mut fields = fields(&json!({
        "title": 5, "tags": ["a", 1, ""], "limit": 0, "flag": "true", "half": 1.5, "list": {},
        "secrets": [{"key": "", "value": "v"}, 7, {"key": "k"}],
    }));
    fields.required_text("prompt", 1..=10);
    fields.text("title", ANY_LENGTH);
    fields.texts("tags", 5, 1..=3);
    fields.positive("limit");
    fields.flag("flag", false);
    fields.positive("half");
    fields.texts("list", 5, ANY_LENGTH);
    fields.objects("secrets", |secret| {
        secret.required_text("key", 1..=256);
        secret.required_text("value", ANY_LENGTH);
    });
    assert_eq!(
        faults(fields.finish()),
        [
            "body.prompt missing",
            "body.title string_type",
            "body.tags.1 string_type",
            "body.tags.2 string_too_short",
            "body.limit greater_than",
            "body.flag bool_type",
            "body.half int_from_float",
            "body.list list_type",
            "body.secrets.0.key string_too_short",
            "body.secrets.1 model_attributes_type",
            "body.secrets.2.value missing",
        ]
    );
}

#[test]
fn null_and_absent_are_alike_where_a_member_may_be_absent() {
    let mut fields = fields(&json!({"title": null, "tags": null, "limit": null, "prompt": null}));
    assert_eq!(fields.text("title", ANY_LENGTH), None);
    assert_eq!(fields.texts("tags", 5, ANY_LENGTH), None);
    assert_eq!(fields.positive("limit"), None);
    assert_eq!(fields.optional_flag("absent"), None);
    assert!(!fields.flag("absent", false));
    fields.required_text("prompt", ANY_LENGTH);
    assert_eq!(faults(fields.finish()), ["body.prompt string_type"]);
}

#[test]
fn a_number_without_a_fraction_is_an_integer() {
    let mut fields = fields(&json!({"a": 5.0, "b": 1e300, "c": -1e300, "d": "5", "e": true}));
    assert_eq!(fields.positive("a"), Some(5));
    assert_eq!(fields.positive("b"), Some(i64::MAX));
    for name in ["c", "d", "e"] {
        assert_eq!(fields.positive(name), None);
    }
    assert_eq!(faults(fields.finish()), ["body.c greater_than", "body.d int_type", "body.e int_type"]);
}

#[test]
fn what_nobody_asked_for_can_be_named() {
    let mut fields = fields(&json!({"prompt": "x", "attachment_url": []}));
    fields.required_text("prompt", ANY_LENGTH);
    assert_eq!(fields.unread().collect::<Vec<_>>(), ["attachment_url"]);
}

#[test]
fn a_list_has_a_limit_that_the_fault_names() {
    let mut fields = fields(&json!({"tags": ["a", "b", "c"]}));
    assert_eq!(fields.required_texts("tags", 2, ANY_LENGTH), Vec::<String>::new());
    let Err(ApiError::Invalid(entries)) = fields.finish() else { panic!("refused") };
    assert_eq!(entries[0].msg, "List should have at most 2 items after validation, not 3");
}

#[test]
fn a_query_is_read_like_a_body() {
    let uri: Uri =
        "/x?first=0&limit=x&offset=7&tags=a&tags=b%00&tags=c&archived=YES&last=1&last=2&odd=maybe&z"
            .parse()
            .unwrap();
    let mut query = Query::of(&uri);
    assert_eq!(query.integer("first", 1..=200), None);
    assert_eq!(query.integer("limit", 1..=200), None);
    assert_eq!(query.integer("offset", 0..=i64::MAX), Some(7));
    assert_eq!(query.texts("tags"), ["a", "c"]);
    assert_eq!(query.flag("archived"), Some(true));
    assert_eq!(query.text("last").as_deref(), Some("2"));
    assert_eq!(query.flag("odd"), None);
    assert_eq!(query.text("z").as_deref(), Some(""));
    query.required_text("org_id");
    assert_eq!(
        faults(query.finish()),
        [
            "query.first greater_than_equal",
            "query.limit int_parsing",
            "query.tags.1 value_error",
            "query.odd bool_parsing",
            "query.org_id missing",
        ]
    );
}

#[tokio::test]
async fn a_body_above_the_limit_is_too_large() {
    let large = Body::from(vec![b' '; BODY_LIMIT + 1]);
    assert!(matches!(Fields::of_body(large).await, Err(ApiError::TooLarge(_))));
    let empty = Body::from(vec![b' '; BODY_LIMIT]);
    assert!(matches!(Fields::of_body(empty).await, Err(ApiError::Invalid(_))));
}
