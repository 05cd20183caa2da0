//! A statement put together at run time: text written by us, values bound as parameters.
//!
//! diesel's own DSL is the first choice for statements whose shape is known when they are written; this is for those
//! that depend on a record's field table. `diesel::sql_query` would do, but is never kept prepared, which costs a round
//! trip and a parse on every call.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Binary, Nullable, Text, Untyped, Uuid as SqlUuid},
};
use std::borrow::Cow;
use uuid::Uuid;

/// A bound value. Text travels with the SQL type that it is cast to, so that one variant serves most column types.
#[derive(Debug, Clone, PartialEq)]
pub enum Bind {
    /// Text, cast to the named SQL type.
    Text(Option<String>, &'static str),
    /// A UUID.
    Uuid(Option<Uuid>),
    /// A 64-bit integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A text array.
    Texts(Option<Vec<String>>),
    /// A UUID array.
    Uuids(Vec<Uuid>),
    /// An array of 64-bit integers.
    Ints(Vec<i64>),
}

impl Bind {
    /// Plain text.
    pub fn text(value: impl Into<String>) -> Self {
        Self::Text(Some(value.into()), "text")
    }

    /// Whether the value is SQL null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Text(None, _) | Self::Uuid(None) | Self::Texts(None))
    }
}

impl From<Uuid> for Bind {
    fn from(id: Uuid) -> Self {
        Self::Uuid(Some(id))
    }
}

#[derive(Debug, Clone)]
enum Part {
    Text(Cow<'static, str>),
    Bind(Bind),
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub struct Sql {
    parts: Vec<Part>,
    keep_prepared: bool,
}

impl Sql {
    /// Starts a statement that comes in few shapes: it stays prepared on its connection.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { parts: vec![Part::Text(text.into())], keep_prepared: true }
    }

    /// Marks a statement whose shape a client decides (filters, partial updates): keeping each one prepared would let a
    /// client fill the memory of every connection.
    #[must_use]
    pub fn prepared_once(mut self) -> Self {
        self.keep_prepared = false;
        self
    }

    /// Appends text. Never pass anything that came from outside.
    pub fn push(&mut self, text: impl Into<Cow<'static, str>>) -> &mut Self {
        let text = text.into();
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.to_mut().push_str(&text),
            _ => self.parts.push(Part::Text(text)),
        }
        self
    }

    /// Appends a bound value.
    pub fn bind(&mut self, value: impl Into<Bind>) -> &mut Self {
        self.parts.push(Part::Bind(value.into()));
        self
    }

    /// Appends another statement's text and values.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.keep_prepared &= other.keep_prepared;
        for part in other.parts {
            match part {
                Part::Text(t) => {
                    self.push(t);
                }
                Part::Bind(b) => self.parts.push(Part::Bind(b)),
            }
        }
        self
    }
}

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.keep_prepared {
            out.unsafe_to_cache_prepared();
        }
        for part in &self.parts {
            match part {
                Part::Text(t) => out.push_sql(t),
                Part::Bind(Bind::Text(v, "text")) => out.push_bind_param::<Nullable<Text>, _>(v)?,
                Part::Bind(Bind::Text(v, cast)) => {
                    out.push_sql("CAST(");
                    out.push_bind_param::<Nullable<Text>, _>(v)?;
                    out.push_sql(" AS ");
                    out.push_sql(cast);
                    out.push_sql(")");
                }
                Part::Bind(Bind::Uuid(v)) => out.push_bind_param::<Nullable<SqlUuid>, _>(v)?,
                Part::Bind(Bind::Bytes(v)) => out.push_bind_param::<Binary, _>(v)?,
                Part::Bind(Bind::Int(v)) => out.push_bind_param::<BigInt, _>(v)?,
                Part::Bind(Bind::Texts(v)) => out.push_bind_param::<Nullable<Array<Text>>, _>(v)?,
                Part::Bind(Bind::Ints(v)) => out.push_bind_param::<Array<BigInt>, _>(v)?,
                Part::Bind(Bind::Uuids(v)) => out.push_bind_param::<Array<SqlUuid>, _>(v)?,
            }
        }
        Ok(())
    }
}

impl Query for Sql {
    type SqlType = Untyped;
}

impl QueryId for Sql {
    type QueryId = ();
    // Found again by its text, not by its type.
    const HAS_STATIC_QUERY_ID: bool = false;
}
