//! Settings of the platform, by key. They belong to no tenant and are the superadmin's alone.
//!
//! The value of a secret one is sealed and never shown again; services read it with [`system_setting_value`].

use aisha_auth::{Action, Identity, sealing::Sealer};
use aisha_db::{Bind, Db, Json, PgRow, RequestContext, Sql, SystemReason, SystemTx, record::value::storable};
use aisha_kernel::{Error, FieldError, new_id};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// A setting as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct SystemSetting {
    /// Identifier.
    pub id: Uuid,
    /// Key.
    pub setting_key: String,
    /// The value; null for a secret one.
    pub value: Option<Json>,
    /// Whether the value can only be written.
    pub is_secret: bool,
    /// What it is for.
    pub description: Option<String>,
    /// When the value was last written.
    #[serde(with = "time::serde::rfc3339")]
    pub value_set_at: OffsetDateTime,
    /// Who last changed it.
    pub updated_by: Option<Uuid>,
    /// When it was first set.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Counts the changes.
    pub version: i32,
}

const COLUMNS: &str = "id, setting_key, value, is_secret, description, value_set_at, updated_by, created_at, \
    updated_at, version";

/// What a known key holds.
enum Holds {
    Secret,
    Url,
    Text,
}

/// Keys that the platform itself reads. Others are kept for whoever set them.
const KNOWN: [(&str, Holds); 3] =
    [("openai_api_key", Holds::Secret), ("openai_base_url", Holds::Url), ("openai_model", Holds::Text)];

/// Endings that make a value a secret unless the request says otherwise.
const SECRET_ENDINGS: [&str; 5] = ["_key", "_secret", "_token", "_password", "_credentials"];

fn from_row(row: &PgRow) -> Result<SystemSetting, Error> {
    let read = || -> Result<SystemSetting, Box<dyn std::error::Error + Send + Sync>> {
        Ok(SystemSetting {
            id: row.get(0)?,
            setting_key: row.get(1)?,
            value: row.get(2)?,
            is_secret: row.get(3)?,
            description: row.get(4)?,
            value_set_at: row.get(5)?,
            updated_by: row.get(6)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
            version: row.get(9)?,
        })
    };
    read().map_err(Error::internal)
}

/// A body, checked for its key.
#[derive(Debug)]
pub struct SystemSettingInput {
    key: String,
    value: Option<Value>,
    is_secret: Option<bool>,
    description: Option<Option<String>>,
}

/// The key of a setting.
///
/// # Errors
/// 422 naming `setting_key`.
fn key(text: &str) -> Result<String, FieldError> {
    let named = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'));
    if named && text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(text.to_owned());
    }
    let rule = "must start with a lower-case letter and have at most 100 of those, digits, dots and underscores";
    Err(FieldError::new("setting_key", rule))
}

fn check(holds: &Holds, value: &Value) -> Result<(), &'static str> {
    let text = value.as_str().map(str::trim).filter(|s| !s.is_empty() && s.len() <= 1_000);
    match (holds, text) {
        (_, None) => Err("must be a text of 1 to 1000 characters"),
        (Holds::Url, Some(s)) if !crate::tenant::is_web_url(s) => {
            Err("must be a web address such as https://example.com")
        }
        (Holds::Secret, Some(s)) if s.contains(char::is_whitespace) => Err("must not contain blanks"),
        _ => Ok(()),
    }
}

impl SystemSettingInput {
    /// Reads a JSON object for the key of the path. What was read can be sent back.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(path: &str, body: Map<String, Value>) -> Result<Self, Error> {
        const SHOWN: [&str; 7] =
            ["id", "setting_key", "value_set_at", "updated_by", "created_at", "updated_at", "version"];
        let mut problems = Vec::new();
        let mut out = Self { key: String::new(), value: None, is_secret: None, description: None };
        match key(path) {
            Ok(key) => out.key = key,
            Err(e) => problems.push(e),
        }
        for (name, v) in body {
            match (name.as_str(), v) {
                // A secret shows as null.
                ("value", Value::Null) => {}
                ("value", v) => out.value = Some(v),
                ("is_secret", Value::Bool(b)) => out.is_secret = Some(b),
                ("is_secret", _) => problems.push(FieldError::new("is_secret", "must be true or false")),
                ("description", Value::Null) => out.description = Some(None),
                ("description", Value::String(s)) if s.chars().count() <= 2_000 && !s.contains('\0') => {
                    out.description = Some(Some(s.trim().to_owned()));
                }
                ("description", _) => {
                    problems.push(FieldError::new("description", "must be a text of at most 2000 characters"));
                }
                (shown, _) if SHOWN.contains(&shown) => {}
                _ => problems.push(FieldError::new(name, "is not a field of a setting")),
            }
        }
        if let Some(value) = &out.value
            && (!storable(value) || value.to_string().len() > 65_536)
        {
            problems.push(FieldError::new("value", "must be JSON of at most 65536 bytes without the character NUL"));
        }
        if let Some((_, holds)) = KNOWN.iter().find(|(known, _)| *known == out.key) {
            if let Some(Err(message)) = out.value.as_ref().map(|v| check(holds, v)) {
                problems.push(FieldError::new("value", message));
            }
            if matches!(holds, Holds::Secret) && out.is_secret == Some(false) {
                problems.push(FieldError::new("is_secret", "must be true for this setting"));
            }
        }
        if problems.is_empty() { Ok(out) } else { Err(Error::validation(problems)) }
    }
}

