//! What a request asks for: the bodies and queries of the session endpoints, read and judged.
//!
//! Every fault of a request is named in one 422. Fields of the API that this service does not act
//! upon are checked for their type all the same, kept with the session, and named in a notice,
//! unless their value asks for nothing (null, false, an empty list or object).

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::notice::WithoutEffect;
use crate::clock::Moment;
use crate::hex;
use crate::http::body::{ANY_LENGTH, Fields, Query};
use crate::http::problem::ApiError;
use crate::id::SessionId;
use crate::sessions::{Api, Demand, Filter, MAX_TAGS, NewSession, SessionSecret};

/// Characters in a title at most.
pub(super) const MAX_TITLE: usize = 1024;
/// Characters in a tag at most.
pub(super) const MAX_TAG: usize = 256;
/// Characters in an id of something outside of this service at most.
pub(super) const MAX_ID: usize = 256;
/// Characters in a URL (contract, section 2).
pub(super) const MAX_URL: usize = 2083;
/// URLs in `attachment_urls` at most; each may be named more than once.
pub(super) const MAX_URLS: usize = 1000;
/// Bytes in a JSON Schema, written compactly (contract, section 3).
pub(super) const MAX_SCHEMA: usize = 64 * 1024;

/// Bytes in all other kept fields of a session, written compactly.
pub(super) const MAX_KEPT: usize = 64 * 1024;

/// What a field without effect has to be. All may be null or absent.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Id,
    Ids,
    Links,
    /// True or false; the value that asks for nothing.
    Flag(bool),
    Positive,
}

const V1_WITHOUT_EFFECT: &[(&str, Kind)] = &[
    ("knowledge_ids", Kind::Ids),
    ("max_acu_limit", Kind::Positive),
    ("playbook_id", Kind::Id),
    ("secret_ids", Kind::Ids),
    ("snapshot_id", Kind::Id),
];

const V3_WITHOUT_EFFECT: &[(&str, Kind)] = &[
    ("advanced_mode", Kind::Id),
    ("bypass_approval", Kind::Flag(false)),
    ("child_playbook_id", Kind::Id),
    ("create_as_user_id", Kind::Id),
    ("devin_mode", Kind::Id),
    ("knowledge_ids", Kind::Ids),
    ("max_acu_limit", Kind::Positive),
    ("platform", Kind::Id),
    ("playbook_id", Kind::Id),
    ("repos", Kind::Links),
    ("resumable", Kind::Flag(true)),
    ("secret_ids", Kind::Ids),
    ("session_links", Kind::Links),
];

/// The body of `POST /v1/sessions`.
pub(super) fn v1_session(mut body: Fields) -> Result<(NewSession, WithoutEffect), ApiError> {
    let prompt = body.required_text("prompt", ANY_LENGTH);
    let idempotency_key = body.flag("idempotent", false).then(|| digest(body.members()));
    let title = body.text("title", 0..=MAX_TITLE);
    let tags = body.texts("tags", MAX_TAGS, 0..=MAX_TAG).unwrap_or_default();
    let secrets = secrets(&mut body);
    let structured_output = demand(&mut body, false);
    let mut kept = Map::new();
    if body.flag("unlisted", false) {
        kept.insert("unlisted".to_owned(), Value::Bool(true));
    }
    keep(&mut body, V1_WITHOUT_EFFECT, &mut kept);
    let mut without_effect = without_effect(&body, V1_WITHOUT_EFFECT, &kept);
    without_effect.known.extend(kept.contains_key("unlisted").then_some("unlisted"));
    body.finish()?;
    let new = NewSession {
        prompt,
        attachment_urls: Vec::new(),
        title,
        tags,
        fields: kept,
        structured_output,
        secrets,
        idempotency_key,
        api: Api::V1,
    };
    Ok((new, without_effect))
}

