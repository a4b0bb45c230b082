//! Why an operation on sessions was refused, or failed.

use super::{MAX_TAGS, SecretFault, Status, Unresolved, structured};
use crate::attachments::AttachmentError;
use crate::db::DbError;

/// Why an operation on sessions was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such session in the organisation (404).
    #[error("Session not found")]
    NotFound,
    /// The session is over and takes no more messages; it cannot be ended twice either (400).
    #[error("the session is over (status `{}`): create a new one", .0.name())]
    Over(Status),
    /// References that cannot be followed; nothing was created (422).
    #[error("{} of the references cannot be followed", .0.len())]
    Unresolved(Vec<Unresolved>),
    /// The prompt or message is too long (422).
    #[error("the text has {found} bytes; at most {limit} are allowed")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The session would hold too many files (422).
    #[error("the session would hold {found} attachments; at most {limit} are allowed")]
    TooManyAttachments {
        /// How many it would hold.
        found: usize,
        /// How many it may.
        limit: usize,
        /// Whether it is `attachment_urls` that names those too many, and not the text.
        by_urls: bool,
    },
    /// The session's files would be too large together (422).
    #[error("the session's attachments would have {found} bytes together; at most {limit} are allowed")]
    TooManyBytes {
        /// Their size together in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
        /// Whether it is `attachment_urls` that names those too many, and not the text.
        by_urls: bool,
    },
    /// The session would carry too many tags (422).
    #[error("the session would carry {found} tags; at most {MAX_TAGS} are allowed")]
    TooManyTags {
        /// How many it would carry.
        found: usize,
    },
    /// A secret that cannot be taken, by its number from 0 where one of them is meant (422).
    #[error("{fault}")]
    Secret {
        /// Which.
        index: Option<usize>,
        /// Why.
        fault: SecretFault,
    },
    /// The JSON Schema is none (422).
    #[error("the schema is not a JSON Schema of draft 7: {}", .0.what)]
    Schema(structured::schema::Fault),
    /// The JSON Schema could not be judged (500).
    #[error("the judge of schemas could not be started")]
    Judging(#[source] std::io::Error),
    /// The secrets could not be encrypted (500).
    #[error("the secrets of a session could not be encrypted: {0}")]
    Sealing(String),
    /// Too many messages wait for the agent (429).
    #[error("{waiting} messages wait for the agent already; at most {limit} may wait")]
    QueueFull {
        /// How many wait.
        waiting: u64,
        /// How many may.
        limit: u64,
    },
    /// The cursor is none that a list has answered with (422).
    #[error("the cursor is not one that an earlier page ended with: give its `end_cursor`")]
    BadCursor,
    /// There is no such event yet (422).
    #[error("the session has no event {after}; its last one is {last}")]
    NoSuchEvent {
        /// Which was asked for.
        after: i64,
        /// Which is the last.
        last: i64,
    },
    /// The key follows too many sessions at once (429).
    #[error("too many event streams at once with this key: at most {limit} may be open")]
    TooManyStreams {
        /// How many it may follow.
        limit: usize,
    },
    /// The key has too many schemas judged at once (429).
    #[error(
        "too many sessions with a `structured_output_schema` are created at once with this key: at most {limit} may be"
    )]
    TooManySchemas {
        /// How many it may have.
        limit: usize,
    },
    /// The catalogue failed (500).
    #[error(transparent)]
    Db(#[from] DbError),
    /// The attachments' room failed (500).
    #[error(transparent)]
    Attachments(#[from] AttachmentError),
}

impl From<sqlx::Error> for SessionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
