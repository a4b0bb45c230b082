//! Untrusted text and figures, made fit for the report and for the answer.
//!
//! A name or a cell can hold anything. What leaves this file is one line, has no control, direction or
//! invisible characters, is at most [`SHOWN_CHARACTERS`] long and cannot act as Markdown or HTML.

/// Characters of a name or a cell that are shown; the rest becomes an ellipsis.
const SHOWN_CHARACTERS: usize = 80;

/// Untrusted text for the report, inside a table, a list or a heading (not at the start of a line).
/// Characters with a meaning in Markdown or HTML become character references.
pub fn text(untrusted: &str) -> String {
    let shown = visible(untrusted);
    let mut out = String::with_capacity(shown.len());
    let mut characters = shown.chars().peekable();
    let mut before = None;
    while let Some(character) = characters.next() {
        let escape = match character {
            '&' | '<' | '>' | '"' | '\'' | '\\' | '`' | '*' | '[' | ']' | '#' | '|' | '~' | '!' | ':'
            | '@' | '$' => true,
            '_' => {
                let inside_word = before.is_some_and(char::is_alphanumeric)
                    && characters.peek().copied().is_some_and(char::is_alphanumeric);
                !inside_word
            }
            // A bare "www." would become a link.
            '.' => out.to_ascii_lowercase().ends_with("www"),
            _ => false,
        };
        if escape {
            out.push_str(&format!("&#{};", u32::from(character)));
        } else {
            out.push(character);
        }
        before = Some(character);
    }
    out
}

/// Untrusted text for the answer, which is read as plain text or as Markdown: in back quotes.
pub fn quoted(untrusted: &str) -> String {
    format!("`{}`", visible(untrusted).replace('`', "'"))
}

/// Bytes for a person, in decimal units: `999 bytes`, `1.2 kB`, `10.7 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, label)) => format!("{:.1} {label}", bytes as f64 / *unit as f64),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// A number as it was read: the shortest digits that give the same value back.
pub fn exact(value: f64) -> String {
    // Adding zero turns a negative zero into a plain one.
    let value = value + 0.0;
    let magnitude = value.abs();
    if !value.is_finite() {
        "too large".to_owned()
    } else if magnitude != 0.0 && !(1e-5..1e15).contains(&magnitude) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// A computed figure, rounded to ten significant digits.
pub fn figure(value: f64) -> String {
    rounded(value, 10)
}

/// A sum, rounded to the fifteen significant digits that a floating-point number always holds.
pub fn total(value: f64) -> String {
    rounded(value, 15)
}

/// A number of things: `1 row`, `2 rows`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn rounded(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "too large".to_owned();
    }
    let text = format!("{value:.*e}", digits - 1);
    // What was just printed parses; the value as it is would be the natural fallback all the same.
    exact(text.parse().unwrap_or(value))
}

/// One line without control, direction and invisible characters, cut to the length that is shown.
fn visible(untrusted: &str) -> String {
    let mut characters = untrusted.chars();
    let mut shown: String = characters
        .by_ref()
        .take(SHOWN_CHARACTERS)
        .map(|character| if is_hidden(character) { '\u{fffd}' } else { character })
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a character has no shape of its own but changes how the text around it is shown.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_readable() {
        assert_eq!(text("data-2.csv"), "data-2.csv");
        assert_eq!(text("unit_price (EUR)"), "unit_price (EUR)");
        assert_eq!(quoted("größe.csv"), "`größe.csv`");
    }

    #[test]
    fn markup_is_defused() {
        assert_eq!(text("a|b"), "a&#124;b");
        assert_eq!(text("__init__"), "&#95;&#95;init&#95;&#95;");
        assert_eq!(text("<b>"), "&#60;b&#62;");
        assert_eq!(text("[x](http://e.org)"), "&#91;x&#93;(http&#58;//e.org)");
        assert_eq!(text("WWW.e.org"), "WWW&#46;e.org");
        assert_eq!(quoted("a`b"), "`a'b`");
        assert_eq!(quoted("one\ntwo\u{202e}"), "`one\u{fffd}two\u{fffd}`");
        assert_eq!(text(&"x".repeat(100)), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn figures_are_plain_where_they_can_be() {
        assert_eq!(figure(2.5), "2.5");
        assert_eq!(figure(10.0), "10");
        assert_eq!(figure(0.1 + 0.2), "0.3");
        assert_eq!(figure(1.0 / 3.0), "0.3333333333");
        assert_eq!(total(5_005_762_625.929_999), "5005762625.93");
        assert_eq!(figure(-0.0), "0");
        assert_eq!(figure(f64::NAN), "too large");
        assert_eq!(exact(1e300), "1e300");
        assert_eq!(exact(1234567.125), "1234567.125");
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_250_000), "1.2 MB");
    }

    proptest! {
        #[test]
        fn nothing_that_ends_a_cell_or_opens_a_tag_survives(untrusted in any::<String>()) {
            let shown = text(&untrusted);
            prop_assert!(!shown.contains(['|', '<', '>', '`', '[', '\n', '\r']));
            let quoted = quoted(&untrusted);
            prop_assert_eq!(quoted.matches('`').count(), 2);
            prop_assert_eq!(quoted.lines().count(), 1);
        }
    }
}
