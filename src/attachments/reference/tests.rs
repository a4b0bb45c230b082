//! What the grammar promises, first as a table of prompt lines, then for lines made at random.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::super::filename::safe_name;
use super::*;
use table::Want::{Hopeless, Named, Near, Nothing, Refused, Sure};

mod table;

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd);
const URL: &str = "http://127.0.0.1:8080/attachments/01234567-89ab-4cde-8f01-23456789abcd/data.csv";

fn urls() -> ServiceUrls {
    let others = ["https://Files.Example.org/satchel/".to_owned(), "http://satchel:80".to_owned()];
    ServiceUrls::new("http://127.0.0.1:8080", &others).expect("valid addresses")
}

#[test]
fn every_line_of_the_table_has_its_outcome() {
    let urls = urls();
    for (pattern, want) in table::lines() {
        let line = pattern.replace("URL", URL);
        let lenient = scan(&line, &urls, Mode::Lenient);
        let strict = scan(&line, &urls, Mode::Strict);
        assert!(strict.len() <= 1, "{line}: {strict:?}");
        let found = strict.first();
        if let Sure(at, part) = want {
            let Some(Finding::Reference { url, target, notice: Some(notice), .. }) = lenient.first() else {
                panic!("{line}: {lenient:?}");
            };
            assert_eq!((url.as_str(), target), (URL, &Target::Attachment(ID)), "{line}");
            assert!(notice.reason.contains("delivered all the same"), "{line}");
            assert!(notice.reason.contains(part) && notice.column == at, "{line}");
        } else {
            assert_eq!(lenient, strict, "{line}");
        }
        match (&want, found) {
            (Nothing, None) => {}
            (Named, Some(Finding::Reference { target, notice: None, .. })) => {
                assert_eq!(target, &Target::Attachment(ID), "{line}");
            }
            (Refused(kind), Some(Finding::Reference { target, notice: None, .. })) => {
                assert_eq!(target, kind, "{line}");
            }
            (
                Near(column, part) | Sure(column, part) | Hopeless(column, part),
                Some(Finding::NearMiss(notice)),
            ) => {
                let hopeless = matches!(want, Hopeless(..));
                let corrected = (!hopeless).then(|| line_for(URL));
                assert!(notice.reason.contains(part), "{line}: {notice:?}");
                assert_eq!((notice.line, notice.column), (1, *column), "{line}: {notice:?}");
                assert_eq!(notice.corrected, corrected, "{line}: {notice:?}");
            }
            _ => panic!("{line}: expected {want:?}, found {found:?}"),
        }
    }
}

#[test]
fn a_corrected_line_holds_every_attachment_of_the_line() {
    let other = URL.replace("data.csv", "other.csv");
    let line = format!("ATTACHMENT:\"{URL}\",\"{other}\" and {URL}");
    let [Finding::NearMiss(notice)] = &scan(&line, &urls(), Mode::Lenient)[..] else {
        panic!("one notice for one line");
    };
    let both = format!("{}\n{}", line_for(URL), line_for(&other));
    assert_eq!(notice.corrected.as_deref(), Some(both.as_str()));
    assert!(notice.reason.starts_with("several"));
}

