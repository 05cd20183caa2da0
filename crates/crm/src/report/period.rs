//! The days that a report covers.

use super::{MAX_DAYS, Span, zone};
use aisha_auth::Principal;
use aisha_db::{Bind, Sql, record::value};
use aisha_kernel::Error;
use time::{Date, Duration};

/// First and last day, both included; what is not named follows from the report's [`Span`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// First day.
    pub from: Option<Date>,
    /// Last day.
    pub to: Option<Date>,
}

/// Reads a day.
///
/// # Errors
/// 400 naming the parameter.
pub fn day(name: &str, text: &str) -> Result<Date, Error> {
    let bad = || Error::parameter(name, "must be a day such as 2026-01-31");
    let date = value::date(text).map_err(|_| bad())?;
    // Years that dates of both sides have room for around them.
    if text.len() == 10 && (1900..=2200).contains(&date.year()) { Ok(date) } else { Err(bad()) }
}

impl Period {
    /// Fills in the end that is not named and checks the length. The names are those of the parameters, for messages.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn checked(self, span: Span, from: &str, to: &str) -> Result<Self, Error> {
        let days = match span {
            Span::Whole => return Ok(self),
            Span::Back(days) | Span::Ahead(days) => Duration::days(days - 1),
        };
        let (first, last) = match (self.from, self.to) {
            (None, None) => return Ok(self),
            (Some(first), None) => (first, first.saturating_add(days)),
            (None, Some(last)) => (last.saturating_sub(days), last),
            (Some(first), Some(last)) => (first, last),
        };
        if first > last {
            return Err(Error::parameter(from, format!("must not be after {to}")));
        }
        if (last - first).whole_days() >= MAX_DAYS {
            return Err(Error::parameter(to, format!("must be less than {MAX_DAYS} days after {from}")));
        }
        Ok(Self { from: Some(first), to: Some(last) })
    }

    /// `span AS MATERIALIZED (…)`: one row with `zone`, `today`, `first`, `last` (days), `starts` and `ends` (instants, the
    /// latter excluded).
    pub(super) fn cte(self, me: &Principal, span: Span) -> Sql {
        let date = |d: Option<Date>| Bind::Text(d.map(|d| d.to_string()), "date");
        let (first, last) = match span {
            Span::Whole | Span::Back(_) => ("today - days + 1", "today"),
            Span::Ahead(_) => ("date_trunc('month', today)::date", "date_trunc('month', today)::date + days - 1"),
        };
        let days = match span {
            Span::Whole => 1,
            Span::Back(days) | Span::Ahead(days) => days,
        };
        let mut sql = Sql::new(
            "span AS MATERIALIZED (SELECT zone, today, first, last, first::timestamp AT TIME ZONE zone AS starts, \
             (last + 1)::timestamp AT TIME ZONE zone AS ends FROM (SELECT zone, (now() AT TIME ZONE zone)::date AS today, ",
        );
        sql.push(format!("{days} AS days FROM ")).append(zone(me)).push(" AS zone) AS here, LATERAL (SELECT coalesce(");
        sql.bind(date(self.from)).push(format!(", {first}) AS first, coalesce("));
        sql.bind(date(self.to)).push(format!(", {last}) AS last) AS days_of_it)"));
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(from: &str, to: &str) -> Result<Period, Error> {
        let read = |name: &str, text: &str| (!text.is_empty()).then(|| day(name, text)).transpose();
        Period { from: read("from", from)?, to: read("to", to)? }.checked(Span::Back(30), "from", "to")
    }

    fn field(from: &str, to: &str) -> String {
        period(from, to).unwrap_err().details[0].field.clone()
    }

    #[test]
    fn the_missing_end_follows_and_a_year_is_the_most() {
        let shown = |p: Period| format!("{} {}", p.from.unwrap(), p.to.unwrap());
        assert_eq!(shown(period("2026-01-01", "").unwrap()), "2026-01-01 2026-01-30");
        assert_eq!(shown(period("", "2026-01-30").unwrap()), "2026-01-01 2026-01-30");
        assert_eq!(shown(period("2024-01-01", "2024-12-31").unwrap()), "2024-01-01 2024-12-31");
        assert_eq!(period("", "").unwrap(), Period::default());
        assert_eq!(field("2024-01-01", "2025-01-01"), "to");
        assert_eq!(field("2026-01-02", "2026-01-01"), "from");
        for bad in [
            "2026-02-30",
            "01.02.2026",
            "2026-1-1",
            "20260101",
            "2026-01-01T00:00",
            "9999-01-01",
            "-2026-01-01",
            "2026-W01-1",
        ] {
            assert_eq!(field(bad, ""), "from", "{bad}");
        }
    }
}
