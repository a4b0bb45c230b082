//! What kind of file this is, and everything found out about it.
//!
//! Each file is read once for its size, its digest and its text counts, and a table or JSON once more
//! for its content. The bytes decide whether a file is text; name and declared type decide only how a
//! text is looked at.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::json::{self, JsonFacts};
use super::manifest::Declared;
use super::source::{self, Encoding};
use super::table::{self, Table};
use super::text::{TextCounter, TextFacts};
use crate::hex;

/// What was found out about a file.
#[derive(Debug)]
pub struct Findings {
    /// Bytes.
    pub size: u64,
    /// The SHA-256 in hexadecimal.
    pub sha256: String,
    /// Whether the manifest declares this digest; `None` where it declares none.
    pub is_as_declared: Option<bool>,
    /// The media type that the manifest declares.
    pub declared_type: Option<String>,
    /// What kind of file it is.
    pub kind: Kind,
}

/// The kinds of file that are told apart.
#[derive(Debug)]
pub enum Kind {
    /// No bytes.
    Empty,
    /// Delimited values.
    Table(Text, Box<Table>),
    /// JSON that could be read to its end.
    Json(Text, Box<JsonFacts>),
    /// Any other text; with the reason where it was expected to be JSON and is not.
    Text(Text, Option<String>),
    /// Anything else, with the media type that the first bytes show.
    Binary(Option<&'static str>),
}

/// The text of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// How it is written.
    pub encoding: Encoding,
    /// What was counted.
    pub facts: TextFacts,
}

/// How a text asks to be looked at.
enum Expected {
    Table { usual_delimiter: u8 },
    Json,
    Text,
    Unknown,
}

/// Finds out about the file at `path`.
///
/// # Errors
///
/// The file cannot be read.
pub fn inspect(path: &Path, declared: Option<&Declared>) -> io::Result<Findings> {
    let head = read_head(path)?;
    let declared_type = declared.and_then(|declared| declared.media_type.clone());
    let expected = expectation(path, declared_type.as_deref(), &head);
    let encoding = Encoding::of_head(&head);
    let is_text = looks_like_text(&head, encoding, &expected);

    let mut hashed = Hashed::new(File::open(path)?);
    let facts = if is_text { Some(count_text(&mut hashed, encoding)?) } else { None };
    io::copy(&mut hashed, &mut io::sink())?;
    let (size, sha256) = hashed.finish();

    let kind = match facts {
        _ if size == 0 => Kind::Empty,
        Some(facts) => inspect_text(path, encoding, facts, &expected)?,
        None => Kind::Binary(infer::get(&head).map(|kind| kind.mime_type())),
    };
    let declared_digest = declared.and_then(|declared| declared.sha256.as_deref());
    Ok(Findings {
        size,
        is_as_declared: declared_digest.map(|digest| digest.eq_ignore_ascii_case(&sha256)),
        sha256,
        declared_type,
        kind,
    })
}

fn inspect_text(path: &Path, encoding: Encoding, facts: TextFacts, expected: &Expected) -> io::Result<Kind> {
    let encoding = match encoding {
        Encoding::Utf8 if !facts.is_utf8 => Encoding::EightBit,
        marked => marked,
    };
    let text = Text { encoding, facts };
    Ok(match expected {
        Expected::Table { usual_delimiter } => {
            Kind::Table(text, Box::new(table::read(path, encoding, *usual_delimiter)?))
        }
        Expected::Json => match json::read(path, encoding)? {
            (facts, None) => Kind::Json(text, Box::new(facts)),
            (_, Some(reason)) => Kind::Text(text, Some(reason)),
        },
        Expected::Text | Expected::Unknown => Kind::Text(text, None),
    })
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = vec![0; source::CHUNK];
    let count = source::fill(&mut File::open(path)?, &mut head)?;
    head.truncate(count);
    Ok(head)
}

/// What the file's extension suggests, else its declared type, else its first character.
fn expectation(path: &Path, declared_type: Option<&str>, head: &[u8]) -> Expected {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("csv") => {
            return Expected::Table { usual_delimiter: b',' };
        }
        Some("tsv" | "tab") => {
            return Expected::Table { usual_delimiter: b'\t' };
        }
        Some("psv") => {
            return Expected::Table { usual_delimiter: b'|' };
        }
        Some("json" | "jsonl" | "ndjson" | "geojson" | "ipynb") => return Expected::Json,
        Some("txt" | "md" | "log") => return Expected::Text,
        _ => {}
    }
    let essence = declared_type.map(|declared| declared.split(';').next().unwrap_or(declared).trim());
    match essence {
        Some("text/csv") => Expected::Table { usual_delimiter: b',' },
        Some("text/tab-separated-values") => Expected::Table { usual_delimiter: b'\t' },
        Some("application/json" | "application/x-ndjson") => Expected::Json,
        Some(essence) if essence.ends_with("+json") => Expected::Json,
        _ => match (extension, head.trim_ascii_start().first()) {
            (None, Some(b'{' | b'[')) => Expected::Json,
            _ => Expected::Unknown,
        },
    }
}

/// Whether the first bytes are a text: no control characters that texts do not have, and valid UTF-8
/// unless a text is expected. Formats that begin like a text are none.
fn looks_like_text(head: &[u8], encoding: Encoding, expected: &Expected) -> bool {
    if encoding == Encoding::Utf16Little || encoding == Encoding::Utf16Big {
        let (pairs, _) = head.as_chunks::<2>();
        let high = usize::from(encoding == Encoding::Utf16Little);
        return !pairs.iter().any(|pair| pair[high] == 0 && is_control(pair[1 - high]));
    }
    if head.iter().any(|byte| is_control(*byte)) {
        return false;
    }
    let is_disguised = [&b"%PDF-"[..], b"%!PS", b"{\\rtf"].iter().any(|magic| head.starts_with(magic));
    match expected {
        Expected::Unknown if is_disguised => false,
        Expected::Unknown => is_utf8_so_far(head) || infer::get(head).is_none(),
        _ => true,
    }
}

/// Whether texts do not have this control character.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127)
}

/// Whether the bytes are valid UTF-8, but for a character that is cut off at the end.
fn is_utf8_so_far(head: &[u8]) -> bool {
    std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Counts the text of `raw`. The counter sees the bytes as they are in the file unless it is UTF-16.
fn count_text(raw: &mut impl Read, encoding: Encoding) -> io::Result<TextFacts> {
    let mut decoded = source::decode(raw, encoding)?;
    let mut counter = TextCounter::new();
    let mut buffer = vec![0; source::CHUNK];
    loop {
        match source::fill(&mut *decoded, &mut buffer)? {
            0 => return Ok(counter.finish()),
            count => counter.push(&buffer[..count]),
        }
    }
}

/// Counts and hashes what is read through it.
struct Hashed<R> {
    inner: R,
    digest: Sha256,
    size: u64,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Hashed<R> {
        Hashed { inner, digest: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (u64, String) {
        (self.size, hex::encode(self.digest.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}
