//! The documents that the service serves about itself: what the code says, what the seed pages say,
//! and nothing that the service does not keep.

use serde_json::{Map, Value, json};

use crate::support::*;

const SEEDS: [&str; 2] = [include_str!("../clients/seed-v1.yaml"), include_str!("../clients/seed-v3.yaml")];
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "head"];

/// The two documents as the code makes them.
fn generated() -> [Value; 2] {
    [json!(satchel::documents::v1()), json!(satchel::documents::v3())]
}

fn seeds() -> [Value; 2] {
    SEEDS.map(|text| yaml_serde::from_str(text).unwrap())
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Method, path and operation of everything in a document.
fn operations(document: &Value) -> Vec<(&str, &String, &Value)> {
    let of_path = |(path, item): (_, _)| {
        entries(item).map(move |(method, operation)| (method.as_str(), path, operation)).collect::<Vec<_>>()
    };
    entries(&document["paths"]).flat_map(of_path).collect()
}

#[tokio::test]
async fn the_documents_served_are_those_that_the_code_makes_with_the_size_limit_named() {
    let app = TestApp::builder().config("max_upload_bytes = 123456").start().await;
    for (path, made) in ["/v1-openapi.yaml", "/v3-openapi.yaml"].into_iter().zip(generated()) {
        let answer = app.nobody().get(path).await;
        assert_eq!(answer.expect(200).header("content-type"), "application/yaml");
        let mut served: Value = yaml_serde::from_str(&answer.text()).unwrap();
        let mut limits = 0;
        for item in served["paths"].as_object_mut().unwrap().values_mut() {
            for operation in item.as_object_mut().unwrap().values_mut() {
                let Some(Value::String(text)) = operation.get_mut("description") else { continue };
                if let Some(bare) = text.strip_suffix(" A file may have at most 123456 bytes.") {
                    *text = bare.to_owned();
                    limits += 1;
                }
            }
        }
        assert_eq!(limits, 1, "{path}: the upload names the limit, and nothing else does");
        assert_eq!(served, made, "{path}");
    }
}

#[test]
fn the_operations_of_the_seed_pages_are_there_word_for_word() {
    for (mut ours, seed) in generated().into_iter().zip(seeds()) {
        for (method, path, wanted) in operations(&seed) {
            let found = ours["paths"][path][method].as_object_mut().unwrap();
            // What a seed page leaves out and the service has: further answers, and over v3 the
            // declaration of the path's parameter.
            let listed = wanted["responses"].as_object().unwrap();
            let responses = found["responses"].as_object_mut().unwrap();
            responses.retain(|status, _| listed.contains_key(status));
            let content = responses["200"]["content"].as_object_mut().unwrap();
            content.retain(|media, _| media == "application/json");
            if let Some(parameters) = found.remove("parameters") {
                let names: Vec<_> = parameters.as_array().unwrap().iter().map(|p| &p["name"]).collect();
                assert_eq!(names, ["org_id"]);
                assert!(path.contains("{org_id}"));
            }
            assert_eq!(json!(found), *wanted, "{method} {path}");
        }
    }
}

#[test]
fn the_schemas_and_the_heading_of_the_seed_pages_are_there_word_for_word() {
    for (ours, seed) in generated().into_iter().zip(seeds()) {
        for (name, wanted) in entries(&seed["components"]["schemas"]) {
            assert_eq!(ours["components"]["schemas"][name], *wanted, "{name}");
        }
        for member in ["openapi", "info", "security"] {
            assert_eq!(ours[member], seed[member], "{member}");
        }
        assert_eq!(ours["components"]["securitySchemes"], seed["components"]["securitySchemes"]);
    }
}

#[test]
fn operation_ids_are_there_and_unique_and_references_lead_somewhere() {
    for document in generated() {
        let mut ids: Vec<_> = operations(&document)
            .into_iter()
            .map(|(method, path, operation)| {
                assert!(METHODS.contains(&method), "{method} {path}");
                operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"))
            })
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "two operations have one id");
        assert_resolved(&document, &document);
    }
}

#[test]
fn every_parameter_of_a_path_is_declared() {
    for document in generated() {
        for (method, path, operation) in operations(&document) {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let declared = |p: &Value| p["name"] == name && p["in"] == "path" && p["required"] == true;
                assert!(parameters.iter().any(declared), "{method} {path} does not declare {name}");
            }
        }
    }
}

#[test]
fn every_operation_documents_that_a_key_may_be_refused() {
    for document in generated() {
        for (method, path, operation) in operations(&document) {
            for status in ["401", "403", "422", "429"] {
                assert!(operation["responses"][status].is_object(), "{method} {path} lacks {status}");
            }
        }
    }
}

#[tokio::test]
async fn the_index_and_the_page_lead_to_the_documents() {
    let app = TestApp::start().await;
    let index = app.nobody().get("/llms.txt").await.expect(200).text();
    for name in ["/v1-openapi.yaml", "/v3-openapi.yaml", "/docs", "/v1/attachments", "/health/ready"] {
        let url = format!("{}{name}", app.url());
        assert!(index.contains(&url), "{name}");
        if name != "/v1/attachments" {
            app.nobody().get(&url).await.expect(200);
        }
    }
    assert!(index.contains("\nATTACHMENT:\"{url}\"\n"), "{index}");
    let page = app.nobody().get("/docs").await;
    assert!(page.expect(200).header("content-type").starts_with("text/html"));
    for document in generated() {
        for (_, path, _) in operations(&document) {
            assert!(page.text().contains(path), "{path}");
        }
    }
    assert!(!page.text().contains("<script"), "the page runs nothing");
}

fn assert_resolved(value: &Value, document: &Value) {
    if let Some(target) = value.get("$ref").and_then(Value::as_str) {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} leads nowhere");
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| assert_resolved(member, document)),
        Value::Array(items) => items.iter().for_each(|item| assert_resolved(item, document)),
        _ => {}
    }
}
