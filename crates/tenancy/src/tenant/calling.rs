//! The providers of AI calls that a tenant uses: what may be shown of them, and their keys, which are sealed.

use super::is_web_url;
use aisha_auth::sealing::Sealer;
use aisha_db::{Bind, Json, Sql, SystemTx};
use aisha_kernel::{Error, FieldError, TenantId};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

const FIELD: &str = "ai_calling_providers";

/// A provider, with the one field that it has beside `api_key` and `is_active`.
struct Provider {
    name: &'static str,
    own: &'static str,
    key_column: &'static str,
    set_column: &'static str,
}

const PROVIDERS: [Provider; 2] = [
    Provider {
        name: "callfluent",
        own: "webhook_url",
        key_column: "callfluent_key_sealed",
        set_column: "callfluent_key_set_at",
    },
    Provider {
        name: "thoughtly",
        own: "agent_id",
        key_column: "thoughtly_key_sealed",
        set_column: "thoughtly_key_set_at",
    },
];

/// What the API shows: no key, only whether there is one.
pub(super) fn shown(stored: &Value, callfluent_key: bool, thoughtly_key: bool) -> Value {
    let provider = |p: &Provider, has_key: bool| {
        let held = stored.get(p.name);
        let get = |key: &str| held.and_then(|h| h.get(key)).cloned().unwrap_or_default();
        let active = get("is_active").as_bool().unwrap_or(false);
        (p.name.to_owned(), json!({ p.own: get(p.own), "is_active": active, "has_api_key": has_key }))
    };
    let both = PROVIDERS.iter().zip([callfluent_key, thoughtly_key]).map(|(p, key)| provider(p, key));
    Value::Object(both.collect())
}

/// What becomes of a key.
#[derive(Debug, Clone, Default)]
enum Key {
    #[default]
    Keep,
    Clear,
    Set(SecretString),
}

/// What a request says about one provider.
#[derive(Debug, Clone, Default)]
struct Patch {
    put: Map<String, Value>,
    taken: Vec<String>,
    key: Key,
}

/// What a request says about the providers; absent ones stay as they are.
#[derive(Debug, Clone, Default)]
pub(super) struct CallingInput([Option<Patch>; 2]);

impl CallingInput {
    pub(super) fn read(v: &Value, problems: &mut Vec<FieldError>) -> Self {
        let mut out = Self::default();
        let map = match v {
            Value::Object(map) => map,
            // Clears all of it.
            Value::Null => &PROVIDERS.iter().map(|p| (p.name.to_owned(), Value::Null)).collect(),
            _ => {
                problems.push(FieldError::new(FIELD, "must be an object with callfluent and thoughtly"));
                return out;
            }
        };
        for name in map.keys().filter(|k| PROVIDERS.iter().all(|p| p.name != k.as_str())) {
            problems
                .push(FieldError::new(format!("{FIELD}.{name}"), "is not a provider: there are callfluent, thoughtly"));
        }
        for (slot, provider) in out.0.iter_mut().zip(&PROVIDERS) {
            *slot = map.get(provider.name).and_then(|v| provider.read(v, problems));
        }
        out
    }

    /// With its keys sealed.
    pub(super) fn sealed(&self, sealer: &Sealer, tenant: TenantId) -> Result<SealedCalling, Error> {
        let mut out = Vec::new();
        for (patch, provider) in self.0.iter().zip(&PROVIDERS) {
            let Some(patch) = patch else { continue };
            let key = match &patch.key {
                Key::Keep => SealedKey::Keep,
                Key::Clear => SealedKey::Clear,
                Key::Set(key) => {
                    let sealed = sealer.seal(&provider.context(tenant), key.expose_secret().as_bytes());
                    SealedKey::Set(sealed.map_err(Error::internal)?)
                }
            };
            out.push(SealedPatch { provider, put: patch.put.clone(), taken: patch.taken.clone(), key });
        }
        Ok(SealedCalling(out))
    }
}

