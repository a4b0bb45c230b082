//! What people read of sessions: events, lists, notices.
//!
//! What an agent or a file's name says is printed without control characters, so that it cannot speak to the terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::say;

/// An event as text; `None` for one that says nothing to people.
pub(super) fn event(kind: &str, data: &Value) -> Option<String> {
    let text = |name: &str| data[name].as_str().map(clean);
    Some(match kind {
        "status" => format!("-- {}\n", standing(data)),
        "message" => message(data),
        "receipt" => receipt(data)?,
        "tool_call" | "tool_call_update" => {
            let what = text("title").or_else(|| text("kind"))?;
            let status = text("status").map(|status| format!(" ({status})")).unwrap_or_default();
            format!("-- tool: {what}{status}\n")
        }
        _ => return None,
    })
}

/// A row of a list.
pub(super) fn row(session: &Value) -> String {
    let text = |name: &str| session[name].as_str().map(clean).unwrap_or_default();
    let created = match session["created_at"].as_i64() {
        Some(seconds) => crate::clock::Moment::from_seconds(seconds).iso8601(),
        None => text("created_at"),
    };
    // To the second.
    let created = created.get(..19).map_or(created.clone(), |second| format!("{second}Z"));
    let title = text("title").replace(['\n', '\t'], " ");
    let row = format!("{}  {:<26}  {created}  {title}", text("session_id"), standing(session));
    row.trim_end().to_owned() + "\n"
}

/// A session with what was said and its files.
pub(super) fn session(session: &Value, messages: &[Value], receipts: &Value) -> String {
    let mut all = row(session);
    for said in messages {
        all.push_str(&message(said));
    }
    for file in receipts.as_array().into_iter().flatten() {
        all.push_str(&receipt(file).unwrap_or_default());
    }
    if !session["structured_output"].is_null() {
        let _ =
            writeln!(all, "-- structured output\n{}", clean(&format!("{:#}", session["structured_output"])));
    }
    all
}

/// Where a session stands: the v3 status with its detail, or v1's `status_enum`.
pub(super) fn standing(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().map(clean);
    let one = text("status").unwrap_or_default();
    match (text("status_detail"), text("status_enum")) {
        (Some(detail), _) => format!("{one}/{detail}"),
        (None, Some(v1)) if status.get("status_detail").is_none() => v1,
        (None, _) => one,
    }
}

/// Says on standard error what an answer notes about the request.
pub(super) fn notices(answer: &Value) {
    for notice in answer["notices"].as_array().into_iter().flatten() {
        let reason = notice["reason"].as_str().map(clean).unwrap_or_default();
        let place = match (notice["line"].as_u64(), notice["column"].as_u64()) {
            (Some(line @ 1..), Some(column)) => format!("line {line}, column {column}: "),
            _ => String::new(),
        };
        say(&format!("notice: {place}{reason}"));
        for line in notice["corrected"].as_str().into_iter().flat_map(str::lines) {
            say(&format!("  write: {}", clean(line)));
        }
    }
}

/// A size that people read.
pub(super) fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// A text without control characters but line ends and tabs.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn message(message: &Value) -> String {
    let agent = message["source"] == "devin" || message["type"] == "devin_message";
    let text = message["message"].as_str().map(clean).unwrap_or_default();
    let mut all = String::new();
    let _ = writeln!(all, "{}: {}", if agent { "agent" } else { "user" }, text.trim_end());
    all
}

fn receipt(receipt: &Value) -> Option<String> {
    let text = |name: &str| receipt[name].as_str().map(clean);
    let path = text("path").or_else(|| text("url"))?;
    let size = size(receipt["size"].as_u64().unwrap_or_default());
    Some(match (text("source")?.as_str(), text("state")?.as_str()) {
        ("devin", _) => format!("-- handed back {path} ({size})\n"),
        (_, "delivered") => format!("-- delivered {path} ({size})\n"),
        (_, "failed") => {
            format!("-- not delivered {path} ({size}): {}\n", text("error").unwrap_or_default())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_cannot_speak_to_the_terminal() {
        let data = serde_json::json!({ "source": "devin", "message": "a\u{1b}[2Jb\r\n\tc\u{9b}" });
        assert_eq!(event("message", &data).unwrap(), "agent: a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}\n");
    }
}
