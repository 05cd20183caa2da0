//! From what a client sends to what a column holds, with a message for a person when it does not fit.

use super::field::{Field, Kind};
use crate::sql::Bind;
use aisha_kernel::{FieldError, money::Money};
use serde_json::Value;
use time::{Date, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};
use uuid::Uuid;

/// A value that fits its column.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// The value to bind.
    Value(Bind),
    /// An employee named by e-mail address, to be looked up.
    EmployeeEmail(String),
}

/// Text for most columns: no control characters but line breaks and tabs, no NUL (Postgres cannot hold it).
fn clean(s: &str) -> Result<&str, String> {
    let s = s.trim();
    if s.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("must not contain control characters".into());
    }
    Ok(s)
}

fn as_text<'v>(v: &'v Value, what: &str) -> Result<&'v str, String> {
    v.as_str().ok_or_else(|| format!("must be {what}"))
}

/// Whether `s` looks like an e-mail address: one `@`, a dotted domain, no blanks. Only a message proves more.
#[must_use]
pub fn is_email(s: &str) -> bool {
    let Some((local, domain)) = s.rsplit_once('@') else { return false };
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b >= 0x80);
    !local.is_empty()
        && local.len() <= 64
        && s.len() <= 254
        && !local.contains(['@', ' ', ',', ';', '<', '>', '"', '(', ')'])
        && !local.contains(char::is_control)
        && domain.contains('.')
        && domain.split('.').all(label)
}

fn is_url(s: &str) -> bool {
    let rest = s.strip_prefix("https://").or_else(|| s.strip_prefix("http://")).unwrap_or(s);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    !s.contains(char::is_whitespace) && !rest.contains("://") && host.contains('.') && !host.starts_with('.')
}

/// Other systems write `Not Required` for `not_required`.
fn same_choice(known: &str, given: &str) -> bool {
    let plain = |b: u8| if matches!(b, b' ' | b'-') { b'_' } else { b.to_ascii_lowercase() };
    known.bytes().map(plain).eq(given.bytes().map(plain))
}

/// `9:30`, `09:30` or `09:30:00` as `09:30`.
fn time_of_day(s: &str) -> Option<String> {
    let (hour, rest) = s.split_once(':')?;
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "00"));
    let number = |t: &str, most: u8| {
        let plain = (1..=2).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        t.parse::<u8>().ok().filter(|n| plain && *n <= most)
    };
    number(second, 59)?;
    Some(format!("{:02}:{:02}", number(hour, 23)?, number(minute, 59)?))
}

/// Whether Postgres can hold the JSON: no NUL in a text, no number beyond a double (`1e99999` is seven bytes in JSON and a
/// hundred thousand digits in the database).
#[must_use]
pub fn storable(v: &Value) -> bool {
    match v {
        Value::Null | Value::Bool(_) => true,
        Value::Number(n) => n.as_f64().is_some_and(f64::is_finite) && n.to_string().len() <= 400,
        Value::String(s) => !s.contains('\0'),
        Value::Array(items) => items.iter().all(storable),
        Value::Object(map) => map.iter().all(|(key, v)| !key.contains('\0') && storable(v)),
    }
}

/// A day: `2026-11-21`.
pub fn date(s: &str) -> Result<Date, String> {
    // Postgres has no year 0, and writes those before it in another way.
    Date::parse(s, format_description!("[year]-[month]-[day]"))
        .ok()
        .filter(|d| d.year() > 0)
        .ok_or_else(|| "must be a date such as 2026-11-21".into())
}

/// An instant: RFC 3339, or a day, which means its beginning in UTC.
pub fn timestamp(s: &str) -> Result<OffsetDateTime, String> {
    // In UTC, because Postgres takes no offset beyond 15:59.
    OffsetDateTime::parse(s, &Rfc3339)
        .ok()
        .and_then(|t| t.checked_to_offset(UtcOffset::UTC))
        .or_else(|| date(s).ok().map(|d| d.midnight().assume_utc()))
        .filter(|t| (1..=9999).contains(&t.year()))
        .ok_or_else(|| "must be a time such as 2026-11-21T09:30:00Z".into())
}

/// The E.164 form of a number that is *possible* (right length for its country), if one can be made. Numbers without a
/// country code have no E.164 form unless `region` (ISO 3166-1, upper case) says where they are dialled.
#[must_use]
pub fn e164(s: &str, region: Option<&str>) -> Option<String> {
    let region = region.and_then(|r| r.parse().ok());
    let number = phonenumber::parse(region, s).ok()?;
    let text = number.format().mode(phonenumber::Mode::E164).to_string();
    // E.164 allows 15 digits; fewer than 7 are short codes, which have no international form.
    (8..=16).contains(&text.len()).then_some(text)
}

