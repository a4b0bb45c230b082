//! Sessions: handing files and a prompt to an agent, and what comes back.
//!
//! A session is created with a prompt; every file that the prompt names is delivered into a
//! workspace of the session's own, verified, before its agent starts; the agent's answer comes back
//! as a message and what it wrote into `output/` as attachments.
//!
//! Guarantees: a prompt or message is taken whole or not at all; an agent never starts without its
//! input; a session's state survives a kill of the service at any point; a worker that has lost its
//! claim writes nothing more. The room does not promise that an agent runs a message exactly once:
//! a turn that a kill cut short runs again, at most [`MAX_ATTEMPTS`] times.

pub mod acp;
mod agent;
mod beneath;
pub mod command;
mod complaints;
mod confine;
pub mod contain;
mod create;
pub mod delivery;
mod descendants;
pub mod environment;
mod error;
pub mod follow;
mod hints;
pub mod http;
mod inputs;
mod leaving;
pub mod outputs;
mod parked;
pub mod process;
mod progress;
mod prompt;
mod reach;
mod read;
mod returned;
pub mod sandbox;
pub mod secrets;
mod settings;
mod status;
mod store;
pub mod structured;
mod turn;
mod watch;
mod words;
mod worker;
pub mod workspace;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

pub use error::SessionError;
pub use secrets::{SecretFault, SessionSecret};
pub use settings::{AgentProfile, Settings};
pub use status::{Status, StatusDetail, v1_status_enum};
pub use structured::Demand;

use crate::attachments::reference::Notice;
use crate::attachments::{Attachments, Source};
use crate::clock::Moment;
use crate::db::Db;
use crate::id::{AttachmentId, OrgId, SessionId};
use crate::identity::Slots;

/// How often a turn is begun in all when the service dies while it runs.
pub const MAX_ATTEMPTS: i64 = 3;
/// Tags that one session may carry (contract, section 3).
pub const MAX_TAGS: usize = 50;
/// What [`Filter::origins`] calls every session: all come in over the API.
pub const ORIGIN: &str = "api";

/// The room's state. Shared as `Arc<Sessions>`.
#[derive(Debug)]
pub struct Sessions {
    db: Db,
    attachments: Arc<Attachments>,
    settings: Settings,
    /// Something may be waiting for a worker: a hint, the table is the truth.
    wake: Notify,
    /// A worker let go of a session: a hint for those who wait for an end.
    released: Notify,
    /// Something happened in this session: a hint for those who follow it.
    happened: broadcast::Sender<SessionId>,
    /// The streams that each key follows.
    streams: Arc<Slots>,
    /// What stops the sessions that this process works on, with the epoch of its claim.
    running: Mutex<HashMap<SessionId, (i64, CancellationToken)>>,
    /// Places for those who judge schemas and structured outputs.
    judging: structured::Judges,
    /// The agents that wait for a message in this process.
    parked: parked::Parked,
    /// Whether the turns are being stopped because the service is.
    stopping: AtomicBool,
}

/// Which API a session came in over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1`.
    V1,
    /// `/v3`.
    V3,
}

/// A session as it stands.
#[derive(Debug, Clone)]
pub struct Session {
    /// `devin-…`.
    pub id: SessionId,
    /// Whose it is.
    pub org_id: OrgId,
    /// The principal that created it: `user-…` or `service-user-…`.
    pub created_by: String,
    /// That principal's address at the time, if known.
    pub created_by_email: Option<String>,
    /// Its title, if it was given one.
    pub title: Option<String>,
    /// Its tags, in the order given.
    pub tags: Vec<String>,
    /// The playbook named when it was created; without effect.
    pub playbook_id: Option<String>,
    /// The snapshot named when it was created; without effect.
    pub snapshot_id: Option<String>,
    /// Name of the agent profile that works in it.
    pub agent: String,
    /// Where it stands.
    pub status: Status,
    /// More about [`Session::status`].
    pub status_detail: Option<StatusDetail>,
    /// Since when it stands there.
    pub status_at: Moment,
    /// Whether it has stood there for longer than the idle limit.
    pub idle_limit_passed: bool,
    /// The newest structured output. In lists, none of more than 16 KiB.
    pub structured_output: Option<Value>,
    /// Whether it was put away.
    pub archived: bool,
    /// Which API it came in over.
    pub api: Api,
    /// When it was created.
    pub created_at: Moment,
    /// When anything of it last changed: a message, the status, the tags.
    pub updated_at: Moment,
}

impl Session {
    /// The person who created it, if it was one.
    pub fn user_id(&self) -> Option<&str> {
        Some(self.created_by.as_str()).filter(|id| id.starts_with("user-"))
    }

    /// The service user that created it, if it was one.
    pub fn service_user_id(&self) -> Option<&str> {
        Some(self.created_by.as_str()).filter(|id| id.starts_with("service-user-"))
    }
}

