//! What an agent is answered that asks for leave (`session/request_permission`).
//!
//! The answer is chosen by the kind of the options, because their ids and labels are the agent's own. Nobody is asked:
//! the profile has decided beforehand. Once a turn is being cancelled every answer is `cancelled`, as the protocol
//! wants it.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The request.
pub(super) const METHOD: &str = "session/request_permission";
/// Options of one request that count.
const MAX_OPTIONS: usize = 50;
/// Bytes of the id of one that counts.
const MAX_ID_BYTES: usize = 1024;

/// What a profile answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permissions {
    /// Yes: this time if that is offered, else for good. Containment is what limits the agent.
    #[default]
    Allow,
    /// No.
    Reject,
}

impl Permissions {
    fn kinds(self) -> [&'static str; 2] {
        match self {
            Self::Allow => ["allow_once", "allow_always"],
            Self::Reject => ["reject_once", "reject_always"],
        }
    }
}

/// What counts of the parameters of a request, whatever else is in them.
#[derive(Default, Deserialize, Serialize)]
struct Params {
    #[serde(deserialize_with = "first_options")]
    options: Vec<Choice>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    option_id: String,
    kind: String,
}

/// Reads the parameters of a request; what is none of them, or too much, is left out.
pub(super) fn read(params: Option<&RawValue>) -> Value {
    let params = params.and_then(|params| serde_json::from_str::<Params>(params.get()).ok());
    json!(params.unwrap_or_default())
}

fn first_options<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Choice>, D::Error> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Vec<Choice>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of options")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut options: Vec<Choice> = Vec::new();
            while let Some(option) = list.next_element::<&RawValue>()? {
                if options.len() < MAX_OPTIONS
                    && let Ok(choice) = serde_json::from_str::<Choice>(option.get())
                    && choice.option_id.len().max(choice.kind.len()) <= MAX_ID_BYTES
                {
                    options.push(choice);
                }
            }
            Ok(options)
        }
    }
    list.deserialize_seq(First)
}

/// The result of a request with these parameters. Without an option of a wanted kind it is `cancelled`.
pub(super) fn answer(policy: Permissions, params: &Value, cancelling: bool) -> Value {
    let options = params.get("options").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of_kind = |kind: &str| options.iter().find(|option| option["kind"] == *kind);
    let chosen = policy.kinds().into_iter().find_map(of_kind).filter(|_| !cancelling);
    match chosen.map(|option| &option["optionId"]) {
        Some(id) => json!({ "outcome": { "outcome": "selected", "optionId": id } }),
        None => json!({ "outcome": { "outcome": "cancelled" } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_of_a_request_is_read_whatever_else_is_in_it() {
        let read = |params: &str| super::read(Some(&RawValue::from_string(params.to_owned()).unwrap()));
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let params = format!(
            r#"{{"toolCall":{{"x":[[1]]}},"options":[7,{{"kind":"a"}},{{"optionId":"{long}","kind":"a"}},
            {{"optionId":"1","kind":"a","name":"A"}}]}}"#
        );
        assert_eq!(read(&params), json!({"options": [{"optionId": "1", "kind": "a"}]}));
        let many = vec![json!({"optionId": "1", "kind": "a"}); MAX_OPTIONS + 1];
        let read_of_many = read(&json!({ "options": many }).to_string());
        assert_eq!(read_of_many["options"].as_array().unwrap().len(), MAX_OPTIONS);
        for odd in ["7", "{}", r#"{"options":7}"#] {
            assert_eq!(read(odd), json!({"options": []}), "{odd}");
        }
    }

    #[test]
    fn options_are_chosen_by_kind() {
        let option = |id: &str, kind: &str| json!({"optionId": id, "name": "allow_once", "kind": kind});
        let all = json!({"options": [
            option("1", "reject_always"), option("2", "allow_always"), option("3", "allow_once"),
            option("4", "reject_once"), option("5", "of_tomorrow"),
        ]});
        let chosen = |policy, params: &Value, cancelling| {
            let answer = answer(policy, params, cancelling);
            answer["outcome"]["optionId"].as_str().map(str::to_owned)
        };
        assert_eq!(chosen(Permissions::Allow, &all, false).as_deref(), Some("3"));
        assert_eq!(chosen(Permissions::Reject, &all, false).as_deref(), Some("4"));
        assert_eq!(chosen(Permissions::Allow, &all, true), None);
        let some = json!({"options": [option("2", "allow_always"), option("1", "reject_always")]});
        assert_eq!(chosen(Permissions::Allow, &some, false).as_deref(), Some("2"));
        assert_eq!(chosen(Permissions::Reject, &some, false).as_deref(), Some("1"));
        assert_eq!(
            chosen(Permissions::Allow, &json!({"options": [option("1", "reject_once")]}), false),
            None
        );
        assert_eq!(chosen(Permissions::Allow, &json!(7), false), None);
    }
}
