//! File names: whatever a client calls its file, the name is one harmless path component, and the
//! header and the URL that carry it can be read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use satchel::attachments::filename::{
    Disposition, MAX_BYTES, content_disposition, fold, numbered, percent_encode, safe_name,
};

fuzz_target!(|raw: &str| {
    let name = safe_name(raw);
    check(&name);
    assert_eq!(safe_name(&name), name, "safe names stay as they are");
    assert_eq!(fold(&fold(&name)), fold(&name));

    let second = numbered(&name, 2);
    check(&second);
    assert_ne!(fold(&second), fold(&name));

    let encoded = percent_encode(&name);
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
    assert_eq!(percent_encoding::percent_decode_str(&encoded).decode_utf8().as_deref(), Ok(name.as_str()));

    let header = content_disposition(Disposition::Attachment, raw);
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header:?}");
    assert_eq!(header.matches('"').count(), 2, "{header:?}");
});

fn check(name: &str) {
    assert!(!name.is_empty() && name.len() <= MAX_BYTES, "{name:?}");
    assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.chars().any(|c| c.is_control() || r#"/\<>:"|?*"#.contains(c)), "{name:?}");
}
