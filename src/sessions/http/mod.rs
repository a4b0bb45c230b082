//! The endpoints of sessions, v1 and v3 (contract, sections 2 to 4).
//!
//! `asked` reads what a request asks for and names every fault of it at once; `wire_v1` and
//! `wire_v3` are what is answered; `v1` and `v3` are the handlers: permission, body, operation,
//! answer, in that order, so that nobody without a permission learns anything from a fault.
//!
//! A session of another organisation is answered exactly as one that does not exist, and so is an
//! id that is none. Nothing here knows how a session runs.

mod asked;
mod events;
mod notice;
mod page;
mod requests;
mod v1;
mod v3;
mod wire_v1;
mod wire_v3;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use utoipa::OpenApi;

use super::{Place, SessionError, Sessions, Unresolved, words};
use crate::http::problem::{ApiError, HttpValidationError, Loc, ValidationError};
use crate::identity::Identity;

/// The v1 operations of this room, for the document `/v1-openapi.yaml`.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        v1::create,
        v1::list,
        v1::details,
        v1::send,
        v1::replace_tags,
        v1::terminate,
        v1::receipts,
        events::follow_v1
    ),
    components(schemas(HttpValidationError, crate::http::answers::Refusal))
)]
pub struct V1Docs;

/// The v3 operations of this room, for the document `/v3-openapi.yaml`. The same operations are
/// served under `/v3beta1`.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        v3::create,
        v3::list,
        v3::details,
        v3::terminate,
        v3::archive,
        v3::messages,
        v3::send,
        v3::tags,
        v3::add_tags,
        v3::replace_tags,
        v3::attachments,
        v3::attachments_for_enterprise,
        v3::receipts,
        events::follow_v3
    ),
    components(schemas(HttpValidationError, crate::http::answers::Problem))
)]
pub struct V3Docs;

/// The routes of this room.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Sessions>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    let router = Router::new()
        .route("/sessions/{session_id}", get(page::how_to_read))
        .route("/v1/sessions", get(v1::list).post(v1::create))
        .route("/v3/enterprise/sessions/{devin_id}/attachments", get(v3::attachments_for_enterprise));
    let router = ["/v1/sessions/{session_id}", "/v1/session/{session_id}"].iter().fold(router, of_one_v1);
    ["/v3", "/v3beta1"].iter().fold(router, of_organization)
}

fn of_one_v1<S>(router: Router<S>, session: &&str) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Sessions>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    router
        .route(session, get(v1::details).delete(v1::terminate))
        .route(&format!("{session}/message"), post(v1::send))
        .route(&format!("{session}/tags"), axum::routing::put(v1::replace_tags))
        .route(&format!("{session}/receipts"), get(v1::receipts))
        .route(&format!("{session}/events"), get(events::follow_v1))
}

fn of_organization<S>(router: Router<S>, version: &&str) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Sessions>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    let all = format!("{version}/organizations/{{org_id}}/sessions");
    let one = format!("{all}/{{devin_id}}");
    router
        .route(&all, get(v3::list).post(v3::create))
        .route(&one, get(v3::details).delete(v3::terminate))
        .route(&format!("{one}/archive"), post(v3::archive))
        .route(&format!("{one}/messages"), get(v3::messages).post(v3::send))
        .route(&format!("{one}/tags"), get(v3::tags).post(v3::add_tags).put(v3::replace_tags))
        .route(&format!("{one}/attachments"), get(v3::attachments))
        .route(&format!("{one}/receipts"), get(v3::receipts))
        .route(&format!("{one}/events"), get(events::follow_v3))
}

/// The answer to an operation that was refused; of a text, it is the member `message` that is meant.
impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        refused(error, "message")
    }
}

/// The answer to an operation that was refused. `text`: the member of the body that carried the
/// prompt or message.
fn refused(error: SessionError, text: &'static str) -> ApiError {
    let at = |step: &'static str| vec![Loc::from("body"), Loc::from(step)];
    match error {
        SessionError::NotFound => ApiError::NotFound("Session not found"),
        SessionError::Over(_) => ApiError::BadRequest(error.to_string()),
        SessionError::Unresolved(references) => {
            let more = references.len().saturating_sub(words::LISTED);
            let more =
                (more > 0).then(|| ValidationError::new(at(text), words::and_more(more), "value_error"));
            let first =
                references.into_iter().take(words::LISTED).map(|reference| unresolved(reference, text));
            ApiError::Invalid(first.chain(more).collect())
        }
        SessionError::TooLong { .. } => ApiError::invalid(at(text), error.to_string(), "string_too_long"),
        SessionError::TooManyAttachments { by_urls, .. } | SessionError::TooManyBytes { by_urls, .. } => {
            let member = if by_urls { "attachment_urls" } else { text };
            ApiError::invalid(at(member), error.to_string(), "too_long")
        }
        SessionError::Secret { index, .. } => {
            let loc = at("session_secrets").into_iter().chain(index.map(Loc::from)).collect();
            ApiError::invalid(loc, format!("Value error, {error}"), "value_error")
        }
        SessionError::Schema(ref fault) => {
            // The first step of a pointer stands before its first slash.
            let steps = fault.at.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
            let steps = steps.map(|step| step.parse().map_or(Loc::Name(step), Loc::Index));
            let loc = at("structured_output_schema").into_iter().chain(steps).collect();
            ApiError::invalid(loc, format!("Value error, {error}"), "value_error")
        }
        SessionError::Judging(_) | SessionError::Sealing(_) => ApiError::Internal(error.into()),
        SessionError::TooManyTags { .. } => ApiError::invalid(at("tags"), error.to_string(), "too_long"),
        SessionError::QueueFull { .. }
        | SessionError::TooManyStreams { .. }
        | SessionError::TooManySchemas { .. } => ApiError::TooMany(error.to_string()),
        SessionError::BadCursor | SessionError::NoSuchEvent { .. } => {
            ApiError::invalid(vec!["query".into(), "after".into()], error.to_string(), "value_error")
        }
        SessionError::Db(error) => error.into(),
        SessionError::Attachments(error) => ApiError::Internal(error.into()),
    }
}

fn unresolved(reference: Unresolved, text: &'static str) -> ValidationError {
    let (member, index) = match reference.place {
        Place::Line(line) => (text, line),
        Place::AttachmentUrl(index) => ("attachment_urls", index),
    };
    let loc = vec![Loc::from("body"), Loc::from(member), Loc::from(index)];
    ValidationError::new(loc, reference.reason, "value_error")
}

#[cfg(test)]
mod tests;