/// The body of `POST /v3/organizations/{org_id}/sessions`.
pub(super) fn v3_session(mut body: Fields) -> Result<(NewSession, WithoutEffect), ApiError> {
    let prompt = body.required_text("prompt", ANY_LENGTH);
    let attachment_urls = attachment_urls(&mut body);
    let title = body.text("title", 0..=MAX_TITLE);
    let tags = body.texts("tags", MAX_TAGS, 0..=MAX_TAG).unwrap_or_default();
    let secrets = secrets(&mut body);
    let required = body.optional_flag("structured_output_required") == Some(true);
    let structured_output = demand(&mut body, required);
    let mut kept = Map::new();
    keep(&mut body, V3_WITHOUT_EFFECT, &mut kept);
    let without_effect = without_effect(&body, V3_WITHOUT_EFFECT, &kept);
    body.finish()?;
    let new = NewSession {
        prompt,
        attachment_urls,
        title,
        tags,
        fields: kept,
        structured_output,
        secrets,
        idempotency_key: None,
        api: Api::V3,
    };
    Ok((new, without_effect))
}

/// What is to be sent to a session.
#[derive(Debug)]
pub(super) struct NewMessage {
    pub(super) text: String,
    pub(super) attachment_urls: Vec<String>,
    pub(super) without_effect: WithoutEffect,
}

/// The body of `POST /v1/sessions/{session_id}/message`.
pub(super) fn v1_message(mut body: Fields) -> Result<NewMessage, ApiError> {
    let text = body.required_text("message", ANY_LENGTH);
    let without_effect = without_effect(&body, &[], &Map::new());
    body.finish()?;
    Ok(NewMessage { text, attachment_urls: Vec::new(), without_effect })
}

/// The body of `POST /v3/organizations/{org_id}/sessions/{devin_id}/messages`.
pub(super) fn v3_message(mut body: Fields) -> Result<NewMessage, ApiError> {
    let text = body.required_text("message", ANY_LENGTH);
    let attachment_urls = attachment_urls(&mut body);
    let sender = body.text("message_as_user_id", 0..=MAX_ID);
    let mut without_effect = without_effect(&body, &[], &Map::new());
    without_effect.known.extend(sender.map(|_| "message_as_user_id"));
    body.finish()?;
    Ok(NewMessage { text, attachment_urls, without_effect })
}

/// The body of the calls that set or add tags.
pub(super) fn tags(mut body: Fields) -> Result<Vec<String>, ApiError> {
    let tags = body.required_texts("tags", MAX_TAGS, 0..=MAX_TAG);
    body.finish()?;
    Ok(tags)
}

/// The query of `GET /v1/sessions`.
pub(super) fn v1_filter(mut query: Query) -> Result<Filter, ApiError> {
    let first = query.integer("limit", 1..=1000).unwrap_or(100);
    let offset = query.integer("offset", 0..=i64::MAX).unwrap_or(0);
    let filter = Filter {
        first: usize::try_from(first).unwrap_or(100),
        offset: offset.unsigned_abs(),
        tags: query.texts("tags"),
        user_email: query.text("user_email"),
        ..Filter::default()
    };
    query.finish()?;
    Ok(filter)
}

/// The query of `GET /v3/organizations/{org_id}/sessions`.
pub(super) fn v3_filter(mut query: Query) -> Result<Filter, ApiError> {
    let (first, after) = page(&mut query);
    let ids = query.texts("session_ids");
    let mut created_by = query.texts("user_ids");
    created_by.extend(query.texts("service_user_ids"));
    let mut moment = |name| query.integer(name, i64::MIN..=i64::MAX).map(Moment::from_seconds);
    let filter = Filter {
        first,
        after,
        offset: 0,
        // An id that is none names no session: the list is then empty, not unrestricted.
        session_ids: (!ids.is_empty())
            .then(|| ids.iter().filter_map(|id| SessionId::parse_lenient(id).ok()).collect()),
        created_after: moment("created_after"),
        created_before: moment("created_before"),
        updated_after: moment("updated_after"),
        updated_before: moment("updated_before"),
        tags: query.texts("tags"),
        origins: query.texts("origins"),
        created_by,
        user_email: None,
        is_archived: query.flag("is_archived"),
    };
    query.finish()?;
    Ok(filter)
}

/// Which page of a session's messages: how many, and behind which cursor.
pub(super) fn message_page(mut query: Query) -> Result<(usize, Option<String>), ApiError> {
    let page = page(&mut query);
    query.finish()?;
    Ok(page)
}

