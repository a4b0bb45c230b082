//! The query of a request, read parameter by parameter like a body, with every fault named at once.

use std::ops::RangeInclusive;

use axum::http::Uri;

use super::{FAULTS_NAMED, NUL_REFUSED};
use crate::http::problem::{ApiError, Loc, ValidationError};

/// The parameters of a query string. Unknown ones are ignored; of one that is given several times
/// and wanted once, the last counts.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    faults: Vec<ValidationError>,
}

impl Query {
    /// The query of a request's address.
    pub fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default().as_bytes();
        Self { pairs: url::form_urlencoded::parse(text).into_owned().collect(), faults: Vec::new() }
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.last(name)?;
        self.without_nul(vec![name.into()], text)
    }

    /// A text that must be there.
    pub fn required_text(&mut self, name: &'static str) -> String {
        if self.last(name).is_none() {
            self.refuse(name, "Field required", "missing");
        }
        self.text(name).unwrap_or_default()
    }

    /// Every text given under a name.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        let given: Vec<String> =
            self.pairs.iter().filter(|(key, _)| key == name).map(|(_, text)| text.clone()).collect();
        let texts = given.into_iter().enumerate();
        texts.filter_map(|(i, text)| self.without_nul(vec![name.into(), i.into()], text)).collect()
    }

    /// An integer within bounds.
    pub fn integer(&mut self, name: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let text = self.last(name)?;
        let Ok(number) = text.trim().parse::<i64>() else {
            let msg = "Input should be a valid integer, unable to parse string as an integer";
            self.refuse(name, msg, "int_parsing");
            return None;
        };
        if number < *bounds.start() {
            let msg = format!("Input should be greater than or equal to {}", bounds.start());
            self.refuse(name, msg, "greater_than_equal");
            return None;
        }
        if number > *bounds.end() {
            let msg = format!("Input should be less than or equal to {}", bounds.end());
            self.refuse(name, msg, "less_than_equal");
            return None;
        }
        Some(number)
    }

    /// A boolean, in the spellings that pydantic takes.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let text = self.last(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
            _ => {
                let msg = "Input should be a valid boolean, unable to interpret input";
                self.refuse(name, msg, "bool_parsing");
                None
            }
        }
    }

    /// Notes that a parameter is at fault.
    pub fn refuse(&mut self, name: &'static str, msg: impl Into<String>, kind: &str) {
        self.refuse_at(vec![name.into()], msg, kind);
    }

    /// 422 with every fault that was noted; otherwise nothing.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.faults)) }
    }

    fn last(&self, name: &str) -> Option<String> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, text)| text.clone())
    }

    fn without_nul(&mut self, loc: Vec<Loc>, text: String) -> Option<String> {
        if !text.contains('\0') {
            return Some(text);
        }
        self.refuse_at(loc, NUL_REFUSED, "value_error");
        None
    }

    fn refuse_at(&mut self, loc: Vec<Loc>, msg: impl Into<String>, kind: &str) {
        if self.faults.len() < FAULTS_NAMED {
            let loc = std::iter::once(Loc::from("query")).chain(loc).collect();
            self.faults.push(ValidationError::new(loc, msg, kind));
        }
    }
}
