//! One column of a table: its cells go in one by one, its figures come out at the end.
//!
//! A column holds a fixed number of figures and at most [`DISTINCT_LIMIT`] different values of at most
//! [`DISTINCT_BYTES`] together, whatever the number of rows. All figures are exact up to floating-point
//! rounding; nothing is sampled.

use std::collections::HashMap;

use super::cell::{self, DATE_ORDERS, DateOrder, Moment, Readings, Value};
use super::markdown::{exact, total};
use super::numbers::{Integers, Numbers};

/// Different values of a column that are told apart; beyond, their number is only known to be higher.
pub const DISTINCT_LIMIT: usize = 1000;

/// Bytes of different values that a column keeps.
pub const DISTINCT_BYTES: usize = 64 * 1024;

/// What a column is made of, empty cells and marks for missing values not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// No values at all.
    Empty,
    /// Whole numbers only.
    Integer,
    /// Numbers only.
    Number,
    /// Dates only, all of them written in this order.
    Date(DateOrder),
    /// Only `true`, `false`, `yes` and `no`.
    Boolean,
    /// Anything else, but nine out of ten values are numbers.
    MostlyNumber,
    /// Anything else.
    Text,
}

/// The cells of one column, summed up.
#[derive(Debug)]
pub struct Column {
    /// The name from the header row, or one that says which column it is.
    pub name: String,
    /// Cells that are not empty.
    pub filled: u64,
    /// Filled cells that hold a mark for a missing value.
    pub missing: u64,
    /// The numbers among the cells.
    pub numbers: Numbers,
    /// Characters of the shortest and of the longest value.
    pub lengths: Option<(usize, usize)>,
    integers: Integers,
    booleans: u64,
    dates: [Dates; 3],
    distinct: Distinct,
}

/// Dates of one written order, summed up in row order.
#[derive(Debug, Default)]
pub struct Dates {
    count: u64,
    earliest: Option<(Moment, String)>,
    latest: Option<(Moment, String)>,
    previous: Option<Moment>,
    steps_back: u64,
    steps_forward: u64,
}

/// How many different values a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistinctCount {
    /// Exactly so many.
    Exactly(usize),
    /// More than so many, beyond what is kept.
    MoreThan(usize),
}

/// The different values of a column and how often each occurs.
#[derive(Debug, Default)]
struct Distinct {
    counts: HashMap<Box<str>, u64>,
    bytes: usize,
    /// How many there were when there was no more room; the values are then gone.
    given_up_at: Option<usize>,
}

impl Column {
    /// A column without cells.
    pub fn new(name: String) -> Column {
        Column {
            name,
            filled: 0,
            missing: 0,
            numbers: Numbers::default(),
            lengths: None,
            integers: Integers::default(),
            booleans: 0,
            dates: Default::default(),
            distinct: Distinct::default(),
        }
    }

    /// Takes in the cell of row number `row`; blanks around it do not count.
    pub fn take(&mut self, row: u64, cell: &str, decimal_comma: bool) {
        let cell = cell.trim();
        if cell.is_empty() {
            return;
        }
        self.filled += 1;
        let value = cell::read(cell, decimal_comma);
        if value == Value::Missing {
            self.missing += 1;
            return;
        }
        let length = cell.chars().count();
        let (shortest, longest) = self.lengths.unwrap_or((length, length));
        self.lengths = Some((shortest.min(length), longest.max(length)));
        self.distinct.take(cell);
        match value {
            Value::Integer(integer) => {
                self.integers.take(integer);
                self.numbers.take(row, integer as f64);
            }
            Value::Number(number) => self.numbers.take(row, number),
            Value::Date(readings) => self.take_date(&readings, cell),
            Value::Boolean => self.booleans += 1,
            Value::Missing | Value::Text => {}
        }
    }

    /// Filled cells that do not hold a mark for a missing value.
    pub fn values(&self) -> u64 {
        self.filled - self.missing
    }

    /// What the column is made of.
    pub fn column_type(&self) -> ColumnType {
        let values = self.values();
        let date_order = DATE_ORDERS.into_iter().zip(&self.dates).find(|(_, dates)| dates.count == values);
        if values == 0 {
            ColumnType::Empty
        } else if self.integers.count == values {
            ColumnType::Integer
        } else if self.numbers.count == values {
            ColumnType::Number
        } else if let Some((order, _)) = date_order {
            ColumnType::Date(order)
        } else if self.booleans == values {
            ColumnType::Boolean
        } else if self.numbers.count >= values - values / 10 {
            ColumnType::MostlyNumber
        } else {
            ColumnType::Text
        }
    }

