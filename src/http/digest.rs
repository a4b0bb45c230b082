//! Digest fields (RFC 9530): `sha-256=:<base64>:`, possibly among digests of other algorithms.
//!
//! Only SHA-256 is read and written; it is what the service takes of every file on its way in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hex;

/// A field that names a SHA-256 and does not hold one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDigest;

/// The SHA-256 in a field's value, lower-case hexadecimal; `None` where it names only others.
pub fn parse(value: &str) -> Result<Option<String>, BadDigest> {
    for item in value.split(',') {
        let (algorithm, digest) = item.split_once('=').ok_or(BadDigest)?;
        if algorithm.trim().eq_ignore_ascii_case("sha-256") {
            let encoded = digest.trim().strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
            let bytes = STANDARD.decode(encoded.ok_or(BadDigest)?).map_err(|_| BadDigest)?;
            let right = bytes.len() == 32;
            return if right { Ok(Some(hex::encode(bytes))) } else { Err(BadDigest) };
        }
    }
    Ok(None)
}

/// The field's value for a SHA-256 in hexadecimal.
pub fn print(sha256: &str) -> String {
    let digits: Vec<u8> =
        sha256.bytes().filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect();
    format!("sha-256=:{}:", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_sha256_is_read_among_others_and_written() {
        let field = print(EMPTY);
        assert_eq!(field, "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        assert_eq!(parse(&field), Ok(Some(EMPTY.to_owned())));
        assert_eq!(parse(&format!("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, {field}")), Ok(Some(EMPTY.to_owned())));
        assert_eq!(parse("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:"), Ok(None));
    }

    #[test]
    fn what_is_no_sha256_is_refused() {
        for value in ["", "sha-256", "sha-256=abc", "sha-256=:!:", "sha-256=:YWJj:"] {
            assert_eq!(parse(value), Err(BadDigest), "{value}");
        }
    }
}
