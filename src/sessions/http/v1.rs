//! The v1 endpoints of sessions (contract, section 3). A v1 key acts on its one organisation.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;

use super::asked;
use super::refused;
use super::requests::{CreateSessionRequest, SendMessageRequest, UpdateTagsRequest};
use super::wire_v1::{
    CreateSessionResponse, DetailResponse, ListSessionsResponse, SendMessageResponse, SessionDetailsResponse,
    SessionListItem, SessionMessageItem,
};
use super::wire_v3::DeliveryReceipt;
use crate::http::answers::{Refusal, V1BadBody, V1Change, V1Missing, V1Refused};
use crate::http::body::{Fields, Query};
use crate::http::problem::ApiError;
use crate::identity::Permission;
use crate::identity::http::V1;
use crate::identity::path::PathIds;
use crate::sessions::Sessions;

type Room = State<Arc<Sessions>>;

/// Create a session.
///
/// Create a new Devin session.
#[utoipa::path(post, path = "/v1/sessions", operation_id = "create_session_v1_sessions_post",
    summary = "Create a session", request_body = CreateSessionRequest,
    responses((status = 200, description = "Successful Response", body = CreateSessionResponse),
        V1Refused, V1BadBody))]
pub(super) async fn create(
    State(sessions): Room,
    V1(request): V1,
    body: Body,
) -> Result<Json<CreateSessionResponse>, ApiError> {
    let grant = request.may_at_home(Permission::UseDevinSessions)?;
    let (new, fields) = asked::v1_session(Fields::of_body(body).await?)?;
    let created = sessions.create(&grant, new).await.map_err(|error| refused(error, "prompt"))?;
    Ok(Json(CreateSessionResponse::new(&sessions, created, &fields)))
}

/// List sessions.
///
/// List the organisation's sessions, newest first.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "list_sessions_v1_sessions_get",
    summary = "List sessions",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "At most this many; 100 unless given"),
        ("offset" = Option<i64>, Query, minimum = 0, description = "Pass over that many"),
        ("tags" = Option<Vec<String>>, Query, description = "Sessions with any of these tags"),
        ("user_email" = Option<String>, Query, description = "Sessions created by the person with this address")),
    responses((status = 200, description = "Successful Response", body = ListSessionsResponse), V1Refused))]
pub(super) async fn list(
    State(sessions): Room,
    V1(request): V1,
    uri: Uri,
) -> Result<Json<ListSessionsResponse>, ApiError> {
    let grant = request.may_at_home(Permission::ViewOrgSessions)?;
    let page = sessions.list(&grant, &asked::v1_filter(Query::of(&uri))?).await?;
    let sessions = page.items.into_iter().map(SessionListItem::from).collect();
    Ok(Json(ListSessionsResponse { sessions }))
}

/// Retrieve a session.
///
/// Retrieve a session with all its messages.
#[utoipa::path(get, path = "/v1/sessions/{session_id}",
    operation_id = "get_session_v1_sessions__session_id__get", summary = "Retrieve a session",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = SessionDetailsResponse),
        V1Refused, V1Missing))]
pub(super) async fn details(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
) -> Result<Json<SessionDetailsResponse>, ApiError> {
    let grant = request.may_at_home(Permission::ViewOrgSessions)?;
    let id = ids.session()?;
    let session = sessions.get(&grant, id).await?;
    let messages = sessions.all_messages(&grant, id).await?;
    Ok(Json(SessionDetailsResponse {
        session: session.into(),
        messages: messages.into_iter().map(SessionMessageItem::from).collect(),
    }))
}

/// Send a message.
///
/// Send a message to a session. A suspended session resumes.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/message",
    operation_id = "send_message_v1_sessions__session_id__message_post", summary = "Send a message",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`")),
    request_body = SendMessageRequest,
    responses((status = 200, description = "Successful Response", body = SendMessageResponse),
        V1Refused, V1Missing, V1BadBody))]
pub(super) async fn send(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
    body: Body,
) -> Result<Json<SendMessageResponse>, ApiError> {
    let grant = request.may_at_home(Permission::UseDevinSessions)?;
    let id = ids.session()?;
    let new = asked::v1_message(Fields::of_body(body).await?)?;
    let sent = sessions.send(&grant, id, &new.text, &new.attachment_urls).await?;
    Ok(Json(SendMessageResponse::new(sent, &new.without_effect)))
}

/// Update session tags.
///
/// Replace the tags of a session.
#[utoipa::path(put, path = "/v1/sessions/{session_id}/tags",
    operation_id = "update_session_tags_v1_sessions__session_id__tags_put", summary = "Update session tags",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`")),
    request_body = UpdateTagsRequest,
    responses((status = 200, description = "Successful Response", body = DetailResponse),
        V1Refused, V1Missing, V1BadBody))]
pub(super) async fn replace_tags(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
    body: Body,
) -> Result<Json<DetailResponse>, ApiError> {
    let grant = request.may_at_home(Permission::UseDevinSessions)?;
    let id = ids.session()?;
    sessions.set_tags(&grant, id, &asked::tags(Fields::of_body(body).await?)?).await?;
    Ok(Json(DetailResponse::new("Tags updated successfully")))
}

/// Terminate a session.
///
/// Terminate a session.
#[utoipa::path(delete, path = "/v1/sessions/{session_id}",
    operation_id = "terminate_session_v1_sessions__session_id__delete", summary = "Terminate a session",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = DetailResponse),
        (status = 400, description = "The session is over", body = Refusal), V1Refused, V1Missing, V1Change))]
pub(super) async fn terminate(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
) -> Result<Json<DetailResponse>, ApiError> {
    let grant = request.may_at_home(Permission::UseDevinSessions)?;
    sessions.terminate(&grant, ids.session()?).await?;
    Ok(Json(DetailResponse::new("Session terminated successfully")))
}

/// List delivery receipts.
///
/// What became of each file of a session.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/receipts",
    operation_id = "list_receipts_v1_sessions__session_id__receipts_get", summary = "List delivery receipts",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`")),
    responses((status = 200, description = "Successful Response", body = Vec<DeliveryReceipt>),
        V1Refused, V1Missing))]
pub(super) async fn receipts(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
) -> Result<Json<Vec<DeliveryReceipt>>, ApiError> {
    let grant = request.may_at_home(Permission::ViewOrgSessions)?;
    let receipts = sessions.receipts(&grant, ids.session()?).await?;
    Ok(Json(receipts.into_iter().map(DeliveryReceipt::from).collect()))
}
