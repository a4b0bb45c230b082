//! The ids in a path: which organisation, which session, which attachment.
//!
//! What is no id at all is answered as an id that names nothing, so that a path never tells more
//! than whether the caller may see what it names.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::{Denied, Grant, Permission, Request};
use crate::http::problem::ApiError;
use crate::id::{AttachmentId, OrgId, SessionId};

/// `{org_id}`, `{devin_id}` or `{session_id}`, and `{attachment_id}`, where the path has them and they
/// are ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathIds {
    org: Option<OrgId>,
    session: Option<SessionId>,
    attachment: Option<AttachmentId>,
}

impl PathIds {
    /// Asks for a permission in the path's organisation; 403 for an unknown one, whatever it is.
    pub fn may(&self, request: &Request, permission: Permission) -> Result<Grant, Denied> {
        match &self.org {
            Some(org) => request.may(permission, org),
            None => Err(Denied(permission)),
        }
    }

    /// The path's session; 404 where there cannot be one of that name.
    pub fn session(&self) -> Result<&SessionId, ApiError> {
        self.session.as_ref().ok_or(ApiError::NotFound("Session not found"))
    }

    /// The path's attachment; 404 where there cannot be one of that id.
    pub fn attachment(&self) -> Result<AttachmentId, ApiError> {
        self.attachment.ok_or(ApiError::NotFound("Attachment not found"))
    }

    fn of(path: &HashMap<String, String>) -> Self {
        let session = path.get("devin_id").or_else(|| path.get("session_id"));
        Self {
            org: path.get("org_id").and_then(|id| id.parse().ok()),
            session: session.and_then(|id| SessionId::parse_lenient(id).ok()),
            attachment: path.get("attachment_id").and_then(|id| id.parse().ok()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // A path that is not UTF-8 once decoded names nothing either.
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        Ok(Self::of(&path.map(|Path(path)| path).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_names_nothing() {
        let (org, session) = (OrgId::new(), SessionId::new());
        let bare = session.as_str().trim_start_matches("devin-");
        let path = |org: &str, session: &str| {
            PathIds::of(&HashMap::from([
                ("org_id".to_owned(), org.to_owned()),
                ("devin_id".to_owned(), session.to_owned()),
            ]))
        };
        let good = path(org.as_str(), session.as_str());
        assert_eq!(good, path(org.as_str(), bare));
        assert_eq!(good.session().unwrap(), &session);
        let bad = path("acme", "..%2f");
        assert_eq!(bad, PathIds { org: None, session: None, attachment: None });
        assert!(matches!(bad.session(), Err(ApiError::NotFound("Session not found"))));
    }
}