/// Whether a terminated session is to be put away as well.
pub(super) fn archive(mut query: Query) -> Result<bool, ApiError> {
    let archive = query.flag("archive").unwrap_or(false);
    query.finish()?;
    Ok(archive)
}

/// The organisation that an enterprise call names.
pub(super) fn organization(mut query: Query) -> Result<String, ApiError> {
    let org = query.required_text("org_id");
    query.finish()?;
    Ok(org)
}

/// A SHA-256, in hex digits, that two bodies have in common where they differ at most in the order
/// of their members and in their secrets: a guess at a secret could be tried on this digest.
fn digest(members: &Map<String, Value>) -> String {
    let mut members = members.clone();
    members.remove("session_secrets");
    let mut text = String::new();
    write_canonically(&Value::Object(members), &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn write_canonically(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonically(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonically(value, text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn page(query: &mut Query) -> (usize, Option<String>) {
    let first = query.integer("first", 1..=200).unwrap_or(100);
    let after = query.text("after").filter(|after| !after.is_empty());
    (usize::try_from(first).unwrap_or(100), after)
}

fn attachment_urls(body: &mut Fields) -> Vec<String> {
    body.texts("attachment_urls", MAX_URLS, 1..=MAX_URL).unwrap_or_default()
}

/// The secrets, whose values no answer repeats. That all are to be hidden goes without saying, so `sensitive` is only
/// checked for its type.
fn secrets(body: &mut Fields) -> Vec<SessionSecret> {
    let secrets = body.objects("session_secrets", |secret| {
        let name = secret.required_text("key", 1..=256);
        let value = secret.required_text("value", 0..=65536).into();
        secret.flag("sensitive", true);
        SessionSecret { name, value }
    });
    secrets.unwrap_or_default()
}

/// Checks the fields without effect and keeps those that ask for something.
fn keep(body: &mut Fields, fields: &[(&'static str, Kind)], kept: &mut Map<String, Value>) {
    let mut size = 0;
    for &(name, kind) in fields {
        let value = match kind {
            Kind::Id => body.text(name, 0..=MAX_ID).map(Value::from),
            Kind::Ids => {
                body.texts(name, usize::MAX, 0..=MAX_ID).filter(|ids| !ids.is_empty()).map(Value::from)
            }
            Kind::Links => {
                body.texts(name, usize::MAX, 0..=MAX_URL).filter(|links| !links.is_empty()).map(Value::from)
            }
            Kind::Flag(idle) => body.optional_flag(name).filter(|flag| *flag != idle).map(Value::from),
            Kind::Positive => body.positive(name).map(Value::from),
        };
        let Some(value) = value else { continue };
        size += value.to_string().len();
        if size > MAX_KEPT {
            let msg = format!(
                "Value error, the fields without effect have {size} bytes together; at most {MAX_KEPT} are \
                 allowed"
            );
            body.refuse(name, msg, "value_error");
            return;
        }
        kept.insert(name.to_owned(), value);
    }
}

/// The structured output that is wanted. An empty schema asks for nothing.
fn demand(body: &mut Fields, required: bool) -> Option<Demand> {
    let name = "structured_output_schema";
    let schema = body.value(name);
    let size = schema.as_ref().map_or(0, |schema| schema.to_string().len());
    match schema {
        Some(schema) if !schema.is_object() => {
            body.refuse(name, "Input should be a valid dictionary", "dict_type");
            None
        }
        Some(_) if size > MAX_SCHEMA => {
            let msg = format!("Value error, the schema has {size} bytes; at most {MAX_SCHEMA} are allowed");
            body.refuse(name, msg, "value_error");
            None
        }
        Some(schema) if schema != Value::Object(Map::new()) => Some(Demand { schema, required }),
        _ if required => {
            let msg = "Value error, structured output can only be required by a schema: give `structured_output_schema`";
            body.refuse("structured_output_required", msg, "value_error");
            None
        }
        _ => None,
    }
}

fn without_effect(
    body: &Fields,
    fields: &[(&'static str, Kind)],
    kept: &Map<String, Value>,
) -> WithoutEffect {
    WithoutEffect {
        known: fields.iter().map(|(name, _)| *name).filter(|name| kept.contains_key(*name)).collect(),
        unknown: body.unread().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests;
