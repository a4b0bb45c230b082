//! What the service itself says in a session.
//!
//! These are messages of source `devin` and kind notice: people and pollers read them, agents do
//! not. They name files, profiles and exit codes, never paths of the machine or secrets.

use std::error::Error;
use std::time::Duration;

use super::MAX_ATTEMPTS;
use super::agent::Failure;
use super::progress;
use super::sandbox::Isolation;
use super::secrets::{SealError, SecretFault};
use super::store::NewMessage;
use super::structured::{self, Channel};
use super::workspace::{ATTACHMENTS, SCHEMA};
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
        "The turn was cut short: the service stopped, or could not write, while the agent was at work. It runs again \
         (attempt {} of {MAX_ATTEMPTS}).",
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

/// Why a file waits or was not delivered where the disk is full.
pub(super) const NO_ROOM: &str = "the disk of the service has no room for it";

/// A file that waits for the disk to have room.
pub(super) fn waits_for_room(file: &str, rest: Duration, tries: i64) -> String {
    let seconds = rest.as_secs();
    format!(
        "The agent was not started, because not all of its files could be delivered:\n- {file}: {NO_ROOM}\n\
         It is tried again every {seconds} s, {tries} times in all."
    )
}

/// A turn that was cut short too often.
pub(super) fn given_up(attempts: i64) -> String {
    format!(
        "The turn was cut short {attempts} times, because the service stopped or could not write while the agent was at \
         work on this, so it is not run again. Send another message to go on."
    )
}

/// The configuration no longer has the session's profile.
pub(super) fn no_profile(name: &str) -> String {
    format!("The agent cannot be started: the configuration has no profile `{name}` any more.")
}

/// A session with secrets, and a service without a key.
pub(super) const NO_SECRET_KEY: &str = "The agent was not started: this session has secrets, and the service was \
    started without the key that they are encrypted with. Send another message once it has the key.";

/// A secret that its profile does not let through any more.
pub(super) fn refused_secret(fault: &SecretFault) -> String {
    format!("The agent was not started: {fault}.")
}

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

/// What an agent is told that is to give structured output.
pub(super) fn structured_hint(channel: Channel) -> String {
    match channel {
        Channel::Tool => {
            format!("Hand the result over as JSON with the tool `{}`.", structured::server::TOOL)
        }
        Channel::File => format!(
            "Write the result also as JSON into the file {} in the working folder. It has to be valid by the JSON Schema \
             (draft 7) in {ATTACHMENTS}/{SCHEMA}.",
            structured::FILE
        ),
    }
}

/// What an agent is asked that lives and ended its turn without the structured output that is required.
pub(super) fn structured_asked(channel: Channel) -> String {
    format!("The result as JSON is still missing. {}", structured_hint(channel))
}

/// A structured output that was not taken.
pub(super) fn structured_refused(name: &str, why: &str) -> String {
    format!("{name} was not taken: {why}")
}

/// No structured output where one is required.
pub(super) const STRUCTURED_MISSING: &str = "The session requires structured output, and the agent has given none. Send a message to have it asked again.";

/// Files that could not be delivered, with the reasons, and whether one of them never can be.
pub(super) fn undelivered(failures: &[(String, String)], for_good: bool) -> String {
    let mut text = "The agent was not started, because not all of its files could be delivered:".to_owned();
    push_list(&mut text, failures.iter().map(|(name, reason)| format!("- {name}: {reason}")));
    text.push_str(if for_good {
        "\nWhat is gone does not come back, and no agent starts without its files: create a new session without it."
    } else {
        "\nSend another message to have it tried again."
    });
    text
}

/// What went wrong with an agent, and the last lines that it wrote to standard error.
pub(super) fn failure(profile: &str, failure: &Failure, stderr_tail: &[String]) -> String {
    let what = match failure {
        Failure::Exited(code) => format!("The agent `{profile}` ended with exit code {code}."),
        Failure::Signalled(signal) => format!("The agent `{profile}` was killed by signal {signal}."),
        Failure::NotStarted(_) => {
            return format!("The agent `{profile}` could not be started. The service's log says why.");
        }
        Failure::Lost(_) => format!(
            "What supervises the agent `{profile}` ended early, and the agent with it. The service's log says why."
        ),
        Failure::TurnTimeout(limit) => {
            format!("The agent `{profile}` was stopped: a turn may take {} s.", limit.as_secs())
        }
        Failure::StartTimeout(limit, step) => format!(
            "The agent `{profile}` was stopped: it had not answered `{step}` {} s after its start.",
            limit.as_secs()
        ),
        Failure::Silent => {
            format!("The agent `{profile}` closed its standard output while it was needed, and was stopped.")
        }
        Failure::LongLine(limit) => {
            format!("The agent `{profile}` was stopped: it wrote a line of more than {limit} bytes.")
        }
        Failure::LargeAnswer(bytes, values) => format!(
            "The agent `{profile}` was stopped: an answer of it had more than {bytes} bytes or {values} values."
        ),
        Failure::Answered(step, text) => {
            format!("The agent `{profile}` answered `{step}` with an error: {text}")
        }
        Failure::Authentication(methods) => {
            let offered = if methods.is_empty() {
                String::new()
            } else {
                format!(" (it offers: {})", methods.join(", "))
            };
            format!(
                "The agent `{profile}` wants somebody to log in first{offered}. Give its profile the credential that \
                 it reads, with `env` or `pass_env`, or what it needs in its HOME."
            )
        }
        Failure::Unfit(text) => format!("The agent `{profile}` {text}."),
    };
    if stderr_tail.is_empty() {
        return what;
    }
    format!("{what} The last lines that it wrote to standard error:\n\n{}", stderr_tail.join("\n"))
}

