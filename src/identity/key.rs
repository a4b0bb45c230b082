//! API keys: their form, their checksum, their hash.
//!
//! A key is `prefix` + 43 base62 characters (256 random bits) + 6 base62 characters, the CRC-32 of
//! all that precedes. The checksum lets a typing error be refused without a look-up and proves
//! nothing else. Only the SHA-256 of a key is ever stored: the key has 256 random bits, so a slow
//! password hash would add nothing. The prefixes are those of the Devin API (contract, section 4).

use std::fmt;

use sha2::{Digest, Sha256};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;

/// Which kind of credential a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `apk_user_`: a person's key for the v1 API.
    Personal,
    /// `apk_`: a service key for the v1 API.
    Service,
    /// `cog_`: a service user's key for the v3 API.
    ServiceUser,
}

impl KeyKind {
    /// Every kind there is.
    pub const ALL: [KeyKind; 3] = [KeyKind::Personal, KeyKind::Service, KeyKind::ServiceUser];

    /// What every key of this kind begins with. Never change one: it is a promise on the wire.
    pub fn prefix(self) -> &'static str {
        match self {
            KeyKind::Personal => "apk_user_",
            KeyKind::Service => "apk_",
            KeyKind::ServiceUser => "cog_",
        }
    }

    /// The kind's name in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Personal => "personal",
            KeyKind::Service => "service",
            KeyKind::ServiceUser => "service_user",
        }
    }

    /// Whether the kind belongs to the v1 API.
    pub fn is_v1(self) -> bool {
        self != KeyKind::ServiceUser
    }
}

/// A key in the clear: shown once, when it is made, and never stored.
pub struct PlainKey(String);

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

impl PlainKey {
    /// Makes a new random key.
    pub fn generate(kind: KeyKind) -> Result<Self, NoRandomness> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(NoRandomness)?;
        let mut text = String::from(kind.prefix());
        text.push_str(&base62(&bytes));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self(text))
    }

    /// The key itself, for the one place that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of the key.
    pub fn hash(&self) -> KeyHash {
        hash(&self.0)
    }
}

/// The SHA-256 of a key: what is stored and looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Lower-case hexadecimal, as the database holds it.
    pub fn hex(&self) -> String {
        crate::hex::encode(self.0)
    }
}

/// Checks a credential's form and checksum; the kind and the hash to look up, or `None` for
/// anything that cannot be a key of ours.
pub fn parse(text: &str) -> Option<(KeyKind, KeyHash)> {
    // `apk_user_` is tried before `apk_`, which is a prefix of it.
    let kind = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
    let body = &text[kind.prefix().len()..];
    if body.len() != RANDOM_CHARS + CHECKSUM_CHARS || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let (rest, given) = text.split_at(text.len() - CHECKSUM_CHARS);
    (checksum(rest) == given).then(|| (kind, hash(text)))
}

fn hash(text: &str) -> KeyHash {
    KeyHash(Sha256::digest(text.as_bytes()).into())
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|&b| char::from(b)).collect()
}

/// A 256-bit number in base 62, most significant digit first, 43 digits.
fn base62(bytes: &[u8; 32]) -> String {
    let mut number = *bytes;
    let mut digits = [b'0'; RANDOM_CHARS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = BASE62[remainder as usize];
    }
    digits.iter().map(|&b| char::from(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_each_kind_is_told_by_its_form() {
        for kind in KeyKind::ALL {
            let key = PlainKey::generate(kind).unwrap();
            assert_eq!(parse(key.reveal()), Some((kind, key.hash())));
            assert_eq!(key.reveal().len(), kind.prefix().len() + 49);
            assert!(!format!("{key:?}").contains(&key.reveal()[kind.prefix().len()..]));
        }
    }

    #[test]
    fn every_typing_error_in_one_place_is_refused() {
        let key = PlainKey::generate(KeyKind::ServiceUser).unwrap();
        for place in 0..key.reveal().len() {
            let mut typed = key.reveal().as_bytes().to_vec();
            typed[place] = if typed[place] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&typed).unwrap()), None, "at {place}");
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("cog_"), None);
        assert_eq!(parse(&key.reveal()[..20]), None);
    }

    #[test]
    fn base62_keeps_every_bit() {
        assert_eq!(base62(&[0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 61;
        assert!(base62(&one).ends_with('z'));
        assert_ne!(base62(&[255; 32])[..1], *"0");
    }
}
