//! Bytes of a file on their way to being understood: opened, decoded to UTF-8, metered.
//!
//! Everything here reads in pieces of fixed size. The meter is what keeps the parsers above it in
//! bounds: a parser that must hold one row or one string at a time may pull only so many bytes for it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

/// Bytes read from a file at a time.
pub const CHUNK: usize = 64 * 1024;

/// How the characters of a text file are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8 or plain ASCII.
    Utf8,
    /// UTF-8 behind a byte order mark.
    Utf8WithMark,
    /// UTF-16, little end first, behind a byte order mark.
    Utf16Little,
    /// UTF-16, big end first, behind a byte order mark.
    Utf16Big,
    /// Not UTF-8: one byte for each character, read as Windows-1252.
    EightBit,
}

impl Encoding {
    /// What the first bytes of a file say, which is UTF-8 unless there is a byte order mark.
    pub fn of_head(head: &[u8]) -> Encoding {
        match head {
            [0xef, 0xbb, 0xbf, ..] => Encoding::Utf8WithMark,
            [0xff, 0xfe, ..] => Encoding::Utf16Little,
            [0xfe, 0xff, ..] => Encoding::Utf16Big,
            _ => Encoding::Utf8,
        }
    }

    /// The name of the encoding for a person.
    pub fn label(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf8WithMark => "UTF-8 with byte order mark",
            Encoding::Utf16Little => "UTF-16 (little endian)",
            Encoding::Utf16Big => "UTF-16 (big endian)",
            Encoding::EightBit => "not UTF-8, read as Windows-1252",
        }
    }

    /// Bytes of the byte order mark.
    fn mark_length(self) -> usize {
        match self {
            Encoding::Utf8 | Encoding::EightBit => 0,
            Encoding::Utf8WithMark => 3,
            Encoding::Utf16Little | Encoding::Utf16Big => 2,
        }
    }
}

/// Opens the file at `path` as a stream of UTF-8 without a byte order mark.
pub fn open_decoded(path: &Path, encoding: Encoding) -> io::Result<Box<dyn Read>> {
    decode(File::open(path)?, encoding)
}

/// `raw`, from its first byte on, as a stream of UTF-8 without a byte order mark. UTF-8 passes as it
/// is, even where it is not valid.
pub fn decode<'a>(mut raw: impl Read + 'a, encoding: Encoding) -> io::Result<Box<dyn Read + 'a>> {
    let mut mark = [0; 3];
    fill(&mut raw, &mut mark[..encoding.mark_length()])?;
    Ok(match encoding {
        Encoding::Utf8 | Encoding::Utf8WithMark => Box::new(raw),
        Encoding::Utf16Little | Encoding::Utf16Big | Encoding::EightBit => Box::new(Decoder {
            raw,
            encoding,
            bytes: Vec::with_capacity(CHUNK),
            decoded: String::new(),
            taken: 0,
        }),
    })
}

/// Reads until `buffer` is full or the stream ends; the number of bytes read.
pub fn fill(source: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Turns UTF-16 or Windows-1252 into UTF-8, a chunk at a time.
struct Decoder<R> {
    raw: R,
    encoding: Encoding,
    /// Bytes that were read but make no whole character yet.
    bytes: Vec<u8>,
    decoded: String,
    taken: usize,
}

impl<R: Read> Decoder<R> {
    fn decode_next_chunk(&mut self) -> io::Result<()> {
        let kept = self.bytes.len();
        self.bytes.resize(CHUNK, 0);
        let read = fill(&mut self.raw, &mut self.bytes[kept..])?;
        self.bytes.truncate(kept + read);
        let at_end = self.bytes.len() < CHUNK;
        self.decoded.clear();
        self.taken = 0;
        let whole = match self.encoding {
            Encoding::Utf16Little => self.decode_utf16(u16::from_le_bytes, at_end),
            Encoding::Utf16Big => self.decode_utf16(u16::from_be_bytes, at_end),
            _ => {
                self.decoded.extend(self.bytes.iter().map(|byte| windows_1252(*byte)));
                self.bytes.len()
            }
        };
        self.bytes.drain(..whole);
        Ok(())
    }

    /// Decodes what is there and says how many bytes that took. Half a character at the end waits for
    /// the next chunk, or becomes a replacement character when there is none.
    fn decode_utf16(&mut self, unit: fn([u8; 2]) -> u16, at_end: bool) -> usize {
        let (pairs, rest) = self.bytes.as_chunks::<2>();
        let waits = match pairs.last() {
            Some(pair) if !at_end => usize::from((0xd800..0xdc00).contains(&unit(*pair))),
            _ => 0,
        };
        let pairs = &pairs[..pairs.len() - waits];
        let units = pairs.iter().map(|pair| unit(*pair));
        self.decoded.extend(
            char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)),
        );
        if at_end && !rest.is_empty() {
            self.decoded.push(char::REPLACEMENT_CHARACTER);
            return self.bytes.len();
        }
        pairs.len() * 2
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.decoded.len() {
            self.decode_next_chunk()?;
        }
        let waiting = &self.decoded.as_bytes()[self.taken..];
        let count = waiting.len().min(buffer.len());
        buffer[..count].copy_from_slice(&waiting[..count]);
        self.taken += count;
        Ok(count)
    }
}

