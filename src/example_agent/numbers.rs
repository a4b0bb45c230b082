//! Figures about numbers that come one by one: sum, mean, deviation, and the trend over the rows.
//!
//! Each takes constant memory. Mean and deviations follow Welford's method, the sum Neumaier's, so that
//! long columns and great numbers keep their digits.

/// Correlation with the row number from which on a column counts as rising or falling.
pub const TREND_CORRELATION: f64 = 0.3;

/// Whole numbers, summed up without rounding.
#[derive(Debug, Default)]
pub struct Integers {
    /// How many there are.
    pub count: u64,
    /// The smallest and the greatest.
    pub range: Option<(i64, i64)>,
    /// Their sum.
    pub sum: i128,
}

/// Numbers, summed up in row order.
#[derive(Debug, Default)]
pub struct Numbers {
    /// How many there are.
    pub count: u64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
    /// The first in row order.
    pub first: f64,
    /// The last in row order.
    pub last: f64,
    /// The arithmetic mean.
    pub mean: f64,
    sum: f64,
    sum_correction: f64,
    mean_row: f64,
    square_deviation: f64,
    square_row_deviation: f64,
    joint_deviation: f64,
}

/// How numbers change from row to row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Slope of the least-squares line, per row.
    pub slope: f64,
    /// Pearson's correlation with the row number, -1 to 1; 0 where all numbers are equal.
    pub correlation: f64,
}

impl Integers {
    /// Adds a whole number.
    pub fn take(&mut self, integer: i64) {
        let (minimum, maximum) = self.range.unwrap_or((integer, integer));
        self.range = Some((minimum.min(integer), maximum.max(integer)));
        self.count += 1;
        self.sum += i128::from(integer);
    }
}

impl Numbers {
    /// Adds the number of row number `row`; Welford's method for mean and deviations, Neumaier's for the sum.
    pub fn take(&mut self, row: u64, number: f64) {
        if self.count == 0 {
            self.minimum = number;
            self.maximum = number;
            self.first = number;
        }
        self.minimum = self.minimum.min(number);
        self.maximum = self.maximum.max(number);
        self.last = number;
        self.count += 1;

        let sum = self.sum + number;
        self.sum_correction += if self.sum.abs() >= number.abs() {
            (self.sum - sum) + number
        } else {
            (number - sum) + self.sum
        };
        self.sum = sum;

        let count = self.count as f64;
        let row = row as f64;
        let from_old_row = row - self.mean_row;
        let from_old_mean = number - self.mean;
        self.mean_row += from_old_row / count;
        self.mean += from_old_mean / count;
        self.square_row_deviation += from_old_row * (row - self.mean_row);
        self.square_deviation += from_old_mean * (number - self.mean);
        self.joint_deviation += from_old_row * (number - self.mean);
    }

    /// The sum.
    pub fn sum(&self) -> f64 {
        self.sum + self.sum_correction
    }

    /// The sample standard deviation (divisor n - 1); `None` for fewer than two numbers.
    pub fn standard_deviation(&self) -> Option<f64> {
        (self.count >= 2).then(|| (self.square_deviation / (self.count - 1) as f64).sqrt())
    }

    /// The trend over the rows; `None` for fewer than three numbers.
    pub fn trend(&self) -> Option<Trend> {
        let scale = self.square_row_deviation.sqrt() * self.square_deviation.sqrt();
        (self.count >= 3).then(|| Trend {
            slope: self.joint_deviation / self.square_row_deviation,
            correlation: if scale == 0.0 { 0.0 } else { (self.joint_deviation / scale).clamp(-1.0, 1.0) },
        })
    }
}

impl Trend {
    /// `rising`, `falling` or `flat`, by [`TREND_CORRELATION`].
    pub fn direction(&self) -> &'static str {
        if self.correlation >= TREND_CORRELATION {
            "rising"
        } else if self.correlation <= -TREND_CORRELATION {
            "falling"
        } else {
            "flat"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Numbers {
        let mut numbers = Numbers::default();
        for (row, value) in values.iter().enumerate() {
            numbers.take(row as u64, *value);
        }
        numbers
    }

    #[test]
    fn a_straight_line_is_found() {
        let trend = numbers(&[7.0, 5.0, 3.0, 1.0]).trend().unwrap();
        assert_eq!(trend.direction(), "falling");
        assert!((trend.slope + 2.0).abs() < 1e-12);
        assert!((trend.correlation + 1.0).abs() < 1e-12);
    }

    #[test]
    fn equal_numbers_and_noise_are_flat() {
        let trend = numbers(&[4.0, 4.0, 4.0]).trend().unwrap();
        assert_eq!((trend.slope, trend.correlation, trend.direction()), (0.0, 0.0, "flat"));
        assert_eq!(numbers(&[1.0, -1.0, -1.0, 1.0]).trend().unwrap().direction(), "flat");
        assert_eq!(numbers(&[1.0, 2.0]).trend(), None);
        assert_eq!(numbers(&[1.0]).standard_deviation(), None);
    }

    #[test]
    fn small_differences_of_great_numbers_are_not_lost() {
        let numbers = numbers(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert!((numbers.standard_deviation().unwrap() - 30f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_small_summand_survives_a_great_one() {
        assert_eq!(numbers(&[1.0, 1e100, 1.0, -1e100]).sum(), 2.0);
    }

    #[test]
    fn whole_numbers_are_summed_without_rounding() {
        let mut integers = Integers::default();
        integers.take(i64::MAX);
        integers.take(i64::MAX);
        integers.take(i64::MIN);
        assert_eq!(integers.sum, i128::from(i64::MAX) - 1);
        assert_eq!(integers.range, Some((i64::MIN, i64::MAX)));
    }
}
