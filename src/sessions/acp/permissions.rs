//! What an agent is answered that asks for leave (`session/request_permission`).
//!
//! The answer is chosen by the kind of the options, because their ids and labels are the agent's own. Nobody is asked:
//! the profile has decided beforehand. Once a turn is being cancelled every answer is `cancelled`, as the protocol
//! wants it.

use serde::Deserialize;
use serde_json::{Value, json};

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
