//! The form parser: whatever comes, and however it is cut into reads, it yields the same events.
//!
//! The first line of the input is the `Content-Type`, or a plain one where it names no boundary;
//! the next byte says how the rest, the body, is cut.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use satchel::http::form::{Event, Parser};

fuzz_target!(|input: &[u8]| {
    let (content_type, rest) = split_at_line_end(input);
    let Some((&cut, body)) = rest.split_first() else { return };
    let content_type = std::str::from_utf8(content_type)
        .ok()
        .filter(|value| Parser::new(value).is_ok())
        .unwrap_or("multipart/form-data; boundary=b");
    let body = Bytes::copy_from_slice(body);
    let whole = read(content_type, [body.clone()]);
    assert_eq!(whole, read(content_type, pieces(body.clone(), cut)), "cut by {cut}");
    assert_eq!(whole, read(content_type, pieces(body, 1)), "byte by byte");
});

/// Every event, neighbouring data joined, and how it ended.
fn read(content_type: &str, pieces: impl IntoIterator<Item = Bytes>) -> (Vec<Event>, Option<String>) {
    let mut parser = Parser::new(content_type).expect("the boundary was accepted before");
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece);
        loop {
            match parser.next_event() {
                Ok(None) => break,
                Ok(Some(Event::End)) => {
                    events.push(Event::End);
                    return (events, None);
                }
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty(), "data without bytes");
                    match events.last_mut() {
                        Some(Event::Data(before)) => *before = [before.as_ref(), &data].concat().into(),
                        _ => events.push(Event::Data(data)),
                    }
                }
                Ok(Some(event)) => events.push(event),
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    (events, Some("more is wanted".to_owned()))
}

fn pieces(mut body: Bytes, cut: u8) -> Vec<Bytes> {
    let size = usize::from(cut).max(1);
    let mut pieces = Vec::new();
    while !body.is_empty() {
        pieces.push(body.split_to(size.min(body.len())));
    }
    pieces
}

fn split_at_line_end(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}