/// What a sealed value is bound to.
fn context(key: &str) -> String {
    format!("system_settings.value_sealed {key}")
}

fn why(me: &Identity, cx: &RequestContext, reason: &'static str) -> SystemReason {
    SystemReason { reason, tenant: None, user: Some(me.user_id.0), role: Some(me.role), request: cx.clone() }
}

/// All settings by key, without the values of secret ones.
///
/// # Errors
/// 403; 503 when the database is away.
pub async fn system_setting_list(db: &Db, me: &Identity, cx: &RequestContext) -> Result<Vec<SystemSetting>, Error> {
    me.require("system_settings", Action::Read)?;
    let sql = Sql::new(format!("SELECT {COLUMNS} FROM system_settings ORDER BY setting_key LIMIT 1000"));
    let rows = db.system(&why(me, cx, "system_setting_list"), async |tx| tx.rows(sql.clone()).await).await?;
    rows.iter().map(from_row).collect()
}

/// One setting.
///
/// # Errors
/// 403, 404.
pub async fn system_setting_read(
    db: &Db,
    me: &Identity,
    cx: &RequestContext,
    key: &str,
) -> Result<SystemSetting, Error> {
    me.require("system_settings", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM system_settings WHERE setting_key = "));
    sql.bind(Bind::text(key.replace('\0', "")));
    let rows = db.system(&why(me, cx, "system_setting_read"), async |tx| tx.rows(sql.clone()).await).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// Sets a setting; says whether it is new. Without a value the one that is there stays.
///
/// # Errors
/// 403, 422.
pub async fn system_setting_set(
    db: &Db,
    me: &Identity,
    cx: &RequestContext,
    sealer: &Sealer,
    input: &SystemSettingInput,
) -> Result<(SystemSetting, bool), Error> {
    me.require("system_settings", Action::Update)?;
    db.system(&why(me, cx, "system_setting_set"), async |tx| {
        let mut find = Sql::new("SELECT is_secret FROM system_settings WHERE setting_key = ");
        find.bind(Bind::text(&input.key)).push(" FOR UPDATE");
        let mut found = tx.flight(vec![Sql::new("SELECT pg_advisory_xact_lock(7304)"), find]).await?;
        let rows = found.pop().unwrap_or_default();
        let held: Option<bool> = rows.first().map(|r| r.get(0)).transpose().map_err(Error::internal)?;
        let sql = input.statement(held, sealer, me.user_id.0)?;
        let rows = tx.rows(sql).await?;
        Ok((from_row(rows.first().ok_or_else(Error::not_found)?)?, held.is_none()))
    })
    .await
}

impl SystemSettingInput {
    /// The write; `held` says whether the setting is there and secret.
    fn statement(&self, held: Option<bool>, sealer: &Sealer, user: Uuid) -> Result<Sql, Error> {
        let known_secret = KNOWN.iter().any(|(k, holds)| *k == self.key && matches!(holds, Holds::Secret));
        let usual = known_secret || SECRET_ENDINGS.iter().any(|end| self.key.ends_with(end));
        let secret = self.is_secret.or(held).unwrap_or(usual);
        let Some(value) = &self.value else {
            if held != Some(secret) {
                return Err(Error::invalid("value", "is required"));
            }
            let mut sql = Sql::new("UPDATE system_settings SET updated_by = ").prepared_once();
            sql.bind(user);
            if let Some(description) = &self.description {
                sql.push(", description = ").bind(Bind::Text(description.clone(), "text"));
            }
            sql.push(" WHERE setting_key = ").bind(Bind::text(&self.key)).push(format!(" RETURNING {COLUMNS}"));
            return Ok(sql);
        };
        let text = value.to_string();
        let (open, sealed) = if secret {
            (None, Some(sealer.seal(&context(&self.key), text.as_bytes()).map_err(Error::internal)?))
        } else {
            (Some(text), None)
        };
        let mut sql = Sql::new(
            "INSERT INTO system_settings (id, setting_key, is_secret, updated_by, description, value, value_sealed) VALUES (",
        )
        .prepared_once();
        sql.bind(new_id()).push(", ").bind(Bind::text(&self.key)).push(", ");
        sql.bind(Bind::Text(Some(secret.to_string()), "boolean")).push(", ").bind(user).push(", ");
        sql.bind(Bind::Text(self.description.clone().flatten(), "text")).push(", ").bind(Bind::Text(open, "jsonb"));
        match sealed {
            Some(bytes) => sql.push(", ").bind(Bind::Bytes(bytes)),
            None => sql.push(", NULL"),
        };
        sql.push(") ON CONFLICT (setting_key) DO UPDATE SET is_secret = EXCLUDED.is_secret, value = EXCLUDED.value, ");
        sql.push("value_sealed = EXCLUDED.value_sealed, value_set_at = now(), updated_by = EXCLUDED.updated_by");
        if self.description.is_some() {
            sql.push(", description = EXCLUDED.description");
        }
        sql.push(format!(" RETURNING {COLUMNS}"));
        Ok(sql)
    }
}

/// Removes a setting.
///
/// # Errors
/// 403, 404.
pub async fn system_setting_delete(db: &Db, me: &Identity, cx: &RequestContext, key: &str) -> Result<(), Error> {
    me.require("system_settings", Action::Delete)?;
    let mut sql = Sql::new("DELETE FROM system_settings WHERE setting_key = ");
    sql.bind(Bind::text(key.replace('\0', ""))).push(" RETURNING id");
    let rows = db.system(&why(me, cx, "system_setting_delete"), async |tx| tx.rows(sql.clone()).await).await?;
    if rows.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

/// The value of a setting as a service uses it: a text, or JSON as text. `None` when it is not set.
///
/// # Errors
/// 500 when it was sealed with another key, 503 when the database is away.
pub async fn system_setting_value(
    tx: &mut SystemTx,
    sealer: &Sealer,
    key: &'static str,
) -> Result<Option<SecretString>, Error> {
    let mut sql = Sql::new("SELECT value, value_sealed FROM system_settings WHERE setting_key = ");
    sql.bind(Bind::text(key));
    let rows = tx.rows(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let open: Option<Json> = row.get(0).map_err(Error::internal)?;
    let sealed: Option<Vec<u8>> = row.get(1).map_err(Error::internal)?;
    let value = match (open, sealed) {
        (Some(open), _) => open.value(),
        (None, Some(sealed)) => {
            let plain = sealer.open(&context(key), &sealed).map_err(Error::internal)?;
            serde_json::from_slice(&plain).map_err(Error::internal)?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_keys_are_checked_and_secrets_stay_secret() {
        let read = |key: &str, v: Value| match v {
            Value::Object(map) => SystemSettingInput::read(key, map),
            _ => Err(Error::not_found()),
        };
        assert!(read("openai_api_key", json!({"value": "sk-1", "description": "for all"})).is_ok());
        assert!(read("feature.colours", json!({"value": {"a": [1]}, "id": "x"})).is_ok());
        for (key, bad, field) in [
            ("openai_api_key", json!({"value": 5}), "value"),
            ("openai_api_key", json!({"value": "sk 1"}), "value"),
            ("openai_api_key", json!({"value": "sk-1", "is_secret": false}), "is_secret"),
            ("openai_base_url", json!({"value": "ftp://x"}), "value"),
            ("Bad Key", json!({"value": 1}), "setting_key"),
            ("x", json!({"value": "a\u{0}"}), "value"),
            ("x", json!({"value": 1, "colour": 2}), "colour"),
            ("x", json!({"is_secret": "yes"}), "is_secret"),
        ] {
            assert_eq!(read(key, bad.clone()).unwrap_err().details[0].field, field, "{key} {bad}");
        }
    }

    #[test]
    fn a_statement_never_holds_a_secret() {
        let sealer = Sealer::new(&"s".repeat(32).into(), None).unwrap();
        let debug = |key: &str, v: Value, held| {
            let map = v.as_object().cloned().unwrap_or_default();
            SystemSettingInput::read(key, map).unwrap().statement(held, &sealer, Uuid::nil()).map(|s| format!("{s:?}"))
        };
        for (key, body, held) in [
            ("openai_api_key", json!({"value": "sk-1"}), None),
            ("my_token", json!({"value": "sk-1"}), None),
            ("plain", json!({"value": "sk-1", "is_secret": true}), None),
            ("plain", json!({"value": "sk-1"}), Some(true)),
        ] {
            assert!(!debug(key, body, held).unwrap().contains("sk-1"), "{key}");
        }
        assert!(debug("plain", json!({"value": "sk-1"}), None).unwrap().contains("sk-1"));
        assert!(debug("plain", json!({"description": "x"}), None).is_err(), "a new one needs a value");
        assert!(debug("plain", json!({"is_secret": false}), Some(true)).is_err(), "a secret is not shown by a switch");
        assert!(debug("plain", json!({"description": "x"}), Some(true)).is_ok());
    }
}
