//! Which modules a tenant has on, and their settings. Without a row a module is on.
//!
//! What a module governs stands in `aisha_auth::module`; that a request to a module that is off is refused is the work
//! of `Identity::require`. Background work does not ask: what is stored stays stored and is looked after.

mod stage;

pub use stage::{Outcome, Stage, Stages};

use aisha_auth::{
    Action, Principal,
    module::{MODULES, Module, find},
};
use aisha_db::{
    Bind, Db, Json, PgRow, RequestContext, Sql,
    record::{
        Changes,
        changes::Mode,
        field::{Field, flag, json, text},
        value,
    },
    tx::Rows,
};
use aisha_kernel::{Error, FieldError, TenantId, new_id};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// A tenant's setting of one module, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleSetting {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// The module.
    pub module_name: String,
    /// Whether it is on.
    pub is_enabled: bool,
    /// Settings of the module; for `opportunities` the `stages`.
    pub settings: Json,
    /// The user who first set it.
    pub created_by: Option<Uuid>,
    /// When it was first set.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Counts the changes.
    pub version: i32,
}

const COLUMNS: &str = "id, tenant_id, module_name, is_enabled, settings, created_by, created_at, updated_at, version";

static SETTINGS: Field = json().named("settings", "Settings of the module; replaced as a whole.");

/// What a client may set.
pub static FIELDS: [Field; 3] = [
    text(63).required().named("module_name", "The module.").aliases(&["module_id"]),
    flag().named("is_enabled", "Whether it is on; true when absent.").aliases(&["is_active"]),
    SETTINGS,
];

/// Shown, or sent by older clients, but not to be set.
const IGNORED: [&str; 8] =
    ["id", "tenant_id", "created_by", "created_at", "created_date", "updated_at", "version", "user_email"];

fn from_row(row: &PgRow) -> Result<ModuleSetting, Error> {
    let read = || -> Result<ModuleSetting, Box<dyn std::error::Error + Send + Sync>> {
        Ok(ModuleSetting {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            module_name: row.get(2)?,
            is_enabled: row.get(3)?,
            settings: row.get(4)?,
            created_by: row.get(5)?,
            created_at: row.get(6)?,
            updated_at: row.get(7)?,
            version: row.get(8)?,
        })
    };
    read().map_err(Error::internal)
}

fn one(rows: &Rows) -> Result<ModuleSetting, Error> {
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// The names of all modules, for messages.
#[must_use]
pub fn names() -> String {
    MODULES.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")
}

/// A body, checked but for its settings, which depend on the module.
#[derive(Debug)]
pub struct ModuleSettingInput {
    module: Option<&'static Module>,
    changes: Changes,
    settings: Option<Map<String, Value>>,
}

impl ModuleSettingInput {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        body.retain(|key, _| !IGNORED.contains(&key.as_str()));
        // Where both stand, the older form has a title in module_name.
        if body.contains_key("module_id") {
            body.remove("module_name");
        }
        let mut problems = Vec::new();
        let settings = match body.remove("settings") {
            None => None,
            Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(map)) => Some(map),
            Some(_) => {
                problems.push(FieldError::new("settings", "must be an object"));
                None
            }
        };
        let changes = match Changes::read_fields(&FIELDS, &body, mode) {
            Ok(changes) => changes,
            Err(mut e) => {
                e.details.extend(problems);
                return Err(e);
            }
        };
        let module = match changes.text("module_name") {
            None => None,
            Some(name) => {
                let module = find(name);
                if module.is_none() {
                    problems.push(FieldError::new("module_name", format!("must be one of: {}", names())));
                }
                module
            }
        };
        let input = Self { module, changes, settings };
        if problems.is_empty() { Ok(input) } else { Err(Error::validation(problems)) }
    }

    /// Everything to be written of this module.
    fn checked(&self, module: &str) -> Result<Changes, Error> {
        let mut changes = self.changes.clone();
        let Some(mut settings) = self.settings.clone() else { return Ok(changes) };
        if module == "opportunities"
            && let Some(stages) = settings.get("stages")
        {
            let stages = Stages::read(stages).map_err(Error::validation)?;
            settings.insert("stages".into(), serde_json::to_value(stages).map_err(Error::internal)?);
        }
        let parsed = value::parse(&SETTINGS, &Value::Object(settings)).map_err(|e| Error::validation(vec![e]))?;
        changes.put(&SETTINGS, parsed);
        Ok(changes)
    }
}

