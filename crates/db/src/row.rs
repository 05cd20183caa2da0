//! Rows and the Rust types that columns decode to, by position.

use aisha_kernel::money::Money;
use diesel::{
    deserialize::{self, FromSql},
    pg::{Pg, PgValue},
    row::{Field as _, Row as _},
    sql_types::{
        Array, BigInt, Bool, Bytea, Date as SqlDate, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
    },
};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection};
use serde_json::value::RawValue;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

type Inner = <AsyncPgConnection as AsyncConnectionCore>::Row<'static, 'static>;

/// A decoded value, or why it does not fit its type.
pub type Decoded<T> = deserialize::Result<T>;

/// One row.
pub struct PgRow(Inner);

impl PgRow {
    pub(crate) fn new(row: Inner) -> Self {
        Self(row)
    }

    /// Bytes of its values, as they came.
    pub(crate) fn size(&self) -> usize {
        (0..self.0.field_count()).filter_map(|i| Some(self.0.get(i)?.value()?.as_bytes().len())).sum()
    }

    /// The value of the column at `index`.
    ///
    /// # Errors
    /// When there is no such column or it has another type.
    pub fn get<T: Column>(&self, index: usize) -> deserialize::Result<T> {
        T::read(self, index)
    }

    fn decode<St, T: FromSql<St, Pg>>(&self, index: usize) -> deserialize::Result<T> {
        let field = self.0.get(index).ok_or("the row has fewer columns than expected")?;
        T::from_nullable_sql(field.value())
    }
}

/// A type that one column decodes to.
pub trait Column: Sized {
    /// Decodes the column at `index`.
    ///
    /// # Errors
    /// When the value does not fit the type.
    fn read(row: &PgRow, index: usize) -> deserialize::Result<Self>;

    /// The value as text, for page cursors; `None` for null.
    fn cursor_text(&self) -> Option<String> {
        None
    }
}

macro_rules! columns {
    ($($ty:ty => $sql:ty, |$v:ident| $text:expr;)*) => {$(
        impl Column for $ty {
            fn read(row: &PgRow, index: usize) -> deserialize::Result<Self> {
                row.decode::<$sql, Self>(index)
            }
            fn cursor_text(&self) -> Option<String> {
                let $v = self;
                $text
            }
        }
        impl Column for Option<$ty> {
            fn read(row: &PgRow, index: usize) -> deserialize::Result<Self> {
                row.decode::<Nullable<$sql>, Self>(index)
            }
            fn cursor_text(&self) -> Option<String> {
                self.as_ref().and_then(Column::cursor_text)
            }
        }
    )*};
}

columns! {
    String => Text, |v| Some(v.clone());
    Uuid => SqlUuid, |v| Some(v.to_string());
    i32 => Integer, |v| Some(v.to_string());
    i64 => BigInt, |v| Some(v.to_string());
    bool => Bool, |v| Some(v.to_string());
    OffsetDateTime => Timestamptz, |v| v.format(&Rfc3339).ok();
    Timestamp => Timestamptz, |v| v.0.format(&Rfc3339).ok();
    Day => SqlDate, |v| Some(v.0.to_string());
    Vec<u8> => Bytea, |_v| None;
    Vec<String> => Array<Text>, |_v| None;
    Json => Jsonb, |_v| None;
}

impl Column for Money {
    fn read(row: &PgRow, index: usize) -> deserialize::Result<Self> {
        Self::from_minor(i64::read(row, index)?).ok_or_else(|| "amount out of range".into())
    }
    fn cursor_text(&self) -> Option<String> {
        Some(self.minor().to_string())
    }
}

impl Column for Option<Money> {
    fn read(row: &PgRow, index: usize) -> deserialize::Result<Self> {
        Ok(Option::<i64>::read(row, index)?.and_then(Money::from_minor))
    }
    fn cursor_text(&self) -> Option<String> {
        self.as_ref().and_then(Column::cursor_text)
    }
}

/// An instant of a record, shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub OffsetDateTime);

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        time::serde::rfc3339::serialize(&self.0, s)
    }
}

/// A calendar day of a record, shown as `2026-11-21`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub Date);

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl FromSql<SqlDate, Pg> for Day {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <Date as FromSql<SqlDate, Pg>>::from_sql(value).map(Self)
    }
}

impl FromSql<Timestamptz, Pg> for Timestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <OffsetDateTime as FromSql<Timestamptz, Pg>>::from_sql(value).map(Self)
    }
}

/// A `jsonb` value passed through as text: parsing it into a tree to print it again costs a fifth of a list's CPU.
#[derive(Debug, Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// An object without members.
    #[must_use]
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The JSON text, known to be valid.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The value as a tree.
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl FromSql<Jsonb, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // The binary form of jsonb is a version byte followed by the text.
        let text = match value.as_bytes().split_first() {
            Some((1, text)) => std::str::from_utf8(text)?,
            _ => return Err("unknown jsonb version".into()),
        };
        Ok(Self(RawValue::from_string(text.to_owned())?))
    }
}
