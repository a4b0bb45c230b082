//! Keys: no text makes the reader fail, and no single wrong character is overlooked.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use satchel::identity::key::{KeyKind, PlainKey, parse};

static KEYS: LazyLock<Vec<PlainKey>> = LazyLock::new(|| {
    let make = |kind| PlainKey::generate(kind).expect("the system has random bytes");
    KeyKind::ALL.into_iter().map(make).collect()
});

fuzz_target!(|text: &str| {
    if let Some((kind, hash)) = parse(text) {
        assert!(text.starts_with(kind.prefix()));
        assert_eq!(hash.hex().len(), 64);
    }
    let mut characters = text.chars();
    let (Some(place), Some(wrong)) = (characters.next(), characters.next()) else { return };
    for key in KEYS.iter() {
        let mut typed: Vec<char> = key.reveal().chars().collect();
        let at = place as usize % typed.len();
        if typed[at] != wrong {
            typed[at] = wrong;
            assert!(parse(&typed.into_iter().collect::<String>()).is_none(), "character {at}");
        }
    }
});