impl Provider {
    fn read(&self, v: &Value, problems: &mut Vec<FieldError>) -> Option<Patch> {
        let mut patch = Patch::default();
        let at = |key: &str| format!("{FIELD}.{}.{key}", self.name);
        let map = match v {
            Value::Null => {
                patch.taken = vec![self.own.to_owned(), "is_active".to_owned()];
                patch.key = Key::Clear;
                return Some(patch);
            }
            Value::Object(map) => map,
            _ => {
                problems.push(FieldError::new(format!("{FIELD}.{}", self.name), "must be an object"));
                return None;
            }
        };
        for (key, v) in map {
            let text = v.as_str().map(str::trim);
            match (key.as_str(), text) {
                // Shown in its place; what was read can be sent back.
                ("has_api_key", _) => {}
                // The empty field of a form means that the key stays.
                ("api_key", Some("")) => {}
                ("api_key", Some(s)) if s.len() <= 500 && !s.contains(char::is_control) => {
                    patch.key = Key::Set(s.to_owned().into());
                }
                ("api_key", None) if v.is_null() => patch.key = Key::Clear,
                ("api_key", _) => {
                    problems.push(FieldError::new(at("api_key"), "must be a text of at most 500 characters"));
                }
                ("is_active", None) if v.is_boolean() => {
                    patch.put.insert(key.clone(), v.clone());
                }
                ("is_active", _) => problems.push(FieldError::new(at("is_active"), "must be true or false")),
                (own, text) if own == self.own => match text {
                    None if v.is_null() => patch.taken.push(key.clone()),
                    Some("") => patch.taken.push(key.clone()),
                    Some(s) if self.fits(s) => {
                        patch.put.insert(key.clone(), s.into());
                    }
                    _ if own == "webhook_url" => {
                        problems
                            .push(FieldError::new(at(own), "must be a web address such as https://example.com/hook"));
                    }
                    _ => problems.push(FieldError::new(at(own), "must be a text of at most 200 characters")),
                },
                _ => problems.push(FieldError::new(at(key), "is not a field of this provider")),
            }
        }
        Some(patch)
    }

    /// What a sealed key is bound to.
    fn context(&self, tenant: TenantId) -> String {
        format!("tenant.{} {tenant}", self.key_column)
    }

    fn fits(&self, s: &str) -> bool {
        match self.own {
            "webhook_url" => s.len() <= 2_000 && is_web_url(s),
            _ => s.chars().count() <= 200 && !s.contains(char::is_control),
        }
    }
}

/// What becomes of a key, once it is bytes that nobody can read.
enum SealedKey {
    Keep,
    Clear,
    Set(Vec<u8>),
}

struct SealedPatch {
    provider: &'static Provider,
    put: Map<String, Value>,
    taken: Vec<String>,
    key: SealedKey,
}

/// What a request says about the providers, ready to be written.
pub(super) struct SealedCalling(Vec<SealedPatch>);

impl SealedCalling {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `ai_calling_providers = …, callfluent_key_sealed = …` for an UPDATE.
    pub(super) fn assignments(&self) -> Sql {
        let mut sql = Sql::new(format!("{FIELD} = {FIELD}"));
        for patch in &self.0 {
            let name = patch.provider.name;
            sql.push(format!(" || jsonb_build_object('{name}', (coalesce({FIELD} -> '{name}', '{{}}') || "));
            sql.bind(Bind::Text(Some(Value::Object(patch.put.clone()).to_string()), "jsonb")).push(") - ");
            sql.bind(Bind::Texts(Some(patch.taken.clone()))).push(")");
        }
        for SealedPatch { provider, key, .. } in &self.0 {
            let (column, set) = (provider.key_column, provider.set_column);
            match key {
                SealedKey::Keep => {}
                SealedKey::Clear => {
                    sql.push(format!(", {column} = NULL, {set} = NULL"));
                }
                SealedKey::Set(sealed) => {
                    sql.push(format!(", {column} = ")).bind(Bind::Bytes(sealed.clone()));
                    sql.push(format!(", {set} = now()"));
                }
            }
        }
        sql.prepared_once()
    }
}

