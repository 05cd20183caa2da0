//! One's own account: what everybody may read and change of it.

use super::{User, UserInput, by_id, from_rows, input};
use crate::sql::{acting, json};
use aisha_auth::{AccessLevel, Identity};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx, record::write::Expected};
use aisha_kernel::{Error, ErrorCode, FieldError};
use serde_json::Value;

/// Who is signed in.
///
/// # Errors
/// 503 when the database is away.
pub async fn myself(db: &Db, me: &Identity) -> Result<User, Error> {
    let why = acting(me, "myself", me.tenant_id, &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| from_rows(tx.rows(by_id(me.user_id.0)).await?)).await
}

/// Changes one's own names and `metadata.preferences`, which is replaced as a whole; nothing else. What was read may be
/// sent back.
///
/// # Errors
/// 403 for an API key and with read-only access; 412 when `expected` is no longer current; 422 naming what only an admin
/// may change.
pub async fn update_myself(
    db: &Db,
    me: &Identity,
    body: &Value,
    expected: Expected,
    cx: &RequestContext,
) -> Result<User, Error> {
    if me.grants.is_some() {
        return Err(Error::forbidden("An API key may not change its user."));
    }
    if me.access == AccessLevel::Read {
        return Err(Error::forbidden("Your access is read-only."));
    }
    let shown = serde_json::to_value(myself(db, me).await?).map_err(Error::internal)?;
    let own = Own::parse(body, &shown)?;
    let why = acting(me, "own account changed", me.tenant_id, cx);
    db.system(&why, async |tx: &mut SystemTx| {
        let mut statements = Vec::new();
        if let Expected::Version(version) = expected {
            let mut sql = Sql::new("SELECT id FROM users WHERE id = ");
            sql.bind(me.user_id.0).push(" AND version = ").bind(Bind::Int(i64::from(version))).push(" FOR UPDATE");
            if tx.rows(sql).await?.is_empty() {
                let message = "Your account was changed in the meantime: read it again.";
                return Err(Error::new(ErrorCode::PreconditionFailed, message));
            }
        }
        statements.extend(own.statement(me));
        statements.push(by_id(me.user_id.0));
        from_rows(tx.flight(statements).await?.pop().unwrap_or_default())
    })
    .await
}

struct Own {
    first_name: Option<String>,
    last_name: Option<String>,
    preferences: Option<Value>,
}

impl Own {
    /// Reads a body; what is as `shown` already may be sent back.
    fn parse(body: &Value, shown: &Value) -> Result<Self, Error> {
        let Some(map) = body.as_object() else {
            return Err(Error::new(ErrorCode::MalformedBody, "The body must be a JSON object."));
        };
        let mut problems = Vec::new();
        let mut preferences = None;
        for (name, v) in map {
            match name.as_str() {
                "first_name" | "last_name" | "full_name" => {}
                other if shown.get(other) == Some(v) => {}
                "metadata" => match v.as_object() {
                    Some(metadata) => {
                        let known = |key: &String| shown.get("metadata").and_then(|m| m.get(key));
                        for (key, v) in metadata.iter().filter(|(key, v)| known(key) != Some(v)) {
                            match input::object(v) {
                                _ if key != "preferences" => problems.push(FieldError::new(
                                    format!("metadata.{}", key.chars().take(100).collect::<String>()),
                                    "is not yours to change: ask an admin",
                                )),
                                Ok(v) => preferences = Some(v),
                                Err(message) => problems.push(FieldError::new("metadata.preferences", message)),
                            }
                        }
                    }
                    None => problems.push(FieldError::new("metadata", "must be an object")),
                },
                other if input::READ_ONLY.contains(&other) => {}
                other if input::WRITABLE.contains(&other) => {
                    problems.push(FieldError::new(other, "is not yours to change: ask an admin"));
                }
                _ => problems.push(FieldError::new(name, "is not a field of a user")),
            }
        }
        let mut names = UserInput::default();
        names.names(map, &mut problems);
        if !problems.is_empty() {
            return Err(Error::validation(problems));
        }
        Ok(Self { first_name: names.first_name, last_name: names.last_name, preferences })
    }

    fn statement(&self, me: &Identity) -> Option<Sql> {
        let mut sql = Sql::new("UPDATE users SET ").prepared_once();
        let mut first = true;
        let mut comma = |sql: &mut Sql| {
            sql.push(if std::mem::take(&mut first) { "" } else { ", " });
        };
        for (column, value) in [("first_name", &self.first_name), ("last_name", &self.last_name)] {
            if let Some(value) = value {
                comma(&mut sql);
                sql.push(column).push(" = ").bind(Bind::text(value));
            }
        }
        if let Some(preferences) = &self.preferences {
            comma(&mut sql);
            sql.push("metadata = metadata || jsonb_build_object('preferences', ").bind(json(preferences)).push(")");
        }
        if first {
            return None;
        }
        sql.push(" WHERE id = ").bind(me.user_id.0);
        Some(sql)
    }
}
