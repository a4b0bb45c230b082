//! The v3 endpoints of sessions (contract, sections 1 and 3), served under `/v3beta1` as well.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;

use super::asked;
use super::refused;
use super::requests::{SessionCreateRequest, SessionMessageCreateRequest, SessionTagsUpdateRequest};
use super::wire_v3::{
    DeliveryReceipt, MessagesPage, SessionAttachment, SessionResponse, SessionTagsResponse, SessionsPage,
};
use crate::http::answers::{Problem, V3BadBody, V3Change, V3Missing, V3Refused};
use crate::http::body::{Fields, Query};
use crate::http::problem::ApiError;
use crate::id::OrgId;
use crate::identity::http::V3;
use crate::identity::path::PathIds;
use crate::identity::{Denied, Grant, Permission, Request};
use crate::sessions::Sessions;

type Room = State<Arc<Sessions>>;

/// Create Session.
///
/// Create a new session.
#[utoipa::path(post, path = "/v3/organizations/{org_id}/sessions", tag = "sessions",
    operation_id = "handle_create_session_v3_organizations__org_id__sessions_post", summary = "Create Session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)")),
    request_body = SessionCreateRequest,
    responses((status = 200, description = "Successful Response", body = SessionResponse),
        V3Refused, V3BadBody))]
pub(super) async fn create(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    body: Body,
) -> Result<Json<SessionResponse>, ApiError> {
    let grant = ids.may(&request, Permission::UseDevinSessions)?;
    let body = Fields::of_body(body).await?;
    may_act_as(&request, &grant, &body, "create_as_user_id")?;
    let (new, fields) = asked::v3_session(body)?;
    let created = sessions.create(&grant, new).await.map_err(|error| refused(error, "prompt"))?;
    Ok(Json(SessionResponse::new(&sessions, created.session).noting(created.notices, &fields)))
}

/// List Sessions.
///
/// List sessions, newest first.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions", tag = "sessions",
    operation_id = "handle_get_sessions_v3_organizations__org_id__sessions_get", summary = "List Sessions",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("first" = Option<i64>, Query, minimum = 1, maximum = 200, description = "At most this many; 100 unless given"),
        ("after" = Option<String>, Query, description = "The `end_cursor` of the page before"),
        ("session_ids" = Option<Vec<String>>, Query, description = "Only these sessions"),
        ("created_after" = Option<i64>, Query, description = "Created at this second or later"),
        ("created_before" = Option<i64>, Query, description = "Created before this second"),
        ("updated_after" = Option<i64>, Query, description = "Changed at this second or later"),
        ("updated_before" = Option<i64>, Query, description = "Not changed since this second"),
        ("tags" = Option<Vec<String>>, Query, description = "With any of these tags"),
        ("origins" = Option<Vec<String>>, Query, description = "Of any of these origins; all are `api`"),
        ("user_ids" = Option<Vec<String>>, Query, description = "Created by any of these people"),
        ("service_user_ids" = Option<Vec<String>>, Query, description = "Created by any of these service users"),
        ("is_archived" = Option<bool>, Query, description = "Put away, or not")),
    responses((status = 200, description = "Successful Response", body = SessionsPage), V3Refused))]
pub(super) async fn list(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    uri: Uri,
) -> Result<Json<SessionsPage>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let page = sessions.list(&grant, &asked::v3_filter(Query::of(&uri))?).await?;
    Ok(Json(SessionsPage::new(&sessions, page)))
}

/// Get Session.
///
/// Get details of a specific session.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}", tag = "sessions",
    operation_id = "handle_get_session_v3_organizations__org_id__sessions__devin_id__get", summary = "Get Session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = SessionResponse),
        V3Refused, V3Missing))]
pub(super) async fn details(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<SessionResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let session = sessions.get(&grant, ids.session()?).await?;
    Ok(Json(SessionResponse::new(&sessions, session)))
}

/// Terminate Session.
///
/// Terminate a session. What it handed back until then stays.
#[utoipa::path(delete, path = "/v3/organizations/{org_id}/sessions/{devin_id}", tag = "sessions",
    operation_id = "handle_terminate_session_v3_organizations__org_id__sessions__devin_id__delete",
    summary = "Terminate Session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`"),
        ("archive" = Option<bool>, Query, description = "Whether to put the session away as well")),
    responses((status = 200, description = "Successful Response", body = SessionResponse),
        (status = 400, description = "The session is over", body = Problem, content_type = "application/problem+json"),
        V3Refused, V3Missing, V3Change))]
