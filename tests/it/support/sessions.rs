//! Sessions as their users see them, over either version of the API, and agents for them: shell
//! scripts.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, TestApp, User, eventually};

/// An agent that says what it was told.
pub const ECHO: &str = "cat";

/// An agent that is at work from its `ready` until there is a file `go`; then it says `done`.
pub const AT_WORK: &str = "echo > ready; until [ -e go ]; do sleep 0.01; done; rm ready; echo done";

/// A session, and the user who works with it.
#[derive(Debug, Clone)]
pub struct Session {
    pub user: User,
    pub id: String,
    /// What the call that created it answered.
    pub created: Value,
}

impl TestApp {
    /// A service whose agent is a shell script. `options`: lines of the configuration before it.
    pub async fn with_agent(options: &str, script: &str) -> Self {
        Self::builder().config(options).config(&agent(script, "")).start().await
    }

    /// The folder in which a session's agent works.
    pub fn workspace(&self, session: &Session) -> PathBuf {
        self.folder(session).join("ws")
    }

    /// Everything that a session has on disk.
    pub fn folder(&self, session: &Session) -> PathBuf {
        self.data().join("sessions").join(&session.id)
    }

    /// What a file of the agent's folder holds, once it ends in a line end.
    pub async fn written(&self, session: &Session, name: &str) -> String {
        let path = self.workspace(session).join(name);
        eventually(&format!("the agent writes {name}"), async || {
            std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
        })
        .await
    }

    /// Lets an agent that is [`AT_WORK`] come to its end.
    pub fn let_go(&self, session: &Session) {
        std::fs::write(self.workspace(session).join("go"), "").unwrap();
    }
}

/// The configuration of an agent, the only one, that is a shell script. `keys`: further lines of it.
pub fn agent(script: &str, keys: &str) -> String {
    // A JSON string without control characters but these is a TOML string too.
    let script = serde_json::to_string(script).unwrap();
    format!("[agents.script]\nprogram = \"/bin/sh\"\nargs = [\"-c\", {script}]\n{keys}\n")
}

impl User {
    /// The path of the user's sessions, and the rest.
    pub fn sessions_path(&self, rest: &str) -> String {
        if self.is_v3() { self.in_org(&format!("/sessions{rest}")) } else { format!("/v1/sessions{rest}") }
    }

    /// Creates a session with a prompt.
    pub async fn open(&self, prompt: &str) -> Session {
        self.open_with(&json!({ "prompt": prompt })).await
    }

    /// Creates a session.
    pub async fn open_with(&self, body: &Value) -> Session {
        let created = self.try_open(body).await.expect(200).json();
        Session { user: self.clone(), id: created["session_id"].as_str().unwrap().to_owned(), created }
    }

    /// Asks for a session, and hands back whatever was answered.
    pub async fn try_open(&self, body: &Value) -> Answer {
        self.post(&self.sessions_path(""), body).await
    }
}

impl Session {
    /// The same session for somebody else.
    pub fn of(&self, user: &User) -> Self {
        Self { user: user.clone(), ..self.clone() }
    }

    /// The path of the session, and the rest.
    pub fn path(&self, rest: &str) -> String {
        self.user.sessions_path(&format!("/{}{rest}", self.id))
    }

    /// Sends a message.
    pub async fn say(&self, text: &str) -> Value {
        self.try_say(&json!({ "message": text })).await.expect(200).json()
    }

    /// Sends a message, and hands back whatever was answered.
    pub async fn try_say(&self, body: &Value) -> Answer {
        let rest = if self.user.is_v3() { "/messages" } else { "/message" };
        self.user.post(&self.path(rest), body).await
    }

    pub async fn get(&self) -> Value {
        self.user.get(&self.path("")).await.expect(200).json()
    }

    /// Where the session stands: v1's `status_enum`, or v3's status with its detail.
    pub async fn standing(&self) -> String {
        let session = self.get().await;
        let text = |name: &str| session[name].as_str().map(str::to_owned);
        match (self.user.is_v3(), text("status_detail")) {
            (false, _) => text("status_enum").unwrap(),
            (true, None) => text("status").unwrap(),
            (true, Some(detail)) => format!("{}/{detail}", text("status").unwrap()),
        }
    }

    /// Waits until the session stands there.
    pub async fn until(&self, standing: &str) {
        let mut last = String::new();
        let what = format!("{} comes to stand at {standing}", self.id);
        let arrived = eventually(&what, async || {
            let now = self.standing().await;
            if now != last {
                eprintln!("{} stands at {now}", self.id);
                last.clone_from(&now);
            }
            (now == standing).then_some(())
        });
        arrived.await;
    }

    /// Waits until the turn has ended.
    pub async fn until_waiting(&self) {
        self.until(if self.user.is_v3() { "running/waiting_for_user" } else { "blocked" }).await;
    }

    /// Every message: from whom it is (`user` or `devin`), and what it says.
    pub async fn messages(&self) -> Vec<(String, String)> {
        if self.user.is_v3() {
            let page = self.user.get(&self.path("/messages?first=200")).await.expect(200).json();
            let item = |message: &Value| (text(&message["source"]), text(&message["message"]));
            return page["items"].as_array().unwrap().iter().map(item).collect();
        }
        let item = |message: &Value| {
            let from = if message["type"] == "devin_message" { "devin" } else { "user" };
            (from.to_owned(), text(&message["message"]))
        };
        self.get().await["messages"].as_array().unwrap().iter().map(item).collect()
    }

    /// What the agent, or the service, has said.
    pub async fn answers(&self) -> Vec<String> {
        let mut messages = self.messages().await;
        messages.retain(|(from, _)| from == "devin");
        messages.into_iter().map(|(_, text)| text).collect()
    }

    pub async fn receipts(&self) -> Vec<Value> {
        let receipts = self.user.get(&self.path("/receipts")).await.expect(200).json();
        receipts.as_array().unwrap().clone()
    }

    /// Ends the session.
    pub async fn end(&self) -> Answer {
        self.user.delete(&self.path("")).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
