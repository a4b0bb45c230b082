//! From an agent's updates (`session/update`) to what a session keeps of them.
//!
//! They are read as they come, not as the types of a version of the protocol: what is unknown in them is kept, and an
//! unknown kind does no harm. Thoughts are not kept.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::pieces::Pieces;
use crate::sessions::agent::Told;

/// Bytes of JSON that one event keeps.
const MAX_EVENT_BYTES: usize = 64 * 1024;
/// Bytes of an update, as it is written, that is read as a whole. Read, it takes many times as much; written anew,
/// without blanks and escapes, perhaps a quarter.
const MAX_READ_BYTES: usize = 4 * MAX_EVENT_BYTES;
/// Bytes of one piece of text.
const MAX_PIECE_BYTES: usize = 64 * 1024;
/// Bytes of what says which message or tool call it is.
const MAX_NAME_BYTES: usize = 1000;

/// Reads updates one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    max_text_bytes: usize,
    message: Option<String>,
    pieces: Pieces,
}

/// What is read of an update, however large it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    session_update: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// A block of content.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    mime_type: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

impl Reader {
    /// `max_text_bytes`: more of one piece of text is not kept.
    pub(super) fn new(max_text_bytes: usize) -> Self {
        Self { max_text_bytes, message: None, pieces: Pieces::default() }
    }

    /// What an update tells; `None` for one that is not understood.
    pub(super) fn read(&mut self, update: &RawValue) -> Option<Vec<Told>> {
        let head: Head<'_> = serde_json::from_str(update.get()).ok()?;
        let kind = match &*head.session_update {
            "agent_message_chunk" => return self.text(&head),
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
        let data = whole(update).unwrap_or_else(|| cut(&head, update.get().len()));
        Some(vec![Told::Event { kind, data }])
    }

    fn text(&mut self, head: &Head<'_>) -> Option<Vec<Told>> {
        let content: Content<'_> = serde_json::from_str(head.content?.get()).ok()?;
        let text = match &*content.r#type {
            "text" => self.pieces.read(content.text?)?,
            _ => instead_of(&content),
        };
        let message = head.message_id.and_then(name);
        let mut told = Vec::new();
        if message.is_some() && message != self.message {
            told.push(Told::Pause);
            self.message = message;
        }
        let mut rest = &text[..text.floor_char_boundary(self.max_text_bytes)];
        // What waits to be written is counted in pieces, so none is large.
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(MAX_PIECE_BYTES));
            told.push(Told::Text(piece.to_owned()));
            rest = more;
        }
        Some(told)
    }
}

