//! The shape of a marker in a line: the word, a separator, quotes and what stands in them, in any of
//! the spellings that people use for `ATTACHMENT:"url"`.
//!
//! Guarantees: looks at each character a bounded number of times. It only cuts the line into parts;
//! what is wrong with them is said by `diagnosis`.

use std::ops::Range;

use super::is_blank;

/// The parts of something shaped like a reference, as byte ranges of its line.
#[derive(Debug)]
pub(super) struct Marker {
    /// The word, with the `s` of the plural.
    pub word: Range<usize>,
    /// The colon, or what stands for it; empty where there is nothing.
    pub separator: Range<usize>,
    /// The quotes before the URL; empty where there are none.
    pub opening: Range<usize>,
    pub content: Range<usize>,
    pub closing: Range<usize>,
    /// Where what follows begins.
    pub end: usize,
}

/// A run of quotes.
pub(super) struct Quotes {
    pub count: usize,
    /// The first character of the first quote that is not a straight double one.
    pub odd: Option<char>,
}

/// Quotes that may close one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Double,
    Single,
    Backtick,
    Angle,
}

const WORD: &str = "ATTACHMENT";

/// The colon, and the characters that look like it.
const COLONS: [char; 5] = [':', '：', '﹕', '꞉', '∶'];

/// Quotes that are written as several characters.
const ESCAPED: [(&str, Family); 14] = [
    ("\\\"", Family::Double),
    ("\\'", Family::Single),
    ("&quot;", Family::Double),
    ("&#34;", Family::Double),
    ("&#x22;", Family::Double),
    ("&ldquo;", Family::Double),
    ("&rdquo;", Family::Double),
    ("&#8220;", Family::Double),
    ("&#8221;", Family::Double),
    ("&apos;", Family::Single),
    ("&#39;", Family::Single),
    ("&#x27;", Family::Single),
    ("&lsquo;", Family::Single),
    ("&rsquo;", Family::Single),
];

/// The first marker in `text` that begins at `from` or after.
pub(super) fn find_marker(text: &str, from: usize) -> Option<Marker> {
    let lower = text[from..].to_ascii_lowercase();
    let leading = lower.find(|c| !(is_markup(c) || c.is_whitespace())).unwrap_or(lower.len());
    lower
        .match_indices("attachment")
        .filter(|(at, _)| !lower[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .find_map(|(at, _)| marker_at(text, from + at, at <= leading))
}

/// Whether a character is one that markup puts before or after a line.
pub(super) fn is_markup(c: char) -> bool {
    "-*+>#_`~|•·‣[]().".contains(c) || is_blank(c) || c.is_ascii_digit()
}

/// The URL at the start of `text`, ended where a reader would end it.
pub(super) fn bare_url(text: &str) -> &str {
    let ends = |(at, c): (usize, char)| {
        let punctuation = !c.is_ascii() && !c.is_alphanumeric();
        let delimiter = c.is_ascii_control() || " \"'<>`()[]{}|\\^,;*".contains(c);
        let entity = c == '&' && quote_at(&text[at..]).is_some();
        (punctuation || delimiter || entity).then_some(at)
    };
    let end = text.char_indices().find_map(ends).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ':', '!', '?'])
}

impl Quotes {
    /// Reads the quotes at the start of `text`.
    pub(super) fn of(text: &str) -> Self {
        let mut quotes = Self { count: 0, odd: None };
        let mut rest = text;
        while let Some((_, length)) = quote_at(rest) {
            quotes.count += 1;
            let first = rest.chars().next().filter(|&c| c != '"');
            quotes.odd = quotes.odd.or(first);
            rest = &rest[length..];
        }
        quotes
    }
}

/// Reads the marker whose word begins at `at`; `leading` says that only markup stands before it.
fn marker_at(text: &str, at: usize, leading: bool) -> Option<Marker> {
    let mut end = at + WORD.len();
    if text[end..].starts_with(['s', 'S']) {
        end += 1;
    }
    let word = at..end;
    let start = skip_loose(text, word.end);
    let separator = start..start + separator_length(&text[start..]);
    let start = skip_loose(text, separator.end);
    let mut opening = start..start;
    let mut family = None;
    while let Some((found, length)) = quote_at(&text[opening.end..]) {
        family = Some(found);
        opening.end += length;
    }

    let capitals = text[word.clone()].starts_with(WORD);
    let url = begins_with_scheme(text[opening.end..].trim_start());
    let colon = text[separator.clone()].starts_with(COLONS);
    let meant = match family {
        Some(_) if colon => url || capitals || leading,
        _ if url => capitals || leading,
        // Text right after the exact prefix, such as a path or a placeholder.
        None => leading && &text[at..opening.end] == "ATTACHMENT:",
        Some(_) => false,
    };
    if !meant {
        return None;
    }
    let content = opening.end..content_end(text, opening.end, family, url);
    let closing = closing(text, content.end, &opening, family);
    let rest = &text[closing.end..];
    let alone = rest.chars().all(|c| is_markup(c) || c.is_whitespace());
    let named = url || (capitals && family.is_some());
    let quoted = !closing.is_empty() || !text[content.clone()].contains(char::is_whitespace);
    let said = family.is_some() || !content.is_empty();
    (named || (alone && quoted && said)).then_some(Marker {
        end: closing.end,
        word,
        separator,
        opening,
        content,
        closing,
    })
}

/// Where the text between the quotes ends, or the URL or word that stands without quotes.
fn content_end(text: &str, start: usize, family: Option<Family>, url: bool) -> usize {
    let rest = &text[start..];
    let length = match family {
        None if url => bare_url(rest).len(),
        None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        Some(family) => rest
            .char_indices()
            .map(|(at, _)| at)
            .find(|&at| quote_at(&rest[at..]).is_some_and(|(found, _)| found == family))
            .unwrap_or(rest.trim_end().len()),
    };
    start + length
}

/// The quotes that close a content: as many as opened it, and any further ones of their kind.
fn closing(text: &str, start: usize, opening: &Range<usize>, family: Option<Family>) -> Range<usize> {
    let mut left = Quotes::of(&text[opening.clone()]).count;
    let mut end = start;
    while let Some((found, length)) = quote_at(&text[end..]) {
        if left == 0 && Some(found) != family {
            break;
        }
        left = left.saturating_sub(1);
        end += length;
    }
    start..end
}

fn begins_with_scheme(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Skips blanks of any kind and emphasis.
fn skip_loose(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    from + rest.find(|c: char| !(c.is_whitespace() || "*_~".contains(c))).unwrap_or(rest.len())
}

/// The length of the colon at the start of `text`, or of what people write in its place.
fn separator_length(text: &str) -> usize {
    if let Some(c) = text.chars().next().filter(|c| COLONS.contains(c)) {
        return c.len_utf8();
    }
    [":=", "=>", "->", "="]
        .iter()
        .find(|separator| text.starts_with(**separator))
        .map_or(0, |separator| separator.len())
}

/// The family and length of the quote at the start of `text`.
fn quote_at(text: &str) -> Option<(Family, usize)> {
    let first = text.chars().next()?;
    let family = match first {
        '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '〝' | '〞' | '＂' => Family::Double,
        '\'' | '‘' | '’' | '‚' | '‛' | '‹' | '›' | '′' | '＇' => Family::Single,
        '`' | '´' => Family::Backtick,
        '<' | '>' => Family::Angle,
        '&' | '\\' => {
            let (escaped, family) = ESCAPED.iter().find(|(name, _)| text.starts_with(name))?;
            return Some((*family, escaped.len()));
        }
        _ => return None,
    };
    Some((family, first.len_utf8()))
}
