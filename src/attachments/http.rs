//! The endpoints of attachments: upload (seed pages, v1 and v3), download, deletion.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{Attachment, AttachmentError, Attachments, ReceiveError};
use crate::blobs::BlobError;
use crate::http::answers::{
    V1Download, V1Gone, V1Refused, V1Upload, V3Download, V3Gone, V3Refused, V3Upload,
};
use crate::http::form::{Form, FormError, MAX_OTHER_BYTES};
use crate::http::problem::{ApiError, Loc};
use crate::identity::http::{Either, V1, V3};
use crate::identity::path::PathIds;
use crate::identity::{Grant, Identity, Permission, Request, Scope};

/// In the answer of an upload: the SHA-256 of what was kept, hexadecimal.
const SHA256: HeaderName = HeaderName::from_static("x-content-sha256");

const NOT_FOUND: ApiError = ApiError::NotFound("Attachment not found");

/// The v1 operations of this room, for `/v1-openapi.yaml`.
#[derive(Debug, OpenApi)]
#[openapi(paths(upload_v1, download_v1, delete_v1))]
pub struct V1Docs;

/// The v3 operations of this room, for `/v3-openapi.yaml`.
#[derive(Debug, OpenApi)]
#[openapi(paths(upload_v3, download_v3, delete_v3))]
pub struct V3Docs;

/// What an upload over v3 is answered with (seed page).
#[derive(Debug, Serialize, ToSchema)]
pub struct AttachmentResponse {
    /// The attachment's id, a hyphenated UUID.
    pub attachment_id: String,
    /// The file's own name, made safe.
    pub name: String,
    /// The canonical URL, to be named in a prompt.
    pub url: String,
}

/// The form of an upload over v1 (seed page).
#[derive(Debug, ToSchema)]
#[schema(as = Body_upload_attachment_customer_endpoint_v1_attachments_post)]
pub struct UploadV1 {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    pub file: Vec<u8>,
}

/// The form of an upload over v3 (seed page).
#[derive(Debug, ToSchema)]
#[schema(as = Body_handle_upload_attachment_v3_organizations__org_id__attachments_post)]
pub struct UploadV3 {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    pub file: Vec<u8>,
}

/// A file's bytes.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct FileBytes(pub Vec<u8>);

/// The routes of this room.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Attachments>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    let v3 = post(upload_v3).options(limits);
    let v3_file = get(download_v3).delete(delete_v3);
    Router::new()
        .route("/v1/attachments", post(upload_v1).options(limits))
        .route("/v1/attachments/{attachment_id}/{name}", get(download_v1).delete(delete_v1))
        .route("/v3/organizations/{org_id}/attachments", v3.clone())
        .route("/v3beta1/organizations/{org_id}/attachments", v3)
        .route("/v3/organizations/{org_id}/attachments/{attachment_id}/{name}", v3_file.clone())
        .route("/v3beta1/organizations/{org_id}/attachments/{attachment_id}/{name}", v3_file)
        .route("/attachments/{attachment_id}/{name}", get(download).delete(delete))
}

/// Says how large a file may be, without a credential.
async fn limits(State(room): State<Arc<Attachments>>) -> Response {
    let limit = HeaderValue::from_str(&format!("max-size={}", room.settings().max_upload_bytes));
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if let Ok(limit) = limit {
        response.headers_mut().insert(HeaderName::from_static("upload-limit"), limit);
    }
    response
}

/// Upload an attachment.
///
/// Upload a file attachment that can be used in Devin sessions. Returns the URL of the uploaded attachment as a string.
#[utoipa::path(post, path = "/v1/attachments", summary = "Upload an attachment",
    operation_id = "upload_attachment_customer_endpoint_v1_attachments_post",
    request_body(content = UploadV1, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Successful Response", content(
            (String = "application/json"), (String = "text/plain"))), V1Refused, V1Upload))]
pub async fn upload_v1(
    State(room): State<Arc<Attachments>>,
    V1(request): V1,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let grant = request.may_at_home(Permission::UseDevinSessions)?;
    let attachment = upload(&room, &request, &grant, &headers, body).await?;
    let (url, digest) = (room.url_of(&attachment), [(SHA256, attachment.sha256)]);
    let plain = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(prefers_text);
    Ok(if plain { (digest, url).into_response() } else { (digest, Json(url)).into_response() })
}

