//! What can be wrong with a tenant's data: checks made from the record definitions, one statement each.
//!
//! - `orphaned_references`: a reference to a record that is in the trash. References to nothing cannot arise, because
//!   foreign keys see to it; they are looked for all the same, and for `related_id`, which has no foreign key, that
//!   matters.
//! - `missing_assignments`: a live record that nobody looks after, or somebody who does not work here any more.
//! - `invalid_references`: a creator who is no user, a stage that the pipeline does not have, a converted lead without its
//!   contact. What would be right is not known, so these are reported only.
//! - `denormalization_drift`: a copied value that differs from its source.

use super::{RECORDS, address, col, label, of_table, related_types};
use aisha_db::{
    Sql, SystemTx,
    record::{Kind, RecordDef, RowScope},
};
use aisha_kernel::Error;
use serde::Serialize;
use uuid::Uuid;

/// The kinds of check.
pub const CHECKS: [&str; 4] =
    ["orphaned_references", "missing_assignments", "invalid_references", "denormalization_drift"];

/// Records that a check lists.
pub const EXAMPLES: i64 = 50;

/// How a finding is put right.
#[derive(Debug, Clone)]
pub enum Fix {
    /// Not by us; the text says by what.
    Advice(&'static str),
    /// Columns get these values (SQL over the rows of the check).
    Set(Vec<(&'static str, String)>),
    /// `assigned_to` gets an employee that the caller names.
    Assign,
}

/// One check of one column, or of one group of copies, of one record type.
#[derive(Debug, Clone)]
pub struct Check {
    /// One of [`CHECKS`].
    pub name: &'static str,
    /// The record type.
    pub def: &'static RecordDef,
    /// The column.
    pub column: &'static str,
    /// Joins to the row `t`.
    pub joins: String,
    /// When a row is wrong.
    pub wrong: String,
    /// SQL of a sentence that says what is wrong with a row.
    pub problem: String,
    /// What is to be done.
    pub fix: Fix,
    /// When the row or its source changed last, for checks that can be narrowed to recent changes.
    pub changed_at: Option<&'static str>,
}

/// A row that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// The record type.
    pub entity: &'static str,
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What is wrong.
    pub problem: String,
    /// What would put it right.
    pub fix: String,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// One of [`CHECKS`].
    pub check: &'static str,
    /// The record type.
    pub entity: &'static str,
    /// The column, or the first of a group of copies.
    pub column: &'static str,
    /// Rows that are wrong.
    pub count: i64,
    /// Whether a repair puts them right.
    pub fixable: bool,
    /// Whether a repair needs `assign_to`.
    pub needs_assign_to: bool,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// A group of copies: the column that decides, the join to the source `s`, and the copies with their sources.
pub(crate) struct Copies {
    pub decided_by: &'static str,
    pub joins: String,
    pub columns: Vec<(&'static str, String)>,
    /// When the copies are comparable at all.
    pub when: &'static str,
}

fn joined(table: &str, key: &str) -> String {
    format!("LEFT JOIN {table} s ON s.tenant_id = t.tenant_id AND s.id = t.{key}")
}

fn has(def: &RecordDef, column: &str) -> bool {
    def.fields.iter().any(|f| f.name == column)
}

/// The copies that a record type keeps.
pub(crate) fn copies(def: &'static RecordDef) -> Vec<Copies> {
    let mut out = Vec::new();
    let mut of = |key: &'static str, source: &RecordDef, columns: Vec<(&'static str, String)>| {
        let columns: Vec<_> = columns.into_iter().filter(|(c, _)| has(def, c)).collect();
        if has(def, key) && !columns.is_empty() {
            out.push(Copies { decided_by: key, joins: joined(source.table, key), columns, when: "true" });
        }
    };
    if let Some(employee) = of_table("employees") {
        of("assigned_to", employee, vec![("assigned_to_name", label(employee, "s"))]);
    }
    if let Some(account) = of_table("accounts") {
        let copied = vec![("account_name", "s.name".to_owned()), ("account_industry", "s.industry".to_owned())];
        of("account_id", account, copied);
    }
    if let Some(contact) = of_table("contacts") {
        of(
            "contact_id",
            contact,
            vec![("contact_name", label(contact, "s")), ("contact_email", address(contact, "s"))],
        );
    }
    if def.scope == RowScope::Attached {
        out.push(Copies {
            decided_by: "related_id",
            joins: related(def),
            columns: vec![
                ("related_name", "s.name".into()),
                ("related_email", "s.email".into()),
                ("related_assigned_to", "s.assigned_to".into()),
                ("related_created_by", "s.created_by".into()),
            ],
            // What belongs to an archived record keeps what was copied from it.
            when: "(t.related_id IS NULL OR s.id IS NOT NULL)",
        });
    }
    if has(def, "due_at") {
        out.push(Copies {
            decided_by: "due_date",
            joins:
                "CROSS JOIN LATERAL (SELECT due_instant(t.tenant_id, t.due_date, t.due_time, t.timezone) AS due_at, \
                    t.updated_at) s"
                    .into(),
            columns: vec![("due_at", "s.due_at".into())],
            when: "(t.due_date IS NULL OR s.due_at IS NOT NULL)",
        });
    }
    out
}

/// The record that a row belongs to, as `s`.
fn related(def: &'static RecordDef) -> String {
    let arms: Vec<String> = related_types(def)
        .into_iter()
        .map(|d| {
            format!(
                "SELECT x.id, {} AS name, {} AS email, x.assigned_to, x.created_by, x.deleted_at, x.updated_at FROM {} x \
                 WHERE t.related_type = '{}' AND x.tenant_id = t.tenant_id AND x.id = t.related_id",
                label(d, "x"),
                address(d, "x"),
                d.table,
                d.name
            )
        })
        .collect();
    format!("LEFT JOIN LATERAL ({}) s ON true", arms.join(" UNION ALL "))
}

fn orphans(def: &'static RecordDef, out: &mut Vec<Check>) {
    for field in def.fields {
        let Kind::Reference(table) = field.kind else { continue };
        let Some(target) = of_table(table) else { continue };
        let is = target.name.replace('_', " ");
        // What a conversion or a promotion set is history; what it points to can be restored.
        let fix = if field.read_only {
            Fix::Advice("restore the record from the trash")
        } else {
            Fix::Set(vec![(field.name, "NULL::uuid".into())])
        };
        if field.name == "converted_contact_id" {
            continue;
        }
        out.push(Check {
            name: "orphaned_references",
            def,
            column: field.name,
            joins: joined(table, field.name),
            wrong: format!(
                "t.deleted_at IS NULL AND t.{} IS NOT NULL AND (s.id IS NULL OR s.deleted_at IS NOT NULL)",
                field.name
            ),
            problem: format!("CASE WHEN s.id IS NULL THEN 'refers to no {is}' ELSE 'the {is} is in the trash' END"),
            fix,
            changed_at: None,
        });
    }
    if def.scope == RowScope::Attached {
        out.push(Check {
            name: "orphaned_references",
            def,
            column: "related_id",
            joins: related(def),
            wrong: "t.deleted_at IS NULL AND t.related_id IS NOT NULL AND (s.deleted_at IS NOT NULL OR s.id IS NULL \
                    AND NOT EXISTS (SELECT FROM archived_record a WHERE a.tenant_id = t.tenant_id \
                                    AND a.entity_type = t.related_type AND a.id = t.related_id))"
                .into(),
            problem: "CASE WHEN s.id IS NULL THEN 'belongs to a ' || coalesce(t.related_type, 'record') || ' that is not there' \
                      ELSE 'the ' || t.related_type || ' is in the trash' END"
                .into(),
            fix: Fix::Set(vec![("related_type", "NULL::text".into()), ("related_id", "NULL::uuid".into())]),
            changed_at: None,
        });
    }
}

fn assignments(def: &'static RecordDef, out: &mut Vec<Check>) {
    if !def.scope.owned() {
        return;
    }
    // An activity or a note is somebody's through the record that it belongs to.
    let nobody = if def.scope == RowScope::Owned { "t.assigned_to IS NULL OR " } else { "" };
    out.push(Check {
        name: "missing_assignments",
        def,
        column: "assigned_to",
        joins: joined("employees", "assigned_to"),
        wrong: format!(
            "t.deleted_at IS NULL AND ({nobody}t.assigned_to IS NOT NULL AND (s.id IS NULL OR s.deleted_at IS NOT NULL \
             OR s.status IN ('inactive', 'terminated')))"
        ),
        problem: "CASE WHEN t.assigned_to IS NULL THEN 'assigned to nobody' WHEN s.id IS NULL THEN 'the assignee is not there' \
                  WHEN s.deleted_at IS NOT NULL THEN 'the assignee is in the trash' ELSE 'the assignee is ' || s.status END"
            .into(),
        fix: Fix::Assign,
        changed_at: None,
    });
}

fn invalid(def: &'static RecordDef, out: &mut Vec<Check>) {
    out.push(Check {
        name: "invalid_references",
        def,
        column: "created_by",
        joins: "LEFT JOIN users s ON s.id = t.created_by AND (s.tenant_id = t.tenant_id OR s.tenant_id IS NULL)".into(),
        wrong: "t.created_by IS NOT NULL AND s.id IS NULL".into(),
        problem: "'created by somebody who is no user of this tenant'".into(),
        fix: Fix::Advice("who created a record is history and stays"),
        changed_at: None,
    });
    if def.table == "opportunities" {
        out.push(Check {
            name: "invalid_references",
            def,
            column: "stage",
            joins: String::new(),
            wrong: "t.deleted_at IS NULL AND NOT EXISTS (SELECT FROM pipeline_stages(t.tenant_id) p WHERE p.name = t.stage)".into(),
            problem: "'the pipeline has no stage ' || t.stage".into(),
            fix: Fix::Advice("choose a stage of the pipeline, or add this one to it"),
            changed_at: None,
        });
    }
    if has(def, "converted_contact_id") {
        out.push(Check {
            name: "invalid_references",
            def,
            column: "converted_contact_id",
            joins: joined("contacts", "converted_contact_id"),
            wrong: "t.deleted_at IS NULL AND t.converted_at IS NOT NULL AND (s.id IS NULL OR s.deleted_at IS NOT NULL)"
                .into(),
            problem: "CASE WHEN s.id IS NULL THEN 'converted to a contact that is not there' \
                      ELSE 'converted to a contact that is in the trash' END"
                .into(),
            fix: Fix::Advice("restore the contact from the trash, or roll the conversion back"),
            changed_at: None,
        });
    }
}

fn drift(def: &'static RecordDef, out: &mut Vec<Check>) {
    for group in copies(def) {
        let held: Vec<String> = group.columns.iter().map(|(c, _)| format!("t.{c}")).collect();
        let source: Vec<String> = group.columns.iter().map(|(_, s)| s.clone()).collect();
        let column = group.columns.first().map_or("", |(c, _)| *c);
        out.push(Check {
            name: "denormalization_drift",
            def,
            column,
            joins: group.joins,
            wrong: format!("{} AND ROW({}) IS DISTINCT FROM ROW({})", group.when, held.join(", "), source.join(", ")),
            problem: format!("'{} differs from its source'", column),
            fix: Fix::Set(group.columns),
            changed_at: Some("greatest(t.updated_at, s.updated_at)"),
        });
    }
}

/// The checks of the given kinds, all when empty, in the order in which they are to be put right: links before what is
/// copied along them.
#[must_use]
pub fn checks(names: &[&str]) -> Vec<Check> {
    let mut out = Vec::new();
    for part in [orphans, assignments, invalid, drift] {
        for def in RECORDS {
            part(def, &mut out);
        }
    }
    out.retain(|c| names.is_empty() || names.contains(&c.name));
    out
}

impl Check {
    /// What a repair does.
    fn cure(&self) -> String {
        match &self.fix {
            Fix::Advice(text) => (*text).to_owned(),
            Fix::Assign => "name an employee as assign_to".into(),
            Fix::Set(_) if self.name == "denormalization_drift" => "copy it again".into(),
            Fix::Set(_) => "clear the reference".into(),
        }
    }

    /// Whether a repair puts it right.
    #[must_use]
    pub fn fixable(&self) -> bool {
        !matches!(self.fix, Fix::Advice(_))
    }

    /// `FROM … WHERE …` of the rows that are wrong.
    pub(crate) fn rows(&self, since_days: Option<i32>) -> String {
        let recent = match (since_days, self.changed_at) {
            (Some(days), Some(at)) => format!(" AND {at} > now() - interval '{days} days'"),
            _ => String::new(),
        };
        format!(
            " FROM {} t {} WHERE t.tenant_id = current_tenant_id() AND {}{recent}",
            self.def.table, self.joins, self.wrong
        )
    }

    fn find(&self) -> Sql {
        Sql::new(format!(
            "SELECT t.id, {}, {}, count(*) OVER (){} ORDER BY t.id LIMIT {EXAMPLES}",
            label(self.def, "t"),
            self.problem,
            self.rows(None)
        ))
    }
}

/// What a check of everything found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Rows that are wrong, over all checks.
    pub issues: i64,
    /// Of these, the rows that a repair puts right by itself.
    pub fixable: i64,
    /// Foreign keys between tables with data of tenants; `unenforced` of them were never checked.
    pub foreign_keys: ForeignKeys,
    /// Check by check; those that found nothing too.
    pub checks: Vec<Finding>,
}

/// The net under the references.
#[derive(Debug, Clone, Serialize)]
pub struct ForeignKeys {
    /// How many there are.
    pub enforced: i64,
    /// How many are declared but not validated.
    pub unenforced: i64,
}

/// Runs checks in the tenant that the transaction names.
///
/// # Errors
/// 503 when the database is away.
pub async fn check_all(tx: &mut SystemTx, names: &[&str]) -> Result<Report, Error> {
    let checks = checks(names);
    let mut flight: Vec<Sql> = checks.iter().map(Check::find).collect();
    flight.push(Sql::new(
        "SELECT count(*) FILTER (WHERE convalidated), count(*) FILTER (WHERE NOT convalidated) FROM pg_constraint \
         WHERE contype = 'f' AND connamespace = 'public'::regnamespace",
    ));
    let mut results = tx.flight(flight).await?;
    let keys = results.pop().unwrap_or_default();
    let key = |i| keys.first().map_or(Ok(0), |row| col::<i64>(row, i));
    let foreign_keys = ForeignKeys { enforced: key(0)?, unenforced: key(1)? };
    let mut findings = Vec::with_capacity(checks.len());
    for (check, rows) in checks.iter().zip(&results) {
        let examples = rows.iter().map(|row| {
            Ok(Example {
                entity: check.def.name,
                id: col(row, 0)?,
                name: col(row, 1)?,
                problem: col(row, 2)?,
                fix: check.cure(),
            })
        });
        findings.push(Finding {
            check: check.name,
            entity: check.def.name,
            column: check.column,
            count: rows.first().map_or(Ok(0), |row| col(row, 3))?,
            fixable: check.fixable(),
            needs_assign_to: matches!(check.fix, Fix::Assign),
            examples: examples.collect::<Result<_, Error>>()?,
        });
    }
    Ok(Report {
        issues: findings.iter().map(|f| f.count).sum(),
        fixable: findings.iter().filter(|f| f.fixable && !f.needs_assign_to).map(|f| f.count).sum(),
        foreign_keys,
        checks: findings,
    })
}

/// The names among `given` that are no check.
#[must_use]
pub fn unknown(given: &[String]) -> Vec<&str> {
    given.iter().map(String::as_str).filter(|n| !CHECKS.contains(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_and_every_copy_is_checked() {
        let all = checks(&[]);
        let found = |name: &str, entity: &str, column: &str| {
            all.iter().any(|c| c.name == name && c.def.name == entity && c.column == column)
        };
        for (entity, column) in [
            ("contact", "account_id"),
            ("opportunity", "contact_id"),
            ("opportunity", "account_id"),
            ("opportunity", "lead_id"),
            ("cash_flow", "opportunity_id"),
            ("activity", "related_id"),
            ("note", "related_id"),
        ] {
            assert!(found("orphaned_references", entity, column), "{entity}.{column}");
        }
        for (entity, column) in [
            ("contact", "assigned_to_name"),
            ("contact", "account_name"),
            ("opportunity", "contact_name"),
            ("note", "related_name"),
            ("activity", "due_at"),
        ] {
            assert!(found("denormalization_drift", entity, column), "{entity}.{column}");
        }
        use crate::care::definition;
        assert!(definition("contact").is_some() && definition("contacts").is_some() && definition("x").is_none());
        // Every copy that a definition shows is in a group.
        for def in RECORDS {
            let groups: Vec<&str> = copies(def).iter().flat_map(|g| g.columns.iter().map(|(c, _)| *c)).collect();
            for field in def.fields.iter().filter(|f| f.read_only) {
                let copied = ["_name", "_industry"].iter().any(|end| field.name.ends_with(end));
                assert!(!copied || groups.contains(&field.name), "{}.{}", def.name, field.name);
            }
        }
    }
}
