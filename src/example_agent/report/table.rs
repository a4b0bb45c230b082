//! The part of the report that is about a table: an overview, then a section for each column.

use std::io::{self, Write};

use super::super::cell::DateOrder;
use super::super::column::{Column, ColumnType, DistinctCount};
use super::super::markdown::{count, exact, figure, text};
use super::super::numbers::Numbers;
use super::super::table::Table;

/// Values that are listed for a column.
const VALUES_SHOWN: usize = 5;

/// Writes what was found in a table: list items first, then the tables of figures.
pub fn write_table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    let header = if table.has_header { "yes, the first row" } else { "no" };
    let delimiter = match table.delimiter {
        b'\t' => "tab",
        b';' => "semicolon",
        b'|' => "vertical bar",
        _ => "comma",
    };
    writeln!(out, "- Rows: {}", table.rows)?;
    writeln!(out, "- Columns: {}", table.width)?;
    writeln!(out, "- Header: {header}")?;
    writeln!(out, "- Delimiter: {delimiter}")?;
    if table.decimal_comma {
        writeln!(out, "- A comma in a number counts as its decimal mark.")?;
    }
    if table.short_rows + table.long_rows > 0 {
        let ragged = table.short_rows + table.long_rows;
        let cells = count(table.expected_width as u64, "cell");
        let (short, long) = (table.short_rows, table.long_rows);
        writeln!(out, "- Ragged rows: {ragged} ({short} with fewer than {cells}, {long} with more)")?;
    }
    if let Some(reason) = &table.stopped {
        writeln!(out, "- **Stopped after {}**: {}", count(table.rows, "row"), text(reason))?;
    }
    if table.columns.len() < table.width {
        writeln!(out, "- Figures are given for the first {} columns.", table.columns.len())?;
    }
    write_overview(out, table)?;
    for (index, column) in table.columns.iter().enumerate() {
        writeln!(out, "\n### Column {}: {}\n", index + 1, text(&column.name))?;
        write_column(out, column, table.rows)?;
    }
    Ok(())
}

fn write_overview(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    writeln!(out, "\n| column | type | values | empty | minimum | maximum | mean |")?;
    writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")?;
    for column in &table.columns {
        let (minimum, maximum) = column.extremes().unwrap_or_default();
        let mean = match column.column_type() {
            ColumnType::Integer | ColumnType::Number | ColumnType::MostlyNumber => {
                figure(column.numbers.mean)
            }
            _ => String::new(),
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {mean} |",
            text(&column.name),
            type_name(column.column_type()),
            column.values(),
            table.rows - column.filled,
            minimum,
            maximum,
        )?;
    }
    Ok(())
}

fn write_column(out: &mut dyn Write, column: &Column, rows: u64) -> io::Result<()> {
    let column_type = column.column_type();
    writeln!(out, "| figure | value |\n| --- | ---: |")?;
    writeln!(out, "| type | {} |", type_name(column_type))?;
    writeln!(out, "| values | {} |", column.values())?;
    writeln!(out, "| empty | {} |", rows - column.filled)?;
    if column.missing > 0 {
        writeln!(out, "| marked as missing | {} |", column.missing)?;
    }
    match column.distinct() {
        DistinctCount::Exactly(distinct) => writeln!(out, "| distinct | {distinct} |")?,
        DistinctCount::MoreThan(bound) => writeln!(out, "| distinct | more than {bound} |")?,
    }
    if let Some((minimum, maximum)) = column.extremes() {
        writeln!(out, "| minimum | {minimum} |")?;
        writeln!(out, "| maximum | {maximum} |")?;
    }
    match column_type {
        ColumnType::Integer | ColumnType::Number | ColumnType::MostlyNumber => {
            write_numbers(out, column)?;
        }
        ColumnType::Date(order) => write_dates(out, column, order)?,
        ColumnType::Text | ColumnType::Boolean | ColumnType::Empty => {
            if let Some((shortest, longest)) = column.lengths {
                writeln!(out, "| shortest | {} |", count(shortest as u64, "character"))?;
                writeln!(out, "| longest | {} |", count(longest as u64, "character"))?;
            }
        }
    }
    match column_type {
        ColumnType::Text | ColumnType::Boolean | ColumnType::MostlyNumber => {
            write_frequent_values(out, column)
        }
        _ => Ok(()),
    }
}

fn write_numbers(out: &mut dyn Write, column: &Column) -> io::Result<()> {
    let numbers = &column.numbers;
    if numbers.count < column.values() {
        writeln!(out, "| of the values, numbers | {} |", numbers.count)?;
    }
    writeln!(out, "| mean | {} |", figure(numbers.mean))?;
    if let Some(deviation) = numbers.standard_deviation() {
        writeln!(out, "| standard deviation | {} |", figure(deviation))?;
    }
    writeln!(out, "| sum | {} |", column.sum())?;
    writeln!(out, "| first | {} |", exact(numbers.first))?;
    writeln!(out, "| last | {} |", exact(numbers.last))?;
    match numbers.trend() {
        None => writeln!(out, "\nTrend: too few values."),
        Some(trend) => writeln!(
            out,
            "\nTrend: {}, {} per row, correlation {}; {}.",
            trend.direction(),
            figure(trend.slope),
            figure(trend.correlation),
            change(numbers)
        ),
    }
}

fn write_dates(out: &mut dyn Write, column: &Column, order: DateOrder) -> io::Result<()> {
    let dates = column.dates(order);
    if let Some((_, _, days)) = dates.range() {
        writeln!(out, "| span | {} |", count(days.unsigned_abs(), "day"))?;
    }
    writeln!(out, "\nOrder of the rows: {}.", dates.row_order())?;
    if column.is_day_or_month_first() {
        writeln!(out, "\nThe dates were read with the month first; the day first would fit too.")?;
    }
    Ok(())
}

/// Lists the most frequent values of a column in which values repeat.
fn write_frequent_values(out: &mut dyn Write, column: &Column) -> io::Result<()> {
    let total = column.values();
    match column.distinct() {
        DistinctCount::Exactly(distinct) if (distinct as u64) < total => {}
        _ => return Ok(()),
    }
    writeln!(out, "\nMost frequent values:\n")?;
    for (value, times) in column.most_frequent(VALUES_SHOWN) {
        let share = 100.0 * times as f64 / total as f64;
        writeln!(out, "- {}: {} ({share:.1} %)", text(value), count(times, "time"))?;
    }
    Ok(())
}

fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Empty => "empty",
        ColumnType::Integer => "integer",
        ColumnType::Number => "number",
        ColumnType::Date(_) => "date",
        ColumnType::Boolean => "boolean",
        ColumnType::MostlyNumber => "text, mostly numbers",
        ColumnType::Text => "text",
    }
}

/// The change from the first to the last value: `from 2 in the first value to 3 in the last: +1 (+50.0 %)`.
fn change(numbers: &Numbers) -> String {
    let difference = numbers.last - numbers.first;
    let sign = if difference > 0.0 { "+" } else { "" };
    let share = if numbers.first == 0.0 || !difference.is_finite() {
        String::new()
    } else {
        format!(" ({sign}{:.1} %)", 100.0 * difference / numbers.first.abs())
    };
    format!(
        "from {} in the first value to {} in the last: {sign}{}{share}",
        exact(numbers.first),
        exact(numbers.last),
        figure(difference)
    )
}
