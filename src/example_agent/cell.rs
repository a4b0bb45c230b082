//! What one cell of a table says: a whole number, a number, a date, yes or no, nothing, or a text.
//!
//! Reading is strict on purpose: a cell counts as a number only when it is one from end to end, and
//! digits behind a leading zero (`01067`) are an identifier, not a number. Nothing is guessed from the
//! other cells; that is the column's work.

/// What a cell says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A finite number: with a fraction or an exponent, or too long for [`Value::Integer`].
    Number(f64),
    /// A date, with or without a time of day.
    Date(Readings),
    /// `true`, `false`, `yes` or `no`, in any letter case.
    Boolean,
    /// A mark that stands for a missing value, such as `NA`.
    Missing,
    /// Anything else.
    Text,
}

/// A moment in time, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since 1970-01-01; a time without an offset counts as UTC.
    pub seconds: i64,
    nanoseconds: u32,
}

/// The order in which a date is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOrder {
    /// `2026-11-22`, `2026/11/22`, `2026.11.22`, `2026-11`.
    YearMonthDay,
    /// `11/22/2026`, `11-22-2026`.
    MonthDayYear,
    /// `22.11.2026`, `22/11/2026`, `22-11-2026`.
    DayMonthYear,
}

/// The orders, in the sequence of [`Readings`]; where a column fits several, the first one is taken.
pub const DATE_ORDERS: [DateOrder; 3] =
    [DateOrder::YearMonthDay, DateOrder::MonthDayYear, DateOrder::DayMonthYear];

/// What a date means in each order of [`DATE_ORDERS`], where it means anything.
pub type Readings = [Option<Moment>; 3];

/// Reads a cell without blanks around it. With `decimal_comma`, `1,5` is a number.
pub fn read(cell: &str, decimal_comma: bool) -> Value {
    if is_missing_mark(cell) {
        return Value::Missing;
    }
    match cell.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b',') => {}
        _ if is_boolean(cell) => return Value::Boolean,
        _ => return Value::Text,
    }
    let number = if decimal_comma && cell.contains(',') && !cell.contains('.') {
        number(&cell.replace(',', "."))
    } else {
        number(cell)
    };
    number.or_else(|| date(cell).map(Value::Date)).unwrap_or(Value::Text)
}

/// Whether the cell is one of the marks that spreadsheets and statistics programs write for nothing.
fn is_missing_mark(cell: &str) -> bool {
    const MARKS: [&str; 6] = ["na", "n/a", "#n/a", "nan", "null", "none"];
    cell == "-" || MARKS.iter().any(|mark| cell.eq_ignore_ascii_case(mark))
}

/// Whether the cell could be a year that heads a column.
pub fn as_year(cell: &str) -> Option<i64> {
    match number(cell) {
        Some(Value::Integer(year @ 1800..=2200)) => Some(year),
        _ => None,
    }
}