/// Events of a turn were left out.
pub(super) fn events_cut() -> String {
    format!(
        "The agent tells more of its work than is kept of one turn ({} events, {} MiB of them together). What it does from \
         here on to the end of this turn is not shown.",
        progress::MAX_EVENTS,
        progress::MAX_EVENT_BYTES >> 20
    )
}

/// A turn has as many messages as it may have.
pub(super) fn messages_joined() -> String {
    format!(
        "The agent has sent {} messages in this turn. What it says from here on is put together and comes at the end \
         of the turn.",
        progress::MAX_MESSAGES
    )
}

/// A crashed agent is started again after `seconds`; `attempts` turns were begun so far.
pub(super) fn started_again(seconds: u64, attempts: i64) -> String {
    format!("It is started again in {seconds} s and goes on (attempt {} of {MAX_ATTEMPTS}).", attempts + 1)
}

/// A crashed agent is not started again.
pub(super) fn crashed_too_often(attempts: i64) -> String {
    format!("It failed {attempts} times, so it is not started again. Send another message to go on.")
}

/// A turn that ended for another reason than that the agent is done.
pub(super) fn because(profile: &str, reason: &str) -> String {
    let known = match reason {
        "max_tokens" => "it reached the limit of tokens of its model",
        "max_turn_requests" => "it reached its limit of requests in one turn",
        "refusal" => "it refuses to go on",
        "cancelled" => "it says that it was cancelled",
        other => {
            return format!(
                "The agent `{profile}` ended its turn for a reason that is not known here: `{other}`."
            );
        }
    };
    format!("The agent `{profile}` ended its turn: {known}.")
}

/// An agent that ended while nobody needed it.
pub(super) fn gone(profile: &str, gone: &Failure) -> String {
    let what = failure(profile, gone, &[]);
    format!("{what} It was waiting for a message; the next one starts it again.")
}

/// An agent that something of the operator's isolates.
pub(super) const PREFIXED: &str = "This session's agent is isolated by what its profile names (`prefix`) and not by \
    the service, which cannot say what it reaches.";

/// What came back, as lines that name the attachments, and what did not, with the reasons.
pub(super) fn handed_back(urls: &[String], left_out: &[(String, String)]) -> Option<String> {
    let mut lines: Vec<String> = urls.iter().map(|url| line_for(url)).collect();
    if !left_out.is_empty() {
        let mut text = "Not taken over from the output folder:".to_owned();
        push_list(&mut text, left_out.iter().map(|(path, why)| format!("- {}: {why}", plain(path))));
        lines.push(text);
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Something else stood in the place of the output folder before a turn.
pub(super) fn output_replaced(moved_to: &str) -> String {
    format!(
        "`output` was no folder any more; it is an empty one again, and what took its place is now `{moved_to}`."
    )
}

/// An agent that said nothing and handed nothing back.
pub(super) const SILENT: &str = "The agent ended without an answer and without files.";

/// A name of an agent's choice in one line, without marks that hide or turn what stands beside them.
fn plain(name: &str) -> String {
    let shown = |c: char| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() };
    name.chars().map(shown).collect()
}

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

    #[test]
    fn a_failure_shows_the_exit_code_and_the_last_lines() {
        let text = failure("codex", &Failure::Exited(3), &["a".to_owned(), "b".to_owned()]);
        assert!(text.contains("`codex` ended with exit code 3") && text.ends_with("\n\na\nb"), "{text}");
        let text = failure("codex", &Failure::NotStarted("no /opt/x".to_owned()), &["b".to_owned()]);
        assert!(!text.contains('/') && !text.contains("\n"), "{text}");
        let text = failure("codex", &Failure::Authentication(vec!["api-key".to_owned()]), &[]);
        assert!(
            text.starts_with("The agent `codex` wants somebody to log in first (it offers: api-key)."),
            "{text}"
        );
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