pub(super) async fn terminate(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    uri: Uri,
) -> Result<Json<SessionResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ManageOrgSessions)?;
    let archive = asked::archive(Query::of(&uri))?;
    let id = ids.session()?;
    let mut session = sessions.terminate(&grant, id).await?;
    if archive {
        session = sessions.archive(&grant, id).await?;
    }
    Ok(Json(SessionResponse::new(&sessions, session)))
}

/// Archive Session.
///
/// Put a session away: it is listed apart from the others and goes on as before.
#[utoipa::path(post, path = "/v3/organizations/{org_id}/sessions/{devin_id}/archive", tag = "sessions",
    operation_id = "handle_archive_session_v3_organizations__org_id__sessions__devin_id__archive_post",
    summary = "Archive Session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = SessionResponse),
        V3Refused, V3Missing, V3Change))]
pub(super) async fn archive(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<SessionResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ManageOrgSessions)?;
    let session = sessions.archive(&grant, ids.session()?).await?;
    Ok(Json(SessionResponse::new(&sessions, session)))
}

/// List session messages.
///
/// List all messages of a session, oldest first.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}/messages", tag = "sessions",
    operation_id = "handle_get_session_messages_v3_organizations__org_id__sessions__devin_id__messages_get",
    summary = "List session messages",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`"),
        ("first" = Option<i64>, Query, minimum = 1, maximum = 200, description = "At most this many; 100 unless given"),
        ("after" = Option<String>, Query, description = "The `end_cursor` of the page before")),
    responses((status = 200, description = "Successful Response", body = MessagesPage),
        V3Refused, V3Missing))]
pub(super) async fn messages(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    uri: Uri,
) -> Result<Json<MessagesPage>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let (first, after) = asked::message_page(Query::of(&uri))?;
    let page = sessions.messages(&grant, ids.session()?, first, after.as_deref()).await?;
    Ok(Json(page.into()))
}

/// Send message to session.
///
/// Send a message to a session. A suspended session resumes.
#[utoipa::path(post, path = "/v3/organizations/{org_id}/sessions/{devin_id}/messages", tag = "sessions",
    operation_id = "handle_send_session_message_v3_organizations__org_id__sessions__devin_id__messages_post",
    summary = "Send message to session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    request_body = SessionMessageCreateRequest,
    responses((status = 200, description = "Successful Response", body = SessionResponse),
        V3Refused, V3Missing, V3BadBody))]
pub(super) async fn send(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    body: Body,
) -> Result<Json<SessionResponse>, ApiError> {
    let grant = ids
        .may(&request, Permission::UseDevinSessions)
        .or_else(|denied| ids.may(&request, Permission::ManageOrgSessions).map_err(|_| denied))?;
    let id = ids.session()?;
    let body = Fields::of_body(body).await?;
    may_act_as(&request, &grant, &body, "message_as_user_id")?;
    let new = asked::v3_message(body)?;
    let sent = sessions.send(&grant, id, &new.text, &new.attachment_urls).await?;
    Ok(Json(SessionResponse::new(&sessions, sent.session).noting(sent.notices, &new.without_effect)))
}

/// Get session tags.
///
/// Get the tags of a session.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}/tags", tag = "sessions",
    operation_id = "handle_get_session_tags_v3_organizations__org_id__sessions__devin_id__tags_get",
    summary = "Get session tags",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = SessionTagsResponse),
        V3Refused, V3Missing))]
pub(super) async fn tags(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<SessionTagsResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let tags = sessions.get(&grant, ids.session()?).await?.tags;
    Ok(Json(SessionTagsResponse { tags }))
}

/// Append session tags.
///
/// Add tags to a session, which may carry 50.
#[utoipa::path(post, path = "/v3/organizations/{org_id}/sessions/{devin_id}/tags", tag = "sessions",
    operation_id = "handle_append_session_tags_v3_organizations__org_id__sessions__devin_id__tags_post",
    summary = "Append session tags",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    request_body = SessionTagsUpdateRequest,
    responses((status = 200, description = "Successful Response", body = SessionTagsResponse),
        V3Refused, V3Missing, V3BadBody))]
pub(super) async fn add_tags(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    body: Body,
) -> Result<Json<SessionTagsResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ManageOrgSessions)?;
    let id = ids.session()?;
    let tags = sessions.add_tags(&grant, id, &asked::tags(Fields::of_body(body).await?)?).await?;
    Ok(Json(SessionTagsResponse { tags }))
}

/// Replace session tags.
///
/// Replace the tags of a session, which may carry 50.
#[utoipa::path(put, path = "/v3/organizations/{org_id}/sessions/{devin_id}/tags", tag = "sessions",
    operation_id = "handle_replace_session_tags_v3_organizations__org_id__sessions__devin_id__tags_put",
    summary = "Replace session tags",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    request_body = SessionTagsUpdateRequest,
    responses((status = 200, description = "Successful Response", body = SessionTagsResponse),
        V3Refused, V3Missing, V3BadBody))]
pub(super) async fn replace_tags(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    body: Body,
) -> Result<Json<SessionTagsResponse>, ApiError> {
    let grant = ids.may(&request, Permission::ManageOrgSessions)?;
    let id = ids.session()?;
    let tags = sessions.set_tags(&grant, id, &asked::tags(Fields::of_body(body).await?)?).await?;
    Ok(Json(SessionTagsResponse { tags }))
}

/// List session attachments.
///
/// List the files of a session, in both directions.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}/attachments", tag = "sessions",
    operation_id = "handle_get_session_attachments_v3_organizations__org_id__sessions__devin_id__attachments_get",
    summary = "List session attachments",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = Vec<SessionAttachment>),
        V3Refused, V3Missing))]
pub(super) async fn attachments(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<Vec<SessionAttachment>>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    files_of(&sessions, &grant, &ids).await
}

/// List session attachments (enterprise).
///
/// List the files of a session of any organisation, in both directions.
#[utoipa::path(get, path = "/v3/enterprise/sessions/{devin_id}/attachments", tag = "sessions",
    operation_id = "handle_get_account_session_attachments_v3_enterprise_sessions__devin_id__attachments_get",
    summary = "List session attachments (enterprise)",
    params(("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`"),
        ("org_id" = String, Query, description = "Organization ID (prefix: org-)")),
    responses((status = 200, description = "Successful Response", body = Vec<SessionAttachment>),
        V3Refused, V3Missing))]