/// How many bytes a parser may still pull before it must have finished what it is holding.
#[derive(Debug, Clone)]
pub struct Meter {
    left: Rc<Cell<usize>>,
    limit: usize,
}

impl Meter {
    /// A meter that allows `limit` bytes at a time, and `source` behind it: once more is asked for
    /// without a [`Meter::reset`] in between, reading fails with `message`.
    pub fn around<R: Read>(source: R, limit: usize, message: &'static str) -> (Meter, impl Read) {
        let meter = Meter { left: Rc::new(Cell::new(limit)), limit };
        let metered = Metered { source, left: Rc::clone(&meter.left), message };
        (meter, metered)
    }

    /// Says that what was held is done with.
    pub fn reset(&self) {
        self.left.set(self.limit);
    }
}

struct Metered<R> {
    source: R,
    left: Rc<Cell<usize>>,
    message: &'static str,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, self.message));
        }
        let wanted = buffer.len().min(left);
        let count = self.source.read(&mut buffer[..wanted])?;
        self.left.set(left - count);
        Ok(count)
    }
}

/// The character of a Windows-1252 byte; the five unassigned ones stay the control characters they are
/// in ISO 8859-1, as in the WHATWG Encoding Standard.
fn windows_1252(byte: u8) -> char {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => UPPER[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> String {
        let mut text = String::new();
        decode(bytes, Encoding::of_head(bytes)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn marks_are_dropped_and_utf16_becomes_utf8() {
        assert_eq!(decoded(b"\xef\xbb\xbfab"), "ab");
        assert_eq!(decoded(b"\xff\xfea\0\x3d\xd8\0\xde"), "a\u{1f600}");
        assert_eq!(decoded(b"\xfe\xff\0a\xd8"), "a\u{fffd}");
        assert_eq!(decoded(b"\xff\xfe\x3d\xd8"), "\u{fffd}");
        assert_eq!(decoded(b""), "");
    }

    #[test]
    fn a_surrogate_pair_across_two_chunks_is_one_character() {
        let mut bytes = vec![0xff, 0xfe];
        for _ in 0..CHUNK / 2 - 1 {
            bytes.extend(*b"a\0");
        }
        bytes.extend([0x3d, 0xd8, 0x00, 0xde]);
        let text = decoded(&bytes);
        assert!(text.ends_with("aa\u{1f600}"));
        assert!(!text.contains('\u{fffd}'));
    }

    #[test]
    fn eight_bit_text_is_read_as_windows_1252() {
        let mut text = String::new();
        let mut source = decode(&b"gr\xf6\xdfe \x80"[..], Encoding::EightBit).unwrap();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "größe €");
    }

    #[test]
    fn a_meter_stops_what_is_never_finished() {
        let (meter, mut metered) = Meter::around(io::repeat(0), 10, "too long");
        let mut buffer = [0; 6];
        assert_eq!(metered.read(&mut buffer).unwrap(), 6);
        meter.reset();
        assert_eq!(metered.read(&mut buffer).unwrap(), 6);
        assert_eq!(metered.read(&mut buffer).unwrap(), 4);
        assert_eq!(metered.read(&mut buffer).unwrap_err().to_string(), "too long");
    }
}
