//! Validators, preconditions and ranges: which part of a representation a request gets.
//!
//! Implements RFC 9110, sections 13 (conditional requests, in the order of 13.2.2) and 14 (byte
//! ranges, a single one; several are answered with the whole, which 14.2 allows). Pure: headers in,
//! decision out.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

use crate::clock::Moment;

/// What a representation can be told by.
#[derive(Debug, Clone)]
pub struct Validators {
    /// A strong entity tag, quotes included.
    pub etag: String,
    /// When it was made.
    pub modified: Moment,
    /// Its length in bytes.
    pub size: u64,
}

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// 200: everything.
    Whole,
    /// 206: these bytes, never none.
    Part(Range<u64>),
    /// 304: what the client has is still right.
    NotModified,
    /// 412: a precondition is not met.
    PreconditionFailed,
    /// 416: the range lies outside.
    Unsatisfiable,
}

/// Decides what a `GET` or `HEAD` gets.
pub fn select(headers: &HeaderMap, has: &Validators) -> Selection {
    let value = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(tags) = list(headers, header::IF_MATCH) {
        if !tags.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim() == has.etag) {
            return Selection::PreconditionFailed;
        }
    } else if let Some(since) = value(header::IF_UNMODIFIED_SINCE).and_then(Moment::parse_http_date)
        && has.modified.seconds() > since.seconds()
    {
        return Selection::PreconditionFailed;
    }
    if let Some(tags) = list(headers, header::IF_NONE_MATCH) {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        if tags.split(',').any(|tag| tag.trim() == "*" || weak(tag) == has.etag) {
            return Selection::NotModified;
        }
    } else if let Some(since) = value(header::IF_MODIFIED_SINCE).and_then(Moment::parse_http_date)
        && has.modified.seconds() <= since.seconds()
    {
        return Selection::NotModified;
    }
    let Some(range) = value(header::RANGE) else { return Selection::Whole };
    let current = match value(header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag == has.etag,
        Some(date) => Moment::parse_http_date(date).is_some_and(|at| at.seconds() == has.modified.seconds()),
    };
    if current { ranged(range, has.size) } else { Selection::Whole }
}

/// A list that may be spread over several header lines (RFC 9110, section 5.3).
fn list(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// What a `Range` header selects of `size` bytes. What cannot be read is ignored (14.2).
fn ranged(value: &str, size: u64) -> Selection {
    let Some((unit, set)) = value.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = set.split_once('-') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selection::Whole;
    }
    let range = match (number(first), number(last)) {
        (Ok(Some(first)), Ok(None)) => first..size,
        (Ok(Some(first)), Ok(Some(last))) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(None), Ok(Some(suffix))) => size.saturating_sub(suffix)..size,
        _ => return Selection::Whole,
    };
    if range.start < range.end { Selection::Part(range) } else { Selection::Unsatisfiable }
}

/// A number, nothing, or something else. A number too large for any file counts as the largest.
fn number(text: &str) -> Result<Option<u64>, ()> {
    match text.trim() {
        "" => Ok(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&'static str, &str)]) -> Selection {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let has = Validators { etag: "\"abc\"".into(), modified: Moment(1_795_327_628_500_000), size: 100 };
        select(&map, &has)
    }

    const AT: &str = "Sun, 22 Nov 2026 06:07:08 GMT";
    const BEFORE: &str = "Sun, 22 Nov 2026 06:07:07 GMT";

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-9", Selection::Part(0..10)),
            ("bytes=90-", Selection::Part(90..100)),
            ("bytes=-10", Selection::Part(90..100)),
            ("bytes=-1000", Selection::Part(0..100)),
            ("bytes=99-99999999999999999999999", Selection::Part(99..100)),
            ("bytes=0-0", Selection::Part(0..1)),
            ("Bytes=0-0", Selection::Part(0..1)),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=100-200", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=9-1", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("lines=0-1", Selection::Whole),
            ("bytes", Selection::Whole),
            ("bytes=1-+2", Selection::Whole),
        ] {
            assert_eq!(ask(&[("range", range)]), expected, "{range}");
        }
    }

    #[test]
    fn an_empty_file_has_no_range() {
        assert_eq!(ranged("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(ranged("bytes=-5", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn preconditions_in_their_order() {
        for (headers, expected) in [
            (vec![("if-none-match", "\"abc\"")], Selection::NotModified),
            (vec![("if-none-match", "\"x\", W/\"abc\"")], Selection::NotModified),
            (vec![("if-none-match", "*")], Selection::NotModified),
            (vec![("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")], Selection::NotModified),
            (vec![("if-match", "\"x\""), ("if-match", "\"abc\"")], Selection::Whole),
            (vec![("if-none-match", "\"x\"")], Selection::Whole),
            (vec![("if-none-match", "\"x\""), ("if-modified-since", AT)], Selection::Whole),
            (vec![("if-modified-since", AT)], Selection::NotModified),
            (vec![("if-modified-since", BEFORE)], Selection::Whole),
            (vec![("if-modified-since", "rubbish")], Selection::Whole),
            (vec![("if-match", "\"abc\"")], Selection::Whole),
            (vec![("if-match", "W/\"abc\"")], Selection::PreconditionFailed),
            (vec![("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Selection::PreconditionFailed),
            (vec![("if-unmodified-since", BEFORE)], Selection::PreconditionFailed),
            (vec![("if-unmodified-since", AT)], Selection::Whole),
            (vec![("range", "bytes=0-1"), ("if-range", "\"abc\"")], Selection::Part(0..2)),
            (vec![("range", "bytes=0-1"), ("if-range", "\"x\"")], Selection::Whole),
            (vec![("range", "bytes=0-1"), ("if-range", "W/\"abc\"")], Selection::Whole),
            (vec![("range", "bytes=0-1"), ("if-range", AT)], Selection::Part(0..2)),
            (vec![("range", "bytes=0-1"), ("if-range", BEFORE)], Selection::Whole),
            (vec![("range", "bytes=0-1"), ("if-none-match", "\"abc\"")], Selection::NotModified),
        ] {
            assert_eq!(ask(&headers), expected, "{headers:?}");
        }
    }
}