pub(super) async fn attachments_for_enterprise(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    uri: Uri,
) -> Result<Json<Vec<SessionAttachment>>, ApiError> {
    if !request.caller.holds_on_enterprise(Permission::ViewAccountSessions) {
        return Err(Denied(Permission::ViewAccountSessions).into());
    }
    let org = asked::organization(Query::of(&uri))?;
    let org: OrgId = org.parse().map_err(|_| ApiError::NotFound("Session not found"))?;
    // Holding the permission on the enterprise implies this one in every organisation.
    let grant = request.may(Permission::ViewOrgSessions, &org)?;
    files_of(&sessions, &grant, &ids).await
}

/// List delivery receipts.
///
/// What became of each file of a session.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}/receipts", tag = "sessions",
    operation_id = "handle_get_session_receipts_v3_organizations__org_id__sessions__devin_id__receipts_get",
    summary = "List delivery receipts",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = Vec<DeliveryReceipt>),
        V3Refused, V3Missing))]
pub(super) async fn receipts(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<Vec<DeliveryReceipt>>, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let receipts = sessions.receipts(&grant, ids.session()?).await?;
    Ok(Json(receipts.into_iter().map(DeliveryReceipt::from).collect()))
}

async fn files_of(
    sessions: &Sessions,
    grant: &Grant,
    ids: &PathIds,
) -> Result<Json<Vec<SessionAttachment>>, ApiError> {
    let files = sessions.attachments(grant, ids.session()?).await?;
    Ok(Json(files.into_iter().map(|file| SessionAttachment::new(sessions, file)).collect()))
}

/// Asks for leave to act for somebody else, where the body names somebody.
fn may_act_as(request: &Request, grant: &Grant, body: &Fields, member: &str) -> Result<(), Denied> {
    match body.members().get(member) {
        None | Some(serde_json::Value::Null) => Ok(()),
        Some(_) => request.may(Permission::ImpersonateOrgSessions, grant.org()).map(drop),
    }
}
