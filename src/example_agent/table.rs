//! Reading a table of delimited values (CSV and its relatives, RFC 4180 read liberally).
//!
//! The delimiter and the header row are worked out from the first 64 KiB; then the rows stream by, one
//! at a time. A row that never ends (an unclosed quote) stops the reading at [`ROW_LIMIT`], and the
//! table then says how far its figures go. Rows with too few or too many cells are counted, not
//! refused: missing cells are empty, additional ones make additional columns.

use std::io;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::cell::{self, Value};
use super::column::Column;
use super::source::{self, Encoding, Meter};

/// Bytes of one row; the reading stops at a longer one.
pub const ROW_LIMIT: usize = 2 * 1024 * 1024;

/// Columns for which figures are kept; further ones are only counted.
pub const COLUMN_LIMIT: usize = 200;

/// The delimiters that are recognised.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// Rows that decide whether there is a header row.
const HEADER_SAMPLE: usize = 50;

/// A table, summed up.
#[derive(Debug)]
pub struct Table {
    /// The character between cells.
    pub delimiter: u8,
    /// Whether the first row names the columns.
    pub has_header: bool,
    /// Rows, the header row not counted.
    pub rows: u64,
    /// Columns: cells of the longest row.
    pub width: usize,
    /// Cells that a row ought to have.
    pub expected_width: usize,
    /// Rows with fewer cells than that.
    pub short_rows: u64,
    /// Rows with more cells than that.
    pub long_rows: u64,
    /// Whether a comma was read as a decimal mark.
    pub decimal_comma: bool,
    /// The columns, at most [`COLUMN_LIMIT`].
    pub columns: Vec<Column>,
    /// Why the reading stopped before the end of the file, if it did.
    pub stopped: Option<String>,
}

/// How a table is written, as far as its beginning shows.
struct Layout {
    delimiter: u8,
    /// Cells of most rows; 0 where not one whole row is in the beginning.
    width: usize,
    has_header: bool,
    /// Whether the first line is `sep=;`, as some spreadsheets write it.
    has_separator_line: bool,
}

/// Reads the table at `path`. `usual_delimiter` is the one that the name or the type suggests.
///
/// # Errors
///
/// The file cannot be opened or its beginning cannot be read. Later errors end up in
/// [`Table::stopped`].
pub fn read(path: &Path, encoding: Encoding, usual_delimiter: u8) -> io::Result<Table> {
    let mut beginning = vec![0; source::CHUNK];
    let count = source::fill(&mut *source::open_decoded(path, encoding)?, &mut beginning)?;
    let is_whole = count < beginning.len();
    beginning.truncate(count);
    let layout = Layout::of(&beginning, is_whole, usual_delimiter);

    let mut table = Table {
        delimiter: layout.delimiter,
        has_header: layout.has_header,
        rows: 0,
        width: 0,
        expected_width: layout.width,
        short_rows: 0,
        long_rows: 0,
        decimal_comma: layout.delimiter == b';',
        columns: Vec::new(),
        stopped: None,
    };
    table.stopped = table.take_rows(path, encoding, &layout).err().map(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => "a row could not be read".to_owned(),
    });
    Ok(table)
}

impl Table {
    fn take_rows(&mut self, path: &Path, encoding: Encoding, layout: &Layout) -> csv::Result<()> {
        let (meter, source) = Meter::around(
            source::open_decoded(path, encoding)?,
            ROW_LIMIT,
            "a row is longer than 2 MiB; is a quote left open?",
        );
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(layout.delimiter)
            .buffer_capacity(source::CHUNK)
            .from_reader(source);
        let mut record = ByteRecord::new();
        if layout.has_separator_line {
            reader.read_byte_record(&mut record)?;
        }
        if layout.has_header {
            meter.reset();
            reader.read_byte_record(&mut record)?;
            self.width = record.len();
            if self.expected_width == 0 {
                self.expected_width = record.len();
            }
            let names = record.iter().take(COLUMN_LIMIT);
            self.columns = names
                .enumerate()
                .map(|(index, name)| match text_of(name) {
                    name if name.is_empty() => unnamed(index),
                    name => Column::new(name),
                })
                .collect();
        }
        loop {
            meter.reset();
            if !reader.read_byte_record(&mut record)? {
                return Ok(());
            }
            self.take_row(&record);
        }
    }

