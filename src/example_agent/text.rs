//! Counting a text: lines, words, the longest line, and whether it is valid UTF-8.
//!
//! The counter is fed piece by piece and holds no text.

/// What was counted in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextFacts {
    /// Lines; they end at LF, CR LF or CR, and the last one may be unfinished.
    pub lines: u64,
    /// Runs of characters other than ASCII white space.
    pub words: u64,
    /// Characters of the longest line, its end not counted; bytes where the text is not UTF-8.
    pub longest_line: u64,
    /// Whether every byte is below 128.
    pub is_ascii: bool,
    /// Whether the bytes are valid UTF-8.
    pub is_utf8: bool,
}

/// Counts a text that comes in pieces of any length.
#[derive(Debug)]
pub struct TextCounter {
    facts: TextFacts,
    longest_in_bytes: u64,
    line_characters: u64,
    line_bytes: u64,
    line_open: bool,
    in_word: bool,
    after_carriage_return: bool,
    /// The beginning of a character whose end is in the next piece.
    unfinished: Vec<u8>,
}

impl TextCounter {
    /// A counter that has seen nothing.
    pub fn new() -> TextCounter {
        TextCounter {
            facts: TextFacts { is_ascii: true, is_utf8: true, ..TextFacts::default() },
            longest_in_bytes: 0,
            line_characters: 0,
            line_bytes: 0,
            line_open: false,
            in_word: false,
            after_carriage_return: false,
            unfinished: Vec::new(),
        }
    }

    /// Counts the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.check_encoding(piece);
        for &byte in piece {
            match byte {
                b'\n' if self.after_carriage_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ => {
                    self.line_open = true;
                    self.line_bytes += 1;
                    let starts_character = byte & 0xc0 != 0x80;
                    self.line_characters += u64::from(starts_character);
                }
            }
            self.after_carriage_return = byte == b'\r';
            let in_word = !byte.is_ascii_whitespace();
            self.facts.words += u64::from(in_word && !self.in_word);
            self.in_word = in_word;
        }
    }

    /// What was counted, now that the text is over.
    pub fn finish(mut self) -> TextFacts {
        if self.line_open {
            self.end_line();
        }
        self.facts.is_utf8 &= self.unfinished.is_empty();
        if !self.facts.is_utf8 {
            self.facts.longest_line = self.longest_in_bytes;
        }
        self.facts
    }

    fn end_line(&mut self) {
        self.facts.lines += 1;
        self.facts.longest_line = self.facts.longest_line.max(self.line_characters);
        self.longest_in_bytes = self.longest_in_bytes.max(self.line_bytes);
        self.line_characters = 0;
        self.line_bytes = 0;
        self.line_open = false;
    }

    fn check_encoding(&mut self, piece: &[u8]) {
        self.facts.is_ascii &= piece.is_ascii();
        if !self.facts.is_utf8 {
            return;
        }
        let mut rest = piece;
        while !self.unfinished.is_empty()
            && let [byte, after @ ..] = rest
        {
            self.unfinished.push(*byte);
            rest = after;
            match std::str::from_utf8(&self.unfinished) {
                Ok(_) => self.unfinished.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => {
                    self.facts.is_utf8 = false;
                    return;
                }
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            match error.error_len() {
                None => self.unfinished.extend(&rest[error.valid_up_to()..]),
                Some(_) => self.facts.is_utf8 = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(pieces: &[&[u8]]) -> TextFacts {
        let mut counter = TextCounter::new();
        for piece in pieces {
            counter.push(piece);
        }
        counter.finish()
    }

    #[test]
    fn lines_words_and_lengths() {
        let facts = counted(&[b"one two\r", b"\n\nthre", b"e\rf\xc3", b"\xbcnf"]);
        assert_eq!(facts.lines, 4);
        assert_eq!(facts.words, 4);
        assert_eq!(facts.longest_line, 7);
        assert!(facts.is_utf8 && !facts.is_ascii);
        assert_eq!(counted(&[]).lines, 0);
        assert_eq!(counted(&[b"\n"]).lines, 1);
    }

    #[test]
    fn what_is_not_utf8_is_measured_in_bytes() {
        let facts = counted(&[b"gr\xf6\xdfe\n"]);
        assert!(!facts.is_utf8);
        assert_eq!(facts.longest_line, 5);
        assert!(!counted(&[b"abc\xc3"]).is_utf8);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[a-c ü€😀\r\n]{0,30}", cut in 0usize..60,
        ) {
            for whole in [&bytes[..], text.as_bytes()] {
                let (left, right) = whole.split_at(cut.min(whole.len()));
                prop_assert_eq!(counted(&[left, right]), counted(&[whole]));
                prop_assert_eq!(counted(&[whole]).is_utf8, std::str::from_utf8(whole).is_ok());
            }
        }
    }
}
