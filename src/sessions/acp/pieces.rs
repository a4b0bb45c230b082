//! Pieces of text whose characters may be cut in two.
//!
//! A program whose strings are UTF-16 can cut a text between the two halves of a character outside of the Basic
//! Multilingual Plane (a surrogate pair, RFC 8259, section 7) and escape each half in a message of its own. No such half
//! is a text; both together are. So the first half waits for the piece that follows, and a half that stays alone becomes
//! U+FFFD, where it is followed by anything.

use serde_json::value::RawValue;

/// What stands for a half that stays alone, escaped.
const ALONE: &str = "\\ufffd";

/// Reads pieces one after the other.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// The escape of the first half of a character.
    half: String,
}

impl Pieces {
    /// The text of a piece, a JSON string; `None` for what is none.
    pub(super) fn read(&mut self, piece: &RawValue) -> Option<String> {
        if self.half.is_empty()
            && let Ok(text) = serde_json::from_str(piece.get())
        {
            return Some(text);
        }
        let inner = piece.get().strip_prefix('"')?.strip_suffix('"')?;
        let escaped = std::mem::take(&mut self.half) + inner;
        let mut whole = String::from("\"");
        let mut rest = &*escaped;
        while let Some(at) = rest.find('\\') {
            whole.push_str(&rest[..at]);
            rest = &rest[at..];
            let length = match (half(rest), rest.get(6..).and_then(half)) {
                (Some(Half::First), Some(Half::Second)) => 12,
                (Some(Half::First), _) if rest.len() == 6 => {
                    self.half.push_str(rest);
                    rest = "";
                    break;
                }
                (Some(_), _) => {
                    whole.push_str(ALONE);
                    rest = &rest[6..];
                    continue;
                }
                (None, _) => 2,
            };
            let (escape, behind) = rest.split_at_checked(length)?;
            whole.push_str(escape);
            rest = behind;
        }
        whole.push_str(rest);
        whole.push('"');
        serde_json::from_str(&whole).ok()
    }
}

/// One of the two halves of a character.
enum Half {
    First,
    Second,
}

/// The half that a text begins with, if it begins with the escape of one.
fn half(text: &str) -> Option<Half> {
    let unit = u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    match unit {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> String {
        let mut reader = Pieces::default();
        let raw = |piece: &&str| RawValue::from_string(format!("\"{piece}\"")).unwrap();
        pieces.iter().map(|piece| reader.read(&raw(piece)).unwrap()).collect()
    }

    #[test]
    fn a_character_that_was_cut_in_two_is_whole_again() {
        for (pieces, text) in [
            (&["plain \\n \\u00e4 \\\\u00e4", "ä"][..], "plain \n ä \\u00e4ä"),
            (&["smile \\ud83d", "\\ude00 again"], "smile 😀 again"),
            (&["\\uD83D\\uDE00 \\ud83d", "\\ude00\\ud83d", "\\ude00"], "😀 😀😀"),
            (&["one \\ud83d two \\ude00\\n", "three"], "one \u{fffd} two \u{fffd}\nthree"),
            (&["one \\ud83d", "two"], "one \u{fffd}two"),
            (&["one \\ud83d\\ud83d", "\\ude00"], "one \u{fffd}😀"),
            (&["\\\\\\ud83d", "\\ude00\\\\"], "\\😀\\"),
        ] {
            assert_eq!(read(pieces), text, "{pieces:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_none() {
        let number = RawValue::from_string("7".to_owned()).unwrap();
        assert_eq!(Pieces::default().read(&number), None);
    }
}
