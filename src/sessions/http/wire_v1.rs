//! What the v1 endpoints answer (contract, section 3). Times are ISO 8601.

use serde::Serialize;
use utoipa::ToSchema;

use super::notice::{Notice, WithoutEffect, notices};
use crate::attachments::Source;
use crate::sessions::{Created, Message, ORIGIN, Sent, Session, Sessions, v1_status_enum};

/// The answer to `POST /v1/sessions`.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreateSessionResponse {
    /// `devin-…`.
    pub session_id: String,
    /// A page that says how to read the session.
    pub url: String,
    /// False where an earlier equal request with `idempotent` had made the session.
    #[schema(required = true)]
    pub is_new_session: Option<bool>,
    /// Near misses in the prompt, and fields without effect.
    pub notices: Vec<Notice>,
}

impl CreateSessionResponse {
    pub(super) fn new(sessions: &Sessions, created: Created, fields: &WithoutEffect) -> Self {
        Self {
            session_id: created.session.id.to_string(),
            url: sessions.session_url(&created.session.id),
            is_new_session: Some(created.is_new),
            notices: notices(created.notices, fields),
        }
    }
}

/// A pull request of a session. No session of this service has one yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct PullRequest {
    /// Its address.
    pub url: String,
}

/// A session in a v1 list.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionListItem {
    /// `devin-…`.
    pub session_id: String,
    /// The v3 status.
    pub status: String,
    /// The title, if the session was given one.
    #[schema(required = true)]
    pub title: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When anything of it last changed.
    pub updated_at: String,
    /// As given at creation; without effect.
    #[schema(required = true)]
    pub snapshot_id: Option<String>,
    /// As given at creation; without effect.
    #[schema(required = true)]
    pub playbook_id: Option<String>,
    /// Its tags.
    #[schema(required = true)]
    pub tags: Option<Vec<String>>,
    /// Always null.
    #[schema(required = true)]
    pub pull_request: Option<PullRequest>,
    /// The newest structured output, any JSON value; null where there is none, and in lists above 16 KiB.
    #[schema(required = true, schema_with = crate::http::answers::any_value)]
    pub structured_output: Option<serde_json::Value>,
    /// Where the session stands, in v1's words.
    #[schema(required = true, schema_with = status_enum)]
    pub status_enum: Option<&'static str>,
    /// The address of the person who created it, if it was one.
    #[schema(required = true)]
    pub requesting_user_email: Option<String>,
}

impl From<Session> for SessionListItem {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id.to_string(),
            status: session.status.name().to_owned(),
            status_enum: v1_status_enum(&session),
            snapshot_id: session.snapshot_id,
            playbook_id: session.playbook_id,
            title: session.title,
            created_at: session.created_at.iso8601(),
            updated_at: session.updated_at.iso8601(),
            tags: Some(session.tags),
            pull_request: None,
            structured_output: session.structured_output,
            requesting_user_email: session.created_by_email,
        }
    }
}

/// The answer to `GET /v1/sessions`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListSessionsResponse {
    /// Newest first.
    pub sessions: Vec<SessionListItem>,
}

/// A message of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionMessageItem {
    /// `initial_user_message`, `user_message` or `devin_message`.
    #[schema(schema_with = message_type)]
    pub r#type: &'static str,
    /// `event-` and a UUID.
    pub event_id: String,
    /// The text; an attachment is a line `ATTACHMENT:"url"` of it.
    pub message: String,
    /// When.
    pub timestamp: String,
    /// The name of who sent it; null for the agent's.
    #[schema(required = true)]
    pub username: Option<String>,
    /// `api` for messages of people and service users.
    #[schema(required = true)]
    pub origin: Option<String>,
    /// The person or service user who sent it; null for the agent's.
    #[schema(required = true)]
    pub user_id: Option<String>,
}

impl From<Message> for SessionMessageItem {
    fn from(message: Message) -> Self {
        let r#type = match message.source {
            Source::Devin => "devin_message",
            Source::User if message.is_initial() => "initial_user_message",
            Source::User => "user_message",
        };
        Self {
            r#type,
            event_id: message.event_id,
            message: message.message,
            timestamp: message.created_at.iso8601(),
            username: message.username,
            origin: (message.source == Source::User).then(|| ORIGIN.to_owned()),
            user_id: message.user_id,
        }
    }
}

/// The answer to `GET /v1/sessions/{session_id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionDetailsResponse {
    /// As in the list.
    #[serde(flatten)]
    pub session: SessionListItem,
    /// Oldest first.
    pub messages: Vec<SessionMessageItem>,
}

/// That something was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetailResponse {
    /// A sentence that says so.
    pub detail: String,
}

impl DetailResponse {
    pub(super) fn new(detail: &str) -> Self {
        Self { detail: detail.to_owned() }
    }
}

/// The answer to `POST /v1/sessions/{session_id}/message`.
#[derive(Debug, Serialize, ToSchema)]
pub struct SendMessageResponse {
    /// A sentence that says that the message was taken.
    pub detail: String,
    /// Near misses in the message, and fields without effect.
    pub notices: Vec<Notice>,
}

impl SendMessageResponse {
    pub(super) fn new(sent: Sent, fields: &WithoutEffect) -> Self {
        Self { detail: "Message sent successfully".to_owned(), notices: notices(sent.notices, fields) }
    }
}

fn status_enum() -> utoipa::openapi::schema::Object {
    crate::http::answers::one_of_or_null(&[
        "working",
        "blocked",
        "expired",
        "finished",
        "suspend_requested",
        "suspend_requested_frontend",
        "resume_requested",
        "resume_requested_frontend",
        "resumed",
    ])
}

fn message_type() -> utoipa::openapi::schema::Object {
    crate::http::answers::one_of(&["initial_user_message", "user_message", "devin_message"])
}
