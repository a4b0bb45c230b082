//! What the service itself says in a session.
//!
//! These are messages of source `devin` and kind notice: people and pollers read them, agents do
//! not. They name files, profiles and exit codes, never paths of the machine or secrets.

use std::error::Error;

use super::MAX_ATTEMPTS;
use super::command::{HowEnded, TurnEnd};
use super::sandbox::Isolation;
use super::secrets::SealError;
use super::store::NewMessage;
use crate::attachments::Source;
use crate::attachments::reference::{Notice, line_for};

/// Entries that one list shows at most; of the rest the number is told.
pub(super) const LISTED: usize = 100;

/// A message of the service.
pub(super) fn notice(text: &str) -> NewMessage<'_> {
    NewMessage { is_notice: true, ..said(text) }
}

/// A message of the agent.
pub(super) fn said(text: &str) -> NewMessage<'_> {
    NewMessage { source: Source::Devin, is_notice: false, seq: None, text, user_id: None, username: None }
}

/// What nearly was a reference, line by line.
pub(super) fn near_misses(notices: &[Notice]) -> String {
    let lines = notices.iter().map(|notice| {
        let Notice { line, column, reason, corrected } = notice;
        match corrected {
            Some(corrected) => {
                let corrected = corrected.replace('\n', "\n  ");
                format!("- line {line}, column {column}: {reason}. Write:\n  {corrected}")
            }
            None => format!("- line {line}, column {column}: {reason}"),
        }
    });
    let mut text =
        "Some lines look like references to attachments but are not in the documented form:".to_owned();
    push_list(&mut text, lines);
    text
}

/// What is to be said of the isolation in each session, if anything.
pub(super) fn isolation(isolation: Isolation) -> Option<&'static str> {
    (isolation == Isolation::None).then_some(
        "This session's agent runs without isolation: it can read and change whatever the service can, the \
         delivered files among it.",
    )
}

/// A turn that the death of the service cut short runs again.
pub(super) fn interrupted(attempts: i64) -> String {
    format!(
        "The service stopped while the agent was at work. The turn runs again (attempt {} of {MAX_ATTEMPTS}).",
        attempts + 1
    )
}

/// A turn that the service's orderly stop cut short.
pub(super) const STOPPING: &str =
    "The service is being stopped, and the agent with it. The turn runs again when the service is back.";

/// A turn that was cut short because the claim on its session could not be kept.
pub(super) const NOT_KEPT: &str = "The service could not note that it still works on this session, so the agent was stopped. The turn runs again.";

/// Work that failed too often for reasons of the service's own.
pub(super) fn rested_too_often(times: i64) -> String {
    format!(
        "The service tried {times} times to work on this and could not, for reasons of its own that its log names. \
         Send another message to have it tried again."
    )
}

/// A turn that was cut short too often.
pub(super) fn given_up(attempts: i64) -> String {
    format!(
        "The service stopped {attempts} times while the agent was at work on this, so it is not run again. Send \
         another message to go on."
    )
}

/// The configuration no longer has the session's profile.
pub(super) fn no_profile(name: &str) -> String {
    format!("The agent cannot be started: the configuration has no profile `{name}` any more.")
}

/// A session with secrets, and a service without a key.
pub(super) const NO_SECRET_KEY: &str = "The agent was not started: this session has secrets, and the service was \
    started without the key that they are encrypted with. Send another message once it has the key.";

/// A secret that cannot be read.
pub(super) fn unreadable_secret(name: &str, error: SealError) -> String {
    match error {
        SealError::OtherKey => {
            "The agent was not started: the secrets of this session were encrypted with another key \
                                than the service has now. Send another message once it has that key again."
                .to_owned()
        }
        other => {
            format!("The agent was not started: the secret `{name}` of this session cannot be read: {other}.")
        }
    }
}

/// What a command is told that is to give structured output.
pub(super) fn structured_hint(file: &str, schema: &str) -> String {
    format!(
        "Write the result also as JSON into the file {file} in the working folder. It has to be valid by the JSON Schema \
         (draft 7) in {schema}."
    )
}

/// A structured output that was not taken.
pub(super) fn structured_refused(name: &str, why: &str) -> String {
    format!("{name} was not taken: {why}")
}

/// No structured output where one is required.
pub(super) const STRUCTURED_MISSING: &str = "The session requires structured output, and the agent has given none. Send a message to have it asked again.";

