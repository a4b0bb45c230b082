//! The stream of a session's events, v1 and v3: server-sent events (WHATWG HTML, section "Server-sent events").
//!
//! `id` is the event's position, `event` its kind, `data` one line of JSON. The stream begins behind `Last-Event-ID`, or
//! the query's `after`, or with the first event; it ends by itself, and a reconnect after the end is answered 204, so
//! that an `EventSource` stops. It ends at once when the service stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::wire_v1::SessionMessageItem;
use super::wire_v3::{DeliveryReceipt, SessionMessage};
use crate::http::answers::{V1Missing, V1Refused, V3Missing, V3Refused};
use crate::http::body::Query;
use crate::http::problem::ApiError;
use crate::http::serve::Stopping;
use crate::id::SessionId;
use crate::identity::http::{V1, V3};
use crate::identity::path::PathIds;
use crate::identity::{Grant, Permission, Request};
use crate::sessions::follow::{Event, Following, Until, What};
use crate::sessions::status::v1_words;
use crate::sessions::{Api, SessionError, Sessions};

/// After how much silence a comment is sent, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After how many milliseconds a client that lost the stream is to come back.
const RETRY: &[u8] = b"retry: 1000\n\n";
/// The header with which a client comes back.
const LAST_EVENT_ID: &str = "last-event-id";

type Room = State<Arc<Sessions>>;

/// Which part of the stream is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `follow` reads")]
struct Part {
    /// Begin behind this event; `Last-Event-ID` counts before it
    #[param(minimum = 0)]
    after: Option<i64>,
    /// `now`: end with what has happened so far; `idle`: end as soon as the session waits for a message, is suspended or over; `over`, as without: end when it is over
    until: Option<String>,
}

/// What a client says that comes back.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `follow` reads")]
struct Reconnect {
    /// The last event that arrived before the stream broke
    #[param(rename = "Last-Event-ID", minimum = 0)]
    last_event_id: Option<i64>,
}

/// One server-sent event, by its fields (OpenAPI before 3.2 has the schema of a stream describe each event of it).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `written` writes")]
pub(crate) struct SessionEvent {
    /// The position of the event in its session, a decimal number
    #[schema(pattern = "^[0-9]+$")]
    id: String,
    /// What kind of event it is: `status`, `message`, `receipt`, `tool_call`, `tool_call_update`, `plan` or `usage`
    event: String,
    /// One line of JSON
    data: String,
}

/// Follow a session.
///
/// Server-sent events, an addition of this service: everything that happened in a session and, live, what happens.
/// `id` is the position of the event, `event` its kind, `data` one line of JSON: `status` (`status`, `status_detail`,
/// `status_enum`), `message` (as in the session's messages), `receipt` (as in its receipts); where the agent tells of
/// its work, `tool_call`, `tool_call_update`, `plan` and `usage` (as the agent sent them).
#[utoipa::path(get, path = "/v1/sessions/{session_id}/events",
    operation_id = "follow_session_v1_sessions__session_id__events_get", summary = "Follow a session",
    params(("session_id" = String, Path, description = "The session, with or without `devin-`"),
        Part, Reconnect),
    responses((status = 200, description = "The events", body = SessionEvent, content_type = "text/event-stream"),
        (status = 204, description = "Every event was told, and what is waited for has come: do not reconnect"),
        V1Refused, V1Missing))]
pub(super) async fn follow_v1(
    State(sessions): Room,
    V1(request): V1,
    ids: PathIds,
    asked: Asked,
) -> Result<Response, ApiError> {
    let grant = request.may_at_home(Permission::ViewOrgSessions)?;
    follow(sessions, request, grant, ids.session()?, asked, Api::V1).await
}