fn is_boolean(cell: &str) -> bool {
    ["true", "false", "yes", "no"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

fn number(cell: &str) -> Option<Value> {
    let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    if let [b'0', b'0'..=b'9', ..] = unsigned.as_bytes() {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(integer) = cell.parse()
    {
        return Some(Value::Integer(integer));
    }
    // Excludes the words for infinity and for no number, which would parse.
    let is_plain = |byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let value: f64 = cell.bytes().all(is_plain).then(|| cell.parse().ok())??;
    value.is_finite().then_some(Value::Number(value))
}

fn date(cell: &str) -> Option<Readings> {
    if !(7..=40).contains(&cell.len()) || !cell.is_ascii() {
        return None;
    }
    let (days, time) = match cell.find(['T', ' ']) {
        Some(end) => (&cell[..end], Some(&cell[end + 1..])),
        None => (cell, None),
    };
    let separator = days.chars().find(|character| !character.is_ascii_digit())?;
    if !matches!(separator, '-' | '/' | '.') {
        return None;
    }
    let mut parts = days.split(separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let (second_number, clock) = (digits(second, 1..=2)?, time.map_or(Some((0, 0)), time_of_day)?);
    let moment = |year, month, day| {
        let seconds = days_since_1970(year, month, day)? * 86_400 + clock.0;
        Some(Moment { seconds, nanoseconds: clock.1 })
    };
    let readings = match (first.len(), third) {
        (4, Some(third)) => [moment(digits(first, 4..=4)?, second_number, digits(third, 1..=2)?), None, None],
        (4, None) if separator == '-' && second.len() == 2 && time.is_none() => {
            [moment(digits(first, 4..=4)?, second_number, 1), None, None]
        }
        (1 | 2, Some(third)) => {
            let (year, first) = (digits(third, 4..=4)?, digits(first, 1..=2)?);
            let month_first = if separator == '.' { None } else { moment(year, first, second_number) };
            [None, month_first, moment(year, second_number, first)]
        }
        _ => return None,
    };
    readings.iter().any(Option::is_some).then_some(readings)
}

/// Seconds and nanoseconds of `14:30`, `14:30:15.5`, `2:30 PM`, each with `Z`, `+02:00`, `+0200` or
/// `+02` behind it, or without. Seconds are since midnight UTC and may be negative.
fn time_of_day(text: &str) -> Option<(i64, u32)> {
    let (text, offset) = if let Some(text) = text.strip_suffix(['Z', 'z']) {
        (text, 0)
    } else if let Some(sign) = text.rfind(['+', '-']) {
        (&text[..sign], offset(&text[sign..])?)
    } else {
        (text, 0)
    };
    let text = text.trim_end();
    let half = text.len().checked_sub(2).map(|start| text.split_at(start));
    let (text, afternoon) = match half {
        Some((text, half)) if half.eq_ignore_ascii_case("am") => (text.trim_end(), Some(false)),
        Some((text, half)) if half.eq_ignore_ascii_case("pm") => (text.trim_end(), Some(true)),
        _ => (text, None),
    };
    let mut parts = text.split(':');
    let hour = digits(parts.next()?, 1..=2)?;
    let minute = digits(parts.next()?, 2..=2)?;
    let (second, nanoseconds) = match parts.next() {
        None => (0, 0),
        Some(part) => match part.split_once('.') {
            None => (digits(part, 2..=2)?, 0),
            Some((whole, fraction)) => {
                let value = digits(fraction, 1..=9)?;
                let scale = 10_i64.pow(9 - u32::try_from(fraction.len()).ok()?);
                (digits(whole, 2..=2)?, u32::try_from(value * scale).ok()?)
            }
        },
    };
    let hour = match afternoon {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(afternoon) => hour % 12 + if afternoon { 12 } else { 0 },
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((hour * 3600 + minute * 60 + second - offset, nanoseconds))
}

/// Seconds of an offset from UTC with its sign.
fn offset(text: &str) -> Option<i64> {
    let (sign, text) = text.split_at_checked(1)?;
    let (hours, minutes) = match text.split_once(':') {
        Some(parts) => parts,
        None => text.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() { 0 } else { digits(minutes, 2..=2)? };
    let seconds = digits(hours, 2..=2)? * 3600 + minutes * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let is_number = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, for dates that exist, years 1 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1 || !(1..=last_day).contains(&day) {
        return None;
    }
    // Counted in years that begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (153 * month + 2) / 5 + day - 719_469)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(cell: &str, order: DateOrder) -> Option<i64> {
        let place = DATE_ORDERS.iter().position(|known| *known == order).unwrap();
        match read(cell, false) {
            Value::Date(readings) => readings[place].map(|moment| moment.seconds),
            _ => None,
        }
    }

    #[test]
    fn numbers_are_strict() {
        assert_eq!(read("0", false), Value::Integer(0));
        assert_eq!(read("-12", false), Value::Integer(-12));
        assert_eq!(read("+7", false), Value::Integer(7));
        assert_eq!(read("0.5", false), Value::Number(0.5));
        assert_eq!(read(".5", false), Value::Number(0.5));
        assert_eq!(read("1e3", false), Value::Number(1000.0));
        assert_eq!(read("9223372036854775808", false), Value::Number(9.223_372_036_854_776e18));
        assert_eq!(read("1,5", true), Value::Number(1.5));
        assert_eq!(read("-1,5", true), Value::Number(-1.5));
        for text in ["01067", "1,5", "1e999", "inf", "+", ".", "0x10", "1 2", "e5", "5%", "1.2.3", "١"] {
            assert_eq!(read(text, false), Value::Text, "{text}");
        }
        for missing in ["NA", "n/a", "NaN", "null", "None", "-"] {
            assert_eq!(read(missing, false), Value::Missing, "{missing}");
        }
        assert_eq!(read("Yes", false), Value::Boolean);
        assert_eq!(as_year("2026"), Some(2026));
        assert_eq!(as_year("2026.5"), None);
    }

    #[test]
    fn dates_are_real_days() {
        use DateOrder::{DayMonthYear, MonthDayYear, YearMonthDay};
        assert_eq!(seconds("1970-01-01", YearMonthDay), Some(0));
        assert_eq!(seconds("2000-03-01", YearMonthDay), Some(951_868_800));
        assert_eq!(seconds("1600-02-29", YearMonthDay), Some(-11_670_998_400));
        assert_eq!(seconds("2026-11", YearMonthDay), seconds("2026-11-01", YearMonthDay));
        assert_eq!(seconds("22.11.2026", DayMonthYear), seconds("2026/11/22", YearMonthDay));
        assert_eq!(seconds("11/22/2026", MonthDayYear), seconds("2026-11-22", YearMonthDay));
        assert_eq!(seconds("11/22/2026", DayMonthYear), None);
        assert!(seconds("1/2/2026", DayMonthYear) > seconds("1/2/2026", MonthDayYear));
        for text in ["2025-02-29", "2026-13-01", "1900-02-29", "2026-00-10", "12-2026", "0000-01-01"] {
            assert_eq!(read(text, false), Value::Text, "{text}");
        }
    }

    #[test]
    fn times_and_offsets_count() {
        let order = DateOrder::YearMonthDay;
        assert_eq!(seconds("1970-01-01T00:00:10Z", order), Some(10));
        assert_eq!(seconds("1970-01-01 02:00:00.5+02:00", order), Some(0));
        assert_eq!(seconds("1970-01-01T00:00-0130", order), Some(5400));
        assert_eq!(seconds("1970-01-01 1:05 PM", order), Some(13 * 3600 + 300));
        assert_eq!(seconds("1970-01-01 12:00 AM", order), Some(0));
        assert_eq!(seconds("1970-01-01 25:00", order), None);
        assert_eq!(seconds("1970-01-01 13:00 PM", order), None);
    }

    proptest! {
        #[test]
        fn any_cell_can_be_read(cell in any::<String>(), near in "[0-9+.,:TZ/ APM-]{0,24}") {
            read(&cell, true);
            read(&near, true);
        }

        #[test]
        fn every_integer_reads_back(integer in any::<i64>()) {
            prop_assert_eq!(read(&integer.to_string(), false), Value::Integer(integer));
        }
    }
}
