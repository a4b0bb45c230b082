//! Why a line that looks like a reference is not recognised, and what to write instead.
//!
//! A line is diagnosed when it holds something shaped like the marker (the word, then a colon, then
//! a quote or a URL) or the URL of an attachment of this service. Ordinary prose about attachments
//! is left alone. Of several faults the leftmost is told, except that several references on one line
//! come first and characters that nobody can see come last. Every step goes over the line a bounded
//! number of times.

use super::super::filename::is_invisible;
use super::marker::{Marker, Quotes, bare_url, find_marker, is_markup};
use super::{ServiceUrls, Target, is_blank, line_for};

/// What is to be said about one line.
pub(super) struct Diagnosis {
    /// From 1, in Unicode scalar values of the line.
    pub column: usize,
    pub reason: String,
    pub corrected: Option<String>,
    /// The URL and what it names, where the meaning of the line is beyond doubt.
    pub unmistakable: Option<(String, Target)>,
}

/// What keeps a line from being recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Several,
    Markup,
    TextBefore,
    Case,
    Plural,
    BlankBeforeColon,
    NotAColon(char),
    NoColon,
    BlankAfterColon,
    NoQuotes,
    OtherQuotes(char),
    EscapedQuotes,
    UnbalancedQuotes,
    BlankInUrl,
    Empty,
    NotAUrl,
    TextAfter,
    Invisible(char),
    BareUrl,
}

/// A line without the characters nobody can see, and where those stood.
struct View {
    text: String,
    /// Byte offset in `text`, column in the line, and the character.
    dropped: Vec<(usize, usize, char)>,
}

/// Diagnoses a line that is not recognised. Nothing for a line that does not seem to be meant as a
/// reference.
pub(super) fn of(line: &str, urls: &ServiceUrls) -> Option<Diagnosis> {
    let view = View::of(line);
    let named = attachments_in(&view.text, urls);
    let Some(marker) = find_marker(&view.text, 0) else {
        let (at, _) = named.first()?;
        return Some(Diagnosis {
            column: view.column(*at),
            reason: Fault::BareUrl.reason(),
            corrected: corrected(&named),
            unmistakable: None,
        });
    };
    let content = &view.text[marker.content.clone()];
    let target = urls.resolve(content);
    let faults = faults(&view, &marker, &target, &named);
    // A line without any other fault was refused for its URL.
    let (fault, column) = faults.first().copied().unwrap_or((Fault::NotAUrl, 1));

    let repaired = match target {
        Target::Attachment(_) => None,
        _ => urls.repair(content),
    };
    let corrected = match repaired {
        Some(url) if named.len() < 2 => Some(line_for(&url)),
        _ => corrected(&named),
    };
    let mut reason = fault.reason();
    if corrected.is_none() {
        reason.push_str(&besides(&target));
    }
    let certain = !faults.is_empty() && faults.iter().all(|(fault, _)| fault.leaves_no_doubt());
    let unmistakable = match target {
        Target::Attachment(_) if certain => Some((content.to_owned(), target)),
        _ => None,
    };
    Some(Diagnosis { column, reason, corrected, unmistakable })
}

