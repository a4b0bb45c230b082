//! The answer: a short message for a person, a line for each file.

use std::io::{self, Write};

use super::FIRST_SENTENCE;
use super::column::ColumnType;
use super::inspect::{Findings, Kind};
use super::json::JsonFacts;
use super::markdown::{count, exact, figure, quoted, size};
use super::table::Table;

/// Columns of numbers that are mentioned for each table.
const COLUMNS_MENTIONED: usize = 3;

/// Writes the answer about `files` files, of which `lines` describe the first ones.
pub fn write(answer: &mut dyn Write, lines: &[String], files: usize) -> io::Result<()> {
    writeln!(answer, "{FIRST_SENTENCE}\n")?;
    match files {
        0 => writeln!(answer, "No files were attached.")?,
        _ => writeln!(answer, "It looked at {}:\n", count(files as u64, "file"))?,
    }
    for line in lines {
        writeln!(answer, "- {line}")?;
    }
    if files > lines.len() {
        writeln!(answer, "- and {} more", files - lines.len())?;
    }
    writeln!(answer, "\nThe full report is in output/report.md.")?;
    answer.flush()
}

/// The line about one file.
pub fn line(name: &str, findings: &Result<Findings, String>) -> String {
    let name = quoted(name);
    let findings = match findings {
        Ok(findings) => findings,
        Err(reason) => return format!("{name} could not be read: {reason}"),
    };
    let about = match &findings.kind {
        Kind::Empty => "empty".to_owned(),
        Kind::Table(_, table) => about_table(table),
        Kind::Json(_, facts) => about_json(facts),
        Kind::Text(written, reason) => {
            let lines = count(written.facts.lines, "line");
            let words = count(written.facts.words, "word");
            let but = if reason.is_some() { ", not valid JSON" } else { "" };
            format!("text, {lines} and {words}{but}")
        }
        Kind::Binary(found) => found.unwrap_or("of unknown type").to_owned(),
    };
    let differs = match findings.is_as_declared {
        Some(false) => "; its SHA-256 is not what the manifest declares",
        _ => "",
    };
    format!("{name} ({}): {about}{differs}", size(findings.size))
}

fn about_table(table: &Table) -> String {
    let ragged = match table.short_rows + table.long_rows {
        0 => String::new(),
        rows => format!(" ({rows} ragged)"),
    };
    let rows = count(table.rows, "row");
    let columns = count(table.width as u64, "column");
    let stopped = if table.stopped.is_some() { ", not read to the end" } else { "" };
    let mut line = format!("table, {rows}{ragged} and {columns}{stopped}");
    let of_numbers = table
        .columns
        .iter()
        .filter(|column| matches!(column.column_type(), ColumnType::Integer | ColumnType::Number));
    for column in of_numbers.take(COLUMNS_MENTIONED) {
        let numbers = &column.numbers;
        line.push_str(&format!(
            "; {}: mean {}, sum {}, {} to {}",
            quoted(&column.name),
            figure(numbers.mean),
            column.sum(),
            exact(numbers.minimum),
            exact(numbers.maximum),
        ));
        if let Some(trend) = numbers.trend() {
            line.push_str(&format!(", {}", trend.direction()));
        }
    }
    line
}

fn about_json(facts: &JsonFacts) -> String {
    match facts.first {
        Some(first) if facts.values == 1 => match first.type_name() {
            "object" => format!("JSON, an object of {}", count(first.length, "member")),
            "array" => format!("JSON, an array of {}", count(first.length, "element")),
            other => format!("JSON, a single {other}"),
        },
        _ => format!("JSON, {} one after another", count(facts.values, "value")),
    }
}
