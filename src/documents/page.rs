//! `/docs` and `/llms.txt`: the service's documentation for people and for models, without scripts.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1b1f24;background:#fff}h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}\
    details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}\
    code{font-family:ui-monospace,monospace;font-size:.9em}b{display:inline-block;min-width:4.5rem}\
    table{border-collapse:collapse;margin:.5rem 0}td,th{text-align:left;padding:.15rem .8rem .15rem 0;\
    vertical-align:top}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}}";

/// A page with every operation of the documents.
pub(super) fn render(documents: &[&OpenApi]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Satchel API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>Satchel API</h1>\
         <p>Upload a file, name it in a prompt on a line of its own, <code>ATTACHMENT:\"url\"</code>, and it \
         arrives in the agent's workspace. Documents: <a href=\"/v1-openapi.yaml\">v1-openapi.yaml</a>, \
         <a href=\"/v3-openapi.yaml\">v3-openapi.yaml</a>, <a href=\"/llms.txt\">llms.txt</a>.</p>"
    );
    for document in documents {
        let value = json!(document);
        let _ = write!(
            page,
            "<h2>{}</h2><p>{}</p>",
            escape(&value["info"]["title"]),
            escape(&value["components"]["securitySchemes"]["bearerAuth"]["description"])
        );
        for (path, item) in entries(&value["paths"]) {
            for (method, operation) in entries(item) {
                render_operation(&mut page, method, path, operation);
            }
        }
    }
    page.push_str("</html>\n");
    page
}

fn render_operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = write!(
        page,
        "<details><summary><b>{}</b> <code>{}</code></summary><p>{}</p><p><code>{}</code></p><table>",
        method.to_uppercase(),
        escape(&json!(path)),
        escape(&operation["description"]),
        escape(&operation["operationId"])
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let _ = write!(
            page,
            "<tr><td><code>{}</code><td>{}<td>{}",
            escape(&parameter["name"]),
            escape(&parameter["in"]),
            escape(&parameter["description"])
        );
    }
    page.push_str("</table><table>");
    for (status, answer) in entries(&operation["responses"]) {
        let _ = write!(page, "<tr><th>{status}<td>{}", escape(&answer["description"]));
    }
    page.push_str("</table></details>");
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn escape(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The index for models and the people who write for them (llms.txt).
pub(super) fn index(public_url: &str, max_upload_bytes: u64) -> String {
    format!(
        "# Satchel\n\n\
         > A self-hosted attachment service for coding agents that speaks the Devin API: upload a file, name it in a \
         prompt, and it arrives whole and verified in the workspace of the agent.\n\n\
         Upload with `POST {public_url}/v1/attachments` (form field `file`, at most {max_upload_bytes} bytes, \
         `Authorization: Bearer apk_…`). The answer is a JSON string: the URL. Name the file in the prompt of \
         `POST {public_url}/v1/sessions` or in a message, on a line of its own, exactly like this:\n\n\
         ATTACHMENT:\"{{url}}\"\n\n\
         Over v3 (`Authorization: Bearer cog_…`) the field `attachment_urls` does the same.\n\n\
         Follow a session with `GET {public_url}/v1/sessions/{{session_id}}/events?until=idle`: server-sent events, \
         replayed from the first or from behind `Last-Event-ID`, that end when the session waits for a message.\n\n\
         ## Documents\n\n\
         - [v1 API]({public_url}/v1-openapi.yaml): OpenAPI 3.1, personal and service keys\n\
         - [v3 API]({public_url}/v3-openapi.yaml): OpenAPI 3.1, service users\n\
         - [Both as a page]({public_url}/docs)\n\n\
         ## State\n\n\
         - [Liveness]({public_url}/health/live)\n\
         - [Readiness]({public_url}/health/ready)\n"
    )
}
