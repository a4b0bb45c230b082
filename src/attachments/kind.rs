//! What kind of file it is: the content type from the first bytes and the name, and which types a
//! browser may render where they are.
//!
//! Guarantees: the bytes win over the name. A binary format is named only when its signature is
//! there, and a text format only when the bytes are text; the content type that a client sends plays
//! no part. In particular `text/html` is answered only for text that is also named so, and the four
//! images that render inline only with their full signature. It does not parse files: a truncated
//! PNG is still a PNG, and a `.json` that is text but no JSON is still `application/json`.
//!
//! A type has no `charset` parameter, which for text means that its beginning is UTF-8, except that
//! `text/plain`, `text/csv` and their like in another encoding carry `charset=utf-16` (a byte order
//! mark says so) or `charset=unknown-8bit` (RFC 1428: nothing says which). [`header_value`] turns a
//! type into the value of a `Content-Type` header.

use crate::blobs::HEAD_BYTES;

/// The types that a browser may render where they are. None of them can run a script.
const INLINE: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"];

/// The signature of a compound file of Microsoft Office (before 2007) or Outlook.
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

const UNKNOWN: &str = "application/octet-stream";

/// How the beginning of a file reads as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf8,
    Utf16,
    /// No control characters that text lacks, but not UTF-8: perhaps an older encoding.
    Unknown8Bit,
    Binary,
}

/// The content type of a file from its first [`HEAD_BYTES`] bytes and its name; more bytes do not change the answer.
#[must_use]
pub fn content_type(head: &[u8], name: &str) -> String {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let extension = extension(name);
    let named = text_type(&extension);
    let text = Text::of(head);
    if let Some(kind) = signature(head) {
        return refined(kind, &extension).to_owned();
    }
    match (text, named) {
        (Text::Utf8, Some(named)) => named.to_owned(),
        (Text::Utf8, None) if !head.is_empty() => "text/plain".to_owned(),
        (Text::Utf16, Some(named)) if named.starts_with("text/") => {
            format!("{named}; charset=utf-16")
        }
        (Text::Unknown8Bit, Some(named)) if named.starts_with("text/") => {
            format!("{named}; charset=unknown-8bit")
        }
        (Text::Utf16 | Text::Unknown8Bit, Some(named)) => named.to_owned(),
        (Text::Utf8, None) => UNKNOWN.to_owned(),
        _ => {
            let kind = weak_signature(head).unwrap_or(UNKNOWN);
            refined(kind, &extension).to_owned()
        }
    }
}

/// Whether a file of this type may be rendered where it is: exactly `image/png`, `image/jpeg`,
/// `image/gif`, `image/webp` and `text/plain`, with or without parameters.
#[must_use]
pub fn renders_inline(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    INLINE.iter().any(|kind| essence.eq_ignore_ascii_case(kind))
}

/// The value of a `Content-Type` header for a type that [`content_type`] answered: text without a
/// `charset` is UTF-8 and is sent as such, everything else stays as it is.
#[must_use]
pub fn header_value(content_type: &str) -> String {
    if content_type.starts_with("text/") && !content_type.contains(';') {
        format!("{content_type}; charset=utf-8")
    } else {
        content_type.to_owned()
    }
}

impl Text {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Self::Utf16;
        }
        // Backspace, tab, line ends and escape occur in logs and terminal recordings.
        let control = |b: &u8| *b < 0x20 && !matches!(b, 0x08 | b'\t' | b'\n' | 0x0c | b'\r' | 0x1b);
        if head.iter().any(|b| control(b) || *b == 0x7f) {
            return Self::Binary;
        }
        match std::str::from_utf8(head) {
            Ok(_) => Self::Utf8,
            // The head may end inside a character.
            Err(error) if error.error_len().is_none() => Self::Utf8,
            Err(_) => Self::Unknown8Bit,
        }
    }
}

