//! From a process that was started to an agent that is ready for a prompt: introduction, conversation, mode, options.
//!
//! A conversation of an earlier process is taken up again where the agent says that it can (`session/resume`, else
//! `session/load`) and does; otherwise a new one begins and the caller has to tell what was said before. What the
//! profile asks for is compared with what the agent offers, so that a fault in the profile is told as one.

use std::path::Path;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    EnvVariable, Implementation, InitializeRequest, LoadSessionRequest, McpServer as WireServer,
    McpServerStdio, NewSessionRequest, ResumeSessionRequest, SessionConfigOptionValue,
    SetSessionConfigOptionRequest, SetSessionModeRequest,
};
use serde::Serialize;
use serde_json::Value;

use super::connection::{Connection, Refusal};
use super::{AcpSettings, OptionValue};
use crate::sessions::agent::{Failure, McpServer};

/// Bytes of what an agent calls a conversation.
const MAX_CONVERSATION_BYTES: usize = 1024;
/// Names in one list of what an agent offers; more are not known here.
const MAX_OFFERED: usize = 100;
/// Characters of such a name, or of another word of an agent about itself.
const MAX_NAME_CHARS: usize = 200;
/// The version of the protocol that is spoken here.
const VERSION: u64 = 1;

/// Who an agent says it is, and what it offers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Introduction {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The version of the protocol that it speaks.
    pub protocol_version: Option<u64>,
    /// Whether it can take up a conversation (`session/resume`).
    pub can_resume: bool,
    /// Whether it can do so by telling it again (`session/load`).
    pub can_load: bool,
    /// The ways to log in that it offers, by id.
    pub auth_methods: Vec<String>,
    /// The modes of its sessions, by id.
    pub modes: Vec<String>,
    /// The mode that its sessions begin in.
    pub mode: Option<String>,
    /// The options of its sessions, by id.
    pub config_options: Vec<String>,
}

/// A conversation that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) conversation: String,
    /// Whether the agent knows what was said in it before.
    pub(super) remembers: bool,
}

/// Why an agent did not become ready.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It ended or stopped writing.
    Closed,
    /// A fault that another start may overcome.
    Passing(Failure),
    /// A fault that somebody has to mend.
    Lasting(Failure),
}

/// What a conversation is opened with.
pub(super) struct Opening<'a> {
    /// The working folder as the agent sees it.
    pub(super) cwd: &'a Path,
    pub(super) mcp_servers: &'a [McpServer],
    /// The conversation to take up again.
    pub(super) earlier: Option<String>,
}

/// The whole of it. `known` is filled as far as it came.
pub(super) async fn shake_hands(
    connection: &mut Connection,
    settings: &AcpSettings,
    opening: Opening<'_>,
    known: &mut Introduction,
) -> Result<Opened, Trouble> {
    introduce(connection, known).await?;
    let opened = open(connection, opening, known).await?;
    set_mode(connection, settings, &opened.conversation, known).await?;
    set_options(connection, settings, &opened.conversation, known).await?;
    Ok(opened)
}

async fn introduce(connection: &mut Connection, known: &mut Introduction) -> Result<(), Trouble> {
    // No file system and no terminal of the client's are offered: the defaults of the capabilities.
    let this = Implementation::new("satchel", env!("CARGO_PKG_VERSION"));
    let request = InitializeRequest::new(ProtocolVersion::V1).client_info(this);
    let answer = connection.ask("initialize", request, None).await;
    // An agent that refuses the introduction, or speaks another version, which the crate judges, will do so again.
    let answer = answer.map_err(|refusal| match other_version(&refusal) {
        Some(found) => speaks_another(&found),
        None => lasting("initialize", refusal, known),
    })?;
    known.name = word(&answer["agentInfo"]["name"]);
    known.version = word(&answer["agentInfo"]["version"]);
    known.protocol_version = answer["protocolVersion"].as_u64();
    let can = &answer["agentCapabilities"];
    known.can_load = can["loadSession"] == true;
    known.can_resume = can["sessionCapabilities"]["resume"].is_object();
    known.auth_methods = ids(&answer["authMethods"]);
    if known.protocol_version != Some(VERSION) {
        let found: String = answer["protocolVersion"].to_string().chars().take(MAX_NAME_CHARS).collect();
        return Err(speaks_another(&found));
    }
    Ok(())
}

/// The version that an agent answered, where the crate made an error of it.
fn other_version(refusal: &Refusal) -> Option<String> {
    let Refusal::Answered(said) = refusal else { return None };
    let (_, found) = said.split_once("required ACP protocol version 1 but peer negotiated ")?;
    Some(found.chars().take_while(char::is_ascii_digit).collect())
}

fn speaks_another(found: &str) -> Trouble {
    Trouble::Lasting(Failure::Unfit(format!(
        "speaks version {found} of the protocol, and this service version {VERSION}: install a release of it that \
         speaks version {VERSION}"
    )))
}

