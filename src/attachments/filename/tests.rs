//! What a safe name promises, for a corpus of names and for names made at random.

use proptest::prelude::*;

use super::*;

#[test]
fn hostile_and_odd_names_become_safe_and_stay_recognisable() {
    let table = [
        ("data.csv", "data.csv"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        (".....", "file"),
        ("   ", "file"),
        ("/", "file"),
        ("../../etc/passwd", "passwd"),
        ("/absolute/path.txt", "path.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("C:y.txt", "C_y.txt"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("folder/", "folder"),
        ("a/..", "file"),
        ("evil.sh\0.png", "evil.sh_.png"),
        ("a\r\nSet-Cookie: x=1.txt", "a__Set-Cookie_ x=1.txt"),
        ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
        ("\u{200f}\u{2067}rtl.txt", "rtl.txt"),
        ("zero\u{200b}width\u{feff}.csv", "zerowidth.csv"),
        ("line\u{2028}end.txt", "line_end.txt"),
        ("Attached [file].txt", "Attached (file).txt"),
        (".env", "_env"),
        ("..hidden.txt", "_hidden.txt"),
        ("trailing. . .", "trailing"),
        ("  padded .txt  ", "padded .txt"),
        ("no\u{a0}break\u{3000}space.txt", "no break space.txt"),
        ("a<b>c:d\"e|f?g*h.txt", "a_b_c_d_e_f_g_h.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1.tar.gz", "_Com1.tar.gz"),
        ("LPT\u{b9}.log", "_LPT\u{b9}.log"),
        ("aux .c", "_aux .c"),
        ("console.log", "console.log"),
        ("com10.txt", "com10.txt"),
        ("Überblick.csv", "Überblick.csv"),
        ("U\u{308}berblick.csv", "Überblick.csv"),
        ("e\u{200b}\u{301}te\u{301}.md", "été.md"),
        ("📈 Umsatz 2026.xlsx", "📈 Umsatz 2026.xlsx"),
        ("报告.pdf", "报告.pdf"),
        ("100%.txt", "100%.txt"),
        ("-rf", "-rf"),
    ];
    for (raw, safe) in table {
        assert_eq!(safe_name(raw), safe, "{raw:?}");
    }
}

#[test]
fn long_names_are_cut_in_front_of_their_extension() {
    let cut = safe_name(&format!("{}.csv", "x".repeat(300)));
    assert_eq!(cut, format!("{}.csv", "x".repeat(196)));
    let cut = safe_name(&format!("{}.tar.gz", "x".repeat(300)));
    assert_eq!(cut, format!("{}.tar.gz", "x".repeat(193)));
    let cut = safe_name(&"é".repeat(150));
    assert_eq!(cut, "é".repeat(100));
    let cut = safe_name(&format!("{}.csv", "📈".repeat(80)));
    assert_eq!(cut, format!("{}.csv", "📈".repeat(49)));
    let no_extension = safe_name(&format!("a.{}", "x".repeat(300)));
    assert_eq!(no_extension.len(), MAX_BYTES);
    assert_eq!(safe_name(&format!("CON{}x", " ".repeat(300))), "_CON");
}

#[test]
fn numbering_keeps_the_extension_and_the_limit() {
    assert_eq!(numbered("data.csv", 2), "data-2.csv");
    assert_eq!(numbered("backup.tar.gz", 3), "backup-3.tar.gz");
    assert_eq!(numbered("Makefile", 2), "Makefile-2");
    assert_eq!(numbered("MANIFEST.json", 2), "MANIFEST-2.json");
    let long = numbered(&format!("{}.csv", "x".repeat(196)), 10);
    assert_eq!(long, format!("{}-10.csv", "x".repeat(193)));
}

#[test]
fn names_that_a_file_system_may_take_for_the_same_fold_alike() {
    for (one, other) in [
        ("Data.CSV", "data.csv"),
        ("manifest.JSON", "MANIFEST.json"),
        ("Ünï.txt", "u\u{308}ni\u{308}.TXT"),
        ("straße.txt", "STRASSE.txt"),
        ("ΣΑΣ.txt", "σας.txt"),
    ] {
        assert_eq!(fold(one), fold(other), "{one} and {other}");
    }
    assert_ne!(fold("data.csv"), fold("data-2.csv"));
}

#[test]
fn headers_hold_whatever_the_name() {
    let table = [
        ("data.csv", "attachment; filename=\"data.csv\"; filename*=UTF-8''data.csv"),
        (
            "Überblick 1.csv",
            "attachment; filename=\"Uberblick 1.csv\"; filename*=UTF-8''%C3%9Cberblick%201.csv",
        ),
        (
            "a\"; x=\"b\\\r\nX: y",
            "attachment; filename=\"a_; x=_b___X: y\"; \
             filename*=UTF-8''a%22%3B%20x%3D%22b%5C%0D%0AX%3A%20y",
        ),
        ("100%41.txt", "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("报.pdf", "attachment; filename=\"_.pdf\"; filename*=UTF-8''%E6%8A%A5.pdf"),
        ("it's (1)*.txt", "attachment; filename=\"it's (1)*.txt\"; filename*=UTF-8''it%27s%20%281%29%2A.txt"),
    ];
    for (name, header) in table {
        assert_eq!(content_disposition(Disposition::Attachment, name), header);
    }
    assert!(content_disposition(Disposition::Inline, "a.png").starts_with("inline; "));
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-c./\\\\ \\[\\]:\u{300}\u{200b}\u{202e}éA\u{1100}\u{1161}\r\n\0-]{0,40}",
        "(con|nul|COM1|lpt9)[ .]{0,250}[a-z]{0,3}",
        "[é📈.x ]{150,300}(\\.[a-z]{1,30})?",
    ]
}

proptest! {
    #[test]
    fn every_name_becomes_safe(raw in any_name()) {
        let name = safe_name(&raw);
        prop_assert!(!name.is_empty() && name.len() <= MAX_BYTES);
        prop_assert!(!name.contains(['/', '\\', '[', ']']));
        prop_assert!(!name.chars().any(is_invisible));
        prop_assert!(!name.starts_with(['.', ' ']) && !name.ends_with(['.', ' ']));
        prop_assert!(!is_device(&name));
        prop_assert_eq!(&safe_name(&name), &name);
        prop_assert_eq!(&name.nfc().collect::<String>(), &name);
    }

    #[test]
    fn numbered_names_are_safe_and_different(raw in any_name(), n in 2u32..100_000) {
        let name = safe_name(&raw);
        let other = numbered(&name, n);
        prop_assert!(other.len() <= MAX_BYTES);
        prop_assert_eq!(&safe_name(&other), &other);
        prop_assert_ne!(fold(&other), fold(&name));
    }

    #[test]
    fn folding_forgets_normalisation(name in any::<String>()) {
        let key = fold(&name);
        prop_assert_eq!(&fold(&name.nfd().collect::<String>()), &key);
        prop_assert_eq!(&fold(&name.nfc().collect::<String>()), &key);
    }

    #[test]
    fn nothing_breaks_out_of_the_header(name in any::<String>()) {
        let header = content_disposition(Disposition::Attachment, &name);
        prop_assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
        prop_assert_eq!(header.matches('"').count(), 2);
        prop_assert!(!header.contains('\\'));
    }
}
