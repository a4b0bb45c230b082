//! The format, chunk by chunk: whatever the chunking, the events say the same.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Event, FormError, MAX_HEADER_BYTES, Parser, PartHead};

type Parts = Vec<(PartHead, Vec<u8>)>;

/// Parses a body given in pieces of the given size; `None` where the body is unfinished.
fn parse_in(body: &[u8], size: usize) -> Result<Option<Parts>, FormError> {
    let mut parser = Parser::new("multipart/form-data; boundary=XX")?;
    let mut parts: Parts = Vec::new();
    let mut open = false;
    for chunk in body.chunks(size.max(1)) {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = parser.next_event()? {
            match event {
                Event::Part(head) => {
                    assert!(!open, "a part begins inside another");
                    open = true;
                    parts.push((head, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(!data.is_empty(), "an empty piece of data");
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::PartEnd => open = false,
                Event::End => return Ok(Some(parts)),
            }
        }
    }
    Ok(None)
}

fn parse(body: &str) -> Result<Option<Parts>, FormError> {
    parse_in(body.as_bytes(), usize::MAX)
}

fn file(name: &str, filename: &str, data: &str) -> (PartHead, Vec<u8>) {
    let filename = (!filename.is_empty()).then(|| filename.to_owned());
    (PartHead { name: name.to_owned(), filename, sha256: None }, data.as_bytes().to_vec())
}

fn one(head: &str, data: &str) -> String {
    format!("--XX\r\n{head}\r\n\r\n{data}\r\n--XX--\r\n")
}

const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.csv\"";

#[test]
fn a_plain_file() {
    let parts = parse(&one(FILE, "1,2\r\n3,4")).unwrap().unwrap();
    assert_eq!(parts, [file("file", "a.csv", "1,2\r\n3,4")]);
}

#[test]
fn an_empty_file_and_an_empty_form() {
    assert_eq!(parse(&one(FILE, "")).unwrap().unwrap(), [file("file", "a.csv", "")]);
    assert_eq!(parse("--XX--\r\n").unwrap().unwrap(), []);
    assert_eq!(parse("\r\n--XX--").unwrap().unwrap(), []);
}

#[test]
fn names_are_read_as_the_reference_reads_them() {
    let name = |disposition: &str| {
        let head = format!("content-disposition: form-data; {disposition}");
        parse(&one(&head, "x")).map(|parts| parts.unwrap().remove(0).0)
    };
    let filename = |disposition: &str| name(disposition).unwrap().filename.unwrap_or_default();
    assert_eq!(filename(r#"name="file"; filename="a;b.csv""#), "a;b.csv");
    assert_eq!(filename(r#"name="file"; filename="a\"b.csv""#), "a\"b.csv");
    assert_eq!(filename(r#"name="file"; filename="C:\dir\b.csv""#), r"C:\dir\b.csv");
    assert_eq!(filename("name=file; filename=plain.csv"), "plain.csv");
    assert_eq!(filename(r#"name="file"; filename="a%22b.csv""#), "a%22b.csv");
    assert_eq!(filename(r#"name="file"; filename="nä.csv""#), "nä.csv");
    assert_eq!(filename(r#"name="file"; filename*=utf-8''x.csv"#), "");
    assert_eq!(filename(r#"name="file"; filename="""#), "");
    assert_eq!(filename(r#"name="file"; filename="a"; filename="b""#), "b");
    assert_eq!(filename(r#"name="file"; filename="a"; filename="""#), "");
    assert!(name("filename=\"x\"").is_err(), "a part without a name");
}

#[test]
fn a_name_that_is_not_utf8_is_taken_as_latin1() {
    let body = [
        b"--XX\r\nContent-Disposition: form-data; name=file; filename=\"n".as_slice(),
        &[0xE4],
        b"\"\r\n\r\nx\r\n--XX--",
    ]
    .concat();
    let parts = parse_in(&body, 7).unwrap().unwrap();
    assert_eq!(parts[0].0.filename.as_deref(), Some("nä"));
}

#[test]
fn what_is_malformed_is_refused() {
    for body in [
        "preamble\r\n--XX\r\n",
        "--XY\r\n",
        "--XXjunk\r\n\r\n",
        "--XX\r\nno colon\r\n\r\n",
        "--XX\r\nbad name: x\r\n\r\n",
        "--XX\r\n: x\r\n\r\n",
        "--XX\r\n\r\ndata\r\n--XX--",
        "--XX\r\nContent-Type: text/plain\r\n\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"a\rb\"\r\n\r\n",
    ] {
        assert!(matches!(parse(body), Err(FormError::Malformed(_))), "{body:?}");
    }
    let headers = "X-A: b\r\n".repeat(17);
    assert!(parse(&format!("--XX\r\n{headers}\r\n")).is_err());
    assert!(parse(&format!("--XX\r\nX: {}", "y".repeat(20_000))).is_err());
    let parts = "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(1001);
    assert!(parse(&parts).is_err());
}

#[test]
fn how_long_headers_may_be_does_not_depend_on_how_they_come() {
    let line = format!("{FILE}\r\nX: ");
    for (more, fits) in [(0, true), (1, false)] {
        let head = format!("{line}{}", "y".repeat(MAX_HEADER_BYTES - line.len() + more));
        for size in [1, 7, usize::MAX] {
            let parts = parse_in(one(&head, "data").as_bytes(), size);
            assert_eq!(parts.is_ok(), fits, "{} bytes in pieces of {size}", head.len());
        }
    }
}

#[test]
fn what_only_looks_like_a_delimiter_is_data() {
    for data in
        ["\r\n--X", "\r\n--XY", "\r\n--XX-", "\r\n--XXX\r\n", "\r\n--XX \r\n", "--XX\r\n", "\r\r\n--X\r\n-"]
    {
        for size in 1..40 {
            let parts = parse_in(one(FILE, data).as_bytes(), size).unwrap().unwrap();
            assert_eq!(parts, [file("file", "a.csv", data)], "{data:?} in pieces of {size}");
        }
    }
}

#[test]
fn an_unfinished_form_never_ends() {
    let whole = one(FILE, "data");
    for length in 0..whole.len() - 3 {
        assert_eq!(parse(&whole[..length]).unwrap(), None, "{length} bytes");
    }
}

#[test]
fn boundaries() {
    let new = |content_type: &str| Parser::new(content_type).map(|p| p.delimiter);
    assert_eq!(new("multipart/form-data; boundary=abc").unwrap(), b"\r\n--abc");
    assert_eq!(new("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"").unwrap(), b"\r\n--a b");
    assert_eq!(new("multipart/form-data; boundary=a; boundary=b").unwrap(), b"\r\n--b");
    assert!(matches!(new("application/json"), Err(FormError::NotMultipart)));
    assert!(matches!(new("multipart/form-data"), Err(FormError::Malformed(_))));
    assert!(matches!(new("multipart/form-data; boundary="), Err(FormError::Malformed(_))));
    assert!(new(&format!("multipart/form-data; boundary={}", "b".repeat(256))).is_ok());
    assert!(new(&format!("multipart/form-data; boundary={}", "b".repeat(257))).is_err());
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunking_arrive_unchanged(
        data in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X'), any::<u8>()], 0..600),
        size in 1_usize..200,
    ) {
        let body = [b"--XX\r\n", FILE.as_bytes(), b"\r\n\r\n", &data, b"\r\n--XX--"].concat();
        prop_assume!(!data.windows(8).any(|w| w == b"\r\n--XX--" || w.starts_with(b"\r\n--XX\r\n")));
        // The line end that closes the part would complete a delimiter begun by its data.
        prop_assume!(!data.ends_with(b"\r\n--XX"));
        let parts = parse_in(&body, size).unwrap().unwrap();
        prop_assert_eq!(&parts[0].1, &data);
    }

    #[test]
    fn no_input_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
        let opened = [b"--XX\r\n".as_slice(), &body].concat();
        let whole = format!("{:?}", parse_in(&opened, usize::MAX).map_err(|e| e.to_string()));
        let pieces = format!("{:?}", parse_in(&opened, size).map_err(|e| e.to_string()));
        prop_assert_eq!(whole, pieces);
    }
}
