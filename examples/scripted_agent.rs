//! An agent for tests that speaks the Agent Client Protocol by itself, line by line, and does what its first argument
//! says: `good`, `slow`, `crash-once`, `hang-new`, and so on. What it is asked it notes in `seen` of its working folder.

#![allow(clippy::needless_pass_by_value)] // Values of `json!` are made where they are used.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Bytes of a line that is large and just not too long.
const LARGE: usize = 15 << 20;

/// One process.
struct Agent {
    script: String,
    token: String,
    /// The tool servers that it was told of.
    servers: Value,
    lines: std::io::Lines<std::io::StdinLock<'static>>,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (script, token) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let mut agent = Agent { script, token, servers: Value::Null, lines: std::io::stdin().lines() };
    note("starts", "start");
    if agent.is("no-start") {
        eprintln!("cannot find my configuration");
        std::process::exit(4);
    }
    while let Some(message) = agent.read() {
        agent.answer(&message);
    }
}

impl Agent {
    fn is(&self, word: &str) -> bool {
        self.script.split('+').any(|part| part == word)
    }

    fn read(&mut self) -> Option<Value> {
        let line = self.lines.next()?.ok()?;
        serde_json::from_str(&line).ok()
    }

    fn answer(&mut self, message: &Value) {
        let (method, id, params) =
            (message["method"].as_str().unwrap_or("answer"), &message["id"], &message["params"]);
        note("seen", method);
        if let Some(servers) = params.get("mcpServers") {
            self.servers = servers.clone();
        }
        if self.is(&format!("hang-{}", method.trim_start_matches("session/"))) {
            return hang();
        }
        match method {
            "initialize" => {
                let version = if self.is("version-2") { json!(2) } else { json!(1) };
                let resume = if self.is("resume") { json!({}) } else { Value::Null };
                self.result(
                    id,
                    json!({
                        "protocolVersion": version,
                        "agentInfo": { "name": "scripted", "version": "1.2.3" },
                        "agentCapabilities": {
                            "loadSession": self.is("load"),
                            "sessionCapabilities": { "resume": resume },
                        },
                        "authMethods": [{ "id": "api-key", "name": "A key" }],
                    }),
                );
            }
            "session/new" if self.is("large-answer") => {
                self.result(id, json!({ "sessionId": "c", "_meta": "x".repeat(2_000_000) }));
            }
            "session/new" if self.is("long-id") => self.result(id, json!({ "sessionId": "c".repeat(1025) })),
            "session/new" if self.is("nul-id") => self.result(id, json!({ "sessionId": "c\0" })),
            "session/new" if self.is("many-modes") => {
                let mode = |number: usize| json!({ "id": format!("mode-{number}") });
                let long = json!({ "id": "x".repeat(201) });
                let modes: Vec<Value> = std::iter::once(long).chain((0..10_000).map(mode)).collect();
                self.result(id, json!({ "sessionId": "c", "modes": { "availableModes": modes } }));
            }
            "session/new" if self.is("auth") => self.error(id, -32000, "Authentication required"),
            "session/new" => {
                let modes = ["ask", "full"].map(|id| json!({ "id": id, "name": id }));
                self.result(id, json!({
                    "sessionId": format!("conversation-{}", std::process::id()),
                    "modes": { "currentModeId": "ask", "availableModes": modes },
                    "configOptions": [{ "id": "model", "name": "Model", "type": "select", "currentValue": "a", "options": [] }],
                }));
            }
            "session/resume" | "session/load" => {
                note("seen", params["sessionId"].as_str().unwrap_or("none"));
                self.say("this was said before");
                let modes = ["ask", "full"].map(|id| json!({ "id": id, "name": id }));
                let offered = json!({ "currentModeId": "ask", "availableModes": modes });
                self.result(id, json!({ "modes": offered, "configOptions": [{ "id": "model" }] }));
            }
            "session/set_mode" => {
                note("seen", params["modeId"].as_str().unwrap_or_default());
                self.result(id, json!({}));
            }
            "session/set_config_option" => {
                note("seen", &params["value"].to_string());
                self.result(id, json!({ "configOptions": [] }));
            }
            "session/prompt" => {
                let prompt = params["prompt"][0]["text"].as_str().unwrap_or_default().to_owned();
                note("prompts", &format!("{prompt}\n--"));
                self.turn(id, &prompt);
            }
            _ => {}
        }
    }