/// The settings that a tenant has made, and all modules with whether they are on.
#[derive(Debug, Serialize)]
pub struct ModuleList {
    /// The settings that exist.
    pub modulesettings: Vec<ModuleSetting>,
    /// How many of them there are.
    pub total: usize,
    /// Every module.
    pub modules: Vec<ModuleState>,
}

/// A module with whether it is on.
#[derive(Debug, Serialize)]
pub struct ModuleState {
    /// The module.
    pub module_name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// Whether it is on.
    pub is_enabled: bool,
}

/// All modules, on unless `switched` says otherwise.
#[must_use]
pub fn states(switched: &Map<String, Value>) -> BTreeMap<&'static str, bool> {
    MODULES.iter().map(|m| (m.name, switched.get(m.name).and_then(Value::as_bool).unwrap_or(true))).collect()
}

/// The tenant's module settings, of one module or all.
///
/// # Errors
/// 503 when the database is away.
pub async fn module_setting_list(db: &Db, me: &Principal, module: Option<&str>) -> Result<ModuleList, Error> {
    me.require("module_settings", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM module_settings WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" ORDER BY module_name");
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    let all = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let wanted = |name: &str| module.is_none_or(|m| m == name);
    let state = |m: &Module| ModuleState {
        module_name: m.name,
        label: m.label,
        is_enabled: all.iter().find(|s| s.module_name == m.name).is_none_or(|s| s.is_enabled),
    };
    let modules = MODULES.iter().filter(|m| wanted(m.name)).map(state).collect();
    let modulesettings: Vec<ModuleSetting> = all.into_iter().filter(|s| wanted(&s.module_name)).collect();
    Ok(ModuleList { total: modulesettings.len(), modulesettings, modules })
}