/// What stands for content that no message can hold.
fn instead_of(content: &Content<'_>) -> String {
    let said = |raw: Option<&RawValue>| raw.and_then(name).unwrap_or_default();
    let (kind, uri) = (&content.r#type, said(content.uri));
    match (&**kind, content.resource) {
        ("resource_link", _) => format!("[{}]({uri})", said(content.name)),
        ("resource", Some(inner)) => {
            let inner: Option<Content<'_>> = serde_json::from_str(inner.get()).ok();
            let uri = inner.and_then(|inner| inner.uri.and_then(name)).unwrap_or_default();
            format!("[a resource that is not kept: {uri}; files come back through output/]")
        }
        _ => {
            let mut kind = kind.to_string();
            kind.truncate(kind.floor_char_boundary(MAX_NAME_BYTES));
            format!("[{kind} {} that is not kept; files come back through output/]", said(content.mime_type))
        }
    }
}

/// A short text.
fn name(raw: &RawValue) -> Option<String> {
    let mut text: String = serde_json::from_str(raw.get()).ok()?;
    text.truncate(text.floor_char_boundary(MAX_NAME_BYTES));
    text.shrink_to_fit();
    Some(text)
}

/// The whole of an event, written anew; `None` where it is too large or nested too deep.
fn whole(update: &RawValue) -> Option<String> {
    let update = Some(update.get()).filter(|update| update.len() <= MAX_READ_BYTES)?;
    let mut data: Value = serde_json::from_str(update).ok()?;
    data.as_object_mut()?.remove("sessionUpdate");
    Some(data.to_string()).filter(|data| data.len() <= MAX_EVENT_BYTES)
}

/// What says of a large event which it is. `bytes`: how many it had.
fn cut(head: &Head<'_>, bytes: usize) -> String {
    let mut kept = json!({ "cut": true, "bytes": bytes });
    let names = [
        ("toolCallId", head.tool_call_id),
        ("title", head.title),
        ("kind", head.kind),
        ("status", head.status),
    ];
    for (key, raw) in names {
        if let Some(text) = raw.and_then(name) {
            kept[key] = json!(text);
        }
    }
    kept.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(update: &Value) -> Box<RawValue> {
        RawValue::from_string(update.to_string()).unwrap()
    }

    fn read(update: &Value) -> Option<Vec<Told>> {
        Reader::new(1000).read(&raw(update))
    }

    #[test]
    fn every_kind_becomes_what_a_session_keeps_of_it() {
        let text = |text: &str| json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
        assert_eq!(read(&text("hi")), Some(vec![Told::Text("hi".to_owned())]));
        assert_eq!(read(&text(&"ä".repeat(900))), Some(vec![Told::Text("ä".repeat(500))]));
        let said = |content: Value| {
            let told = read(&json!({"sessionUpdate": "agent_message_chunk", "content": content})).unwrap();
            let [Told::Text(text)] = &told[..] else { panic!("{told:?}") };
            text.clone()
        };
        let image = said(json!({"type": "image", "mimeType": "image/png", "data": "AAAA"}));
        assert_eq!(image, "[image image/png that is not kept; files come back through output/]");
        let link = said(json!({"type": "resource_link", "name": "a.txt", "uri": "file:///a.txt"}));
        assert_eq!(link, "[a.txt](file:///a.txt)");
        let resource = said(json!({"type": "resource", "resource": {"uri": "file:///b", "text": "x"}}));
        assert!(resource.contains("file:///b"), "{resource}");
        assert_eq!(read(&json!({"sessionUpdate": "agent_thought_chunk"})), Some(vec![Told::Pause]));
        assert_eq!(read(&json!({"sessionUpdate": "session_info_update"})), Some(Vec::new()));
        assert_eq!(read(&json!({"sessionUpdate": "of_tomorrow"})), None);
        assert_eq!(read(&json!(7)), None);
        let call = json!({"sessionUpdate": "tool_call", "toolCallId": "1", "title": "ls", "new": [1]});
        let told = read(&call).unwrap();
        let [Told::Event { kind: "tool_call", data }] = &told[..] else { panic!("{told:?}") };
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data, json!({"toolCallId": "1", "title": "ls", "new": [1]}));
    }

    #[test]
    fn another_message_begins_where_its_id_changes() {
        let mut reader = Reader::new(1000);
        let mut piece = |id: &str| {
            let content = json!({"type": "text", "text": "x"});
            let update = json!({"sessionUpdate": "agent_message_chunk", "messageId": id, "content": content});
            reader.read(&raw(&update)).unwrap().len()
        };
        assert_eq!([piece("a"), piece("a"), piece("b")], [2, 1, 2]);
    }

    #[test]
    fn long_text_comes_in_pieces() {
        let text = "ä".repeat(MAX_PIECE_BYTES);
        let update =
            json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
        let told = Reader::new(usize::MAX).read(&raw(&update)).unwrap();
        assert_eq!(told, vec![Told::Text("ä".repeat(MAX_PIECE_BYTES / 2)); 2]);
    }

    #[test]
    fn a_large_or_deep_event_keeps_what_says_which_it_is() {
        let large = |length| json!("x".repeat(length));
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        for output in [large(MAX_EVENT_BYTES), large(MAX_READ_BYTES), deep] {
            let update = json!({"sessionUpdate": "tool_call_update", "toolCallId": "7", "title": 8, "rawOutput": output});
            let bytes = update.to_string().len();
            let told = read(&update).unwrap();
            let data = json!({"cut": true, "bytes": bytes, "toolCallId": "7"}).to_string();
            assert_eq!(told, [Told::Event { kind: "tool_call_update", data }]);
        }
    }
}