    fn turn(&mut self, id: &Value, prompt: &str) {
        if prompt.contains("attack") {
            self.attack();
        }
        if self.is("garbage") {
            self.garbage();
        }
        if self.is("long-line") {
            return self.print(&format!("{{\"x\":\"{}\"}}", "x".repeat(2_000_000)));
        }
        if self.is("crash-always") || self.is("crash-once") && !Path::new("crashed").exists() {
            let _ = fs::write("crashed", "");
            self.say("half of it");
            eprintln!("it went wrong");
            std::process::exit(3);
        }
        if self.is("hang") {
            self.say("thinking");
            return self.hang_until_cancelled(id);
        }
        if self.is("permission") {
            let chosen = self.ask_for_leave();
            self.say(&format!("leave: {chosen}"));
        }
        if self.is("setsid") {
            let script = format!("sleep 1000; : {}", self.token);
            let _ = std::process::Command::new("setsid").args(["sh", "-c", &script]).spawn();
        }
        if self.is("refused") {
            return self.error(id, -32603, "the model is not there");
        }
        self.update(json!({ "sessionUpdate": "agent_thought_chunk", "content": text("hm") }));
        self.say("Looking ");
        self.say("at it.");
        self.update(
            json!({ "sessionUpdate": "tool_call", "toolCallId": "1", "title": "ls", "status": "pending" }),
        );
        self.update(json!({ "sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed" }));
        self.update(json!({ "sessionUpdate": "plan", "entries": [] }));
        self.update(json!({ "sessionUpdate": "usage_update", "used": 1, "size": 2 }));
        if self.is("slow") {
            let _ = fs::write("ready", "\n");
            while !Path::new("go").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = fs::remove_file("go");
        }
        if self.is("secret") {
            self.say(&format!("The secret is {}. ", std::env::var("MY_TOKEN").unwrap_or_default()));
        }
        if self.is("tool") && (!self.is("when-asked") || prompt.contains("still missing")) {
            self.use_tool();
        }
        if prompt.contains("hand back") {
            let _ = fs::write("output/result.txt", "result\n");
        }
        self.say(&format!("Done by {}.", std::env::var("HOME").map_or(0, |_| 1)));
        let reason = if self.is("odd-reason") { "of_tomorrow" } else { "end_turn" };
        self.result(id, json!({ "stopReason": reason }));
        if prompt.contains("attack") && self.is("flood-ids-later") {
            self.flood_ids();
        }
        if self.is("late") {
            self.say_late();
        }
        if self.is("silent") {
            // It becomes a program that has no standard output, and notes each SIGTERM that it ignores.
            let script = "trap 'echo >> terminated' TERM; while :; do sleep 0.02; done";
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", script, &self.token]).stdout(std::process::Stdio::null());
            let _ = std::os::unix::process::CommandExt::exec(&mut shell);
        }
        if self.is("leave") {
            std::process::exit(0);
        }
        if self.is("leave-later") {
            while !Path::new("leave").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::process::exit(7);
        }
    }

