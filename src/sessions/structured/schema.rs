//! A JSON Schema of draft 7, and what is wrong with a value by it.
//!
//! Nothing is ever fetched: a `$ref` leads to a place in the same document or the schema is refused. A schema or value
//! can be made to cost any amount of work, so the service does this in a process of its own (`judge.rs`).

use jsonschema::{Draft, PatternOptions, Retrieve, Uri, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Faults named at most.
const FAULTS_NAMED: usize = 20;
/// Characters of one fault's description at most; it may repeat a part of the value.
const SHOWN: usize = 300;
/// Steps back that a pattern may take at one place.
const BACKTRACKS: usize = 100_000;
/// Bytes of one compiled pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// Something wrong in a schema or a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where: a JSON Pointer (RFC 6901); empty for the whole.
    pub at: String,
    /// What.
    pub what: String,
}

/// A schema, ready to judge values.
#[derive(Debug)]
pub(super) struct Schema(Validator);

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is not one of draft 7, says that it is of another draft, or leads to another document.
    pub(super) fn compile(schema: &Value) -> Result<Self, Fault> {
        if let Some(draft) = schema.get("$schema").and_then(Value::as_str) {
            let name = draft.trim_end_matches('#').split_once("://").map(|(_, name)| name);
            if name != Some("json-schema.org/draft-07/schema") {
                let draft: String = draft.chars().take(SHOWN).collect();
                let what = format!(
                    "`{draft}` is not draft 7: write \"http://json-schema.org/draft-07/schema#\", or leave it away"
                );
                return Err(Fault { at: "/$schema".to_owned(), what });
            }
        }
        let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS).size_limit(PATTERN_BYTES);
        let options = jsonschema::options()
            .with_draft(Draft::Draft7)
            .with_retriever(Nowhere)
            .with_pattern_options(patterns);
        options.build(schema).map(Self).map_err(|error| fault(&error))
    }

    /// What is wrong with a value; nothing for a valid one.
    pub(super) fn faults(&self, value: &Value) -> Vec<Fault> {
        self.0.iter_errors(value).take(FAULTS_NAMED).map(|error| fault(&error)).collect()
    }
}

/// The faults as lines of a list.
pub(super) fn lines(faults: &[Fault]) -> String {
    let line = |fault: &Fault| match fault.at.as_str() {
        "" => format!("- {}", fault.what),
        at => format!("- at `{at}`: {}", fault.what),
    };
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Follows no reference to another document.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("`{uri}` is another document, and none is ever fetched: put it under `definitions`")
            .into())
    }
}

fn fault(error: &jsonschema::ValidationError<'_>) -> Fault {
    Fault { at: shown(&error.instance_path().to_string()), what: shown(&error.to_string()) }
}

/// The beginning of a text that may hold a part of the value.
fn shown(text: &str) -> String {
    let mut beginning: String = text.chars().take(SHOWN).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_draft_7_is_refused_with_the_place() {
        for (schema, at, what) in [
            (json!({"properties": {"a": {"type": "strin"}}}), "/properties/a/type", "not valid"),
            (json!({"properties": {"a": {"pattern": "("}}}), "/properties/a/pattern", "regex"),
            (json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}), "/$schema", "not draft 7"),
            (json!({"items": {"$ref": "https://example.org/x.json"}}), "", "none is ever fetched"),
            (json!({"items": {"$ref": "file:///etc/passwd"}}), "", "none is ever fetched"),
        ] {
            let fault = Schema::compile(&schema).unwrap_err();
            assert_eq!(fault.at, at, "{schema}: {}", fault.what);
            assert!(fault.what.contains(what), "{}", fault.what);
        }
        for schema in [
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}),
            json!({"definitions": {"a": {"type": "string"}}, "items": {"$ref": "#/definitions/a"}}),
            json!({"$ref": "#"}),
        ] {
            assert!(Schema::compile(&schema).is_ok(), "{schema}");
        }
    }

    #[test]
    fn every_fault_of_a_value_is_named_by_its_place() {
        let schema = json!({"type": "object", "required": ["x"], "properties": {"a": {"type": "string"}}});
        let schema = Schema::compile(&schema).unwrap();
        assert_eq!(schema.faults(&json!({"x": 1, "a": "b"})), []);
        let faults = schema.faults(&json!({"a": 1}));
        let places: Vec<&str> = faults.iter().map(|fault| fault.at.as_str()).collect();
        assert_eq!(places, ["", "/a"]);
        assert!(lines(&faults).contains("- at `/a`: 1 is not of type \"string\""), "{}", lines(&faults));
        let long = schema.faults(&json!({"x": 1, "a": [vec!["y"; 1000]]}));
        assert!(long[0].what.chars().count() <= SHOWN + 1);
        let deep = Schema::compile(&json!({"additionalProperties": {"type": "string"}})).unwrap();
        let faults = deep.faults(&json!({"k".repeat(10_000): 1}));
        assert!(faults[0].at.chars().count() <= SHOWN + 1, "{}", faults[0].at.len());
    }
}
