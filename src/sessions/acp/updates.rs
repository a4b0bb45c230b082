//! From an agent's updates (`session/update`) to what a session keeps of them.
//!
//! They are read as they come, not as the types of a version of the protocol: what is unknown in them is kept, and an
//! unknown kind does no harm. Thoughts are not kept.

use serde_json::{Value, json};

use crate::sessions::agent::Told;

/// Bytes of JSON that one event keeps.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Reads updates one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    max_text_bytes: usize,
    message: Option<String>,
}

impl Reader {
    /// `max_text_bytes`: more of one piece of text is not kept.
    pub(super) fn new(max_text_bytes: usize) -> Self {
        Self { max_text_bytes, message: None }
    }

    /// What an update tells; `None` for one that is not understood.
    pub(super) fn read(&mut self, mut update: Value) -> Option<Vec<Told>> {
        let kind = match update.get("sessionUpdate")?.as_str()? {
            "agent_message_chunk" => return self.text(&update),
            "agent_thought_chunk" | "user_message_chunk" => return Some(vec![Told::Pause]),
            "available_commands_update"
            | "current_mode_update"
            | "config_option_update"
            | "session_info_update" => return Some(Vec::new()),
            "tool_call" => "tool_call",
            "tool_call_update" => "tool_call_update",
            "plan" => "plan",
            "usage_update" => "usage",
            _ => return None,
        };
        update.as_object_mut()?.remove("sessionUpdate");
        Some(vec![Told::Event { kind, data: capped(update) }])
    }

    fn text(&mut self, update: &Value) -> Option<Vec<Told>> {
        let content = update.get("content")?;
        if content.get("type")?.as_str()? != "text" {
            return None;
        }
        let text = content.get("text")?.as_str()?;
        let text = text[..text.floor_char_boundary(self.max_text_bytes)].to_owned();
        let message = update.get("messageId").and_then(Value::as_str).map(str::to_owned);
        let mut told = Vec::new();
        if message.is_some() && message != self.message {
            told.push(Told::Pause);
            self.message = message;
        }
        told.push(Told::Text(text));
        Some(told)
    }
}

/// The whole, or where it is too large what says which it is.
fn capped(data: Value) -> Value {
    let bytes = data.to_string().len();
    if bytes <= MAX_EVENT_BYTES {
        return data;
    }
    let mut kept = json!({ "cut": true, "bytes": bytes });
    for name in ["toolCallId", "title", "kind", "status"] {
        if let Some(text) = data.get(name).and_then(Value::as_str) {
            kept[name] = json!(text[..text.floor_char_boundary(1000)]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(update: Value) -> Option<Vec<Told>> {
        Reader::new(1000).read(update)
    }

    #[test]
    fn every_kind_becomes_what_a_session_keeps_of_it() {
        let text = |text: &str| json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
        assert_eq!(read(text("hi")), Some(vec![Told::Text("hi".to_owned())]));
        assert_eq!(read(text(&"ä".repeat(900))), Some(vec![Told::Text("ä".repeat(500))]));
        let image = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": ""}});
        assert_eq!(read(image), None);
        assert_eq!(read(json!({"sessionUpdate": "agent_thought_chunk"})), Some(vec![Told::Pause]));
        assert_eq!(read(json!({"sessionUpdate": "session_info_update"})), Some(Vec::new()));
        assert_eq!(read(json!({"sessionUpdate": "of_tomorrow"})), None);
        assert_eq!(read(json!(7)), None);
        let call = json!({"sessionUpdate": "tool_call", "toolCallId": "1", "title": "ls", "new": [1]});
        let data = json!({"toolCallId": "1", "title": "ls", "new": [1]});
        assert_eq!(read(call), Some(vec![Told::Event { kind: "tool_call", data }]));
    }

    #[test]
    fn another_message_begins_where_its_id_changes() {
        let mut reader = Reader::new(1000);
        let mut piece = |id: &str| {
            let content = json!({"type": "text", "text": "x"});
            let update = json!({"sessionUpdate": "agent_message_chunk", "messageId": id, "content": content});
            reader.read(update).unwrap().len()
        };
        assert_eq!([piece("a"), piece("a"), piece("b")], [2, 1, 2]);
    }

    #[test]
    fn a_large_event_keeps_what_says_which_it_is() {
        let output = "x".repeat(MAX_EVENT_BYTES);
        let update = json!({"sessionUpdate": "tool_call_update", "toolCallId": "7", "rawOutput": output});
        let told = read(update).unwrap();
        let Told::Event { data, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!((&data["toolCallId"], &data["cut"]), (&json!("7"), &json!(true)));
        assert!(data["bytes"].as_u64().unwrap() > 65536 && data.to_string().len() < 200);
    }
}