    fn take_row(&mut self, record: &ByteRecord) {
        if self.expected_width == 0 {
            self.expected_width = record.len();
        }
        self.short_rows += u64::from(record.len() < self.expected_width);
        self.long_rows += u64::from(record.len() > self.expected_width);
        self.width = self.width.max(record.len());
        while self.columns.len() < record.len().min(COLUMN_LIMIT) {
            self.columns.push(unnamed(self.columns.len()));
        }
        for (column, cell) in self.columns.iter_mut().zip(record) {
            column.take(self.rows, &String::from_utf8_lossy(cell), self.decimal_comma);
        }
        self.rows += 1;
    }
}

impl Layout {
    fn of(beginning: &[u8], is_whole: bool, usual_delimiter: u8) -> Layout {
        let named = separator_line(beginning);
        let skipped = usize::from(named.is_some());
        let delimiter = named.unwrap_or_else(|| likeliest_delimiter(beginning, is_whole, usual_delimiter));
        let mut rows = rows_of(beginning, is_whole, delimiter);
        rows.drain(..skipped.min(rows.len()));
        // The only row may go on beyond the beginning.
        let is_cut = !is_whole && rows.len() == 1;
        Layout {
            delimiter,
            width: if is_cut { 0 } else { usual_width(&rows).0 },
            has_header: starts_with_header(&rows, delimiter == b';'),
            has_separator_line: named.is_some(),
        }
    }
}

fn unnamed(index: usize) -> Column {
    Column::new(format!("(column {})", index + 1))
}

/// The delimiter that a first line such as `sep=;` names.
fn separator_line(beginning: &[u8]) -> Option<u8> {
    match beginning {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, b'\r' | b'\n', ..] => {
            DELIMITERS.contains(delimiter).then_some(*delimiter)
        }
        _ => None,
    }
}

/// The delimiter that gives most rows the same number of cells (at least two); among equals the one
/// whose cells are more often numbers or dates, then the usual one, then the one with more cells.
fn likeliest_delimiter(beginning: &[u8], is_whole: bool, usual: u8) -> u8 {
    let rank = |delimiter: u8| {
        let rows = rows_of(beginning, is_whole, delimiter);
        let (width, agreeing) = usual_width(&rows);
        if width < 2 {
            return None;
        }
        let cells = || rows.iter().flatten();
        let typed = cells().filter(|cell| is_typed(cell, delimiter == b';')).count();
        let share = |part: usize, whole: usize| part * 1000 / whole.max(1);
        let agreement = share(agreeing, rows.len());
        Some((agreement, share(typed, cells().count()), delimiter == usual, width))
    };
    DELIMITERS
        .into_iter()
        .filter_map(|delimiter| Some((rank(delimiter)?, delimiter)))
        .max()
        .map_or(usual, |(_, delimiter)| delimiter)
}

/// The rows of a table's beginning; the last one is left out where it may be cut off.
fn rows_of(beginning: &[u8], is_whole: bool, delimiter: u8) -> Vec<ByteRecord> {
    let mut rows: Vec<ByteRecord> = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(beginning)
        .into_byte_records()
        .filter_map(Result::ok)
        .collect();
    if !is_whole && rows.len() > 1 {
        rows.pop();
    }
    rows
}

/// The most frequent number of cells in a row, and how many rows have it; the greater of equals.
fn usual_width(rows: &[ByteRecord]) -> (usize, usize) {
    let mut widths: Vec<usize> = rows.iter().map(ByteRecord::len).collect();
    widths.sort_unstable();
    widths
        .chunk_by(usize::eq)
        .map(|same| (same[0], same.len()))
        .max_by_key(|(width, count)| (*count, *width))
        .unwrap_or((0, 0))
}

