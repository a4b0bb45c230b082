//! Requests read member by member: the JSON body and the query, with every fault named at once.
//!
//! Guarantees: the faults are those of FastAPI and pydantic (`loc`, `msg` and `type` of a 422's
//! entries), all of a request's in one answer, in the order in which the members are asked for. A
//! body is at most [`BODY_LIMIT`] bytes (413) and there within [`BODY_DEADLINE`] (408), and no text
//! in it holds a NUL character, which the catalogue could not keep. A JSON value counts as what it
//! is: `"5"` is no integer, `1` no boolean; only an integral number such as `5.0` is an integer, as
//! JSON Schema has it.
//!
//! A body is JSON whatever its `Content-Type` says: a credential travels in a header of its own, so
//! a form of another site cannot make one.
//!
//! What it does not: know which members an endpoint has. What nobody asked for is left to be seen
//! with [`Fields::unread`].

mod query;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::{self, Body, Bytes};
use serde_json::{Map, Value};

pub use query::Query;

use super::problem::{ApiError, Loc, ValidationError};

/// The largest JSON body, in bytes (2 MiB).
pub const BODY_LIMIT: usize = 2 * 1024 * 1024;
/// How long a JSON body may take to come in, however it trickles.
pub const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// Faults named in one answer at most: a hostile body does not make an answer larger than itself.
const FAULTS_NAMED: usize = 100;

/// Lengths of texts that are not bounded here.
pub const ANY_LENGTH: RangeInclusive<usize> = 0..=usize::MAX;

/// The members of a JSON object, read one after the other. A member at fault reads as if it were
/// absent; [`Fields::finish`] tells whether one was.
#[derive(Debug)]
pub struct Fields {
    members: Map<String, Value>,
    asked: BTreeSet<&'static str>,
    at: Vec<Loc>,
    faults: Vec<ValidationError>,
}

impl Fields {
    /// Reads a request's body, which has to be a JSON object. 413 above [`BODY_LIMIT`], 408 after
    /// [`BODY_DEADLINE`], 400 where it breaks off, 422 for anything but an object.
    pub async fn of_body(body: Body) -> Result<Self, ApiError> {
        Self::parse(&read(body).await?).map_err(ApiError::Invalid)
    }

    /// Reads the text of a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<ValidationError>> {
        // PowerShell and others begin with a byte order mark (RFC 8259, section 8.1, lets one be ignored).
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let fault = |loc: Vec<Loc>, msg: &str, kind: &str| Err(vec![ValidationError::new(loc, msg, kind)]);
        let body = || vec![Loc::from("body")];
        if text.iter().all(u8::is_ascii_whitespace) {
            return fault(body(), "Field required", "missing");
        }
        let members = match serde_json::from_slice(text) {
            Ok(Value::Object(members)) => members,
            Ok(Value::Null) => return fault(body(), "Field required", "missing"),
            Ok(_) => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                return fault(body(), msg, "model_attributes_type");
            }
            Err(error) => {
                let loc = vec![Loc::from("body"), Loc::Index(offset(text, &error))];
                return fault(loc, &format!("JSON decode error: {error}"), "json_invalid");
            }
        };
        let mut faults = Vec::new();
        for (name, value) in &members {
            find_nul(&mut vec![Loc::from("body"), Loc::from(name.as_str())], name, value, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self::of(members, body()))
    }

    /// Every member as it came.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// A member's value as it came, whatever it is; `None` when it is absent or null.
    pub fn value(&mut self, name: &'static str) -> Option<Value> {
        self.given(name).filter(|value| !value.is_null())
    }

    /// A text that must be there, with bounds for its length in Unicode scalar values.
    pub fn required_text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> String {
        let value = self.required(name);
        value.and_then(|value| self.as_text(vec![name.into()], value, &length)).unwrap_or_default()
    }

    /// A text, or nothing when it is absent or null.
    pub fn text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<String> {
        let value = self.value(name)?;
        self.as_text(vec![name.into()], value, &length)
    }

    /// A boolean; `default` when it is absent. Null is no boolean.
    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.given(name) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.refuse(name, "Input should be a valid boolean", "bool_type");
                default
            }
        }
    }

    /// A boolean, or nothing when it is absent or null.
    pub fn optional_flag(&mut self, name: &'static str) -> Option<bool> {
        self.value(name).map(|value| {
            if !value.is_boolean() {
                self.refuse(name, "Input should be a valid boolean", "bool_type");
            }
            value.as_bool().unwrap_or_default()
        })
    }

    /// An integer above zero, or nothing when it is absent or null.
    pub fn positive(&mut self, name: &'static str) -> Option<i64> {
        let value = self.value(name)?;
        match integer(&value) {
            Ok(number) if number > 0 => return Some(number),
            Ok(_) => self.refuse(name, "Input should be greater than 0", "greater_than"),
            Err((msg, kind)) => self.refuse(name, msg, kind),
        }
        None
    }

    /// A list of at most `most` texts that must be there.
    pub fn required_texts(
        &mut self,
        name: &'static str,
        most: usize,
        length: RangeInclusive<usize>,
    ) -> Vec<String> {
        let value = self.required(name);
        value.map(|value| self.as_texts(name, value, most, &length)).unwrap_or_default()
    }

    /// A list of at most `most` texts, or nothing when it is absent or null.
    pub fn texts(
        &mut self,
        name: &'static str,
        most: usize,
        length: RangeInclusive<usize>,
    ) -> Option<Vec<String>> {
        let value = self.value(name)?;
        Some(self.as_texts(name, value, most, &length))
    }

    /// A list of objects, each read by `read`; nothing when it is absent or null.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields) -> T,
    ) -> Option<Vec<T>> {
        let value = self.value(name)?;
        let Value::Array(items) = value else {
            self.refuse(name, "Input should be a valid list", "list_type");
            return None;
        };
        let mut objects = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let Value::Object(members) = item else {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                self.refuse_at(vec![name.into(), index.into()], msg, "model_attributes_type");
                continue;
            };
            let mut inner = Fields::of(members, self.place(vec![name.into(), index.into()]));
            objects.push(read(&mut inner));
            for fault in inner.faults {
                self.note(fault);
            }
        }
        Some(objects)
    }

    /// Notes that a member is at fault.
    pub fn refuse(&mut self, name: &'static str, msg: impl Into<String>, kind: &str) {
        self.refuse_at(vec![name.into()], msg, kind);
    }

    /// Notes that something inside a member is at fault.
    pub fn refuse_at(&mut self, loc: Vec<Loc>, msg: impl Into<String>, kind: &str) {
        let loc = self.place(loc);
        self.note(ValidationError::new(loc, msg, kind));
    }

    /// The names of the members that nobody has asked for.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str).filter(|name| !self.asked.contains(name))
    }

    /// 422 with every fault that was noted; otherwise nothing.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.faults)) }
    }

    fn of(members: Map<String, Value>, at: Vec<Loc>) -> Self {
        Self { members, asked: BTreeSet::new(), at, faults: Vec::new() }
    }

    fn given(&mut self, name: &'static str) -> Option<Value> {
        self.asked.insert(name);
        self.members.get(name).cloned()
    }

    fn required(&mut self, name: &'static str) -> Option<Value> {
        let value = self.given(name);
        if value.is_none() {
            self.refuse(name, "Field required", "missing");
        }
        value
    }

    fn as_text(&mut self, loc: Vec<Loc>, value: Value, length: &RangeInclusive<usize>) -> Option<String> {
        let Value::String(text) = value else {
            self.refuse_at(loc, "Input should be a valid string", "string_type");
            return None;
        };
        match length_fault(&text, length) {
            Some((msg, kind)) => {
                self.refuse_at(loc, msg, kind);
                None
            }
            None => Some(text),
        }
    }

    fn as_texts(
        &mut self,
        name: &'static str,
        value: Value,
        most: usize,
        length: &RangeInclusive<usize>,
    ) -> Vec<String> {
        let Value::Array(items) = value else {
            self.refuse(name, "Input should be a valid list", "list_type");
            return Vec::new();
        };
        if items.len() > most {
            let msg = format!("List should have at most {most} items after validation, not {}", items.len());
            self.refuse(name, msg, "too_long");
            return Vec::new();
        }
        let texts = items.into_iter().enumerate();
        texts.filter_map(|(i, item)| self.as_text(vec![name.into(), i.into()], item, length)).collect()
    }

    fn place(&self, loc: Vec<Loc>) -> Vec<Loc> {
        self.at.iter().cloned().chain(loc).collect()
    }

    fn note(&mut self, fault: ValidationError) {
        if self.faults.len() < FAULTS_NAMED {
            self.faults.push(fault);
        }
    }
}