    /// Starts the first tool server and hands it an output with a fault, then a good one; says what it answered.
    fn use_tool(&mut self) {
        let server = &self.servers[0];
        let args = server["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut command = std::process::Command::new(server["command"].as_str().unwrap_or_default());
        command.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let Ok(mut child) = command.spawn() else { return self.say("no tool server") };
        let initialize = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "s", "version": "1" } });
        let call = |output: Value, is_final: bool| json!({ "name": "provide_structured_output", "arguments": { "output": output, "is_final": is_final } });
        let asked = [
            ("initialize", initialize),
            ("tools/list", json!({})),
            ("tools/call", call(json!({ "total": "3" }), true)),
            ("tools/call", call(json!({ "total": 4 }), self.is("final"))),
        ];
        if let Some(mut stdin) = child.stdin.take() {
            for (id, (method, params)) in asked.iter().enumerate() {
                let line = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
                let _ = writeln!(stdin, "{line}");
            }
        }
        let answered = child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
        self.say(&String::from_utf8_lossy(&answered));
    }

    /// Wants more of the service than it may have.
    fn attack(&mut self) {
        if self.is("flood") {
            for id in 0..20_000 {
                self.print(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"fs/read_text_file"}}"#));
            }
            note("flooded", "");
        }
        if self.is("flood-ids") {
            self.flood_ids();
        }
        if self.is("wide") {
            let (values, brackets) = (LARGE / 7, LARGE / 2);
            let wide = format!("[{}0]", r#"{"":0},"#.repeat(values));
            let deep = format!("{}{}", "[".repeat(brackets), "]".repeat(brackets));
            for (id, output) in [("wide", wide), ("deep", deep)] {
                let update = format!(
                    r#"{{"sessionUpdate":"tool_call_update","toolCallId":"{id}","rawOutput":{output}}}"#
                );
                self.print(&format!(
                    r#"{{"jsonrpc":"2.0","method":"session/update","params":{{"update":{update}}}}}"#
                ));
            }
        }
        if self.is("many-messages") {
            for number in 0..2_500 {
                let content = text(&format!("{number};"));
                self.update(json!({ "sessionUpdate": "agent_message_chunk", "messageId": number.to_string(), "content": content }));
            }
        }
        if self.is("many-events") {
            for number in 0..300 {
                let output = "x".repeat(63_000);
                self.update(json!({ "sessionUpdate": "tool_call_update", "toolCallId": number.to_string(), "rawOutput": output }));
            }
        }
        if self.is("long-text") {
            self.say(&"x".repeat(900_000));
        }
    }

    fn flood_ids(&self) {
        for _ in 0..20 {
            let id = "x".repeat(LARGE);
            self.print(&format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"fs/read_text_file"}}"#));
        }
        note("flooded", "");
    }

    fn garbage(&mut self) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(b"Loading model...\n\xff\xfe\n[1,2]\n{\"a\":1}\n\n");
        drop(out);
        self.print(r#"{"jsonrpc":"2.0","method":"_vendor/news","params":{}}"#);
        self.print(r#"{"jsonrpc":"2.0","id":"nobody","result":{}}"#);
        self.update(json!({ "sessionUpdate": "of_tomorrow", "x": 1 }));
        self.print(r#"{"jsonrpc":"2.0","id":"r","method":"fs/read_text_file","params":{}}"#);
        let refused = self.read().unwrap_or_default();
        note("seen", &refused["error"]["code"].to_string());
    }

    fn ask_for_leave(&mut self) -> String {
        let option = |id: &str, kind: &str| json!({ "optionId": id, "name": "x", "kind": kind });
        let options =
            [option("no", "reject_once"), option("always", "allow_always"), option("once", "allow_once")];
        let params = json!({ "sessionId": "s", "toolCall": { "toolCallId": "1" }, "options": options });
        self.print(
            &json!({ "jsonrpc": "2.0", "id": 77, "method": "session/request_permission", "params": params })
                .to_string(),
        );
        let outcome = self.read().unwrap_or_default()["result"]["outcome"].clone();
        outcome["optionId"].as_str().or(outcome["outcome"].as_str()).unwrap_or("nothing").to_owned()
    }

    fn hang_until_cancelled(&mut self, id: &Value) {
        note("ready", "");
        while let Some(message) = self.read() {
            note("seen", message["method"].as_str().unwrap_or("answer"));
            if message["method"] == "session/cancel" && !self.is("stubborn") {
                let leave = self.ask_for_leave();
                note("seen", &leave);
                self.say("stopping");
                return self.result(id, json!({ "stopReason": "cancelled" }));
            }
        }
        hang();
    }

    /// Says something once its turn has ended, a character of it in two halves.
    fn say_late(&self) {
        while !Path::new("late").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_file("late");
        for half in ["One thing more: \\ud83d", "\\ude00"] {
            let said = json!({ "sessionUpdate": "agent_message_chunk", "content": text("HALF") });
            let params = json!({ "sessionId": "s", "update": said });
            let line = json!({ "jsonrpc": "2.0", "method": "session/update", "params": params }).to_string();
            self.print(&line.replace("HALF", half));
        }
    }

    fn say(&self, words: &str) {
        self.update(json!({ "sessionUpdate": "agent_message_chunk", "content": text(words) }));
    }

    fn update(&self, update: Value) {
        let params = json!({ "sessionId": "s", "update": update });
        self.print(&json!({ "jsonrpc": "2.0", "method": "session/update", "params": params }).to_string());
    }

    fn result(&self, id: &Value, result: Value) {
        self.print(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string());
    }

    fn error(&self, id: &Value, code: i64, message: &str) {
        let error = json!({ "code": code, "message": message });
        self.print(&json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
    }

    fn print(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

fn text(words: &str) -> Value {
    json!({ "type": "text", "text": words })
}

fn note(file: &str, line: &str) {
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
        let _ = writeln!(file, "{line}");
    }
}

fn hang() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}
