//! The answers that are no success, for the OpenAPI documents: every status that an endpoint can
//! answer, with the body that its API version gives it (contract, section 4).

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// The body of an error over v1 that is no 422.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// The body of an error over v3 that is no 422 (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// The path of the request.
    pub instance: String,
}

const REFUSED: &[(u16, &str)] = &[
    (401, "Missing or bad credential"),
    (403, "No permission, or a key of the other API"),
    (422, "Validation Error"),
    (429, "Too many requests of this key at once"),
    (500, "A fault of the service"),
];
const MISSING: &[(u16, &str)] = &[(404, "No such session in the organisation")];
const BAD_BODY: &[(u16, &str)] = &[
    (400, "The body broke off, or the session is over"),
    (408, "The body did not come in time"),
    (413, "The body is larger than 2 MiB"),
    FULL,
];
const CHANGE: &[(u16, &str)] = &[FULL];
const FULL: (u16, &str) = (507, "The storage is full; reading goes on");
const UPLOAD: &[(u16, &str)] = &[
    (400, "The body broke off"),
    (408, "Nothing came for too long in the middle of the body"),
    (
        413,
        "The file is larger than the limit, which is named; or the other parts are larger than 1 MiB together",
    ),
    (503, "The service is stopping"),
    FULL,
];
const DOWNLOAD: &[(u16, &str)] = &[
    (404, "No such attachment in the organisation"),
    (410, "The attachment was deleted or has expired: when, and by which rule"),
    (412, "A precondition is not met"),
    (416, "The range lies outside the file"),
];
const GONE: &[(u16, &str)] = &[
    (404, "No such attachment in the organisation"),
    (410, "The attachment was deleted or has expired before"),
    FULL,
];

/// Declares what endpoints may answer besides success: for each table a type for v1 and one for v3.
macro_rules! answers {
    ($($(#[$doc:meta])* $v1:ident, $v3:ident: $table:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $v1;
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $v3;

        impl IntoResponses for $v1 {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                table($table, &Version::V1)
            }
        }

        impl IntoResponses for $v3 {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                table($table, &Version::V3)
            }
        }
    )*};
}

answers! {
    /// What any endpoint may answer.
    V1Refused, V3Refused: REFUSED;
    /// What an endpoint of one session may answer besides.
    V1Missing, V3Missing: MISSING;
    /// What an endpoint with a JSON body may answer besides.
    V1BadBody, V3BadBody: BAD_BODY;
    /// What an endpoint that changes something without a body may answer besides.
    V1Change, V3Change: CHANGE;
    /// What an upload may be answered besides.
    V1Upload, V3Upload: UPLOAD;
    /// What a download may be answered besides.
    V1Download, V3Download: DOWNLOAD;
    /// What a deletion may be answered besides.
    V1Gone, V3Gone: GONE;
}

/// A text that is one of these.
pub fn one_of(texts: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts.iter().copied())).build()
}

/// Any JSON value.
pub fn any_value() -> Object {
    let all = [Type::Array, Type::Boolean, Type::Null, Type::Number, Type::Object, Type::String];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(all)).build()
}

/// A text that is one of these, or null.
pub fn one_of_or_null(texts: &[&str]) -> Object {
    let values = texts.iter().map(|text| serde_json::Value::from(*text));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(values.chain([serde_json::Value::Null])))
        .build()
}

enum Version {
    V1,
    V3,
}

fn table(rows: &[(u16, &str)], version: &Version) -> BTreeMap<String, RefOr<Response>> {
    let body = |status: u16| match (status, version) {
        (422, _) => ("application/json", "HTTPValidationError"),
        (_, Version::V1) => ("application/json", "Refusal"),
        (_, Version::V3) => ("application/problem+json", "Problem"),
    };
    rows.iter()
        .map(|(status, description)| {
            let (media, schema) = body(*status);
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
            let response = ResponseBuilder::new().description(*description).content(media, content);
            (status.to_string(), response.build().into())
        })
        .collect()
}
