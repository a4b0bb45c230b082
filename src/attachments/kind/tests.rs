//! Which type a file gets, for a corpus of beginnings and for bytes made at random.

use proptest::prelude::*;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script></html>";
/// The header of a core dump.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0\
    \0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\x38\0\x0e\0\0\0";
const ZIP: &[u8] = b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txtxx";

#[test]
fn bytes_and_name_decide_together() {
    let table: [(&[u8], &str, &str); 52] = [
        (PNG, "a.png", "image/png"),
        (PNG, "a.txt", "image/png"),
        (PNG, "a", "image/png"),
        (b"\x89PNG....", "a.png", "application/octet-stream"),
        (b"no picture\n", "a.png", "text/plain"),
        (b"\0\x01\x02", "a.png", "application/octet-stream"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a.csv", "image/jpeg"),
        (b"GIF89a\x01\0\x01\0\x80\0\0", "a.gif", "image/gif"),
        (b"GIF89a=1;alert(1)//", "a.gif", "text/plain"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a.webp", "image/webp"),
        (b"RIFX\x24\0\0\0WEBPVP8 ", "a.webp", "application/octet-stream"),
        (HTML, "a.html", "text/html"),
        (HTML, "a.txt", "text/plain"),
        (HTML, "a.png", "text/plain"),
        (HTML, "page", "text/plain"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "image/svg+xml"),
        (b"<svg onload='alert(1)'/>", "a.txt", "text/plain"),
        (b"<?xml version='1.0'?><a/>", "a.xml", "application/xml"),
        (b"<?xml version='1.0'?><a/>", "a", "text/plain"),
        (b"a,b\n1,2\n", "data.csv", "text/csv"),
        (b"a,b\n1,2\n", "DATA.CSV", "text/csv"),
        (b"a\tb\n", "data.tsv", "text/tab-separated-values"),
        (b"BMW,1\nMZ,2\n", "cars.csv", "text/csv"),
        (b"BM\xfcnchen;1\n", "orte.csv", "text/csv; charset=unknown-8bit"),
        (b"\xff\xfea\0,\0b\0", "excel.csv", "text/csv; charset=utf-16"),
        (b"\xff\xfe{\0}\0", "a.json", "application/json"),
        (b"caf\xe9\n", "a.txt", "text/plain; charset=unknown-8bit"),
        (b"caf\xe9\n", "a.bin", "application/octet-stream"),
        (b"{}", "trace.har", "application/json"),
        (b"{}", "a.json", "application/json"),
        (b"{}\n{}\n", "a.jsonl", "application/x-ndjson"),
        (b"# Title\n", "README.md", "text/markdown"),
        (b"a: 1\n", "a.yml", "application/yaml"),
        (b"fn main() {}\n", "main.rs", "text/plain"),
        (b"#!/bin/sh\necho\n", "run.sh", "text/plain"),
        (b"all:\n", "Makefile", "text/plain"),
        (b"\x1b[31merror\x1b[0m\r\n", "ci.log", "text/plain"),
        (b"", "empty.csv", "text/csv"),
        (b"", "empty.bin", "application/octet-stream"),
        (b"", "", "application/octet-stream"),
        (b"%PDF-1.7\n%plain", "a.txt", "application/pdf"),
        (b"The marker %PDF-1.7 begins a file", "a.txt", "text/plain"),
        (b"PAR1\x15\x04\x15", "a.parquet", "application/vnd.apache.parquet"),
        (b"SQLite format 3\0\x10\0", "a.db", "application/vnd.sqlite3"),
        (ELF, "core.1234", "application/x-executable"),
        (b"\x1f\x8b\x08\0\0\0", "a.tar.gz", "application/gzip"),
        (b"\x28\xb5\x2f\xfd\x04\0", "a.zst", "application/zstd"),
        (ZIP, "a.zip", "application/zip"),
        (ZIP, "a.txt", "application/zip"),
        (ZIP, "lib.jar", "application/java-archive"),
        (OLE, "old.xls", "application/vnd.ms-excel"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "a.pcap", "application/vnd.tcpdump.pcap"),
    ];
    for (head, name, kind) in table {
        assert_eq!(content_type(head, name), kind, "{name} {head:?}");
    }
}

#[test]
fn a_head_may_end_inside_a_character() {
    let mut head = vec![b'a'; HEAD_BYTES - 1];
    head.extend("é and more".as_bytes());
    assert_eq!(content_type(&head, "notes"), "text/plain");
    assert_eq!(content_type(&head[..HEAD_BYTES], "notes"), "text/plain");
}

#[test]
fn five_types_render_inline() {
    for kind in
        ["image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "text/plain; charset=utf-8"]
    {
        assert!(renders_inline(kind), "{kind}");
    }
    for kind in
        ["text/html", "image/svg+xml", "application/pdf", "text/csv", "text/plainer", "application/json", ""]
    {
        assert!(!renders_inline(kind), "{kind}");
    }
}

#[test]
fn utf8_text_is_sent_as_utf8_and_other_text_is_not() {
    assert_eq!(header_value("text/plain"), "text/plain; charset=utf-8");
    assert_eq!(header_value("text/csv"), "text/csv; charset=utf-8");
    let unknown = "text/plain; charset=unknown-8bit";
    assert_eq!(header_value(unknown), unknown);
    assert_eq!(header_value("image/png"), "image/png");
    assert_eq!(header_value("application/json"), "application/json");
}

proptest! {
    #[test]
    fn every_file_gets_a_type_fit_for_a_header(
        magic in prop::sample::select(vec![
            &b""[..], b"PK\x03\x04", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftyp", b"\x50\x2a\x4d\x18",
            b"dey\n", b"\xca\xfe\xba\xbe", b"RIFF", b"BM", OLE, b"\xff\xfe", b"!<arch>\n",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..600),
        name in any::<String>(),
    ) {
        let head = [magic, &tail].concat();
        let kind = content_type(&head, &name);
        prop_assert!(kind.is_ascii() && kind.contains('/') && !kind.contains(['\r', '\n']));
    }

    #[test]
    fn only_names_that_say_so_are_html(
        head in "(<html>|<!DOCTYPE html>|<script>).{0,40}",
        name in "[a-z]{0,8}(\\.(txt|png|md|csv|log|pdf|json))?",
    ) {
        prop_assert_ne!(content_type(head.as_bytes(), &name), "text/html");
    }
}