#[test]
fn what_a_url_lacks_is_put_right() {
    let path = URL.trim_start_matches("http://127.0.0.1:8080");
    for (written, meant) in [
        (path.to_owned(), URL.to_owned()),
        (format!("127.0.0.1:8080{path}"), URL.to_owned()),
        (URL.replace("data.csv", "my data.csv"), URL.replace("data.csv", "my%20data.csv")),
    ] {
        let found = scan(&line_for(&written), &urls(), Mode::Lenient);
        let [Finding::NearMiss(notice)] = &found[..] else {
            panic!("{written}: {found:?}");
        };
        assert_eq!(notice.corrected, Some(line_for(&meant)));
    }
    let secret = URL.replace("//", "//ada:hunter2@");
    let found = scan(&format!("attachment:\"{secret}\""), &urls(), Mode::Lenient);
    let [Finding::NearMiss(notice)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(notice.corrected, Some(line_for(URL)));
    assert!(!notice.reason.contains("hunter2"));
}

#[test]
fn lines_end_at_lf_crlf_or_cr_and_spans_hold_whole_lines() {
    let line = format!(" {}", line_for(URL));
    let text = format!("é one\r{line} \r\n\n{line}\r\r\n{line}");
    let spans: Vec<(usize, usize, &str)> = scan(&text, &urls(), Mode::Strict)
        .iter()
        .map(|finding| match finding {
            Finding::Reference { span, .. } => (span.line, span.column, &text[span.bytes.clone()]),
            Finding::NearMiss(notice) => panic!("{notice:?}"),
        })
        .collect();
    let with_blank = format!("{line} ");
    let expected = [(2, 2, with_blank.as_str()), (4, 2, &line), (6, 2, &line)];
    assert_eq!(spans, expected);
}

#[test]
fn addresses_are_checked_and_attachment_urls_are_canonical() {
    let urls = ServiceUrls::new("HTTPS://Example.org:443/a/", &[]).expect("a valid address");
    let url = urls.attachment_url(ID, "Über 1.csv");
    assert_eq!(url, format!("https://example.org/a/attachments/{ID}/%C3%9Cber%201.csv"));
    for wrong in ["", "example.org", "ftp://example.org", "https://", "https://...", "http:/x"] {
        let error = ServiceUrls::new(wrong, &[]).expect_err(wrong);
        assert!(matches!(error, ReferenceError::NotAbsoluteHttp { .. }));
    }
    for secret in ["https://ada:hunter2@example.org", "ada:hunter2@example.org"] {
        let error = ServiceUrls::new("http://a", &[secret.to_owned()]).expect_err(secret);
        assert!(!error.to_string().contains("hunter2"));
    }
    for wrong in ["https://example.org/?a", "https://example.org/#a"] {
        let error = ServiceUrls::new(wrong, &[]).expect_err(wrong);
        assert!(matches!(error, ReferenceError::QueryOrFragment { .. }));
    }
}

#[test]
fn hostile_lines_take_linear_time() {
    let unit = |text: &str| text.repeat(1_000_000 / text.len());
    let urls = urls();
    let start = Instant::now();
    for text in [
        unit(" "),
        unit("attachment "),
        unit("attachment:\""),
        unit("x attachment:<"),
        unit("ATTACHMENT:`"),
        format!("ATTACHMENT:{}", unit("\"")),
        format!("{}{}", unit("- "), unit("attachment ")),
        format!("x{}", unit("attachment: \t**")),
        unit("http://"),
        unit("http://127.0.0.1:8080/attachments/"),
        unit(&format!("{URL} ")),
        unit("\u{200b}A"),
        format!("ATTACHMENT:\"{}\"", unit("https://a/attachments/")),
        format!("ATTACHMENT: \"{URL}{}\"", unit("%41")),
        unit("\r"),
    ] {
        let _ = scan(&text, &urls, Mode::Lenient);
    }
    // A quadratic step would take minutes; this only has to be far below that on any machine.
    assert!(start.elapsed() < Duration::from_secs(30));
}

fn any_line() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            "ATTACHMENT",
            "attachment",
            "Attachments",
            ":",
            "：",
            "=",
            " ",
            "\t",
            "\u{a0}",
            "\u{feff}",
            "\"",
            "'",
            "“",
            "”",
            "&quot;",
            "\\\"",
            "`",
            "**",
            "- ",
            "<",
            ">",
            "(",
            ")",
            "http://",
            "https://evil.example/a",
            "127.0.0.1:8080",
            "/attachments/",
            "@",
            "\r",
            "\n",
            "é",
            "{file_url}",
            URL,
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn findings_lie_in_the_text_and_corrections_are_right(text in any_line(), lenient: bool) {
        let urls = urls();
        let mode = if lenient { Mode::Lenient } else { Mode::Strict };
        let all: Vec<&str> = lines(&text).map(|bytes| &text[bytes]).collect();
        let mut last = 0;
        for finding in scan(&text, &urls, mode) {
            let (number, column, notice) = match &finding {
                Finding::Reference { span, target, notice, .. } => {
                    prop_assert_eq!(&text[span.bytes.clone()], all[span.line - 1]);
                    prop_assert_ne!(target, &Target::NotAbsoluteHttp);
                    prop_assert!(lenient || notice.is_none());
                    (span.line, span.column, notice.as_ref())
                }
                Finding::NearMiss(notice) => (notice.line, notice.column, Some(notice)),
            };
            prop_assert!(number > last && number <= all.len());
            last = number;
            prop_assert!(column >= 1 && column <= all[number - 1].chars().count() + 1);
            for line in notice.and_then(|n| n.corrected.as_deref()).iter().flat_map(|c| c.lines()) {
                let found = scan(line, &urls, Mode::Strict);
                let attachment = matches!(
                    &found[..],
                    [Finding::Reference { target: Target::Attachment(_), notice: None, .. }]
                );
                prop_assert!(attachment, "{}", line);
            }
        }
    }

    #[test]
    fn what_is_written_is_found(name in any::<String>(), id: u128, indent in "[ \t]{0,3}") {
        let urls = urls();
        let id = Uuid::from_u128(id);
        let written = urls.attachment_url(id, &safe_name(&name));
        let text = format!("{indent}{}\r\n", line_for(&written));
        let found = scan(&text, &urls, Mode::Strict);
        let [Finding::Reference { url, target, notice: None, span }] = &found[..] else {
            panic!("{text}: {found:?}");
        };
        prop_assert_eq!(url, &written);
        prop_assert_eq!(target, &Target::Attachment(id));
        prop_assert_eq!(&text[span.bytes.clone()], text.trim_end_matches(['\r', '\n']));
    }
}
