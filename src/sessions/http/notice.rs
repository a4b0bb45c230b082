//! What an answer says besides the result (contract, sections 2 and 3): near misses in the text, and
//! fields without effect.
//!
//! A notice about a field stands at line 0, column 0 (lines count from 1, so no line is meant) and
//! has nothing to correct: clients that read `line` and `column` as integers go on working.

use serde::Serialize;
use utoipa::ToSchema;

use crate::attachments::reference;
use crate::sessions::words;

/// Fields named in notices at most: a hostile body does not make a long answer.
const FIELDS_NAMED: usize = 20;
/// Characters of a field's name that a notice repeats at most.
const NAME_SHOWN: usize = 80;

/// Something about the request that its sender should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Notice)]
pub struct Notice {
    /// The line of the text, from 1; 0 for a notice about a field of the request.
    pub line: usize,
    /// The column in that line, from 1, in Unicode scalar values; 0 for a notice about a field.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
    /// What to write in place of the line, if any spelling would work.
    #[schema(required = true)]
    pub corrected: Option<String>,
}

impl From<reference::Notice> for Notice {
    fn from(found: reference::Notice) -> Self {
        Self { line: found.line, column: found.column, reason: found.reason, corrected: found.corrected }
    }
}

/// Fields of a request that were accepted and change nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct WithoutEffect {
    /// Fields of the API that this service does not act upon; those of a create call are kept.
    pub(super) known: Vec<&'static str>,
    /// Members that are no fields of the call; they are not kept.
    pub(super) unknown: Vec<String>,
}

/// The notices of an answer: those about the text, then those about fields.
pub(super) fn notices(text: Vec<reference::Notice>, fields: &WithoutEffect) -> Vec<Notice> {
    let known = fields
        .known
        .iter()
        .map(|name| format!("the field `{name}` was accepted but has no effect on this service"));
    let unknown = fields.unknown.iter().map(|name| {
        let name: String = name.chars().take(NAME_SHOWN).collect();
        format!("`{name}` is no field of this call and was ignored: check its spelling")
    });
    let fields = known.chain(unknown).take(FIELDS_NAMED);
    let fields = fields.map(about_no_line);
    let more = text.len().saturating_sub(words::LISTED);
    let more = (more > 0).then(|| about_no_line(words::and_more(more)));
    let text = text.into_iter().take(words::LISTED).map(Notice::from);
    text.chain(more).chain(fields).collect()
}

fn about_no_line(reason: String) -> Notice {
    Notice { line: 0, column: 0, reason, corrected: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_near_misses_the_first_are_told_and_the_number_of_the_rest() {
        let near_miss = reference::Notice { line: 3, column: 1, reason: "r".to_owned(), corrected: None };
        let found = notices(vec![near_miss; 250], &WithoutEffect::default());
        assert_eq!((found.len(), found[100].reason.as_str()), (101, "and 150 more"));
    }

    #[test]
    fn the_text_comes_first_and_the_fields_are_bounded() {
        let near_miss = reference::Notice { line: 3, column: 1, reason: "r".to_owned(), corrected: None };
        let fields = WithoutEffect {
            known: vec!["platform"],
            unknown: (0..50).map(|i| format!("{i}{}", "x".repeat(200))).collect(),
        };
        let found = notices(vec![near_miss], &fields);
        assert_eq!(found.len(), 1 + FIELDS_NAMED);
        assert_eq!((found[0].line, found[1].line), (3, 0));
        assert!(found[1].reason.contains("`platform`"));
        assert!(found[2].reason.len() < 200);
    }
}