/// Upload an attachment.
///
/// Upload a file attachment that can be used in Devin sessions.
#[utoipa::path(post, path = "/v3/organizations/{org_id}/attachments", tag = "attachments",
    summary = "Upload an attachment",
    operation_id = "handle_upload_attachment_v3_organizations__org_id__attachments_post",
    params(("org_id" = String, Path, description = "The organisation, `org-…`")),
    request_body(content = UploadV3, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Successful Response", body = AttachmentResponse), V3Refused, V3Upload))]
pub async fn upload_v3(
    State(room): State<Arc<Attachments>>,
    V3(request): V3,
    ids: PathIds,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let grant = ids.may(&request, Permission::UseDevinSessions)?;
    let attachment = upload(&room, &request, &grant, &headers, body).await?;
    let answer = AttachmentResponse {
        attachment_id: attachment.id.to_string(),
        url: room.url_of(&attachment),
        name: attachment.name,
    };
    Ok(([(SHA256, attachment.sha256)], Json(answer)).into_response())
}

async fn upload(
    room: &Arc<Attachments>,
    request: &Request,
    grant: &Grant,
    headers: &HeaderMap,
    body: Body,
) -> Result<Attachment, ApiError> {
    let limit = room.settings().max_upload_bytes;
    let _slot = room.take_upload_slot(&request.caller).ok_or_else(|| {
        let most = room.settings().uploads_per_key;
        ApiError::TooMany(format!("Too many uploads at once with this key: at most {most} may be in flight"))
    })?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    // Twice the allowance for other parts: their headers and delimiters count as well.
    if length.is_some_and(|length| length > limit.saturating_add(2 * MAX_OTHER_BYTES)) {
        return Err(BlobError::TooLarge { limit }.into());
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let form = Form::new(content_type, body, room.settings().body_silence).map_err(ReceiveError::from)?;
    Ok(room.receive_form(grant, form, length).await?)
}

/// Download an attachment.
#[utoipa::path(get, path = "/v1/attachments/{attachment_id}/{name}",
    operation_id = "download_attachment_v1_attachments__attachment_id___name__get",
    params(("attachment_id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The bytes", body = FileBytes, content_type = "*/*"),
        (status = 206, description = "The bytes of the range", body = FileBytes, content_type = "*/*"),
        (status = 304, description = "What the client has is still right"), V1Refused, V1Download))]
pub async fn download_v1(
    State(room): State<Arc<Attachments>>,
    V1(request): V1,
    ids: PathIds,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let attachment = find(&room, &request.caller.scope(Permission::ViewOrgSessions), &ids).await?;
    room.deliver(&attachment, &method, &headers, request).await
}

/// Download an attachment.
#[utoipa::path(get, path = "/v3/organizations/{org_id}/attachments/{attachment_id}/{name}", tag = "attachments",
    operation_id = "handle_download_attachment_v3_organizations__org_id__attachments__attachment_id___name__get",
    params(("org_id" = String, Path), ("attachment_id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The bytes", body = FileBytes, content_type = "*/*"),
        (status = 206, description = "The bytes of the range", body = FileBytes, content_type = "*/*"),
        (status = 304, description = "What the client has is still right"), V3Refused, V3Download))]
pub async fn download_v3(
    State(room): State<Arc<Attachments>>,
    V3(request): V3,
    ids: PathIds,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    let attachment = find(&room, &Scope::Only(vec![grant.org().clone()]), &ids).await?;
    room.deliver(&attachment, &method, &headers, request).await
}

/// The canonical URL: a credential of either API.
async fn download(
    State(room): State<Arc<Attachments>>,
    Either(request): Either,
    ids: PathIds,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let attachment = find(&room, &request.caller.scope(Permission::ViewOrgSessions), &ids).await?;
    room.deliver(&attachment, &method, &headers, request).await
}

