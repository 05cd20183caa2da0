//! Money as an exact decimal: `numeric(15,2)` in SQL, a JSON number with two decimals on the wire.

use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// An amount in minor units (cents), so that no binary floating point is ever involved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// The largest amount that `numeric(15,2)` holds, in minor units.
const MAX_MINOR: i64 = 999_999_999_999_999;

impl Money {
    /// From minor units; `None` outside `numeric(15,2)`.
    #[must_use]
    pub fn from_minor(minor: i64) -> Option<Self> {
        (minor.checked_abs()? <= MAX_MINOR).then_some(Self(minor))
    }

    /// Minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an amount with at most two decimals and thirteen digits before them")]
pub struct NotMoney;

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(s: &str) -> Result<Self, NotMoney> {
        let (negative, digits) = match s.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, s),
        };
        let (whole, cents) = digits.split_once('.').unwrap_or((digits, ""));
        let cents = cents.trim_end_matches('0');
        let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 13 || cents.len() > 2 || !plain(whole) || !plain(cents) {
            return Err(NotMoney);
        }
        let units: i64 = whole.parse().map_err(|_| NotMoney)?;
        let cents: i64 = if cents.is_empty() { 0 } else { format!("{cents:0<2}").parse().map_err(|_| NotMoney)? };
        let minor = units * 100 + cents;
        Self::from_minor(if negative { -minor } else { minor }).ok_or(NotMoney)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", self.0.abs() / 100, self.0.abs() % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // A raw JSON number: serde_json would otherwise go through f64 and print 10.1 for 10.10.
        serde_json::value::RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_exactly() {
        for (text, minor) in
            [("0", 0), ("10.1", 1010), ("-0.05", -5), ("9999999999999.99", 999_999_999_999_999), ("1.500", 150)]
        {
            assert_eq!(text.parse::<Money>().map(Money::minor), Ok(minor), "{text}");
        }
        assert_eq!(serde_json::to_string(&Money(1010)).ok().as_deref(), Some("10.10"));
        assert_eq!(Money(-5).to_string(), "-0.05");
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        for text in ["", ".5", "1.001", "1e5", "NaN", "99999999999999", "1,5", "--1", "+1"] {
            assert_eq!(text.parse::<Money>(), Err(NotMoney), "{text}");
        }
    }
}