/// One setting.
///
/// # Errors
/// 404.
pub async fn module_setting_read(db: &Db, me: &Principal, id: Uuid) -> Result<ModuleSetting, Error> {
    me.require("module_settings", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM module_settings WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    one(&db.fetch(me, vec![sql]).await?.pop().unwrap_or_default())
}

/// Sets a module, whether or not there is a setting of it; says whether there was none.
///
/// # Errors
/// 403, 422.
pub async fn module_setting_upsert(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    input: &ModuleSettingInput,
) -> Result<(ModuleSetting, bool), Error> {
    me.require("module_settings", Action::Create)?;
    let module = input.module.ok_or_else(|| Error::invalid("module_name", "is required"))?;
    let changes = input.checked(module.name)?;
    let fixed = vec![
        ("tenant_id", Bind::from(me.tenant().0)),
        ("id", Bind::from(new_id())),
        ("created_by", Bind::from(me.user().0)),
    ];
    let mut sql = Sql::new("INSERT INTO module_settings ");
    sql.append(changes.values(fixed)).push(" ON CONFLICT (tenant_id, module_name) DO UPDATE SET ");
    sql.append(changes.assignments()).push(format!(" RETURNING {COLUMNS}, xmax = 0"));
    let sql = sql.prepared_once();
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    let new = rows.first().map(|row| row.get::<bool>(9)).transpose().map_err(Error::internal)?;
    Ok((one(&rows)?, new == Some(true)))
}

/// Changes a setting.
///
/// # Errors
/// 403, 404, 422.
pub async fn module_setting_update(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    id: Uuid,
    input: &ModuleSettingInput,
) -> Result<ModuleSetting, Error> {
    me.require("module_settings", Action::Update)?;
    db.write(me, cx, async |tx| {
        let mut find = Sql::new("SELECT module_name FROM module_settings WHERE tenant_id = ");
        find.bind(me.tenant().0).push(" AND id = ").bind(id).push(" FOR UPDATE");
        let rows = tx.rows(find).await?;
        let name: String = rows.first().ok_or_else(Error::not_found)?.get(0).map_err(Error::internal)?;
        if input.module.is_some_and(|m| m.name != name) {
            return Err(Error::invalid("module_name", "cannot be changed: set the other module instead"));
        }
        let changes = input.checked(&name)?;
        let mut sql = Sql::new("UPDATE module_settings SET updated_at = updated_at");
        if !changes.is_empty() {
            sql.push(", ").append(changes.assignments());
        }
        sql.push(" WHERE tenant_id = ").bind(me.tenant().0).push(" AND id = ").bind(id);
        sql.push(format!(" RETURNING {COLUMNS}"));
        one(&tx.rows(sql.prepared_once()).await?)
    })
    .await
}

/// Removes a setting: the module is on again, with its default settings.
///
/// # Errors
/// 403, 404.
pub async fn module_setting_delete(db: &Db, me: &Principal, cx: &RequestContext, id: Uuid) -> Result<(), Error> {
    me.require("module_settings", Action::Delete)?;
    let mut sql = Sql::new("DELETE FROM module_settings WHERE tenant_id = ");
    sql.bind(me.tenant().0).push(" AND id = ").bind(id).push(" RETURNING id");
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    if rows.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

/// Switches modules of a tenant, in the transaction of what else is changed. What is on already gets no row.
pub(crate) fn switch(tenant: TenantId, user: Uuid, modules: &BTreeMap<&'static str, bool>) -> Option<Sql> {
    if modules.is_empty() {
        return None;
    }
    let wanted = Value::Object(modules.iter().map(|(name, on)| ((*name).to_owned(), Value::from(*on))).collect());
    let mut sql = Sql::new("INSERT INTO module_settings (tenant_id, module_name, is_enabled, created_by) SELECT ");
    sql.bind(tenant.0).push(", m.key, m.value::boolean, ").bind(user).push(" FROM jsonb_each_text(");
    sql.bind(Bind::Text(Some(wanted.to_string()), "jsonb")).push(") AS m WHERE NOT m.value::boolean ");
    sql.push("OR EXISTS (SELECT FROM module_settings s WHERE s.module_name = m.key AND s.tenant_id = ").bind(tenant.0);
    sql.push(") ON CONFLICT (tenant_id, module_name) DO UPDATE SET is_enabled = EXCLUDED.is_enabled ");
    sql.push("WHERE module_settings.is_enabled <> EXCLUDED.is_enabled");
    Some(sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value, mode: Mode) -> Result<ModuleSettingInput, Error> {
        match v {
            Value::Object(map) => ModuleSettingInput::read(map, mode),
            _ => Err(Error::not_found()),
        }
    }

    #[test]
    fn the_older_names_are_taken() {
        let old =
            json!({"module_id": "cash_flow", "module_name": "Cash Flow", "is_active": false, "user_email": "a@b.co"});
        let input = read(old, Mode::Create).unwrap();
        assert_eq!(input.module.map(|m| m.name), Some("cash_flow"));
        assert!(input.changes.has("is_enabled"));
        for (bad, field) in [
            (json!({}), "module_name"),
            (json!({"module_name": "teleport"}), "module_name"),
            (json!({"module_name": "leads", "is_enabled": "yes"}), "is_enabled"),
            (json!({"module_name": "leads", "settings": []}), "settings"),
            (json!({"module_name": "leads", "colour": 1}), "colour"),
        ] {
            let e = read(bad, Mode::Create).unwrap_err();
            assert!(e.details.iter().any(|d| d.field == field), "{field}: {e:?}");
        }
    }

    #[test]
    fn only_the_stages_of_opportunities_are_stages() {
        let input = read(json!({"settings": {"stages": ["x"]}}), Mode::Update).unwrap();
        let text = |m: &str| input.checked(m).map(|c| c.text("settings").unwrap_or_default().to_owned());
        assert_eq!(text("leads").unwrap(), r#"{"stages":["x"]}"#);
        assert!(text("opportunities").unwrap().contains("closed_lost"));
        let bad = read(json!({"settings": {"stages": []}}), Mode::Update).unwrap();
        assert_eq!(bad.checked("opportunities").unwrap_err().details[0].field, "settings.stages");
    }
}