/// Follow a session.
///
/// Server-sent events, an addition of this service: everything that happened in a session and, live, what happens.
/// `id` is the position of the event, `event` its kind, `data` one line of JSON: `status` (`status`, `status_detail`,
/// `status_enum`), `message` (as in the session's messages), `receipt` (as in its receipts); where the agent tells of
/// its work, `tool_call`, `tool_call_update`, `plan` and `usage` (as the agent sent them).
#[utoipa::path(get, path = "/v3/organizations/{org_id}/sessions/{devin_id}/events", tag = "sessions",
    operation_id = "handle_follow_session_v3_organizations__org_id__sessions__devin_id__events_get",
    summary = "Follow a session",
    params(("org_id" = String, Path, description = "Organization ID (prefix: org-)"),
        ("devin_id" = String, Path, description = "Devin session ID, with or without `devin-`"),
        Part, Reconnect),
    responses((status = 200, description = "The events", body = SessionEvent, content_type = "text/event-stream"),
        (status = 204, description = "Every event was told, and what is waited for has come: do not reconnect"),
        V3Refused, V3Missing))]
pub(super) async fn follow_v3(
    State(sessions): Room,
    V3(request): V3,
    ids: PathIds,
    asked: Asked,
) -> Result<Response, ApiError> {
    let grant = ids.may(&request, Permission::ViewOrgSessions)?;
    follow(sessions, request, grant, ids.session()?, asked, Api::V3).await
}

/// What a request says besides whom it is from and which session it means.
type Asked = (Uri, HeaderMap, Extension<Stopping>);

async fn follow(
    sessions: Arc<Sessions>,
    request: Request,
    grant: Grant,
    id: &SessionId,
    (uri, headers, Extension(Stopping(stop))): Asked,
    api: Api,
) -> Result<Response, ApiError> {
    let mut query = Query::of(&uri);
    let after = query.integer("after", 0..=i64::MAX).unwrap_or(0);
    let until = match query.text("until").as_deref() {
        None | Some("over") => Until::Over,
        Some("idle") => Until::Idle,
        Some("now") => Until::Now,
        Some(_) => {
            query.refuse("until", "Input should be 'now', 'idle' or 'over'", "enum");
            Until::Over
        }
    };
    query.finish()?;
    let last = last_event_id(&headers)?;
    let followed = sessions.follow(grant, id, last.unwrap_or(after), until).await;
    let following = match followed {
        Ok(Some(following)) => following,
        Ok(None) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error @ SessionError::NoSuchEvent { .. }) if last.is_some() => {
            return Err(bad_id(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    // The request's own place is held for as long as its answer is in flight.
    let first = stream::once(std::future::ready(Ok(Bytes::from_static(RETRY))));
    let events = stream::unfold((following, request.slot), move |(mut following, slot)| {
        let stop = stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => None,
                said = next(&mut following, api) => Some((said.transpose()?, (following, slot))),
            }
        }
    });
    let mut response = Response::new(Body::from_stream(stream::StreamExt::chain(first, events)));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A reverse proxy that gathers an answer before it passes it on would hold the events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// What is to be sent next: an event, or a comment after a silence. `None` at the end.
async fn next(following: &mut Following, api: Api) -> io::Result<Option<Bytes>> {
    match tokio::time::timeout(KEEP_ALIVE, following.next()).await {
        Ok(Ok(event)) => Ok(event.map(|event| written(event, api))),
        Ok(Err(error)) => {
            let error = crate::sessions::words::with_causes(&error);
            tracing::error!(error, "a stream of events was cut");
            Err(io::Error::other("the events cannot be read"))
        }
        Err(_) => Ok(Some(Bytes::from_static(b":\n\n"))),
    }
}

/// An event on the wire. JSON has no line ends but escaped ones, so `data` is one line.
fn written(event: Event, api: Api) -> Bytes {
    let data = match event.what {
        What::Status(status, detail) => json!({
            "status": status.name(),
            "status_detail": detail.map(|detail| detail.name()),
            "status_enum": v1_words(status, detail, false),
        }),
        What::Message(message) if api == Api::V1 => json!(SessionMessageItem::from(message)),
        What::Message(message) => json!(SessionMessage::from(message)),
        What::Receipt(receipt) => json!(DeliveryReceipt::from(*receipt)),
        What::Other(data) => data,
    };
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.position, event.kind, Value::to_string(&data)).into()
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match id.and_then(|text| text.parse().ok()) {
        Some(id) => Ok(Some(id)),
        None => Err(bad_id("Input should be the id of an event of this session".to_owned())),
    }
}

fn bad_id(msg: String) -> ApiError {
    ApiError::invalid(vec!["header".into(), LAST_EVENT_ID.into()], msg, "value_error")
}
