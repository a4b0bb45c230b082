//! The documents that the service serves about itself (contract, section 5).
//!
//! The two OpenAPI documents are made from the annotations of the handlers. A pass over them adds
//! what FastAPI adds and the annotations cannot say: titles, made from names. The operation ids and
//! schema names are those of the seed pages.

mod page;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::{attachments, identity, sessions};

/// The document of the v1 API.
pub fn v1() -> OpenApi {
    let rooms = [
        attachments::http::V1Docs::openapi(),
        sessions::http::V1Docs::openapi(),
        identity::http::V1Docs::openapi(),
    ];
    let info = json!({
        "title": "Devin API v1",
        "description": "Devin v1 API with Personal and Service API Keys",
        "version": "1.0.0",
    });
    document(rooms, &info, "Personal API Key (apk_user_*) or Service API Key (apk_*)")
}

/// The document of the v3 API.
pub fn v3() -> OpenApi {
    let rooms = [
        attachments::http::V3Docs::openapi(),
        sessions::http::V3Docs::openapi(),
        identity::http::V3Docs::openapi(),
    ];
    let info = json!({
        "title": "Devin API v3",
        "description": "Devin v3 API with Service User authentication and RBAC",
        "version": "3.0.0",
    });
    document(rooms, &info, "Service User credential (prefix: cog_)")
}

/// `/v1-openapi.yaml`, `/v3-openapi.yaml`, `/llms.txt`, `/docs`. `max_upload_bytes` is named in the
/// texts of the upload endpoints.
pub fn routes<S>(public_url: &str, max_upload_bytes: u64) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let limit = format!(" A file may have at most {max_upload_bytes} bytes.");
    let (v1, v3) = (with_limit(&v1(), &limit), with_limit(&v3(), &limit));
    let page = page::render(&[&v1, &v3]);
    let index = page::index(public_url, max_upload_bytes);
    let (v1, v3) = (yaml(&v1), yaml(&v3));
    Router::new()
        .route("/v1-openapi.yaml", get(|| async { ([(header::CONTENT_TYPE, "application/yaml")], v1) }))
        .route("/v3-openapi.yaml", get(|| async { ([(header::CONTENT_TYPE, "application/yaml")], v3) }))
        .route("/llms.txt", get(|| async { index.into_response() }))
        .route("/docs", get(|| async { Html(page) }))
}

/// A document as YAML.
pub fn yaml(document: &OpenApi) -> String {
    document.to_yaml().unwrap_or_else(|error| format!("# the document could not be written: {error}\n"))
}

fn document(rooms: [OpenApi; 3], info: &Value, bearer: &str) -> OpenApi {
    let merged = rooms.into_iter().reduce(|mut all, room| {
        all.merge(room);
        all
    });
    let mut value = json!(merged.unwrap_or_default());
    value["openapi"] = json!("3.1.0");
    value["info"] = info.clone();
    value["security"] = json!([{ "bearerAuth": [] }]);
    value["components"]["securitySchemes"] =
        json!({ "bearerAuth": { "type": "http", "scheme": "bearer", "description": bearer } });
    if let Some(schemas) = value["components"]["schemas"].as_object_mut() {
        schemas.iter_mut().for_each(|(name, schema)| title_schema(name, schema));
    }
    let v1 = info["version"] == "1.0.0";
    for operation in operations(&mut value) {
        title_operation(operation);
        if v1 {
            operation.remove("tags");
        }
    }
    // What was just made from such a document can be read as one.
    serde_json::from_value(value).unwrap_or_default()
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}

/// `title` for a schema and its members, as FastAPI derives them from names.
fn title_schema(name: &str, schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    let validation = name == "ValidationError";
    for (member, property) in
        schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let title = match member.as_str() {
            "loc" if validation => "Location".to_owned(),
            "msg" if validation => "Message".to_owned(),
            "type" if validation => "Error Type".to_owned(),
            other => title(other),
        };
        if let Some(property) = property.as_object_mut().filter(|p| !p.contains_key("$ref")) {
            property.insert("title".to_owned(), json!(title));
            property.remove("description").filter(|_| is_of_the_seed(name));
        }
    }
    schema.insert("title".to_owned(), json!(name));
    if is_of_the_seed(name) {
        schema.remove("description");
    }
}

/// The schemas that the seed pages show: they carry no descriptions there, and none here.
fn is_of_the_seed(name: &str) -> bool {
    matches!(name, "AttachmentResponse" | "HTTPValidationError" | "ValidationError")
        || name.starts_with("Body_")
}

/// The title of a bare answer, as FastAPI makes it from the operation's id; descriptions on one line.
fn title_operation(operation: &mut Map<String, Value>) {
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
    let heading = format!("Response {}", title(id));
    if let Some(schema) = operation
        .get_mut("responses")
        .and_then(|responses| responses.get_mut("200"))
        .and_then(|answer| answer.pointer_mut("/content/application~1json/schema"))
        .and_then(Value::as_object_mut)
        .filter(|schema| !schema.contains_key("$ref"))
    {
        schema.insert("title".to_owned(), json!(heading));
    }
}

/// `attachment_id` → `Attachment Id`.
fn title(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    let capitalised = words.map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    });
    capitalised.collect::<Vec<_>>().join(" ")
}

fn with_limit(document: &OpenApi, sentence: &str) -> OpenApi {
    let mut value = json!(document);
    for operation in operations(&mut value) {
        let upload = operation
            .get("operationId")
            .and_then(Value::as_str)
            .is_some_and(|id| id.contains("upload_attachment"));
        if upload && let Some(Value::String(text)) = operation.get_mut("description") {
            text.push_str(sentence);
        }
    }
    serde_json::from_value(value).unwrap_or_default()
}
