//! The data quality report: what is missing, wrong, stale or there twice, as far as the caller sees. Test data does not
//! count.

use super::{RECORDS, col, definition, label};
use aisha_auth::Principal;
use aisha_db::{
    Db, Sql,
    record::{Kind, RecordDef},
};
use aisha_kernel::Error;
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A kind of shortcoming: its name and the SQL condition of a row.
type Issue = (&'static str, String);

/// What people type where a name is demanded.
const PLACEHOLDERS: &str =
    "('', '-', '--', '.', '?', 'x', 'xx', 'xxx', 'n/a', 'na', 'none', 'null', 'unknown', 'test', 'tbd')";

/// What a record type can lack.
fn issues(def: &RecordDef) -> Vec<Issue> {
    let has = |name: &str| def.fields.iter().any(|f| f.name == name);
    let mut out: Vec<Issue> = Vec::new();
    for (issue, column) in [("missing_first_name", "first_name"), ("missing_last_name", "last_name")] {
        if has(column) {
            out.push((issue, format!("lower(btrim({column})) IN {PLACEHOLDERS}")));
        }
    }
    let name = ["name", "company_name", "subject"].into_iter().find(|n| has(n));
    if has("first_name") {
        let strange = |c: &str| format!("{c} ~ '[0-9<>{{}}|\\\\^~@#$%*=+_]' OR {c} ~ '[\\[\\]]'");
        out.push(("invalid_name_characters", format!("({} OR {})", strange("first_name"), strange("last_name"))));
    } else if let Some(column) = name {
        out.push(("missing_name", format!("lower(btrim({column})) IN {PLACEHOLDERS}")));
        out.push(("invalid_name_characters", format!("({column} ~ '[<>{{}}|\\\\^~]' OR {column} ~ '[\\[\\]]')")));
    }
    if has("email") {
        out.push(("invalid_email", "email !~ '^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:].]{2,}$'".into()));
        out.push(("duplicates", "same_address > 1".into()));
    }
    let phones: Vec<(&str, &str)> = def
        .fields
        .iter()
        .filter_map(|f| match f.kind {
            Kind::Phone(e164) => Some((f.name, e164)),
            _ => None,
        })
        .collect();
    if !phones.is_empty() {
        let wrong: Vec<String> =
            phones.iter().map(|(typed, e164)| format!("({typed} IS NOT NULL AND {e164} IS NULL)")).collect();
        out.push(("invalid_phone", format!("({})", wrong.join(" OR "))));
        if has("email") {
            let none: Vec<String> = phones.iter().map(|(typed, _)| format!(" AND {typed} IS NULL")).collect();
            out.push(("missing_contact_info", format!("(email IS NULL{})", none.concat())));
        }
    }
    match def.name {
        "contact" => out.push(("missing_account", "account_id IS NULL".into())),
        "opportunity" => {
            out.push(("missing_account", "account_id IS NULL".into()));
            out.push(("missing_amount", "amount IS NULL".into()));
            out.push(("missing_close_date", "(close_date IS NULL AND outcome = 'open')".into()));
        }
        _ => {}
    }
    if def.scope.owned() {
        out.push(("no_assignee", "assigned_to IS NULL".into()));
    }
    out.push(("stale", "updated_at < now() - interval '1 year'".into()));
    out
}

fn rows(def: &RecordDef, me: &Principal) -> Sql {
    let same = if def.fields.iter().any(|f| f.name == "email") {
        ", CASE WHEN x.email IS NOT NULL THEN count(*) OVER (PARTITION BY x.email) END AS same_address"
    } else {
        ""
    };
    let mut sql = Sql::new(format!(" FROM (SELECT x.*{same} FROM {} x WHERE x.tenant_id = ", def.table));
    sql.bind(me.tenant().0).push(" AND x.deleted_at IS NULL AND NOT x.is_test_data) t");
    sql
}

/// What one record type lacks.
#[derive(Debug, Clone, Serialize)]
pub struct Quality {
    /// Live records.
    pub total: i64,
    /// How many records have each shortcoming.
    pub issues: BTreeMap<&'static str, i64>,
    /// Records with at least one.
    pub issues_count: i64,
    /// The same in percent, with one decimal.
    pub issues_percentage: f64,
}

/// The report: by plural name of the record type.
///
/// # Errors
/// 503 when the database is away.
pub async fn data_quality(
    db: &Db,
    me: &Principal,
    only: Option<&'static RecordDef>,
) -> Result<BTreeMap<&'static str, Quality>, Error> {
    let defs: Vec<&'static RecordDef> =
        RECORDS.iter().copied().filter(|d| only.is_none_or(|o| o.name == d.name)).collect();
    let statements = defs
        .iter()
        .map(|d| {
            let issues = issues(d);
            let counts: Vec<String> =
                issues.iter().map(|(_, when)| format!("count(*) FILTER (WHERE {when})")).collect();
            let any: Vec<&str> = issues.iter().map(|(_, when)| when.as_str()).collect();
            let mut sql = Sql::new(format!(
                "SELECT count(*), count(*) FILTER (WHERE {}), {}",
                any.join(" OR "),
                counts.join(", ")
            ));
            sql.append(rows(d, me));
            sql
        })
        .collect();
    let results = db.fetch(me, statements).await?;
    let mut out = BTreeMap::new();
    for (def, rows) in defs.iter().zip(&results) {
        let row = rows.first().ok_or_else(Error::not_found)?;
        let (total, issues_count): (i64, i64) = (col(row, 0)?, col(row, 1)?);
        let mut found = BTreeMap::new();
        for (i, (name, _)) in issues(def).iter().enumerate() {
            found.insert(*name, col(row, i + 2)?);
        }
        // Thousandths, rounded: a tenant has far fewer records than an f64 counts exactly.
        let thousandths = if total == 0 { 0 } else { (issues_count * 1000 + total / 2) / total };
        let issues_percentage = f64::from(i32::try_from(thousandths).unwrap_or(i32::MAX)) / 10.0;
        out.insert(def.plural, Quality { total, issues: found, issues_count, issues_percentage });
    }
    Ok(out)
}

/// A record with a shortcoming.
#[derive(Debug, Clone, Serialize)]
pub struct Flawed {
    /// The record type.
    pub entity: &'static str,
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
}

/// Records with one kind of shortcoming, by id.
///
/// # Errors
/// 400 naming `issue` when the record type knows none of that name.
pub async fn data_quality_examples(
    db: &Db,
    me: &Principal,
    entity: &str,
    issue: &str,
    limit: i64,
) -> Result<Vec<Flawed>, Error> {
    let def = definition(entity).ok_or_else(|| Error::parameter("entity", "is no record type"))?;
    let all = issues(def);
    let Some((_, when)) = all.iter().find(|(name, _)| *name == issue) else {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        return Err(Error::parameter("issue", format!("must be one of: {}", names.join(", "))));
    };
    let mut sql = Sql::new(format!("SELECT t.id, {}", label(def, "t")));
    sql.append(rows(def, me)).push(format!(" WHERE {when} ORDER BY t.id LIMIT {limit}"));
    let rows = db.fetch(me, vec![sql.prepared_once()]).await?.pop().unwrap_or_default();
    rows.iter().map(|row| Ok(Flawed { entity: def.name, id: col(row, 0)?, name: col(row, 1)? })).collect()
}
