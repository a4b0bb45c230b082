//! File names as people typed them, made safe to store, to put on a disk and to send in a header.
//!
//! Guarantees: a safe name is one path component of 1 to [`MAX_BYTES`] bytes in NFC, without
//! separators, control characters, invisible marks or characters that Windows forbids; it neither
//! begins with a dot nor ends with a dot or blank, and is no name of a Windows device. Making a safe
//! name safe again changes nothing. It does not make names unique: two files may have the same one,
//! and whoever puts them into one folder numbers them by [`fold`] and [`numbered`] (which is also how
//! a name that the folder keeps for itself, such as a manifest's, is avoided).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The greatest length of a safe name in bytes of UTF-8. File systems allow 255.
pub const MAX_BYTES: usize = 200;

/// The longest extension that is kept when a name is cut, in bytes and with its dot.
const MAX_EXTENSION_BYTES: usize = 24;

/// What a client should do with a file that it downloads (RFC 6266, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// May be shown where it is.
    Inline,
    /// Is to be saved.
    Attachment,
}

/// Everything but the unreserved characters of RFC 3986, section 2.3. These are also allowed in an
/// extended parameter value (RFC 8187, section 3.2.1).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes a name as a client sent it safe, and keeps it recognisable.
///
/// Takes the last component of a path (`/` and `\` both separate), drops invisible marks, puts `_`
/// for other characters that do harm, round brackets for square ones, cuts in front of the extension
/// to [`MAX_BYTES`], and answers `file` when nothing is left.
#[must_use]
pub fn safe_name(raw: &str) -> String {
    let base = raw.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or_default();
    let name: String =
        base.chars().filter(|&c| c.is_control() || !is_invisible(c)).map(harmless).nfc().collect();
    let name = name.trim_matches(' ').trim_end_matches(['.', ' ']);
    let mut name = match name.trim_start_matches('.') {
        undotted if undotted.len() < name.len() => format!("_{undotted}"),
        _ => name.to_owned(),
    };
    if name.is_empty() {
        name.push_str("file");
    }
    let name = cut(&name);
    if is_device(&name) { cut(&format!("_{name}")) } else { name }
}

/// The name with `-n` in front of its extension, within [`MAX_BYTES`]: `data-2.csv`.
#[must_use]
pub fn numbered(name: &str, n: u32) -> String {
    let (stem, extension) = split(name);
    join(stem, &format!("-{n}"), extension)
}

/// A key that is equal for names which some file system takes for the same: those that differ in
/// letter case or in Unicode normalisation only.
#[must_use]
pub fn fold(name: &str) -> String {
    name.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// The name as one segment of a URL's path: only unreserved characters stay (RFC 3986, section 2.3).
///
/// A name of one or two dots alone would still be a step in a path; a safe name is never that.
#[must_use]
pub fn percent_encode(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// The value of a `Content-Disposition` header (RFC 6266), with a plain `filename` in ASCII and the
/// exact name as `filename*` (RFC 8187).
///
/// Whatever the name, the value is printable ASCII and the name stays inside its parameter.
#[must_use]
pub fn content_disposition(kind: Disposition, name: &str) -> String {
    let kind = match kind {
        Disposition::Inline => "inline",
        Disposition::Attachment => "attachment",
    };
    // RFC 6266, appendix D: no escapes and no percent signs, which clients read differently.
    let plain: String = name
        .nfd()
        .filter(|&c| !is_combining_mark(c))
        .map(|c| match c {
            '"' | '\\' | '%' | '/' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let exact = percent_encode(name);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

/// Whether a character shows nothing: controls, zero-width and bidirectional marks, tags, variation
/// selectors and other fillers. Blanks are not among them.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn harmless(c: char) -> char {
    match c {
        '[' => '(',
        ']' => ')',
        '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        '\u{2028}' | '\u{2029}' => '_',
        c if c.is_control() => '_',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

/// Whether Windows takes the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str()) {
        return true;
    }
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let mut digits = port.unwrap_or_default().chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

/// Stem and extension, the latter with its dot; `.tar.gz` and the like are one extension.
fn split(name: &str) -> (&str, &str) {
    let dot = |text: &str| text.rfind('.').filter(|&at| at > 0);
    let Some(at) = dot(name) else {
        return (name, "");
    };
    let at = match dot(&name[..at]) {
        Some(tar) if name[tar..at].eq_ignore_ascii_case(".tar") => tar,
        _ => at,
    };
    if name.len() - at > MAX_EXTENSION_BYTES || name[at..].contains(' ') {
        return (name, "");
    }
    name.split_at(at)
}

/// The name, with its stem cut so that it fits into [`MAX_BYTES`].
fn cut(name: &str) -> String {
    let (stem, extension) = split(name);
    join(stem, "", extension)
}

/// Stem, mark and extension, with the stem cut so that all fit into [`MAX_BYTES`].
fn join(stem: &str, mark: &str, extension: &str) -> String {
    let room = MAX_BYTES.saturating_sub(mark.len() + extension.len());
    let kept = &stem[..stem.floor_char_boundary(room)];
    let kept = if kept.len() < stem.len() { kept.trim_end_matches([' ', '.']) } else { kept };
    format!("{kept}{mark}{extension}")
}

#[cfg(test)]
mod tests;
