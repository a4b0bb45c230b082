//! From a row to an answer: validators, range, headers, bytes.
//!
//! Whatever a file holds, a browser that opens it runs nothing: the answer is sandboxed, its kind
//! is not to be guessed, and all but a few harmless kinds are downloads.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;

use super::filename::{Disposition, content_disposition};
use super::{Attachment, Attachments, kind};
use crate::http::digest;
use crate::http::problem::ApiError;
use crate::http::range::{Selection, Validators, select};
use crate::identity::Request;

const FIXED: [(HeaderName, &str); 5] = [
    (header::ACCEPT_RANGES, "bytes"),
    (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "private, no-cache"),
];

impl Attachments {
    /// Answers a `GET` or `HEAD` for an attachment that the caller may see. `request` stays in
    /// flight as long as the body does.
    pub async fn deliver(
        &self,
        attachment: &Attachment,
        method: &Method,
        headers: &HeaderMap,
        request: Request,
    ) -> Result<Response, ApiError> {
        if let Some(gone) = &attachment.gone {
            return Err(ApiError::Gone(gone.sentence()));
        }
        let has = Validators {
            etag: format!("\"{}\"", attachment.sha256),
            modified: attachment.created_at,
            size: attachment.size,
        };
        let (status, range) = match select(headers, &has) {
            Selection::Whole => (StatusCode::OK, 0..has.size),
            Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Selection::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
            Selection::PreconditionFailed => return Err(ApiError::PreconditionFailed),
            Selection::Unsatisfiable => return Err(ApiError::OutOfRange { size: has.size }),
        };
        let bare = status == StatusCode::NOT_MODIFIED;
        let body = if bare {
            Body::empty()
        } else {
            let reader = self.open_blob(attachment)?;
            match reader.small().await? {
                // A head is promised only for bytes that are there.
                _ if *method == Method::HEAD => Body::empty(),
                Some(whole) => Body::from(whole.slice(range.start as usize..range.end as usize)),
                None => Body::from_stream(reader.stream(range.clone()).map(move |piece| {
                    let _in_flight = &request.slot;
                    piece.inspect_err(|error| tracing::error!(%error, "a download broke off"))
                })),
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.extend(FIXED.map(|(name, value)| (name, HeaderValue::from_static(value))));
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, has.etag);
        set(HeaderName::from_static("repr-digest"), digest::print(&attachment.sha256));
        set(header::LAST_MODIFIED, has.modified.http_date());
        if !bare {
            let inline = kind::renders_inline(&attachment.content_type);
            let disposition = if inline { Disposition::Inline } else { Disposition::Attachment };
            set(header::CONTENT_DISPOSITION, content_disposition(disposition, &attachment.name));
            set(header::CONTENT_TYPE, kind::header_value(&attachment.content_type));
            set(header::CONTENT_LENGTH, (range.end - range.start).to_string());
        }
        if status == StatusCode::PARTIAL_CONTENT {
            set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, has.size));
        }
        Ok(response)
    }
}
