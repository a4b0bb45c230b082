//! The tool server of a session that wants structured output (`satchel structured-output`, hidden): an agent starts it
//! and speaks the Model Context Protocol with it on its standard streams (<https://modelcontextprotocol.io>, "stdio").
//!
//! It has one tool, `provide_structured_output`, whose input schema holds the session's own. An output with faults is
//! answered with each of them by its place, so that the agent can mend it; a good one is written to a file, whole or not
//! at all, from which the service takes it and judges it again. Nothing here is trusted by the service: the server runs
//! inside the agent's containment. It is written out by hand because it is four methods over lines of JSON.

use std::io::{self, BufRead, Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::schema::{Schema, lines};
use super::{MAX_OUTPUT, Provided};

/// The tool's name.
pub(in crate::sessions) const TOOL: &str = "provide_structured_output";
/// Revisions of the protocol that are spoken, newest first; for what is used here they are the same.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Bytes in the longest line that is read.
const MAX_LINE: u64 = 16 << 20;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// Why the server cannot be of use.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The schema's file cannot be read.
    #[error("the schema {path} cannot be read: {why}")]
    Schema {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The agent is gone.
    #[error("the agent cannot be heard or told: {0}")]
    Io(#[from] io::Error),
}

/// Serves until standard input ends. `schema`: the file with the session's schema; `output`: the file to write.
///
/// # Errors
/// The schema cannot be read, or the streams fail.
pub fn serve(
    schema: &Path,
    output: &Path,
    from: &mut impl BufRead,
    to: &mut impl Write,
) -> Result<(), ServerError> {
    let unreadable = |why: String| ServerError::Schema { path: schema.to_owned(), why };
    let text = std::fs::read(schema).map_err(|error| unreadable(error.to_string()))?;
    let document: Value = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let schema = Schema::compile(&document).map_err(|fault| unreadable(fault.what))?;
    let server = Server { document, schema, output };
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(answer) = server.answer(&line) {
            let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
            text.push(b'\n');
            to.write_all(&text)?;
            to.flush()?;
        }
    }
}

struct Server<'a> {
    document: Value,
    schema: Schema,
    output: &'a Path,
}

impl Server<'_> {
    /// The answer to a line: none to a notification, an answer or an empty line.
    fn answer(&self, line: &[u8]) -> Option<Value> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let failure = |id: &Value, code: i64, message: &str| {
            Some(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }))
        };
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            return failure(&Value::Null, PARSE_ERROR, "the line is not JSON");
        };
        let id = message.get("id").unwrap_or(&Value::Null);
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            let is_answer = message.get("result").or(message.get("error")).is_some();
            return if is_answer { None } else { failure(id, INVALID_REQUEST, "the message has no method") };
        };
        message.get("id")?;
        let params = message.get("params").unwrap_or(&Value::Null);
        let result = match method {
            "initialize" => Ok(initialize(params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": [self.tool()] })),
            "tools/call" => self.call(params),
            _ => Err((METHOD_NOT_FOUND, format!("there is no method `{method}`"))),
        };
        match result {
            Ok(result) => Some(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
            Err((code, message)) => failure(id, code, &message),
        }
    }

    fn tool(&self) -> Value {
        json!({
            "name": TOOL,
            "title": "Provide structured output",
            "description": "Hands the result of your work to the user as JSON. Call it again to replace an earlier \
                result. If the result has faults they are named: mend them and call again.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "output": nested(&self.document),
                    "is_final": {
                        "type": "boolean",
                        "description": "Whether the work is done and no further result follows."
                    }
                },
                "required": ["output", "is_final"]
            }
        })
    }

    fn call(&self, params: &Value) -> Result<Value, (i64, String)> {
        if params.get("name").and_then(Value::as_str) != Some(TOOL) {
            return Err((INVALID_PARAMS, format!("the only tool is `{TOOL}`")));
        }
        let arguments = params.get("arguments").unwrap_or(&Value::Null);
        Ok(match self.provide(arguments) {
            Ok(said) => json!({ "content": [{ "type": "text", "text": said }], "isError": false }),
            Err(fault) => json!({ "content": [{ "type": "text", "text": fault }], "isError": true }),
        })
    }

    /// Takes an output, or says in words for the agent what is wrong with it.
    fn provide(&self, arguments: &Value) -> Result<String, String> {
        let output =
            arguments.get("output").ok_or("The argument `output` is missing: give the result as JSON.")?;
        let is_final = match arguments.get("is_final") {
            None => false,
            Some(flag) => flag.as_bool().ok_or("The argument `is_final` has to be true or false.")?,
        };
        let size = output.to_string().len();
        if size > MAX_OUTPUT {
            return Err(format!(
                "The output has {size} bytes; at most {MAX_OUTPUT} are allowed. Make it shorter."
            ));
        }
        let faults = self.schema.faults(output);
        if !faults.is_empty() {
            let lines = lines(&faults);
            return Err(format!("The output was not taken. Mend this and call the tool again:\n{lines}"));
        }
        let provided = Provided { output: output.clone(), is_final };
        write(self.output, &provided)
            .map_err(|error| format!("The output could not be written: {error}."))?;
        Ok(match is_final {
            true => "The output was taken as the final one.".to_owned(),
            false => {
                "The output was taken. Call the tool with `is_final` true when your work is done.".to_owned()
            }
        })
    }
}

fn initialize(params: &Value) -> Value {
    let wanted = params.get("protocolVersion").and_then(Value::as_str);
    let spoken = wanted.filter(|wanted| REVISIONS.contains(wanted)).unwrap_or(REVISIONS[0]);
    json!({
        "protocolVersion": spoken,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "satchel", "version": env!("CARGO_PKG_VERSION") },
        "instructions": format!("Hand the result of your work over with the tool `{TOOL}`.")
    })
}

/// The schema as it stands in the tool's input schema: references to places in it lead there still.
fn nested(document: &Value) -> Value {
    let mut schema = document.clone();
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        members.remove("$id");
    }
    redirect(&mut schema);
    schema
}

/// Members of a schema whose own members are schemas (draft 7).
const NAMED: [&str; 4] = ["properties", "patternProperties", "definitions", "dependencies"];

fn redirect(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(redirect),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(reference) if name == "$ref" => {
                        if let Some(place) =
                            reference.strip_prefix('#').filter(|p| p.is_empty() || p.starts_with('/'))
                        {
                            *reference = format!("#/properties/output{place}");
                        }
                    }
                    // These hold schemas by names of any kind.
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        named.values_mut().for_each(redirect);
                    }
                    // These hold values, not schemas.
                    _ if ["const", "default", "enum", "examples"].contains(&name.as_str()) => {}
                    inner => redirect(inner),
                }
            }
        }
        _ => {}
    }
}

/// Writes a file so that a reader sees the old one or the new one.
fn write(path: &Path, provided: &Provided) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&part, serde_json::to_vec(provided)?)?;
    std::fs::rename(part, path)
}

#[cfg(test)]
mod tests;