/// What a session is created from. Lengths other than those of [`SessionError::TooLong`] are for
/// the caller to judge.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The prompt as sent, with its `ATTACHMENT` lines.
    pub prompt: String,
    /// The same as that many lines at the end of the prompt.
    pub attachment_urls: Vec<String>,
    /// Its title.
    pub title: Option<String>,
    /// Its tags, at most [`MAX_TAGS`].
    pub tags: Vec<String>,
    /// Fields accepted without effect, kept as sent.
    pub fields: Map<String, Value>,
    /// The structured output that it wants, if any.
    pub structured_output: Option<Demand>,
    /// What its agent finds in its environment; at most [`secrets::MAX_SECRETS`].
    pub secrets: Vec<SessionSecret>,
    /// A digest of the canonical request but for its secrets, where an equal one of the same principal
    /// within 24 h is to get the first one's session.
    pub idempotency_key: Option<String>,
    /// Which API it came in over.
    pub api: Api,
}

/// The answer to [`Sessions::create`].
#[derive(Debug, Clone)]
pub struct Created {
    /// The session.
    pub session: Session,
    /// False where an earlier equal request made it.
    pub is_new: bool,
    /// What was nearly a reference in the prompt.
    pub notices: Vec<Notice>,
}

/// The answer to [`Sessions::send`].
#[derive(Debug, Clone)]
pub struct Sent {
    /// The session after the message.
    pub session: Session,
    /// What was nearly a reference in the message.
    pub notices: Vec<Notice>,
}

/// A message of a session.
#[derive(Debug, Clone)]
pub struct Message {
    /// `event-…`.
    pub event_id: String,
    /// Its place in the session, from 1. The prompt is at 1.
    pub position: i64,
    /// From whom it is.
    pub source: Source,
    /// Whether the service rather than the agent or a person says it.
    pub is_notice: bool,
    /// The text, its attachments as lines `ATTACHMENT:"url"`.
    pub message: String,
    /// The principal that sent it; none for messages of source `devin`.
    pub user_id: Option<String>,
    /// The name to show for who sent it.
    pub username: Option<String>,
    /// When.
    pub created_at: Moment,
}

impl Message {
    /// Whether it is the prompt that the session was created with.
    pub fn is_initial(&self) -> bool {
        self.position == 1
    }
}

/// What became of one file of a session (contract, section 3).
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Which file.
    pub attachment_id: AttachmentId,
    /// Its canonical URL.
    pub url: String,
    /// Where it lies from the agent's working folder, once it does.
    pub path: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hex digits.
    pub sha256: String,
    /// `User`: handed to the agent; `Devin`: handed back by it.
    pub source: Source,
    /// How far it came.
    pub state: Delivery,
    /// Since when.
    pub at: Moment,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

/// How far the delivery of a file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Named by a message, not yet delivered.
    Pending,
    /// Lies in the workspace, its digest verified; or was taken over from there.
    Delivered,
    /// Could not be delivered.
    Failed,
}

impl Delivery {
    /// The state's name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::Pending => "pending",
            Delivery::Delivered => "delivered",
            Delivery::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed].into_iter().find(|state| state.name() == name)
    }
}

/// Which sessions a list is to hold. An empty list does not restrict; several values of one list
/// mean any of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At most this many.
    pub first: usize,
    /// Behind this cursor (v3).
    pub after: Option<String>,
    /// Pass over that many (v1).
    pub offset: u64,
    /// Only these; `Some` of an empty list holds none.
    pub session_ids: Option<Vec<SessionId>>,
    /// `created_at` not before.
    pub created_after: Option<Moment>,
    /// `created_at` before.
    pub created_before: Option<Moment>,
    /// `updated_at` not before.
    pub updated_after: Option<Moment>,
    /// `updated_at` before.
    pub updated_before: Option<Moment>,
    /// Carries one of these tags.
    pub tags: Vec<String>,
    /// Of one of these origins; see [`ORIGIN`].
    pub origins: Vec<String>,
    /// Created by one of these principals (people and service users alike).
    pub created_by: Vec<String>,
    /// Created by the person with this address.
    pub user_email: Option<String>,
    /// Archived, or not.
    pub is_archived: Option<bool>,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// Where it ends: what the next call gives as `after`. None for an empty page.
    pub end_cursor: Option<String>,
    /// Whether there is more.
    pub has_next_page: bool,
    /// How many there are in all pages.
    pub total: u64,
}

/// Where in a request a bad reference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this line of the prompt or message, from 1.
    Line(usize),
    /// At this index of `attachment_urls`, from 0.
    AttachmentUrl(usize),
}

/// A reference that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Where it stands.
    pub place: Place,
    /// Why; the same text for an unknown attachment and for one of another organisation.
    pub reason: String,
}

impl Sessions {
    /// The room over an opened catalogue.
    pub fn new(db: Db, attachments: Arc<Attachments>, settings: Settings) -> Self {
        Self {
            db,
            attachments,
            wake: Notify::new(),
            released: Notify::new(),
            happened: broadcast::Sender::new(follow::HINTS),
            streams: Slots::new(settings.streams_per_key),
            settings,
            running: Mutex::default(),
            judging: structured::Judges::default(),
            parked: parked::Parked::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// How the room was set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The attachments that its sessions hand over.
    pub fn attachments_room(&self) -> &Arc<Attachments> {
        &self.attachments
    }

    /// The address of a session's page: `{public_url}/sessions/{id}`.
    pub fn session_url(&self, id: &SessionId) -> String {
        format!("{}/sessions/{id}", self.settings.public_url.trim_end_matches('/'))
    }
}
