//! The time, in the one form in which the service keeps it.
//!
//! Rows hold whole microseconds since 1970-01-01 UTC; the wire wants seconds (v3), ISO 8601 (v1) or
//! an HTTP date (headers). Nothing else reads the system clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A moment: microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

/// The present moment.
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Moment {
    /// Whole seconds since 1970, as v3 answers carry them.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The moment that many whole seconds after 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// This moment and a while.
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment less a while.
    pub fn minus(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// ISO 8601 with microseconds in UTC, as v1 answers carry it: `2026-11-22T06:07:08.123456Z`.
    pub fn iso8601(self) -> String {
        format!("{:.6}", self.timestamp())
    }

    /// An HTTP date (RFC 9110, section 5.6.7): `Sun, 22 Nov 2026 06:07:08 GMT`.
    pub fn http_date(self) -> String {
        self.timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads an RFC 3339 time such as `2026-12-31T00:00:00Z`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    /// Reads an HTTP date in its preferred form (RFC 9110, section 5.6.7).
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let civil = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text).ok()?;
        let at = civil.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(at.timestamp().as_microsecond()))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_in_all_its_forms() {
        let moment = Moment(1_795_327_628_123_456);
        assert_eq!(moment.seconds(), 1_795_327_628);
        assert_eq!(moment.iso8601(), "2026-11-22T06:07:08.123456Z");
        assert_eq!(moment.http_date(), "Sun, 22 Nov 2026 06:07:08 GMT");
        let whole = Moment::from_seconds(moment.seconds());
        assert_eq!(Moment::parse_http_date(&moment.http_date()), Some(whole));
        assert_eq!(Moment::parse_rfc3339(&moment.iso8601()), Some(moment));
    }
}
