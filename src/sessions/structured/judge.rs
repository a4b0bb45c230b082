//! Schemas and outputs are judged in a process of their own (`satchel judge-output`, hidden): a schema can be written so
//! that it costs any amount of time or stack, and then that process ends and the service goes on.

use std::io::{self, Read as _, Write as _};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::schema::{Fault, Schema};
use crate::sessions::process::Supervisor;

/// Seconds of processor time that one judgement may take.
const CPU_SECONDS: u64 = 5;
/// Memory that it may take, in bytes.
const MEMORY: u64 = 1 << 30;
/// How long it may take by the clock.
const WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the longest answer.
const MAX_ANSWER: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The schema is good, and so is the output, if there was one.
    Good,
    /// The schema is none.
    BadSchema(Fault),
    /// What is wrong with the output.
    BadOutput(Vec<Fault>),
    /// It was not found out within the bounds.
    TooHard,
}

#[derive(Debug, Deserialize)]
struct Question {
    schema: Value,
    /// In a list, so that an output that is null is told from none.
    output: Option<[Value; 1]>,
}

/// Judges a schema, and an output by it.
///
/// # Errors
/// The process could not be started.
pub(super) async fn judge(
    program: &Supervisor,
    schema: &Value,
    output: Option<&Value>,
) -> io::Result<Verdict> {
    let question =
        serde_json::to_vec(&serde_json::json!({ "schema": schema, "output": output.map(|o| [o]) }))?;
    let mut child = tokio::process::Command::new(program.program())
        .arg("judge-output")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let answered = async {
        let mut answer = Vec::new();
        if let (Some(mut stdin), Some(stdout)) = (stdin, stdout) {
            // It may have ended early; then there is no answer either.
            let _ = stdin.write_all(&question).await;
            drop(stdin);
            stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        child.wait().await?;
        Ok::<Vec<u8>, io::Error>(answer)
    };
    match tokio::time::timeout(WITHIN, answered).await {
        Ok(answer) => Ok(serde_json::from_slice(&answer?).unwrap_or(Verdict::TooHard)),
        Err(_) => Ok(Verdict::TooHard),
    }
}

/// The hidden command `judge-output`: a question as JSON on standard input, the verdict as JSON on standard output.
pub fn judge_main() -> ExitCode {
    let judged = || -> io::Result<()> {
        for (resource, most) in [(Resource::Cpu, CPU_SECONDS), (Resource::As, MEMORY), (Resource::Core, 0)] {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text)?;
        let question: Question = serde_json::from_slice(&text)?;
        let verdict = match Schema::compile(&question.schema) {
            Err(fault) => Verdict::BadSchema(fault),
            Ok(schema) => match question.output.map(|[output]| schema.faults(&output)) {
                Some(faults) if !faults.is_empty() => Verdict::BadOutput(faults),
                _ => Verdict::Good,
            },
        };
        io::stdout().lock().write_all(&serde_json::to_vec(&verdict)?)
    };
    if judged().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
