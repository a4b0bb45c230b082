use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::super::filename::safe_name;
use super::*;

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd);
const URL: &str = "http://127.0.0.1:8080/attachments/01234567-89ab-4cde-8f01-23456789abcd/data.csv";

/// What is expected of one line.
#[derive(Debug)]
enum Want {
    /// Names the attachment.
    Named,
    /// Is recognised, and names something of this kind.
    Refused(Target),
    /// Diagnosed at this column for this reason (a part of it), with the corrected line.
    Near(usize, &'static str),
    /// Diagnosed likewise, delivered with the notice in lenient mode.
    Sure(usize, &'static str),
    /// Diagnosed likewise, without a corrected line.
    Hopeless(usize, &'static str),
    /// Left alone.
    Nothing,
}
use Want::{Hopeless, Named, Near, Nothing, Refused, Sure};

fn urls() -> ServiceUrls {
    let others = ["https://Files.Example.org/satchel/".to_owned(), "http://satchel:80".to_owned()];
    ServiceUrls::new("http://127.0.0.1:8080", &others).expect("valid addresses")
}

fn foreign(host: &str) -> Want {
    let host = host.to_owned();
    Refused(Target::Foreign { host })
}

/// Prompt lines with their outcome; `URL` stands for the URL of an attachment.
fn table() -> Vec<(&'static str, Want)> {
    let path = "attachments/01234567-89ab-4cde-8f01-23456789abcd";
    let refused = || Refused(Target::NoAttachment);
    let line = |url: String| -> &'static str { line_for(&url).leak() };
    vec![
        // The documented forms.
        ("ATTACHMENT:\"URL\"", Named),
        ("ATTACHMENT:\"\"URL\"\"", Named),
        (" \t ATTACHMENT:\"URL\"\t ", Named),
        ("ATTACHMENT:\"URL?sig=abc&exp=1#page\"", Named),
        (line(format!("HTTP://127.0.0.1:8080/{path}/other.txt")), Named),
        (line(format!("http://127.0.0.1:8080/v1/{path}/a")), Named),
        (line(format!("http://127.0.0.1:8080/v3/organizations/org-1/{path}/a")), Named),
        (line(format!("http://127.0.0.1:8080/v3beta1/organizations/org-1/{path}/a")), Named),
        (line(format!("https://FILES.example.ORG:443/satchel/{path}/a%20b.csv")), Named),
        (line(format!("http://satchel/{path}/data.csv")), Named),
        (line(format!("https://satchel/{path}/data.csv")), Named),
        (line(format!("http://satchel:80/{path}/übersicht.csv")), Named),
        (line(URL.replace("89ab", "89AB")), Named),
        // Recognised, and refused by who resolves it.
        ("ATTACHMENT:\"https://evil.example/a.csv\"", foreign("evil.example")),
        ("ATTACHMENT:\"\"https://Evil.example:8443/a\"\"", foreign("evil.example:8443")),
        (line(format!("http://127.0.0.1:9090/{path}/a")), foreign("127.0.0.1:9090")),
        (
            line(format!("http://127.0.0.1.evil.example:8080/{path}/a")),
            foreign("127.0.0.1.evil.example:8080"),
        ),
        ("ATTACHMENT:\"http://[::1]/a\"", foreign("[::1]")),
        (line(format!("http://ada:secret@127.0.0.1:8080/{path}/a")), Refused(Target::UserInfo)),
        (line(format!("http://127.0.0.1:8080@evil.example/{path}/a")), Refused(Target::UserInfo)),
        (line(format!("http://@127.0.0.1:8080/{path}/a")), Refused(Target::UserInfo)),
        ("ATTACHMENT:\"http://127.0.0.1:8080/\"", refused()),
        ("ATTACHMENT:\"http://127.0.0.1:8080/v1/sessions/1\"", refused()),
        (line(format!("http://127.0.0.1:8080/{path}")), refused()),
        (line(format!("http://127.0.0.1:8080/{path}/")), refused()),
        (line(format!("http://127.0.0.1:8080/{path}/a/b")), refused()),
        (line(format!("http://127.0.0.1:8080/v2/{path}/a")), refused()),
        (line(format!("https://files.example.org/{path}/a")), refused()),
        (line(URL.replace("-4cde-", "4cde")), refused()),
        ("ATTACHMENT:\"http://127.0.0.1:8080/attachments/0123456789ab4cde8f0123456789abcd/a\"", refused()),
        // One thing wrong, and no doubt what is meant.
        ("ATTACHMENT: \"URL\"", Sure(12, "without a space")),
        ("ATTACHMENT:\t \"URL\"", Sure(12, "without a space")),
        ("ATTACHMENTS:\"URL\"", Sure(11, "singular")),
        ("attachment:\"URL\"", Sure(1, "capitals")),
        ("  Attachment:\"URL\"", Sure(3, "capitals")),
        ("Attachments: \"URL\"", Sure(1, "capitals")),
        ("ATTACHMENT:'URL'", Sure(12, "not '")),
        ("ATTACHMENT:“URL”", Sure(12, "not “")),
        ("ATTACHMENT:„URL“", Sure(12, "not „")),
        ("ATTACHMENT:«URL»", Sure(12, "not «")),
        ("ATTACHMENT:\"URL”", Sure(92, "not ”")),
        ("ATTACHMENT: ''URL''", Sure(12, "without a space")),
        // Diagnosed, and never delivered.
        ("ATTACHMENT:URL", Near(12, "double quotes")),
        ("ATTACHMENT: URL", Near(12, "without a space")),
        ("ATTACHMENT:\"URL", Near(92, "do not match")),
        ("ATTACHMENT:URL\"", Near(12, "double quotes")),
        ("ATTACHMENT:\"URL\"\"", Near(92, "do not match")),
        ("ATTACHMENT:\"\"URL\"", Near(12, "do not match")),
        ("ATTACHMENT:\"\"\"URL\"\"\"", Near(12, "do not match")),
        ("ATTACHMENT:\\\"URL\\\"", Near(12, "escaped")),
        ("ATTACHMENT:&quot;URL&quot;", Near(12, "escaped")),
        ("ATTACHMENT:&#34;URL&#34;", Near(12, "escaped")),
        ("ATTACHMENT :\"URL\"", Near(11, "without a space")),
        ("ATTACHMENT：\"URL\"", Near(11, "not ：")),
        ("ATTACHMENT=\"URL\"", Near(11, "not =")),
        ("ATTACHMENT \"URL\"", Near(11, "without a space")),
        ("ATTACHMENT\"URL\"", Near(11, "colon")),
        ("Please read ATTACHMENT:\"URL\"", Near(1, "text before")),
        ("ATTACHMENT:\"URL\" please", Near(94, "text after")),
        ("ATTACHMENT:\"URL\".", Near(93, "markup")),
        ("ATTACHMENT:\"URL\";", Near(93, "text after")),
        ("ATTACHMENT:\"URL\" ATTACHMENT:\"URL\"", Near(94, "several")),
        ("- ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("  * ATTACHMENT:\"URL\"", Near(3, "markup")),
        ("1. ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("> ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("`ATTACHMENT:\"URL\"`", Near(1, "markup")),
        ("**ATTACHMENT:\"URL\"**", Near(1, "markup")),
        ("**ATTACHMENT:** \"URL\"", Near(1, "markup")),
        ("ATTACHMENT:[data.csv](URL)", Near(12, "double quotes")),
        ("ATTACHMENT:<URL>", Sure(12, "not <")),
        ("ATTACHMENT:`URL`", Sure(12, "not `")),
        ("\u{feff}ATTACHMENT:\"URL\"", Near(1, "U+FEFF")),
        ("ATT\u{200b}ACHMENT:\"URL\"", Near(4, "U+200B")),
        ("ATTACHMENT:\u{a0}\"URL\"", Near(12, "U+00A0")),
        ("ATTACHMENT:\"\u{200b}URL\"", Near(13, "U+200B")),
        ("ATTACHMENT:\"URL\u{200b}\"", Near(92, "U+200B")),
        ("ATTACHMENT:\"URL\"\u{a0}", Near(93, "U+00A0")),
        ("\u{200b} ATTACHMENT: \"URL\"", Near(14, "without a space")),
        ("ATTACHMENT:\" URL \"", Near(13, "blank")),
        ("URL", Near(1, "bare")),
        ("See URL, please.", Near(5, "bare")),
        ("[data](URL)", Near(8, "bare")),
        ("看URL。", Near(2, "bare")),
        ("see the attachment: URL.", Near(21, "bare")),
        ("FILE:\"URL\"", Near(7, "bare")),
        ("{\"attachment\": \"URL\"}", Near(17, "bare")),
        ("https://proxy.example/?u=URL", Near(26, "bare")),
        // Diagnosed, and nothing to offer.
        ("ATTACHMENT:\"{file_url}\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:{file_url}", Hopeless(12, "double quotes")),
        ("ATTACHMENT:\"data.csv\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"ftp://example.org/a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"https://...\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"https://{host}/a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"http:\\\\127.0.0.1:8080\\a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"\"", Hopeless(14, "no URL")),
        ("ATTACHMENT:\"", Hopeless(13, "do not match")),
        ("ATTACHMENT: \"https://evil.example/a\"", Hopeless(12, "its host is evil.example")),
        ("attachment: \"http://127.0.0.1:8080/x\"", Hopeless(1, "not one of an attachment")),
        ("Use the form ATTACHMENT:\"url\" for it", Hopeless(1, "text before")),
        // Ordinary prose and code.
        ("", Nothing),
        ("see the attachment: it has three columns", Nothing),
        ("see the attachment: https://example.org/page", Nothing),
        ("The attachment \"data.csv\" has three columns", Nothing),
        ("Attachment: 'twas brillig and the slithy toves", Nothing),
        ("ATTACHMENTS: none", Nothing),
        ("ATTACHMENT: see below", Nothing),
        ("attachment = load(\"data.csv\")", Nothing),
        ("Content-Disposition: attachment; filename=\"a.csv\"", Nothing),
        ("{\"attachments\": [\"a\"]}", Nothing),
        ("GET /attachments/01234567-89ab-4cde-8f01-23456789abcd/data.csv", Nothing),
        ("https://example.org/attachments/01234567-89ab-4cde-8f01-23456789abcd/a", Nothing),
    ]
}

#[test]
fn every_line_of_the_table_has_its_outcome() {
    let urls = urls();
    for (pattern, want) in table() {
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
