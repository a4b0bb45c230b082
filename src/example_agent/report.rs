//! The report: everything that was found, file by file, in Markdown.

mod table;

use std::io::{self, Write};

use super::FIRST_SENTENCE;
use super::column::DISTINCT_LIMIT;
use super::inspect::{Findings, Kind, Text};
use super::json::{JsonFacts, Key, TYPES};
use super::markdown::{count, size, text};
use super::numbers::TREND_CORRELATION;

/// Writes the beginning of the report.
pub fn write_opening(out: &mut dyn Write, prompt_bytes: u64, files: usize) -> io::Result<()> {
    writeln!(out, "# Report of the example agent\n")?;
    writeln!(out, "{FIRST_SENTENCE}\n")?;
    writeln!(out, "- Prompt: {} (counted, not acted on)", size(prompt_bytes))?;
    writeln!(out, "- Files: {files}")?;
    if files == 0 {
        writeln!(out, "\nNo files were attached.")?;
    }
    Ok(())
}

/// Writes what was found in one file, or why it could not be read.
pub fn write_file(out: &mut dyn Write, name: &str, findings: &Result<Findings, String>) -> io::Result<()> {
    writeln!(out, "\n## {}\n", text(name))?;
    let findings = match findings {
        Ok(findings) => findings,
        Err(reason) => return writeln!(out, "This file could not be read: {}", text(reason)),
    };
    writeln!(out, "- Kind: {}", kind_name(&findings.kind))?;
    writeln!(out, "- Size: {} bytes", findings.size)?;
    let comparison = match findings.is_as_declared {
        Some(true) => " (as the manifest declares)",
        Some(false) => " (**not what the manifest declares**)",
        None => "",
    };
    writeln!(out, "- SHA-256: {}{comparison}", findings.sha256)?;
    if let Some(declared) = &findings.declared_type {
        writeln!(out, "- Declared type: {}", text(declared))?;
    }
    match &findings.kind {
        Kind::Empty | Kind::Binary(None) => Ok(()),
        Kind::Binary(Some(found)) => writeln!(out, "- Type by its first bytes: {found}"),
        Kind::Table(written, table) => {
            write_encoding(out, written)?;
            table::write_table(out, table)
        }
        Kind::Json(written, facts) => {
            write_encoding(out, written)?;
            write_json(out, facts)
        }
        Kind::Text(written, reason) => {
            write_encoding(out, written)?;
            if let Some(reason) = reason {
                writeln!(out, "- Not valid JSON: {}", text(reason))?;
            }
            write_text(out, written)
        }
    }
}

/// Writes how the figures are to be read.
pub fn write_notes(out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "\n## How to read the figures\n
- Figures cover all rows; nothing is sampled. Empty cells and marks such as NA are no values.
- The standard deviation is that of a sample (divisor n - 1).
- A trend is the slope of the least-squares line over the rows in their order. It is called rising or
  falling where the correlation with the row number is at least {TREND_CORRELATION} in size, else flat.
- Distinct values are counted as they are written, up to {DISTINCT_LIMIT}.
"
    )
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Empty => "empty file",
        Kind::Table(..) => "table of delimited values",
        Kind::Json(_, facts) if facts.values > 1 => "JSON values, one after another",
        Kind::Json(..) => "JSON document",
        Kind::Text(..) => "text",
        Kind::Binary(_) => "not a text",
    }
}

fn write_encoding(out: &mut dyn Write, written: &Text) -> io::Result<()> {
    let ascii_only = if written.facts.is_ascii { ", ASCII only" } else { "" };
    writeln!(out, "- Encoding: {}{ascii_only}", written.encoding.label())
}

fn write_text(out: &mut dyn Write, written: &Text) -> io::Result<()> {
    let unit = if written.facts.is_utf8 { "character" } else { "byte" };
    writeln!(out, "- Lines: {}", written.facts.lines)?;
    writeln!(out, "- Words: {}", written.facts.words)?;
    writeln!(out, "- Longest line: {}", count(written.facts.longest_line, unit))
}

fn write_json(out: &mut dyn Write, facts: &JsonFacts) -> io::Result<()> {
    if facts.values > 1 {
        writeln!(out, "- Values: {}", facts.values)?;
    } else if let Some(first) = facts.first {
        let length = match first.type_name() {
            "object" => format!(", {}", count(first.length, "member")),
            "array" => format!(", {}", count(first.length, "element")),
            "string" => format!(", {}", count(first.length, "character")),
            _ => String::new(),
        };
        writeln!(out, "- Top level: {}{length}", first.type_name())?;
    }
    writeln!(out, "- Depth: {}", facts.depth)?;
    writeln!(out, "\n| type | count |\n| --- | ---: |")?;
    for (name, times) in TYPES.iter().zip(facts.counts) {
        writeln!(out, "| {name} | {times} |")?;
    }
    if facts.keys.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nMembers of {}:\n", count(facts.records, "object"))?;
    writeln!(out, "| member | objects | types | length |\n| --- | ---: | --- | --- |")?;
    for key in &facts.keys {
        let length = match key.lengths {
            Some((least, most)) if least == most => least.to_string(),
            Some((least, most)) => format!("{least} to {most}"),
            None => String::new(),
        };
        writeln!(out, "| {} | {} | {} | {length} |", text(&key.name), key.count, key_types(key))?;
    }
    if facts.more_keys {
        writeln!(out, "\nThere are further members.")?;
    }
    Ok(())
}

fn key_types(key: &Key) -> String {
    let found = TYPES.iter().zip(key.counts).filter(|(_, times)| *times > 0);
    found.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
