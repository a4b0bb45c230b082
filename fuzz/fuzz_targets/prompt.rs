//! The prompt scanner: every finding lies in the text, what is proposed as a correction is right,
//! and leniency only adds.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use satchel::attachments::reference::{Finding, Mode, ServiceUrls, Target, scan};

static URLS: LazyLock<ServiceUrls> = LazyLock::new(|| {
    ServiceUrls::new("https://files.example.org/base", &["http://localhost:8080".to_owned()])
        .expect("the addresses are good")
});

fuzz_target!(|text: &str| {
    let strict = scan(text, &URLS, Mode::Strict);
    let lenient = scan(text, &URLS, Mode::Lenient);
    for findings in [&strict, &lenient] {
        assert!(findings.is_sorted_by_key(line_of));
        findings.iter().for_each(|finding| check(text, finding));
    }
    let references = |findings: &[Finding]| -> Vec<usize> {
        findings.iter().filter(|f| matches!(f, Finding::Reference { .. })).map(line_of).collect()
    };
    let with_leniency = references(&lenient);
    assert!(references(&strict).iter().all(|line| with_leniency.contains(line)));
});

fn check(text: &str, finding: &Finding) {
    let notice = match finding {
        Finding::Reference { span, url, target, notice } => {
            assert!(text[span.bytes.clone()].contains(url.as_str()) || notice.is_some());
            assert_ne!(*target, Target::NotAbsoluteHttp);
            notice.as_ref()
        }
        Finding::NearMiss(notice) => Some(notice),
    };
    let Some(notice) = notice else { return };
    assert!(notice.line >= 1 && notice.column >= 1 && !notice.reason.is_empty());
    let Some(corrected) = &notice.corrected else { return };
    let read_again = scan(corrected, &URLS, Mode::Strict);
    assert_eq!(read_again.len(), corrected.lines().count(), "{corrected:?}");
    for finding in read_again {
        let right = matches!(finding, Finding::Reference { target: Target::Attachment(_), .. });
        assert!(right, "{corrected:?}");
    }
}

fn line_of(finding: &Finding) -> usize {
    match finding {
        Finding::Reference { span, .. } => span.line,
        Finding::NearMiss(notice) => notice.line,
    }
}