async fn open(
    connection: &mut Connection,
    opening: Opening<'_>,
    known: &mut Introduction,
) -> Result<Opened, Trouble> {
    let (cwd, servers) = (opening.cwd, opening.mcp_servers.iter().map(wire).collect::<Vec<_>>());
    if let Some(id) = opening.earlier
        && (known.can_resume || known.can_load)
    {
        let answer = if known.can_resume {
            let request = ResumeSessionRequest::new(id.clone(), cwd).mcp_servers(servers.clone());
            connection.ask("session/resume", request, None).await
        } else {
            let request = LoadSessionRequest::new(id.clone(), cwd).mcp_servers(servers.clone());
            connection.ask("session/load", request, None).await
        };
        match answer {
            Ok(answer) => {
                offer(known, &answer);
                return Ok(Opened { conversation: id, remembers: true });
            }
            Err(Refusal::Answered(why)) => {
                tracing::info!(why, "an agent could not take a conversation up again; a new one begins");
            }
            Err(refusal) => return Err(trouble("session/resume", refusal, known)),
        }
    }
    let request = NewSessionRequest::new(cwd).mcp_servers(servers);
    let answer = connection.ask("session/new", request, None).await;
    let answer = answer.map_err(|refusal| trouble("session/new", refusal, known))?;
    offer(known, &answer);
    match answer["sessionId"].as_str() {
        Some(id) if id.len() > MAX_CONVERSATION_BYTES => Err(unfit(format!(
            "answered session/new with a session id of {} bytes; at most {MAX_CONVERSATION_BYTES} are taken",
            id.len()
        ))),
        Some(id) if id.contains('\0') => {
            Err(unfit("answered session/new with a NUL in the session id, which cannot be kept".to_owned()))
        }
        Some(id) => Ok(Opened { conversation: id.to_owned(), remembers: false }),
        None => {
            let text = "answered session/new without a session id: its release does not keep to the protocol";
            Err(unfit(text.to_owned()))
        }
    }
}

async fn set_mode(
    connection: &mut Connection,
    settings: &AcpSettings,
    conversation: &str,
    known: &Introduction,
) -> Result<(), Trouble> {
    let Some(mode) = &settings.mode else { return Ok(()) };
    if !known.modes.contains(mode) {
        return Err(unfit(format!(
            "has no mode `{mode}`; {}",
            offered("modes", &known.modes, "leave `mode` out")
        )));
    }
    let request = SetSessionModeRequest::new(conversation.to_owned(), mode.clone());
    let answer = connection.ask("session/set_mode", request, None).await;
    answer.map(drop).map_err(|refusal| lasting("session/set_mode", refusal, known))
}

async fn set_options(
    connection: &mut Connection,
    settings: &AcpSettings,
    conversation: &str,
    known: &Introduction,
) -> Result<(), Trouble> {
    for (id, value) in &settings.config_options {
        if !known.config_options.contains(id) {
            let offered = offered("options", &known.config_options, "leave `config_options` out");
            return Err(unfit(format!("has no option `{id}`; {offered}")));
        }
        let value = match value {
            OptionValue::Text(value) => SessionConfigOptionValue::value_id(value.clone()),
            OptionValue::Flag(value) => SessionConfigOptionValue::boolean(*value),
        };
        let request = SetSessionConfigOptionRequest::new(conversation.to_owned(), id.clone(), value);
        let answer = connection.ask("session/set_config_option", request, None).await;
        answer.map_err(|refusal| lasting("session/set_config_option", refusal, known))?;
    }
    Ok(())
}

/// Takes note of the modes and options that come with a conversation.
fn offer(known: &mut Introduction, answer: &Value) {
    known.modes = ids(&answer["modes"]["availableModes"]);
    known.mode = word(&answer["modes"]["currentModeId"]);
    known.config_options = ids(&answer["configOptions"]);
}

/// The first ids of a list; those that are too long are left out.
fn ids(list: &Value) -> Vec<String> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    let is_short = |id: &&str| id.chars().count() <= MAX_NAME_CHARS;
    let ids = items.iter().filter_map(|item| item["id"].as_str()).filter(is_short);
    ids.take(MAX_OFFERED).map(str::to_owned).collect()
}

fn word(value: &Value) -> Option<String> {
    Some(value.as_str()?.chars().take(MAX_NAME_CHARS).collect())
}

fn wire(server: &McpServer) -> WireServer {
    let env = server.env.iter().map(|(name, value)| EnvVariable::new(name, value)).collect();
    let stdio = McpServerStdio::new(server.name.as_str(), &server.command).args(server.args.clone()).env(env);
    WireServer::Stdio(stdio)
}

fn offered(what: &str, ids: &[String], otherwise: &str) -> String {
    if ids.is_empty() {
        format!("it offers none: {otherwise}")
    } else {
        let which = if ids.len() < MAX_OFFERED { "its" } else { "its first" };
        format!("{which} {what}: {}", ids.join(", "))
    }
}

fn unfit(text: String) -> Trouble {
    Trouble::Lasting(Failure::Unfit(text))
}

fn trouble(step: &'static str, refusal: Refusal, known: &Introduction) -> Trouble {
    match refusal {
        Refusal::Closed => Trouble::Closed,
        Refusal::Authentication => Trouble::Lasting(Failure::Authentication(known.auth_methods.clone())),
        Refusal::Answered(text) => Trouble::Passing(Failure::Answered(step, text)),
    }
}

/// As [`trouble`], for what will be refused again.
fn lasting(step: &'static str, refusal: Refusal, known: &Introduction) -> Trouble {
    match trouble(step, refusal, known) {
        Trouble::Passing(failure) => Trouble::Lasting(failure),
        other => other,
    }
}