const NUL_REFUSED: &str = "Value error, a text must not contain the character NUL (U+0000)";

async fn read(body: Body) -> Result<Bytes, ApiError> {
    let bytes = tokio::time::timeout(BODY_DEADLINE, body::to_bytes(body, BODY_LIMIT)).await;
    let bytes = bytes.map_err(|_| {
        ApiError::Timeout(format!("The body was not complete after {} s", BODY_DEADLINE.as_secs()))
    })?;
    bytes.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(|e| e.is::<http_body_util::LengthLimitError>()) {
            return ApiError::TooLarge(format!("The body is larger than {BODY_LIMIT} bytes"));
        }
        ApiError::BadRequest("The body broke off before its end".to_owned())
    })
}

/// How many characters stand before the place at which the JSON text ceased to make sense.
fn offset(text: &[u8], error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (before + error.column().saturating_sub(1)).min(text.len());
    String::from_utf8_lossy(&text[..end]).chars().count()
}

fn find_nul(loc: &mut Vec<Loc>, name: &str, value: &Value, faults: &mut Vec<ValidationError>) {
    if faults.len() >= FAULTS_NAMED {
        return;
    }
    if name.contains('\0') || value.as_str().is_some_and(|text| text.contains('\0')) {
        faults.push(ValidationError::new(loc.clone(), NUL_REFUSED, "value_error"));
        return;
    }
    let mut inside = |step: Loc, name: &str, value: &Value| {
        loc.push(step);
        find_nul(loc, name, value, faults);
        loc.pop();
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| inside(i.into(), "", item));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| inside(name.as_str().into(), name, value));
        }
        _ => {}
    }
}

fn integer(value: &Value) -> Result<i64, (&'static str, &'static str)> {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                return Ok(number);
            }
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float.fract() != 0.0 {
                let msg = "Input should be a valid integer, got a number with a fractional part";
                return Err((msg, "int_from_float"));
            }
            // A cast from a floating number saturates, and so keeps the sign of what is too large.
            Ok(float as i64)
        }
        _ => Err(("Input should be a valid integer", "int_type")),
    }
}

fn length_fault(text: &str, length: &RangeInclusive<usize>) -> Option<(String, &'static str)> {
    let characters = text.chars().count();
    let (least, most) = (*length.start(), *length.end());
    let noun = |n: usize| if n == 1 { "character" } else { "characters" };
    if characters < least {
        let msg = format!("String should have at least {least} {}", noun(least));
        Some((msg, "string_too_short"))
    } else if characters > most {
        Some((format!("String should have at most {most} {}", noun(most)), "string_too_long"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