/// All faults of a line, the one to be told first.
fn faults(view: &View, marker: &Marker, target: &Target, named: &[(usize, String)]) -> Vec<(Fault, usize)> {
    let text = &view.text;
    let mut faults = Vec::new();
    let after = &text[marker.end..];
    let second = named.get(1).map(|(at, _)| *at);
    if let Some(at) = second.or_else(|| find_marker(text, marker.end).map(|m| m.word.start)) {
        faults.push((Fault::Several, at));
    }
    let before = &text[..marker.word.start];
    if let Some(at) = before.find(|c| !is_blank(c)) {
        faults.push((beside(before, Fault::TextBefore), at));
    }
    let word = &text[marker.word.clone()];
    if !word.starts_with("ATTACHMENT") {
        faults.push((Fault::Case, marker.word.start));
    }
    if word.len() > "ATTACHMENT".len() {
        faults.push((Fault::Plural, marker.word.end - 1));
    }
    faults.extend(gap(text, marker.word.end, marker.separator.start, Fault::BlankBeforeColon));
    match text[marker.separator.clone()].chars().next() {
        None => faults.push((Fault::NoColon, marker.word.end)),
        Some(':') => {}
        Some(c) => faults.push((Fault::NotAColon(c), marker.separator.start)),
    }
    if !marker.separator.is_empty() {
        faults.extend(gap(text, marker.separator.end, marker.opening.start, Fault::BlankAfterColon));
    }
    faults.extend(quotes(text, marker));
    let content = &text[marker.content.clone()];
    if content.trim().is_empty() {
        faults.push((Fault::Empty, marker.content.start));
    } else if let Some(at) = content.find(char::is_whitespace) {
        faults.push((Fault::BlankInUrl, marker.content.start + at));
    } else if *target == Target::NotAbsoluteHttp {
        faults.push((Fault::NotAUrl, marker.content.start));
    }
    if let Some(at) = after.find(|c| !is_blank(c)) {
        faults.push((beside(after, Fault::TextAfter), marker.end + at));
    }
    let mut placed: Vec<_> = faults.into_iter().map(|(fault, at)| (fault, view.column(at))).collect();
    if let Some((_, column, c)) = view.dropped.first() {
        placed.push((Fault::Invisible(*c), *column));
    }
    placed
}

/// The fault of the quotes at either end of the URL.
fn quotes(text: &str, marker: &Marker) -> Option<(Fault, usize)> {
    let opening = Quotes::of(&text[marker.opening.clone()]);
    let closing = Quotes::of(&text[marker.closing.clone()]);
    if opening.count == 0 {
        return Some((Fault::NoQuotes, marker.content.start));
    }
    let nothing_quoted = marker.content.is_empty() && closing.count == 0 && opening.count == 2;
    if !nothing_quoted && (opening.count != closing.count || opening.count > 2) {
        let at = if opening.count >= closing.count && closing.count > 0 {
            marker.opening.start
        } else {
            marker.closing.start
        };
        return Some((Fault::UnbalancedQuotes, at));
    }
    let ends = [(&opening, &marker.opening), (&closing, &marker.closing)];
    ends.into_iter().find_map(|(quotes, place)| {
        let fault = match quotes.odd? {
            '&' | '\\' => Fault::EscapedQuotes,
            c => Fault::OtherQuotes(c),
        };
        Some((fault, place.start))
    })
}

/// The fault of what stands between two parts that should touch.
fn gap(text: &str, from: usize, to: usize, blank: Fault) -> Option<(Fault, usize)> {
    let between = &text[from..to];
    let c = between.chars().next()?;
    let fault = match between.chars().find(|&c| c.is_whitespace() && !is_blank(c)) {
        Some(odd) => Fault::Invisible(odd),
        None if is_blank(c) => blank,
        None => Fault::Markup,
    };
    Some((fault, from))
}

/// The fault of what stands before or after the reference: markup, a blank nobody sees, or text.
fn beside(text: &str, otherwise: Fault) -> Fault {
    let rest = text.trim_matches(is_blank);
    if rest.chars().all(char::is_whitespace) {
        return rest.chars().next().map_or(otherwise, Fault::Invisible);
    }
    if rest.chars().all(is_markup) {
        return Fault::Markup;
    }
    otherwise
}

/// What else is wrong where the right spelling alone would not help.
fn besides(target: &Target) -> String {
    match target {
        Target::Foreign { host } => {
            format!("; besides, the URL is not one of this service: its host is {host}")
        }
        Target::NoAttachment => "; besides, the URL is not one of an attachment".to_owned(),
        Target::UserInfo => "; besides, a URL with a user name or password is refused".to_owned(),
        Target::Attachment(_) | Target::NotAbsoluteHttp => String::new(),
    }
}