/// The digits under which a number may be written where it has no E.164 form: as given, and, for a number of `region`, as
/// people there dial it.
#[must_use]
pub fn phone_digits(s: &str, region: Option<&str>) -> Vec<String> {
    let digits = |s: &str| s.chars().filter(char::is_ascii_digit).collect::<String>();
    let mut forms = vec![digits(s)];
    let home: Option<phonenumber::country::Id> = region.and_then(|r| r.parse().ok());
    if let Ok(number) = phonenumber::parse(home, s)
        && home.is_some()
        && number.country().id() == home
    {
        forms.push(digits(&number.format().mode(phonenumber::Mode::National).to_string()));
        forms.push(digits(&number.format().mode(phonenumber::Mode::E164).to_string()));
        forms.push(number.national().to_string());
    }
    // Shorter ones are extensions, which many people share.
    forms.retain(|f| f.len() >= 5);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Reads one JSON value for `field`; `null` is the caller's to handle.
///
/// # Errors
/// A message about the field.
pub fn parse(field: &Field, v: &Value) -> Result<Parsed, FieldError> {
    parse_kind(field, v).map_err(|message| FieldError::new(field.name, message))
}

fn parse_kind(field: &Field, v: &Value) -> Result<Parsed, String> {
    let text = |s: &str| Ok(Parsed::Value(Bind::text(s)));
    let cast = |s: String| Ok(Parsed::Value(Bind::Text(Some(s), field.sql_type())));
    match field.kind {
        Kind::Text(max) => {
            let s = clean(as_text(v, "a text")?)?;
            if s.chars().count() > max {
                return Err(format!("must have at most {max} characters"));
            }
            if field.required && s.is_empty() {
                return Err("must not be empty".into());
            }
            text(s)
        }
        Kind::Choice(values) => {
            let s = as_text(v, "a text")?.trim();
            let known = values.iter().find(|known| same_choice(known, s));
            text(known.ok_or_else(|| format!("must be one of: {}", values.join(", ")))?)
        }
        Kind::Email | Kind::UserEmail => {
            let s = clean(as_text(v, "an e-mail address")?)?.to_lowercase();
            if !is_email(&s) {
                return Err("must be an e-mail address".into());
            }
            text(&s)
        }
        Kind::Phone(_) => {
            let s = clean(as_text(v, "a phone number")?)?;
            let digits = s.bytes().filter(u8::is_ascii_digit).count();
            if s.chars().count() > 50 || digits < 3 {
                return Err("must be a phone number of at most 50 characters".into());
            }
            text(s)
        }
        Kind::Url => {
            let s = clean(as_text(v, "a web address")?)?;
            if s.len() > 500 || !is_url(s) {
                return Err("must be a web address such as https://example.com".into());
            }
            text(s)
        }
        Kind::Integer(min, max) => {
            let n = v.as_i64().ok_or("must be a whole number")?;
            if n < i64::from(min) || n > i64::from(max) {
                return Err(format!("must be between {min} and {max}"));
            }
            cast(n.to_string())
        }
        Kind::Money => {
            let s = match v {
                Value::Number(n) => n.to_string(),
                Value::String(s) => s.trim().to_owned(),
                _ => return Err("must be an amount".into()),
            };
            let amount: Money = s.parse().map_err(|e: aisha_kernel::money::NotMoney| e.to_string())?;
            if amount.minor() < 0 {
                return Err("must not be negative".into());
            }
            cast(amount.to_string())
        }
        Kind::Bool => cast(v.as_bool().ok_or("must be true or false")?.to_string()),
        Kind::Date => cast(date(as_text(v, "a date")?.trim())?.to_string()),
        Kind::Timestamp => {
            let at = timestamp(as_text(v, "a time")?.trim())?;
            cast(at.format(&Rfc3339).map_err(|_| "must be a time in the years 0 to 9999")?)
        }
        Kind::Time => {
            text(&time_of_day(as_text(v, "a time of day")?.trim()).ok_or("must be a time of day such as 09:30")?)
        }
        Kind::Uuid | Kind::Reference(_) => {
            let id = Uuid::parse_str(as_text(v, "a UUID")?.trim()).map_err(|_| "must be a UUID")?;
            Ok(Parsed::Value(Bind::Uuid(Some(id))))
        }
        Kind::Employee => {
            let s = as_text(v, "an employee's id or e-mail address")?.trim();
            match Uuid::parse_str(s) {
                Ok(id) => Ok(Parsed::Value(Bind::Uuid(Some(id)))),
                Err(_) if is_email(s) => Ok(Parsed::EmployeeEmail(s.to_lowercase())),
                Err(_) => Err("must be an employee's id or e-mail address".into()),
            }
        }
        Kind::Tags => {
            let list = v.as_array().ok_or("must be a list of texts")?;
            if list.len() > 100 {
                return Err("must have at most 100 entries".into());
            }
            let mut tags: Vec<String> = Vec::with_capacity(list.len());
            for item in list {
                let tag = clean(as_text(item, "a list of texts")?)?;
                if tag.is_empty() || tag.chars().count() > 100 {
                    return Err("entries must have 1 to 100 characters".into());
                }
                if !tags.iter().any(|t| t == tag) {
                    tags.push(tag.to_owned());
                }
            }
            Ok(Parsed::Value(Bind::Texts(Some(tags))))
        }
        Kind::Json => {
            let text = v.as_object().map(|_| v.to_string()).ok_or("must be an object")?;
            if text.len() > 64 * 1024 || !storable(v) {
                return Err("must be an object of at most 64 KiB without NUL characters and endless numbers".into());
            }
            cast(text)
        }
        Kind::JsonList => {
            let text = v.as_array().map(|_| v.to_string()).ok_or("must be a list")?;
            if text.len() > 64 * 1024 || !storable(v) {
                return Err("must be a list of at most 64 KiB without NUL characters and endless numbers".into());
            }
            cast(text)
        }
    }
}

/// Reads one text (a CSV cell, a query parameter) for `field`.
///
/// # Errors
/// A message about the field.
pub fn parse_text(field: &Field, s: &str) -> Result<Parsed, FieldError> {
    let s = s.trim();
    let v = match field.kind {
        Kind::Integer(..) => match s.parse::<i64>() {
            Ok(n) => Value::from(n),
            Err(_) => return Err(FieldError::new(field.name, "must be a whole number")),
        },
        Kind::Bool => match s.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" | "t" | "y" => Value::Bool(true),
            "false" | "no" | "0" | "f" | "n" => Value::Bool(false),
            _ => return Err(FieldError::new(field.name, "must be true or false")),
        },
        // Spreadsheets write 1,234.50 and $1,234.50.
        Kind::Money => Value::from(s.trim_start_matches(['$', '€', '£']).trim().replace(',', "")),
        Kind::Tags => Value::from(s.split([',', ';']).map(str::trim).filter(|t| !t.is_empty()).collect::<Vec<_>>()),
        Kind::Json | Kind::JsonList => serde_json::from_str(s).unwrap_or(Value::Null),
        _ => Value::from(s),
    };
    parse(field, &v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::field::{choice, email, integer, money, tags, text};
    use serde_json::json;

    fn ok(f: Field, v: Value) -> bool {
        parse(&f.named("x", ""), &v).is_ok()
    }

    #[test]
    fn values_fit_or_say_why() {
        assert!(ok(text(3), json!("äöü")) && !ok(text(3), json!("äöüß")) && !ok(text(3), json!(1)));
        assert!(!ok(text(9).required(), json!("   ")) && !ok(text(9), json!("a\u{0}b")));
        assert!(
            ok(choice(&["a"]), json!("a"))
                && ok(choice(&["not_required"]), json!("Not Required"))
                && !ok(choice(&["a"]), json!("b"))
        );
        assert!(ok(integer(0, 5), json!(5)) && !ok(integer(0, 5), json!(6)) && !ok(integer(0, 5), json!(1.5)));
        assert!(ok(money(), json!(1.25)) && ok(money(), json!("9999999999999.99")) && !ok(money(), json!(-1)));
        assert!(!ok(money(), json!(1.255)) && !ok(money(), json!(1e300)));
        assert!(ok(tags(), json!(["a", "b"])) && !ok(tags(), json!(["a", 1])) && !ok(tags(), json!("a")));
    }

    #[test]
    fn emails_are_lower_cased_and_shaped() {
        let f = email().named("email", "");
        assert_eq!(parse(&f, &json!(" A@B.Co ")).ok(), Some(Parsed::Value(Bind::text("a@b.co"))));
        for bad in ["a", "a@b", "@b.co", "a b@c.de", "a@b..c", "a@@b.co", "a@b.co>"] {
            assert!(parse(&f, &json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn impossible_days_are_refused() {
        assert!(date("2026-02-29").is_err() && date("2024-02-29").is_ok() && date("21.11.2026").is_err());
        assert!(timestamp("2026-11-21T25:00:00Z").is_err());
        // Postgres has neither these years nor an offset of a whole day.
        assert!(
            date("0000-01-01").is_err() && date("-0001-01-01").is_err() && timestamp("0000-06-01T00:00:00Z").is_err()
        );
        assert!(timestamp("0001-01-01T00:00:00+23:59").is_err() && timestamp("9999-12-31T23:59:59-23:59").is_err());
        let far = timestamp("2026-11-21T00:00:00+23:59").map(|t| t.offset());
        assert_eq!(far, Ok(UtcOffset::UTC));
    }

    #[test]
    fn phone_numbers_get_a_form_where_one_can_be_made() {
        assert_eq!(e164("+1-555-012-3456", None).as_deref(), Some("+15550123456"));
        assert_eq!(e164("(030) 901820", Some("DE")).as_deref(), Some("+4930901820"));
        assert_eq!(e164("0123", None), None);
        assert_eq!(e164("ask for Kim", None), None);
        let at_home = phone_digits("+49 30 901820", Some("DE"));
        assert_eq!(at_home, ["030901820", "30901820", "4930901820"]);
        assert_eq!(phone_digits("030/901820", None), ["030901820"]);
        assert!(phone_digits("12", Some("DE")).is_empty());
    }
}
