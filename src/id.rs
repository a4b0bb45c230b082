//! Typed identifiers: parse, print, generate.
//!
//! Each kind of thing has a type of its own, so that an organisation's id cannot be passed where a
//! session's is wanted. An id is no secret: what protects a thing is the check of the caller's
//! organisation and permission. Most carry 128 random bits; those of attachments begin with the time
//! (UUID version 7, RFC 9562), so that rows that are inserted together lie together: with random
//! ones every upload dirties a page of its own.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not an identifier of the kind that was asked for.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not {wanted}")]
pub struct IdError {
    found: String,
    wanted: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// A new random identifier.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(format!(concat!($prefix, "{}"), Uuid::new_v4().simple()))
            }

            /// The identifier as it stands on the wire and in the database.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let rest = text.strip_prefix($prefix).unwrap_or_default();
                let plain = rest.len() == 32
                    && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if !plain {
                    return Err(IdError {
                        found: text.chars().take(80).collect(),
                        wanted: concat!("an id of the form `", $prefix, "` and 32 hex digits"),
                    });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

prefixed_id!(
    /// An organisation: `org-` and 32 hex digits.
    OrgId,
    "org-"
);
prefixed_id!(
    /// A session: `devin-` and 32 hex digits.
    SessionId,
    "devin-"
);
prefixed_id!(
    /// A service user: `service-user-` and 32 hex digits.
    ServiceUserId,
    "service-user-"
);
prefixed_id!(
    /// A person: `user-` and 32 hex digits.
    UserId,
    "user-"
);
prefixed_id!(
    /// An API key's public name (never the secret): `key-` and 32 hex digits.
    KeyId,
    "key-"
);

impl SessionId {
    /// Accepts the id with and without its `devin-` prefix (contract, section 3).
    pub fn parse_lenient(text: &str) -> Result<Self, IdError> {
        if text.starts_with("devin-") { text.parse() } else { format!("devin-{text}").parse() }
    }
}

/// An attachment: a hyphenated UUID (contract, section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentId(pub Uuid);

impl AttachmentId {
    /// A new identifier, later than all before it.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl FromStr for AttachmentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match (text.len(), Uuid::try_parse(text)) {
            (36, Ok(uuid)) => Ok(Self(uuid)),
            _ => Err(IdError { found: text.chars().take(80).collect(), wanted: "a hyphenated UUID" }),
        }
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// An event of a session: `event-` and a hyphenated UUID.
pub fn new_event_id() -> String {
    format!("event-{}", Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_only_in_its_own_form() {
        let org = OrgId::new();
        assert_eq!(org.as_str().parse::<OrgId>().as_ref(), Ok(&org));
        assert!(org.as_str().parse::<SessionId>().is_err());
        assert!("org-".parse::<OrgId>().is_err());
        assert!(org.as_str().to_uppercase().parse::<OrgId>().is_err());
        assert!("{f47ac10b-58cc-4372-a567-0e02b2c3d479}".parse::<AttachmentId>().is_err());
    }

    #[test]
    fn a_session_id_may_come_without_its_prefix() {
        let id = SessionId::new();
        let bare = id.as_str().trim_start_matches("devin-");
        assert_eq!(SessionId::parse_lenient(bare).as_ref(), Ok(&id));
        assert_eq!(SessionId::parse_lenient(id.as_str()).as_ref(), Ok(&id));
    }
}