/// The lower-case extension of a name, without its dot; empty where there is none.
fn extension(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// The format that the bytes declare by a signature long or odd enough that no other file begins
/// with it by chance.
fn signature(head: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"%PDF-", "application/pdf"),
        (b"%!PS-", "application/postscript"),
        (b"{\\rtf", "application/rtf"),
        (b"Obj\x01", "application/vnd.apache.avro"),
        (b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
        (b"SQLite format 3\0", "application/vnd.sqlite3"),
        (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
        (b"\x93NUMPY", "application/x-npy"),
        (b"\xd4\xc3\xb2\xa1", "application/vnd.tcpdump.pcap"),
        (b"\xa1\xb2\xc3\xd4", "application/vnd.tcpdump.pcap"),
        (b"\x0a\x0d\x0d\x0a", "application/x-pcapng"),
        (OLE, "application/x-ole-storage"),
    ];
    let found = SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic))?;
    Some(found.1)
}

/// The format of bytes that are not text, by signatures of which some are only a few letters long.
fn weak_signature(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        return Some("image/gif");
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    if head.starts_with(b"PAR1") {
        return Some("application/vnd.apache.parquet");
    }
    // What renders inline has been decided above, by the whole signature; text was never in doubt.
    infer::get(head)
        .filter(|kind| kind.matcher_type() != infer::MatcherType::Text)
        .map(|kind| kind.mime_type())
        .filter(|kind| !renders_inline(kind))
}

/// The narrower type of a container, where the name says which and the bytes agree.
fn refined(kind: &'static str, extension: &str) -> &'static str {
    match (kind, extension) {
        ("application/zip", "docx") => {
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
        }
        ("application/zip", "xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ("application/zip", "pptx") => {
            "application/vnd.openxmlformats-officedocument.presentationml.presentation"
        }
        ("application/zip", "epub") => "application/epub+zip",
        ("application/zip", "jar") => "application/java-archive",
        ("application/zip", "apk") => "application/vnd.android.package-archive",
        ("application/x-ole-storage", "doc") => "application/msword",
        ("application/x-ole-storage", "xls") => "application/vnd.ms-excel",
        ("application/x-ole-storage", "ppt") => "application/vnd.ms-powerpoint",
        ("application/x-ole-storage", "msg") => "application/vnd.ms-outlook",
        _ => kind,
    }
}

/// The type of a text format by its extension. Source code is `text/plain`, as is any other UTF-8
/// text; the extensions are here so that older encodings are known to be text as well.
fn text_type(extension: &str) -> Option<&'static str> {
    let kind = match extension {
        "csv" => "text/csv",
        "tsv" | "tab" => "text/tab-separated-values",
        "json" | "har" | "map" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "geojson" => "application/geo+json",
        "ipynb" => "application/x-ipynb+json",
        "sarif" => "application/sarif+json",
        "md" | "markdown" => "text/markdown",
        "yaml" | "yml" => "application/yaml",
        "toml" => "application/toml",
        "xml" | "xsd" | "xsl" | "xslt" | "plist" => "application/xml",
        "svg" => "image/svg+xml",
        "html" | "htm" => "text/html",
        "xhtml" => "application/xhtml+xml",
        "css" => "text/css",
        "js" | "mjs" | "cjs" => "text/javascript",
        "sql" => "application/sql",
        "diff" | "patch" => "text/x-diff",
        "ics" => "text/calendar",
        "vcf" => "text/vcard",
        "eml" => "message/rfc822",
        "srt" => "application/x-subrip",
        "vtt" => "text/vtt",
        "txt" | "text" | "log" | "out" | "err" | "conf" | "cfg" | "ini" | "env" | "properties" | "rst"
        | "adoc" | "tex" | "bib" | "py" | "rs" | "c" | "h" | "cc" | "cpp" | "hpp" | "cs" | "java" | "kt"
        | "scala" | "go" | "rb" | "php" | "pl" | "lua" | "r" | "jl" | "swift" | "ts" | "tsx" | "jsx"
        | "vue" | "sh" | "bash" | "zsh" | "ps1" | "bat" | "cmd" | "proto" | "graphql" | "tf" | "gradle"
        | "cmake" | "mk" | "f90" | "pas" | "vb" | "asm" | "s" => "text/plain",
        _ => return None,
    };
    Some(kind)
}

#[cfg(test)]
mod tests;