    /// The smallest and the greatest number or the earliest and the latest date, as text; `None` for
    /// columns of other types.
    pub fn extremes(&self) -> Option<(String, String)> {
        match self.column_type() {
            ColumnType::Integer | ColumnType::Number | ColumnType::MostlyNumber => {
                match self.integers.range {
                    Some((minimum, maximum)) if self.has_integers_only() => {
                        Some((minimum.to_string(), maximum.to_string()))
                    }
                    _ => Some((exact(self.numbers.minimum), exact(self.numbers.maximum))),
                }
            }
            ColumnType::Date(order) => {
                let (earliest, latest, _) = self.dates(order).range()?;
                Some((earliest.to_owned(), latest.to_owned()))
            }
            ColumnType::Empty | ColumnType::Boolean | ColumnType::Text => None,
        }
    }

    /// The sum of the numbers as text, not rounded where all of them are whole numbers.
    pub fn sum(&self) -> String {
        if self.has_integers_only() { self.integers.sum.to_string() } else { total(self.numbers.sum()) }
    }

    /// The dates as written in `order`.
    pub fn dates(&self, order: DateOrder) -> &Dates {
        &self.dates[order as usize]
    }

    /// Whether the dates would make as much sense with day and month exchanged.
    pub fn is_day_or_month_first(&self) -> bool {
        let month_first = self.dates(DateOrder::MonthDayYear).count;
        month_first > 0 && month_first == self.dates(DateOrder::DayMonthYear).count
    }

    /// The number of different values, as they are written.
    pub fn distinct(&self) -> DistinctCount {
        match self.distinct.given_up_at {
            Some(count) => DistinctCount::MoreThan(count),
            None => DistinctCount::Exactly(self.distinct.counts.len()),
        }
    }

    /// The `limit` most frequent values with their counts, most frequent first and equal ones by name;
    /// empty when there are too many different ones.
    pub fn most_frequent(&self, limit: usize) -> Vec<(&str, u64)> {
        let counts = self.distinct.counts.iter();
        let mut values: Vec<(&str, u64)> = counts.map(|(value, count)| (&**value, *count)).collect();
        values.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
        values.truncate(limit);
        values
    }

    fn has_integers_only(&self) -> bool {
        self.integers.count == self.numbers.count
    }

    fn take_date(&mut self, readings: &Readings, cell: &str) {
        for (dates, reading) in self.dates.iter_mut().zip(readings) {
            if let Some(moment) = reading {
                dates.take(*moment, cell);
            }
        }
    }
}

impl Dates {
    fn take(&mut self, moment: Moment, cell: &str) {
        self.count += 1;
        if self.earliest.as_ref().is_none_or(|(earliest, _)| moment < *earliest) {
            self.earliest = Some((moment, cell.to_owned()));
        }
        if self.latest.as_ref().is_none_or(|(latest, _)| moment > *latest) {
            self.latest = Some((moment, cell.to_owned()));
        }
        if let Some(previous) = self.previous {
            self.steps_back += u64::from(moment < previous);
            self.steps_forward += u64::from(moment > previous);
        }
        self.previous = Some(moment);
    }

    /// The earliest and the latest date as they are written, and the whole days between them.
    pub fn range(&self) -> Option<(&str, &str, i64)> {
        let ((from, from_cell), (to, to_cell)) = (self.earliest.as_ref()?, self.latest.as_ref()?);
        Some((from_cell, to_cell, (to.seconds - from.seconds) / 86_400))
    }

    /// How the dates are ordered from row to row.
    pub fn row_order(&self) -> &'static str {
        match (self.steps_forward, self.steps_back) {
            (0, 0) => "all the same",
            (_, 0) => "ascending",
            (0, _) => "descending",
            _ => "not sorted",
        }
    }
}

impl Distinct {
    fn take(&mut self, value: &str) {
        if self.given_up_at.is_some() {
            return;
        }
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
            return;
        }
        if self.counts.len() == DISTINCT_LIMIT || self.bytes + value.len() > DISTINCT_BYTES {
            self.given_up_at = Some(self.counts.len());
            self.counts = HashMap::new();
            return;
        }
        self.bytes += value.len();
        self.counts.insert(value.into(), 1);
    }
}
