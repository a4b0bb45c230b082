//! Forms as bytes, for requests that no well-behaved client would send.

/// The boundary of every form made here.
pub const BOUNDARY: &str = "----satchel-test-boundary";

/// The content type that goes with [`BOUNDARY`].
pub fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// A whole form.
pub fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut body = parts.concat();
    body.extend_from_slice(end().as_bytes());
    body
}

/// A part that is a file; the name stands in the header as given, so quotes must be escaped.
pub fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    part(&format!("form-data; name=\"file\"; filename=\"{name}\""), bytes)
}

/// A part that is a field.
pub fn field(name: &str, bytes: &[u8]) -> Vec<u8> {
    part(&format!("form-data; name=\"{name}\""), bytes)
}

/// A part with any `Content-Disposition`.
pub fn part(disposition: &str, bytes: &[u8]) -> Vec<u8> {
    let mut part = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n").into_bytes();
    part.extend_from_slice(bytes);
    part.extend_from_slice(b"\r\n");
    part
}

/// How a form ends.
pub fn end() -> String {
    format!("--{BOUNDARY}--\r\n")
}
