//! A part's headers and the request's boundary.

use crate::http::digest;

use super::{FormError, MAX_BOUNDARY, MAX_HEADERS};

/// What a part's headers say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartHead {
    /// The field's name.
    pub name: String,
    /// The file's name as sent, if the part is a file: not made safe. Never empty.
    pub filename: Option<String>,
    /// The SHA-256 that the client says the part has (`Content-Digest`, RFC 9530), hexadecimal.
    pub sha256: Option<String>,
}

const BAD_DIGEST: FormError =
    FormError::Malformed("a Content-Digest header holds no `sha-256=:<base64 of 32 bytes>:`");

/// The boundary named by a `Content-Type` header; of several the last, as the reference has it.
pub(super) fn boundary(content_type: &str) -> Result<Vec<u8>, FormError> {
    let mut fields = Fields::new(content_type.as_bytes());
    if !fields.first().eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(FormError::NotMultipart);
    }
    let (_, boundary) = fields
        .filter(|(key, _)| key.eq_ignore_ascii_case(b"boundary"))
        .last()
        .ok_or(FormError::Malformed("the Content-Type header names no boundary"))?;
    match boundary.len() {
        0 => Err(FormError::Malformed("the boundary is empty")),
        1..=MAX_BOUNDARY => Ok(boundary),
        _ => Err(FormError::Malformed("the boundary is longer than 256 bytes")),
    }
}

/// Reads a part's header lines, each ended by CR LF.
pub(super) fn parse(block: &[u8]) -> Result<PartHead, FormError> {
    let mut disposition = None;
    let mut sha256 = None;
    let mut rest = block;
    let mut count = 0;
    while !rest.is_empty() {
        let end =
            memchr::memmem::find(rest, b"\r\n").ok_or(FormError::Malformed("a header has no line end"))?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        count += 1;
        if count > MAX_HEADERS {
            return Err(FormError::Malformed("a part has more than 16 headers"));
        }
        let colon = memchr::memchr(b':', line).ok_or(FormError::Malformed("a header has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
            return Err(FormError::Malformed("a header's name has characters that it may not have"));
        }
        // The reference takes a NUL and a bare LF as they are; whoever uses the value cleans it.
        if value.contains(&b'\r') {
            return Err(FormError::Malformed("a header's value has a bare CR"));
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            disposition = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-digest") {
            let digest = std::str::from_utf8(value).map_err(|_| BAD_DIGEST)?;
            sha256 = digest::parse(digest).map_err(|digest::BadDigest| BAD_DIGEST)?;
        }
    }
    let mut head = PartHead { sha256, ..PartHead::default() };
    let mut named = false;
    for (key, value) in Fields::new(disposition.unwrap_or_default()) {
        match key.to_ascii_lowercase().as_slice() {
            b"name" => {
                named = true;
                head.name = text(value);
            }
            b"filename" => head.filename = Some(text(value)).filter(|name| !name.is_empty()),
            _ => {}
        }
    }
    if named {
        Ok(head)
    } else {
        Err(FormError::Malformed("a part has no Content-Disposition header with a name"))
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// UTF-8 where it is UTF-8, else Latin-1, as Starlette decodes.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().iter().map(|&byte| char::from(byte)).collect())
}

/// The `; key=value` fields of a header's value. Quoted values may hold semicolons; in them `\\`
/// and `\"` stand for `\` and `"`, any other backslash for itself.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// What precedes the first semicolon.
    fn first(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let first = self.rest[..end].trim_ascii();
        self.rest = &self.rest[end..];
        first
    }
}

impl Iterator for Fields<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = memchr::memchr(b';', self.rest)? + 1;
            self.rest = self.rest[start..].trim_ascii_start();
            let key_end = memchr::memchr2(b'=', b';', self.rest).unwrap_or(self.rest.len());
            let key = self.rest[..key_end].trim_ascii().to_vec();
            self.rest = &self.rest[key_end..];
            let Some(value) = self.rest.strip_prefix(b"=") else { continue };
            self.rest = value.trim_ascii_start();
            let value = match self.rest.strip_prefix(b"\"") {
                Some(quoted) => {
                    let (value, rest) = unquote(quoted);
                    self.rest = rest;
                    value
                }
                None => {
                    let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
                    let value = self.rest[..end].trim_ascii().to_vec();
                    self.rest = &self.rest[end..];
                    value
                }
            };
            return Some((key, value));
        }
    }
}

/// The content of a quoted string whose opening quote is already taken, and what follows it.
fn unquote(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while at < quoted.len() {
        match (quoted[at], quoted.get(at + 1)) {
            (b'"', _) => return (value, &quoted[at + 1..]),
            (b'\\', Some(&escaped @ (b'"' | b'\\'))) => {
                value.push(escaped);
                at += 2;
            }
            (byte, _) => {
                value.push(byte);
                at += 1;
            }
        }
    }
    (value, &[])
}