/// Delete an attachment and free its bytes. Sessions that were handed the file keep their copy.
#[utoipa::path(delete, path = "/v1/attachments/{attachment_id}/{name}",
    operation_id = "delete_attachment_v1_attachments__attachment_id___name__delete",
    params(("attachment_id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "Successful Response", body = Deleted), V1Refused, V1Gone))]
pub async fn delete_v1(
    state: State<Arc<Attachments>>,
    V1(request): V1,
    ids: PathIds,
) -> Result<Json<Deleted>, ApiError> {
    delete(state, Either(request), ids).await
}

/// Delete an attachment and free its bytes. Sessions that were handed the file keep their copy.
#[utoipa::path(delete, path = "/v3/organizations/{org_id}/attachments/{attachment_id}/{name}", tag = "attachments",
    operation_id = "handle_delete_attachment_v3_organizations__org_id__attachments__attachment_id___name__delete",
    params(("org_id" = String, Path), ("attachment_id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "Successful Response", body = Deleted), V3Refused, V3Gone))]
pub async fn delete_v3(
    State(room): State<Arc<Attachments>>,
    V3(request): V3,
    ids: PathIds,
) -> Result<Json<Deleted>, ApiError> {
    let grant = ids.may(&request, Permission::UseDevinSessions)?;
    let attachment = find(&room, &Scope::Only(vec![grant.org().clone()]), &ids).await?;
    remove(&room, &grant, &attachment).await
}

async fn delete(
    State(room): State<Arc<Attachments>>,
    Either(request): Either,
    ids: PathIds,
) -> Result<Json<Deleted>, ApiError> {
    let attachment = find(&room, &request.caller.scope(Permission::ViewOrgSessions), &ids).await?;
    let grant = request.may(Permission::UseDevinSessions, &attachment.org_id)?;
    remove(&room, &grant, &attachment).await
}

/// That an attachment is deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// A sentence that says so.
    pub detail: String,
}

async fn remove(
    room: &Arc<Attachments>,
    grant: &Grant,
    attachment: &Attachment,
) -> Result<Json<Deleted>, ApiError> {
    match &attachment.gone {
        Some(gone) => Err(ApiError::Gone(gone.sentence())),
        None if room.delete(grant, attachment).await? => {
            Ok(Json(Deleted { detail: "Attachment deleted successfully".to_owned() }))
        }
        None => Err(NOT_FOUND),
    }
}

async fn find(room: &Attachments, scope: &Scope, ids: &PathIds) -> Result<Attachment, ApiError> {
    room.find(scope, ids.attachment()?).await?.ok_or(NOT_FOUND)
}

/// Whether an `Accept` header (RFC 9110, section 12.5.1) wants `text/plain` more than JSON.
fn prefers_text(accept: &str) -> bool {
    let weight = |wanted: &str| {
        accept
            .split(',')
            .filter_map(|item| {
                let mut fields = item.split(';').map(str::trim);
                let kind = fields.next()?;
                let q = fields.find_map(|field| field.strip_prefix("q=")).unwrap_or("1");
                kind.eq_ignore_ascii_case(wanted).then(|| q.parse::<f32>().unwrap_or(0.0))
            })
            .fold(0.0_f32, f32::max)
    };
    weight("text/plain") > weight("application/json").max(weight("*/*"))
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge { limit } => Self::TooLarge(format!(
                "The file is larger than the limit of {limit} bytes for one attachment"
            )),
            BlobError::Full { .. } => {
                Self::StorageFull("The storage is full: nothing was kept; reading goes on".to_owned())
            }
            BlobError::Missing | BlobError::Changed { .. } | BlobError::Resized { .. } => {
                Self::Damaged(format!("The file cannot be sent whole: {error}"))
            }
            BlobError::Io(_) => Self::Internal(error.into()),
        }
    }
}

impl From<ReceiveError> for ApiError {
    fn from(error: ReceiveError) -> Self {
        let body = || vec![Loc::from("body")];
        match error {
            ReceiveError::NoFile | ReceiveError::Form(FormError::NotMultipart) => {
                Self::invalid(vec!["body".into(), "file".into()], "Field required", "missing")
            }
            ReceiveError::Form(error @ (FormError::Malformed(_) | FormError::Unfinished)) => {
                Self::invalid(body(), error.to_string(), "multipart_invalid")
            }
            ReceiveError::OtherBytes { .. } => {
                Self::invalid(vec!["body".into(), "file".into()], error.to_string(), "digest_mismatch")
            }
            ReceiveError::Form(error @ FormError::OthersTooLarge) => Self::TooLarge(error.to_string()),
            ReceiveError::Form(error @ FormError::Silent(_)) => Self::Timeout(error.to_string()),
            ReceiveError::Form(error @ FormError::Broken(_)) => Self::BadRequest(error.to_string()),
            ReceiveError::Blob(error) => error.into(),
            ReceiveError::Store(error) => match error.as_ref() {
                BlobError::Full { floor } => BlobError::Full { floor: *floor }.into(),
                _ => Self::Internal(anyhow::Error::new(error)),
            },
            ReceiveError::Catalogue(error) => Self::Internal(anyhow::Error::new(error)),
            ReceiveError::NoLongerAllowed => Self::Unauthorized(
                "Invalid credential: the key was revoked, expired or lost its permission during the upload"
                    .to_owned(),
            ),
            ReceiveError::Stopped => Self::Unavailable(error.to_string()),
            ReceiveError::Changed | ReceiveError::Io(_) => Self::Internal(error.into()),
        }
    }
}

impl From<AttachmentError> for ApiError {
    fn from(error: AttachmentError) -> Self {
        match error {
            AttachmentError::Blob(error) => error.into(),
            AttachmentError::Db(error) => error.into(),
            AttachmentError::Receive(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prefers_text;

    #[test]
    fn only_who_wants_text_more_than_json_gets_text() {
        assert!(prefers_text("text/plain"));
        assert!(prefers_text("text/plain, application/json;q=0.5"));
        assert!(prefers_text("text/plain, */*;q=0.1"));
        assert!(!prefers_text("*/*"));
        assert!(!prefers_text("text/plain, */*"));
        assert!(!prefers_text("application/json, text/plain"));
        assert!(!prefers_text("text/plain;q=0.5, application/json"));
        assert!(!prefers_text("text/html"));
    }
}
