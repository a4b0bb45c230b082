//! Preconditions and ranges: whatever the headers say, a selected part is never empty and lies
//! within the file.
//!
//! The first eight bytes are the file's size; each line after them is the value of one header.

#![no_main]

use http::header::{
    HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use libfuzzer_sys::fuzz_target;
use satchel::clock::Moment;
use satchel::http::range::{Selection, Validators, select};

fuzz_target!(|input: &[u8]| {
    let Some((size, lines)) = input.split_first_chunk() else { return };
    let size = u64::from_le_bytes(*size);
    let mut headers = HeaderMap::new();
    let names = [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    for (name, value) in names.into_iter().zip(lines.split(|&byte| byte == b'\n')) {
        if let Some(value) = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
    let has = Validators { etag: "\"abc\"".to_owned(), modified: Moment(1_795_327_628_500_000), size };
    let selected = select(&headers, &has);
    if let Selection::Part(range) = &selected {
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
    }
    if headers.is_empty() {
        assert_eq!(selected, Selection::Whole);
    }
});