/// A provider as the services that call use it.
#[derive(Debug)]
pub struct AiCallingProvider {
    /// Where CallFluent takes calls.
    pub webhook_url: Option<String>,
    /// Which agent of Thoughtly calls.
    pub agent_id: Option<String>,
    /// The key, if one is set.
    pub api_key: Option<SecretString>,
}

/// An active provider of a tenant, `callfluent` or `thoughtly`, with its key; `None` where it is not switched on.
///
/// # Errors
/// 500 when the key was sealed with another `CREDENTIALS_KEY`, 503 when the database is away.
pub async fn ai_calling_provider(
    tx: &mut SystemTx,
    tenant: TenantId,
    provider: &str,
    sealer: &Sealer,
) -> Result<Option<AiCallingProvider>, Error> {
    let Some(known) = PROVIDERS.iter().find(|p| p.name == provider) else { return Ok(None) };
    let mut sql = Sql::new(format!("SELECT {FIELD} -> '{}', {} FROM tenant WHERE id = ", known.name, known.key_column));
    sql.bind(tenant.0);
    let rows = tx.rows(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let held = row.get::<Option<Json>>(0).map_err(Error::internal)?.map(|j| j.value()).unwrap_or_default();
    if held.get("is_active").and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    let api_key = match row.get::<Option<Vec<u8>>>(1).map_err(Error::internal)? {
        None => None,
        Some(sealed) => {
            let plain = sealer.open(&known.context(tenant), &sealed).map_err(Error::internal)?;
            Some(String::from_utf8(plain).map_err(Error::internal)?.into())
        }
    };
    let text = |key: &str| held.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Some(AiCallingProvider { webhook_url: text("webhook_url"), agent_id: text("agent_id"), api_key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_in_and_never_come_out() {
        let sealer = Sealer::new(&"s".repeat(32).into(), None).unwrap();
        let mut problems = Vec::new();
        let body = json!({
            "callfluent": { "webhook_url": "https://example.com/hook", "api_key": "cf-secret", "is_active": true },
            "thoughtly": { "api_key": "", "agent_id": null, "has_api_key": true },
        });
        let input = CallingInput::read(&body, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(!format!("{input:?}").contains("cf-secret"), "not in a log either");
        let sql = format!("{:?}", input.sealed(&sealer, TenantId(uuid::Uuid::nil())).unwrap().assignments());
        assert!(!sql.contains("cf-secret") && sql.contains("callfluent_key_sealed") && !sql.contains("thoughtly_key"));
        let seen = shown(&json!({"callfluent": {"is_active": true}}), true, false);
        assert_eq!(seen["callfluent"], json!({"webhook_url": null, "is_active": true, "has_api_key": true}));
        assert_eq!(seen["thoughtly"], json!({"agent_id": null, "is_active": false, "has_api_key": false}));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (bad, field) in [
            (json!([]), "ai_calling_providers"),
            (json!({"twilio": {}}), "ai_calling_providers.twilio"),
            (json!({"callfluent": 5}), "ai_calling_providers.callfluent"),
            (json!({"callfluent": {"webhook_url": "ftp://x"}}), "ai_calling_providers.callfluent.webhook_url"),
            (json!({"callfluent": {"is_active": "yes"}}), "ai_calling_providers.callfluent.is_active"),
            (json!({"callfluent": {"agent_id": "x"}}), "ai_calling_providers.callfluent.agent_id"),
            (json!({"thoughtly": {"api_key": 5}}), "ai_calling_providers.thoughtly.api_key"),
            (json!({"thoughtly": {"agent_id": "a\u{0}"}}), "ai_calling_providers.thoughtly.agent_id"),
        ] {
            let mut problems = Vec::new();
            CallingInput::read(&bad, &mut problems);
            assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field], "{bad}");
        }
    }
}
