//! What the v3 endpoints answer (contract, sections 1 and 3), and the receipts of both versions.
//! Times are whole seconds since 1970-01-01 UTC.

use serde::Serialize;
use utoipa::ToSchema;

use super::notice::{Notice, WithoutEffect, notices};
use crate::attachments::{Attachment, Source};
use crate::http::answers::{one_of, one_of_or_null};
use crate::sessions::{Message, ORIGIN, Page, Receipt, Session, Sessions};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionResponse {
    /// `devin-…`.
    pub session_id: String,
    /// A page that says how to read the session.
    pub url: String,
    /// Where the session stands.
    #[schema(schema_with = status)]
    pub status: &'static str,
    /// More about `status`.
    #[schema(schema_with = status_detail)]
    pub status_detail: Option<&'static str>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whose it is.
    pub org_id: String,
    /// When it was created.
    pub created_at: i64,
    /// When anything of it last changed.
    pub updated_at: i64,
    /// Always 0: the agents are the operator's own.
    pub acus_consumed: f64,
    /// Always empty.
    pub pull_requests: Vec<SessionPullRequest>,
    /// The title, if the session was given one.
    pub title: Option<String>,
    /// The person who created it, if it was one.
    pub user_id: Option<String>,
    /// The service user that created it, if it was one.
    pub service_user_id: Option<String>,
    /// As given at creation; without effect.
    pub playbook_id: Option<String>,
    /// Always null.
    pub parent_session_id: Option<String>,
    /// Always null.
    pub child_session_ids: Option<Vec<String>>,
    /// Always `api`.
    pub origin: Option<&'static str>,
    /// Always null.
    pub category: Option<String>,
    /// Always null.
    pub subcategory: Option<String>,
    /// The newest structured output, any JSON value; null where there is none, and in lists above 16 KiB.
    #[schema(schema_with = crate::http::answers::any_value)]
    pub structured_output: Option<serde_json::Value>,
    /// Whether it was put away.
    #[schema(required = false, default = false)]
    pub is_archived: bool,
    /// In the answers of create and send: near misses in the text, and fields without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub notices: Option<Vec<Notice>>,
}

/// A pull request of a session. No session of this service has one yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionPullRequest {
    /// Its address.
    pub pr_url: String,
    /// Where it stands.
    #[schema(required = true)]
    pub pr_state: Option<String>,
}

impl SessionResponse {
    pub(super) fn new(sessions: &Sessions, session: Session) -> Self {
        Self {
            session_id: session.id.to_string(),
            url: sessions.session_url(&session.id),
            status: session.status.name(),
            status_detail: session.status_detail.map(|detail| detail.name()),
            org_id: session.org_id.to_string(),
            created_at: session.created_at.seconds(),
            updated_at: session.updated_at.seconds(),
            acus_consumed: 0.0,
            pull_requests: Vec::new(),
            user_id: session.user_id().map(str::to_owned),
            service_user_id: session.service_user_id().map(str::to_owned),
            playbook_id: session.playbook_id,
            parent_session_id: None,
            child_session_ids: None,
            origin: Some(ORIGIN),
            category: None,
            subcategory: None,
            structured_output: session.structured_output,
            is_archived: session.archived,
            tags: session.tags,
            title: session.title,
            notices: None,
        }
    }

    pub(super) fn noting(
        self,
        text: Vec<crate::attachments::reference::Notice>,
        fields: &WithoutEffect,
    ) -> Self {
        Self { notices: Some(notices(text, fields)), ..self }
    }
}

/// A part of a list of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaginatedResponse_SessionResponse_)]
pub struct SessionsPage {
    /// The part.
    pub items: Vec<SessionResponse>,
    /// What the next call gives as `after`; null on the last page.
    pub end_cursor: Option<String>,
    /// Whether there is more.
    #[schema(required = false, default = false)]
    pub has_next_page: bool,
    /// How many there are in all pages.
    pub total: Option<u64>,
}

impl SessionsPage {
    pub(super) fn new(sessions: &Sessions, page: Page<Session>) -> Self {
        Self {
            items: page.items.into_iter().map(|session| SessionResponse::new(sessions, session)).collect(),
            end_cursor: page.end_cursor.filter(|_| page.has_next_page),
            has_next_page: page.has_next_page,
            total: Some(page.total),
        }
    }
}