/// Files that could not be delivered, with the reasons.
pub(super) fn undelivered(failures: &[(String, String)]) -> String {
    let mut text = "The agent was not started, because not all of its files could be delivered:".to_owned();
    push_list(&mut text, failures.iter().map(|(name, reason)| format!("- {name}: {reason}")));
    text.push_str("\nSend another message to have it tried again.");
    text
}

/// How a turn failed; `None` for one that did not.
pub(super) fn failure(profile: &str, end: &TurnEnd, turn_seconds: u64) -> Option<String> {
    let what = match &end.how {
        HowEnded::Exited(0) | HowEnded::Cancelled => return None,
        HowEnded::Exited(code) => format!("The agent `{profile}` ended with exit code {code}."),
        HowEnded::Signalled(signal) => format!("The agent `{profile}` was killed by signal {signal}."),
        HowEnded::TimedOut => {
            format!("The agent `{profile}` was stopped: a turn may take {turn_seconds} s.")
        }
        HowEnded::FailedToStart(_) => {
            return Some(format!("The agent `{profile}` could not be started. The service's log says why."));
        }
        HowEnded::Refused(_) => return Some(format!("The agent `{profile}` could not be started now.")),
        HowEnded::Lost(_) => format!(
            "What supervises the agent `{profile}` ended early, and the agent with it. The service's log says why."
        ),
    };
    if end.stderr_tail.is_empty() {
        return Some(what);
    }
    Some(format!("{what} The last lines that it wrote to standard error:\n\n{}", end.stderr_tail.join("\n")))
}

/// What came back, as lines that name the attachments, and what did not, with the reasons.
pub(super) fn handed_back(urls: &[String], left_out: &[(String, String)]) -> Option<String> {
    let mut lines: Vec<String> = urls.iter().map(|url| line_for(url)).collect();
    if !left_out.is_empty() {
        let mut text = "Not taken over from the output folder:".to_owned();
        push_list(&mut text, left_out.iter().map(|(path, why)| format!("- {path}: {why}")));
        lines.push(text);
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// An agent that said nothing and handed nothing back.
pub(super) const SILENT: &str = "The agent ended without an answer and without files.";

/// An error and its causes in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// How many entries of a list were not shown.
pub(super) fn and_more(more: usize) -> String {
    format!("and {more} more")
}

/// Appends the first lines of a list, and the number of the others.
fn push_list(text: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(LISTED);
    for line in lines.take(LISTED) {
        text.push('\n');
        text.push_str(&line);
    }
    if more > 0 {
        text.push_str(&format!("\n- {}", and_more(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(how: HowEnded) -> TurnEnd {
        TurnEnd { how, stdout: String::new(), truncated: false, stderr_tail: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn a_failure_shows_the_exit_code_and_the_last_lines() {
        let text = failure("codex", &ended(HowEnded::Exited(3)), 60).unwrap();
        assert!(text.contains("`codex` ended with exit code 3") && text.ends_with("\n\na\nb"), "{text}");
        assert_eq!(failure("codex", &ended(HowEnded::Exited(0)), 60), None);
        let text = failure("codex", &ended(HowEnded::FailedToStart("no /opt/x".to_owned())), 60).unwrap();
        assert!(!text.contains('/') && !text.contains("\n"), "{text}");
    }

    #[test]
    fn near_misses_name_line_column_reason_and_correction() {
        let notice = Notice {
            line: 3,
            column: 12,
            reason: "there is a blank after the colon".to_owned(),
            corrected: Some("ATTACHMENT:\"u\"".to_owned()),
        };
        let text = near_misses(&[notice]);
        assert!(text.ends_with(
            "\n- line 3, column 12: there is a blank after the colon. Write:\n  ATTACHMENT:\"u\""
        ));
    }

    #[test]
    fn what_came_back_is_named_by_lines() {
        assert_eq!(handed_back(&[], &[]), None);
        let left_out = vec![("output/x".to_owned(), "why".to_owned()); 10_000];
        let text = handed_back(&[], &left_out).unwrap();
        assert!(text.ends_with("\n- output/x: why\n- and 9900 more"), "{text}");
        assert_eq!(handed_back(&["u".to_owned()], &[]).as_deref(), Some("ATTACHMENT:\"u\""));
    }
}
