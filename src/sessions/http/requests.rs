//! The bodies that the session endpoints take, for the OpenAPI documents. `asked` reads them; a test
//! holds the two together.

#![allow(dead_code, reason = "these types describe; `asked` reads")]

use serde_json::Value;
use utoipa::ToSchema;

/// The body of `POST /v1/sessions`.
#[derive(Debug, ToSchema)]
pub struct CreateSessionRequest {
    /// What the agent is to do. A line `ATTACHMENT:"url"` hands it a file. At most 256 KiB.
    pub prompt: String,
    /// Whether an equal request of the same principal within 24 h gets the first one's session.
    #[schema(required = false, default = false)]
    pub idempotent: bool,
    /// Without effect.
    #[schema(required = false, default = false)]
    pub unlisted: bool,
    /// A title for people.
    #[schema(max_length = 1024)]
    pub title: Option<String>,
    /// Tags to find the session by.
    #[schema(max_items = 50, inline)]
    pub tags: Option<Vec<Tag>>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub snapshot_id: Option<String>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub playbook_id: Option<String>,
    /// Without effect.
    #[schema(exclusive_minimum = 0)]
    pub max_acu_limit: Option<i64>,
    /// Without effect.
    #[schema(inline)]
    pub secret_ids: Option<Vec<ForeignId>>,
    /// Without effect.
    #[schema(inline)]
    pub knowledge_ids: Option<Vec<ForeignId>>,
    /// Variables for the agent's environment, kept encrypted until the session is over; at most 50. Refused unless
    /// empty where the service has no key for them.
    pub session_secrets: Option<Vec<SessionSecretInput>>,
    /// A JSON Schema (draft 7) of at most 64 KiB for `structured_output`. No `$ref` to another document is followed.
    #[schema(value_type = Option<Object>)]
    pub structured_output_schema: Option<Value>,
}

/// The body of `POST /v1/sessions/{session_id}/message`.
#[derive(Debug, ToSchema)]
pub struct SendMessageRequest {
    /// The message. A line `ATTACHMENT:"url"` hands the agent a file. At most 256 KiB.
    pub message: String,
}

/// The body of `PUT /v1/sessions/{session_id}/tags`.
#[derive(Debug, ToSchema)]
pub struct UpdateTagsRequest {
    /// All tags that the session is to carry.
    #[schema(max_items = 50, inline)]
    pub tags: Vec<Tag>,
}

/// The body of `POST /v3/organizations/{org_id}/sessions`.
#[derive(Debug, ToSchema)]
pub struct SessionCreateRequest {
    /// What the agent is to do. A line `ATTACHMENT:"url"` hands it a file. At most 256 KiB.
    pub prompt: String,
    /// Files to hand to the agent: the same as that many lines `ATTACHMENT:"url"` at the end.
    #[schema(inline)]
    #[schema(max_items = 1000)]
    pub attachment_urls: Option<Vec<AttachmentUrl>>,
    /// A title for people.
    #[schema(max_length = 1024)]
    pub title: Option<String>,
    /// Tags to find the session by.
    #[schema(max_items = 50, inline)]
    pub tags: Option<Vec<Tag>>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub playbook_id: Option<String>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub child_playbook_id: Option<String>,
    /// Without effect.
    #[schema(inline)]
    pub knowledge_ids: Option<Vec<ForeignId>>,
    /// Without effect.
    #[schema(inline)]
    pub secret_ids: Option<Vec<ForeignId>>,
    /// Variables for the agent's environment, kept encrypted until the session is over; at most 50. Refused unless
    /// empty where the service has no key for them.
    pub session_secrets: Option<Vec<SessionSecretInput>>,
    /// A JSON Schema (draft 7) of at most 64 KiB for `structured_output`. No `$ref` to another document is followed.
    #[schema(value_type = Option<Object>)]
    pub structured_output_schema: Option<Value>,
    /// Whether the session is to say that structured output is missing; wants a schema.
    pub structured_output_required: Option<bool>,
    /// Without effect.
    #[schema(exclusive_minimum = 0)]
    pub max_acu_limit: Option<i64>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub devin_mode: Option<String>,
    /// Without effect.
    #[schema(inline)]
    pub repos: Option<Vec<Link>>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub platform: Option<String>,
    /// Without effect: every session can be resumed.
    pub resumable: Option<bool>,
    /// Without effect.
    #[schema(inline)]
    pub session_links: Option<Vec<Link>>,
    /// Without effect.
    pub bypass_approval: Option<bool>,
    /// Wants `ImpersonateOrgSessions`. Without effect otherwise.
    #[schema(max_length = 256)]
    pub create_as_user_id: Option<String>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub advanced_mode: Option<String>,
}

/// The body of `POST /v3/organizations/{org_id}/sessions/{devin_id}/messages`.
#[derive(Debug, ToSchema)]
pub struct SessionMessageCreateRequest {
    /// The message. A line `ATTACHMENT:"url"` hands the agent a file. At most 256 KiB.
    pub message: String,
    /// Files to hand to the agent: the same as that many lines `ATTACHMENT:"url"` at the end.
    #[schema(inline)]
    #[schema(max_items = 1000)]
    pub attachment_urls: Option<Vec<AttachmentUrl>>,
    /// Wants `ImpersonateOrgSessions`. Without effect otherwise.
    #[schema(max_length = 256)]
    pub message_as_user_id: Option<String>,
}

/// The body of the v3 calls that add or replace tags.
#[derive(Debug, ToSchema)]
pub struct SessionTagsUpdateRequest {
    /// The tags.
    #[schema(max_items = 50, inline)]
    pub tags: Vec<Tag>,
}

/// A secret for one session.
#[derive(Debug, ToSchema)]
pub struct SessionSecretInput {
    /// The variable's name: letters of ASCII, digits and `_`. Names that change how programs are run are refused.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// Its value.
    #[schema(max_length = 65536)]
    pub value: String,
    /// Without effect: every secret is hidden.
    #[schema(required = false, default = true)]
    pub sensitive: bool,
}

/// A tag.
#[derive(Debug, ToSchema)]
#[schema(max_length = 256)]
pub struct Tag(String);

/// The id of something outside of this service.
#[derive(Debug, ToSchema)]
#[schema(max_length = 256)]
pub struct ForeignId(String);

/// The URL of something outside of this service.
#[derive(Debug, ToSchema)]
#[schema(max_length = 2083)]
pub struct Link(String);

/// The URL that an upload was answered with.
#[derive(Debug, ToSchema)]
#[schema(min_length = 1, max_length = 2083, format = "uri")]
pub struct AttachmentUrl(String);