/// A message of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionMessage {
    /// `event-` and a UUID.
    pub event_id: String,
    /// Who it is from.
    #[schema(schema_with = source)]
    pub source: &'static str,
    /// The text; an attachment is a line `ATTACHMENT:"url"` of it.
    pub message: String,
    /// When.
    pub created_at: i64,
}

impl From<Message> for SessionMessage {
    fn from(message: Message) -> Self {
        Self {
            event_id: message.event_id,
            source: message.source.name(),
            message: message.message,
            created_at: message.created_at.seconds(),
        }
    }
}

/// A part of a session's messages, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaginatedResponse_SessionMessage_)]
pub struct MessagesPage {
    /// The part.
    pub items: Vec<SessionMessage>,
    /// What the next call gives as `after`; null on the last page.
    pub end_cursor: Option<String>,
    /// Whether there is more.
    #[schema(required = false, default = false)]
    pub has_next_page: bool,
    /// How many there are in all pages.
    pub total: Option<u64>,
}

impl From<Page<Message>> for MessagesPage {
    fn from(page: Page<Message>) -> Self {
        Self {
            items: page.items.into_iter().map(SessionMessage::from).collect(),
            end_cursor: page.end_cursor.filter(|_| page.has_next_page),
            has_next_page: page.has_next_page,
            total: Some(page.total),
        }
    }
}

/// The tags of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionTagsResponse {
    /// In the order given.
    pub tags: Vec<String>,
}

/// A file of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionAttachment {
    /// A hyphenated UUID.
    pub attachment_id: String,
    /// The file's own name.
    pub name: String,
    /// Where it is downloaded from.
    pub url: String,
    /// `user`: handed to the agent; `devin`: handed back by it.
    #[schema(schema_with = source)]
    pub source: &'static str,
    /// Its media type.
    #[schema(required = true)]
    pub content_type: Option<String>,
}

impl SessionAttachment {
    pub(super) fn new(sessions: &Sessions, (attachment, source): (Attachment, Source)) -> Self {
        let urls = sessions.attachments_room().urls();
        Self {
            attachment_id: attachment.id.to_string(),
            url: urls.attachment_url(attachment.id.0, &attachment.name),
            name: attachment.name,
            source: source.name(),
            content_type: Some(attachment.content_type),
        }
    }
}

/// What became of one file of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryReceipt {
    /// A hyphenated UUID.
    pub attachment_id: String,
    /// Its canonical URL.
    pub url: String,
    /// Where it lies from the agent's working folder, once it does.
    #[schema(required = true)]
    pub path: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The SHA-256 taken at upload, lower-case hexadecimal; verified at delivery.
    pub sha256: String,
    /// `user`: handed to the agent; `devin`: handed back by it.
    #[schema(schema_with = source)]
    pub source: &'static str,
    /// How far the delivery came.
    #[schema(schema_with = state)]
    pub state: &'static str,
    /// Since when, in seconds since 1970.
    pub at: i64,
    /// Why it failed, where it did.
    #[schema(required = true)]
    pub error: Option<String>,
}

impl From<Receipt> for DeliveryReceipt {
    fn from(receipt: Receipt) -> Self {
        Self {
            attachment_id: receipt.attachment_id.to_string(),
            url: receipt.url,
            path: receipt.path,
            size: receipt.size,
            sha256: receipt.sha256,
            source: receipt.source.name(),
            state: receipt.state.name(),
            at: receipt.at.seconds(),
            error: receipt.error,
        }
    }
}

fn source() -> utoipa::openapi::schema::Object {
    one_of(&["devin", "user"])
}

fn state() -> utoipa::openapi::schema::Object {
    one_of(&["pending", "delivered", "failed"])
}

fn status() -> utoipa::openapi::schema::Object {
    one_of(&["new", "claimed", "running", "exit", "error", "suspended", "resuming"])
}

fn status_detail() -> utoipa::openapi::schema::Object {
    one_of_or_null(&[
        "working",
        "waiting_for_user",
        "waiting_for_approval",
        "finished",
        "inactivity",
        "user_request",
        "error",
    ])
}
