//! Every error that a client can see: its status and its body.
//!
//! Rooms have errors of their own; each `*/http.rs` turns its room's into an [`ApiError`]. The
//! body's shape depends on the API version of the path (contract, section 4): v3 paths answer
//! `application/problem+json` (RFC 9457), all others FastAPI's `{"detail": …}`. The choice is made
//! once, by [`render`], on the way out. Internal errors are logged here and nowhere else; their
//! causes never reach a client.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};

use crate::db::DbError;

/// The body of a 422 (seed pages).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HTTPValidationError)]
pub struct HttpValidationError {
    /// What is wrong, entry by entry.
    #[schema(required = false)]
    pub detail: Vec<ValidationError>,
}

/// One entry of a 422's `detail`: where, what, and a machine-readable kind.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ValidationError {
    /// Path to the offending value: names and indices.
    #[schema(inline)]
    pub loc: Vec<Loc>,
    /// What is wrong and what would be right.
    pub msg: String,
    /// FastAPI's name for the kind of error, such as `missing`.
    pub r#type: String,
}

/// One step of a [`ValidationError`]'s location.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// A member's name.
    Name(String),
    /// An index, or a line's number.
    Index(usize),
}

/// FastAPI writes `anyOf` where the derive would write `oneOf`.
impl utoipa::PartialSchema for Loc {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::String))
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .into()
    }
}

impl utoipa::ToSchema for Loc {}

impl From<&str> for Loc {
    fn from(name: &str) -> Self {
        Loc::Name(name.to_owned())
    }
}

impl From<usize> for Loc {
    fn from(index: usize) -> Self {
        Loc::Index(index)
    }
}

impl ValidationError {
    /// An entry of the given kind.
    pub fn new(loc: Vec<Loc>, msg: impl Into<String>, kind: &str) -> Self {
        Self { loc, msg: msg.into(), r#type: kind.to_owned() }
    }
}

/// What a request may end in besides success.
#[derive(Debug)]
pub enum ApiError {
    /// 400: the request makes no sense in the present state.
    BadRequest(String),
    /// 401: no credential, or a bad one.
    Unauthorized(String),
    /// 403: the credential is good but not for this.
    Forbidden(String),
    /// 404: there is no such thing here, or it may not be known that there is.
    NotFound(&'static str),
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 408: the client was silent for too long.
    Timeout(String),
    /// 412: a precondition of the request is not met.
    PreconditionFailed,
    /// 416: the range lies outside the file.
    OutOfRange {
        /// The file's length in bytes.
        size: u64,
    },
    /// 410: it was here; when and by which rule it went.
    Gone(String),
    /// 413: too large; names the limit.
    TooLarge(String),
    /// 422: the request is not of the documented form.
    Invalid(Vec<ValidationError>),
    /// 429: too much at once.
    TooMany(String),
    /// 507: no room to keep more.
    StorageFull(String),
    /// 503: not now.
    Unavailable(String),
    /// 500: what was stored is not whole any more; how, is logged as well.
    Damaged(String),
    /// 500: our fault; the cause is logged.
    Internal(anyhow::Error),
}

impl ApiError {
    /// A 422 with one entry.
    pub fn invalid(loc: Vec<Loc>, msg: impl Into<String>, kind: &str) -> Self {
        Self::Invalid(vec![ValidationError::new(loc, msg, kind)])
    }

    /// The error's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Gone(_) => StatusCode::GONE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::OutOfRange { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::StorageFull(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Damaged(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(self) -> Value {
        match self {
            Self::BadRequest(detail)
            | Self::Unauthorized(detail)
            | Self::Forbidden(detail)
            | Self::Timeout(detail)
            | Self::Gone(detail)
            | Self::TooLarge(detail)
            | Self::TooMany(detail)
            | Self::StorageFull(detail)
            | Self::Unavailable(detail) => Value::String(detail),
            Self::NotFound(detail) => Value::from(detail),
            Self::MethodNotAllowed => Value::from("Method Not Allowed"),
            Self::PreconditionFailed => Value::from("The file is not the one that the request expects"),
            Self::OutOfRange { size } => {
                Value::from(format!("The range lies outside the file's {size} bytes"))
            }
            Self::Invalid(entries) => json!(entries),
            Self::Damaged(detail) => {
                tracing::error!(error = detail, "a stored file is not whole");
                Value::String(detail)
            }
            Self::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "a request failed inside");
                Value::from("Internal Server Error")
            }
        }
    }
}

/// The error's detail on its way to [`render`].
#[derive(Debug, Clone)]
struct Detail(Value);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: String| {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        };
        match &self {
            Self::Unauthorized(_) => set(header::WWW_AUTHENTICATE, "Bearer".into()),
            Self::TooMany(_) | Self::Unavailable(_) => set(header::RETRY_AFTER, "1".into()),
            Self::OutOfRange { size } => set(header::CONTENT_RANGE, format!("bytes */{size}")),
            _ => {}
        }
        response.extensions_mut().insert(Detail(self.detail()));
        response
    }
}

/// Gives every error its body, by the API version of the request's path.
pub async fn render(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
    let mut response = next.run(request).await;
    let Some(Detail(detail)) = response.extensions_mut().remove::<Detail>() else { return response };
    if form {
        // Whatever of the form is still under way is not worth reading.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    with_body(response, &path, &detail)
}

fn with_body(response: Response, path: &str, detail: &Value) -> Response {
    let status = response.status();
    let v3 = ["/v3/", "/v3beta1/"].iter().any(|prefix| path.starts_with(prefix));
    let invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
    let body = if v3 {
        json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": detail,
            "instance": path,
        })
    } else {
        json!({ "detail": detail })
    };
    let (mut parts, _) = response.into_parts();
    let kind = if v3 && !invalid { "application/problem+json" } else { "application/json" };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body.to_string().into())
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        if error.is_for_want_of_room() {
            return Self::StorageFull("The storage is full: nothing was changed; reading goes on".to_owned());
        }
        Self::Internal(error.into())
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}