/// Whether the first row names the columns.
///
/// It does not when all its cells are empty or one is a number, a date or a yes or no (ascending years
/// excepted, which head the columns of many statistics). Otherwise it does when some column holds such
/// values below it, or when its names are all different.
fn starts_with_header(rows: &[ByteRecord], decimal_comma: bool) -> bool {
    let Some((first, body)) = rows.split_first() else {
        return false;
    };
    if first.iter().all(<[u8]>::is_empty) {
        return false;
    }
    if first.iter().any(|cell| is_typed(cell, decimal_comma)) {
        return are_years(first, decimal_comma)
            && body.first().is_some_and(|row| !are_years(row, decimal_comma));
    }
    let body = &body[..body.len().min(HEADER_SAMPLE)];
    let has_typed_column = (0..first.len()).any(|column| {
        let cells = || body.iter().filter_map(|row| row.get(column));
        let typed = cells().filter(|cell| is_typed(cell, decimal_comma)).count();
        typed > 0 && typed * 2 >= cells().filter(|cell| !cell.is_empty()).count()
    });
    let mut names: Vec<&[u8]> = first.iter().collect();
    names.sort_unstable();
    has_typed_column || names.windows(2).all(|pair| pair[0] != pair[1])
}

/// Whether the numbers and dates of a row are at least two years, one higher than the other.
fn are_years(row: &ByteRecord, decimal_comma: bool) -> bool {
    let typed: Vec<&[u8]> = row.iter().filter(|cell| is_typed(cell, decimal_comma)).collect();
    let years: Vec<i64> = typed.iter().filter_map(|cell| cell::as_year(&text_of(cell))).collect();
    years.len() == typed.len() && years.len() >= 2 && years.windows(2).all(|pair| pair[0] < pair[1])
}

/// Whether a cell is more than a text.
fn is_typed(cell: &[u8], decimal_comma: bool) -> bool {
    !matches!(cell::read(&text_of(cell), decimal_comma), Value::Text | Value::Missing)
}

fn text_of(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(beginning: &str) -> (char, usize, bool) {
        let layout = Layout::of(beginning.as_bytes(), true, b',');
        (char::from(layout.delimiter), layout.width, layout.has_header)
    }

    #[test]
    fn delimiters_are_told_apart() {
        assert_eq!(layout("a,b\n1,2\n").0, ',');
        assert_eq!(layout("a;b\n1,5;2,5\n").0, ';');
        assert_eq!(layout("1,5;2,5\n3,5;4,5\n").0, ';');
        assert_eq!(layout("a\tb\n1, x\t2\n").0, '\t');
        assert_eq!(layout("a|b\n1|2\n").0, '|');
        assert_eq!(layout("name,note\nx,\"a;b;c\"\ny,\"d;e;f\"\n"), (',', 2, true));
        assert_eq!(layout("sep=|\na|b,c\n1|2\n"), ('|', 2, true));
        assert_eq!(layout("only\none\n"), (',', 1, true));
        assert_eq!(layout(""), (',', 0, false));
    }

    #[test]
    fn header_rows_are_told_apart() {
        assert!(layout("name,price\nx,1\n").2);
        assert!(!layout("x,1\ny,2\n").2);
        assert!(!layout("2026-01-01,1\n2026-01-02,2\n").2);
        assert!(layout("country,2019,2020,2021\nA,1.5,2.5,3\n").2);
        assert!(!layout("A,1990,2000\nB,1991,2001\n").2);
        assert!(layout(",a,b\n0,x,y\n").2);
        assert!(layout("value,value\n1,2\n").2);
        assert!(!layout("red,red\nblue,red\n").2);
        assert!(layout("first,second\nx,y\n").2);
        assert!(!layout(",\n1,2\n").2);
        assert!(layout("a,b\n").2);
    }

    #[test]
    fn the_width_is_the_usual_one() {
        assert_eq!(layout("a,b,c\n1,2,3\n4,5\n6,7,8\n").1, 3);
    }
}