fn corrected(named: &[(usize, String)]) -> Option<String> {
    let lines: Vec<String> = named.iter().map(|(_, url)| line_for(url)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The different URLs of attachments of this service on a line, with their places.
fn attachments_in(text: &str, urls: &ServiceUrls) -> Vec<(usize, String)> {
    let starts: Vec<usize> = text
        .match_indices("://")
        .filter_map(|(at, _)| {
            ["https", "http"].into_iter().find_map(|scheme| {
                let start = at.checked_sub(scheme.len())?;
                let found = text.get(start..at)?.eq_ignore_ascii_case(scheme);
                found.then_some(start)
            })
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    let mut named = Vec::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let url = bare_url(&text[start..end]);
        if !url.contains("/attachments/") {
            continue;
        }
        let url = match urls.resolve(url) {
            Target::Attachment(_) => Some(url.to_owned()),
            Target::UserInfo => urls.repair(url),
            _ => None,
        };
        named.extend(url.filter(|url| seen.insert(url.clone())).map(|url| (start, url)));
    }
    named
}

impl Fault {
    /// Whether a line with this fault alone can only have been meant as a reference.
    fn leaves_no_doubt(self) -> bool {
        matches!(self, Self::Case | Self::Plural | Self::BlankAfterColon | Self::OtherQuotes(_))
    }

    fn reason(self) -> String {
        let said = match self {
            Self::Several => "several attachments on one line; each needs a line of its own",
            Self::Markup => {
                "markup on the line; it has to stand alone, without bullets, quoting, emphasis or backticks"
            }
            Self::TextBefore => "text before ATTACHMENT; the reference has to stand on a line of its own",
            Self::TextAfter => "text after the reference; it has to stand on a line of its own",
            Self::Case => "the word has to be ATTACHMENT, in capitals",
            Self::Plural => "the word has to be ATTACHMENT, in the singular",
            Self::BlankBeforeColon => "the colon has to follow ATTACHMENT without a space",
            Self::NotAColon(c) => return format!("a colon (:) has to follow ATTACHMENT, not {c}"),
            Self::NoColon => "a colon (:) has to follow ATTACHMENT",
            Self::BlankAfterColon => "the quote has to follow the colon without a space",
            Self::NoQuotes => "the URL has to stand in double quotes",
            Self::OtherQuotes(c) => {
                return format!("the URL has to stand in straight double quotes (\"), not {c}");
            }
            Self::EscapedQuotes => {
                "the double quotes are escaped; write them as they are, without a backslash or entity"
            }
            Self::UnbalancedQuotes => {
                "the quotes do not match; the URL has to stand between two double quotes"
            }
            Self::BlankInUrl => "a blank in the quoted URL; leave it out, or write %20 in the name",
            Self::Empty => "there is no URL between the quotes; put the URL that the upload returned",
            Self::NotAUrl => {
                "what is named is not an absolute http or https URL; put the URL that the upload returned"
            }
            Self::Invisible(c) => {
                return format!("an invisible character (U+{:04X}); remove it", u32::from(c));
            }
            Self::BareUrl => {
                "a bare attachment URL is not recognised; it has to stand on a line of its own, as ATTACHMENT:\"url\""
            }
        };
        said.to_owned()
    }
}

impl View {
    fn of(line: &str) -> Self {
        let mut text = String::with_capacity(line.len());
        let mut dropped = Vec::new();
        for (index, c) in line.chars().enumerate() {
            if is_invisible(c) && c != '\t' {
                dropped.push((text.len(), index + 1, c));
            } else {
                text.push(c);
            }
        }
        Self { text, dropped }
    }

    /// The column in the line of a byte offset in the view.
    fn column(&self, at: usize) -> usize {
        let hidden = self.dropped.partition_point(|(offset, ..)| *offset <= at);
        self.text[..at].chars().count() + hidden + 1
    }
}
