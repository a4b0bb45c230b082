//! The `ATTACHMENT:"url"` line: how one is written, how it is found in a prompt, and what is said
//! about a line that nearly is one (contract, section 2).
//!
//! Guarantees: a pure function of the text and of the service's addresses, in time linear in the
//! length of the text; no input or output of any kind, so no URL in a prompt is ever requested. A
//! line yields at most one finding, and findings come in the order of the lines. It does not know
//! which attachments exist: what [`Target::Attachment`] names has still to be resolved inside the
//! caller's organisation.
//!
//! A line ends at LF, CRLF or CR; blanks (space and tab) at its ends do not matter. What remains
//! must be `ATTACHMENT:"url"` or `ATTACHMENT:""url""`, and nothing else. Every other line that seems
//! to be meant as a reference is a near miss, which `diagnosis` explains.

use std::ops::Range;

use serde::Serialize;

mod diagnosis;
mod marker;
#[cfg(test)]
mod tests;
mod urls;

pub use urls::{ReferenceError, ServiceUrls, Target};

/// Whether near misses that are unmistakable count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Only the documented form counts.
    #[default]
    Strict,
    /// Besides, with a notice: other letter case, the plural, blanks after the colon, and other
    /// quotes, where the line stands alone and its URL is one of an attachment.
    Lenient,
}

/// Where a reference stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The number of the line, from 1.
    pub line: usize,
    /// Where the reference begins in its line, from 1, in Unicode scalar values.
    pub column: usize,
    /// The whole line without its terminator, in bytes of the text.
    pub bytes: Range<usize>,
}

/// What a line of a prompt turned out to be. Lines that are neither are not reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A line that names a file.
    Reference {
        /// Where the line stands.
        span: Span,
        /// The URL as written.
        url: String,
        /// Never [`Target::NotAbsoluteHttp`].
        target: Target,
        /// Set where the line counts only because of [`Mode::Lenient`].
        notice: Option<Notice>,
    },
    /// A line that is not recognised but seems to be meant as a reference.
    NearMiss(Notice),
}

/// What is wrong with a line, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The number of the line, from 1.
    pub line: usize,
    /// Where the fault is, from 1, in Unicode scalar values.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
    /// What to write instead: one line for each attachment of this service that the line names.
    /// Nothing where the line names none, since no spelling would then make it work.
    pub corrected: Option<String>,
}

/// Finds the references and the near misses of a prompt or message.
#[must_use]
pub fn scan(text: &str, urls: &ServiceUrls, mode: Mode) -> Vec<Finding> {
    lines(text)
        .enumerate()
        .filter_map(|(index, bytes)| read_line(text, index + 1, bytes, urls, mode))
        .collect()
}

/// The line that names the file at `url`: `ATTACHMENT:"url"`.
#[must_use]
pub fn line_for(url: &str) -> String {
    format!("ATTACHMENT:\"{url}\"")
}

fn read_line(
    text: &str,
    number: usize,
    bytes: Range<usize>,
    urls: &ServiceUrls,
    mode: Mode,
) -> Option<Finding> {
    let line = &text[bytes.clone()];
    let span = Span { line: number, column: line.chars().take_while(|&c| is_blank(c)).count() + 1, bytes };
    if let Some(url) = documented_form(line) {
        let target = urls.resolve(url);
        if target != Target::NotAbsoluteHttp {
            return Some(Finding::Reference { span, url: url.to_owned(), target, notice: None });
        }
    }
    let diagnosis = diagnosis::of(line, urls)?;
    let mut notice = Notice {
        line: number,
        column: diagnosis.column,
        reason: diagnosis.reason,
        corrected: diagnosis.corrected,
    };
    match diagnosis.unmistakable {
        Some((url, target)) if mode == Mode::Lenient => {
            notice.reason.push_str(" (delivered all the same)");
            Some(Finding::Reference { span, url, target, notice: Some(notice) })
        }
        _ => Some(Finding::NearMiss(notice)),
    }
}

/// The text in the quotes of a line in one of the two documented forms.
fn documented_form(line: &str) -> Option<&str> {
    let quoted = line.trim_matches(is_blank).strip_prefix("ATTACHMENT:\"")?.strip_suffix('"')?;
    let url = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    (!url.contains('"')).then_some(url)
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// The lines of a text, without their terminators, as byte ranges.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let Some(length) = text[start..].find(['\n', '\r']) else {
            next = None;
            return Some(start..text.len());
        };
        let end = start + length;
        let terminator = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        next = Some(end + terminator);
        Some(start..end)
    })
}
