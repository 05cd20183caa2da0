//! What decides whose a record is, and the rules over it.

use super::{Question, Rule, Subject, rule};
use crate::care::{col, label};
use aisha_auth::{Identity, Role, Scope};
use aisha_db::{
    Sql, SystemTx,
    record::{RecordDef, RowScope},
};
use aisha_kernel::Error;
use uuid::Uuid;

/// An employee that a record names.
#[derive(Debug, Clone)]
pub struct Assignee {
    /// Id.
    pub id: Uuid,
    /// Name; `None` when there is no such employee.
    pub name: Option<String>,
    /// Department.
    pub department: Option<String>,
    /// `active`, `inactive`, `terminated`, `on_leave`, or `in the trash`.
    pub status: String,
    /// The account, if there is one.
    pub user_id: Option<Uuid>,
}

impl Assignee {
    /// Whether the person can still look after records.
    #[must_use]
    pub fn works_here(&self) -> bool {
        matches!(self.status.as_str(), "active" | "on_leave")
    }
}

/// What is known of a record.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What it is called.
    pub name: String,
    /// In the trash.
    pub trashed: bool,
    /// In the archive.
    pub archived: bool,
    /// Made for testing.
    pub is_test_data: bool,
    /// Who looks after it.
    pub assigned_to: Option<Assignee>,
    /// The user who created it, and its e-mail address.
    pub created_by: Option<(Uuid, Option<String>)>,
    /// Type of the record that it belongs to.
    pub related_type: Option<String>,
    /// Who looks after that one.
    pub related_assigned_to: Option<Assignee>,
    /// Who created that one.
    pub related_created_by: Option<Uuid>,
    /// Only for its author and admins.
    pub is_private: bool,
}

impl Facts {
    /// Whether it is a private note that `who` may not see.
    #[must_use]
    pub fn hidden_note(&self, who: &Identity) -> bool {
        let mine = self.created_by.as_ref().is_some_and(|(id, _)| *id == who.user_id.0);
        self.is_private && !mine && who.role < Role::Admin
    }
}

fn employee(alias: &str) -> String {
    format!(
        "{alias}.first_name || ' ' || {alias}.last_name, {alias}.department, \
         CASE WHEN {alias}.id IS NULL THEN 'gone' WHEN {alias}.deleted_at IS NOT NULL THEN 'in the trash' \
              ELSE {alias}.status END, {alias}.user_id"
    )
}

/// The facts of a record of the tenant that the transaction names, archived ones included.
///
/// # Errors
/// 503 when the database is away.
pub async fn record_facts(tx: &mut SystemTx, at: Question) -> Result<Option<Facts>, Error> {
    let def = at.def;
    let attached = def.scope == RowScope::Attached;
    let private = def.field("is_private").is_some();
    let assigned = if def.scope.owned() { "t.assigned_to" } else { "NULL::uuid" };
    let (related, related_type, related_by) = if attached {
        ("t.related_assigned_to", "t.related_type", "t.related_created_by")
    } else {
        ("NULL::uuid", "NULL::text", "NULL::uuid")
    };
    let select = |source: &str, archived: bool| {
        let mut sql = Sql::new(format!(
            "SELECT {}, t.deleted_at IS NOT NULL, t.is_test_data, {assigned}, {}, t.created_by, u.email, {related_type}, \
             {related}, {}, {related_by}, {}, {archived} FROM {source} \
             LEFT JOIN employees e ON e.tenant_id = t.tenant_id AND e.id = {assigned} \
             LEFT JOIN employees r ON r.tenant_id = t.tenant_id AND r.id = {related} \
             LEFT JOIN users u ON u.id = t.created_by AND (u.tenant_id = t.tenant_id OR u.tenant_id IS NULL) \
             WHERE t.tenant_id = current_tenant_id() AND t.id = ",
            label(def, "t"),
            employee("e"),
            employee("r"),
            if private { "t.is_private" } else { "false" },
        ));
        sql.bind(at.id);
        sql
    };
    let archive = format!(
        "(SELECT p.* FROM archived_record a, jsonb_populate_record(NULL::{}, a.record) p \
          WHERE a.tenant_id = current_tenant_id() AND a.entity_type = '{}') t",
        def.table, def.name
    );
    let found = tx.flight(vec![select(&format!("{} t", def.table), false), select(&archive, true)]).await?;
    let Some(row) = found.iter().flatten().next() else { return Ok(None) };
    let assignee = |at: usize| -> Result<Option<Assignee>, Error> {
        let Some(id) = col::<Option<Uuid>>(row, at)? else { return Ok(None) };
        Ok(Some(Assignee {
            id,
            name: col(row, at + 1)?,
            department: col(row, at + 2)?,
            status: col(row, at + 3)?,
            user_id: col(row, at + 4)?,
        }))
    };
    Ok(Some(Facts {
        name: col(row, 0)?,
        trashed: col(row, 1)?,
        is_test_data: col(row, 2)?,
        assigned_to: assignee(3)?,
        created_by: match col::<Option<Uuid>>(row, 8)? {
            Some(id) => Some((id, col(row, 9)?)),
            None => None,
        },
        related_type: col(row, 10)?,
        related_assigned_to: assignee(11)?,
        related_created_by: col(row, 16)?,
        is_private: col(row, 17)?,
        archived: col(row, 18)?,
    }))
}

/// In which way a record of the tenant is `who`'s to see, as the policies of `tenant_table()` have it; `None` when it is
/// not. The trash is not looked at.
#[must_use]
pub fn way(who: &Identity, def: &RecordDef, facts: &Facts) -> Option<&'static str> {
    if facts.archived || facts.hidden_note(who) {
        return None;
    }
    if def.scope == RowScope::Tenant {
        return Some("everybody");
    }
    let mine = |a: &Option<Assignee>| {
        a.as_ref().is_some_and(|a| {
            let team = who.scope == Scope::Department && who.department.is_some() && who.department == a.department;
            team || Some(a.id) == who.employee_id
        })
    };
    let attached = def.scope == RowScope::Attached;
    if who.scope == Scope::All {
        Some("role")
    } else if mine(&facts.assigned_to) {
        Some(if facts.assigned_to.as_ref().map(|a| a.id) == who.employee_id { "assigned_to" } else { "department" })
    } else if facts.created_by.as_ref().is_some_and(|(id, _)| *id == who.user_id.0) {
        Some("created_by")
    } else if attached && mine(&facts.related_assigned_to) {
        Some("related_assigned_to")
    } else if attached && facts.related_created_by == Some(who.user_id.0) {
        Some("related_created_by")
    } else {
        None
    }
}

fn assignee_rule(name: &'static str, who: &Identity, assignee: Option<&Assignee>) -> Rule {
    let Some(a) = assignee else {
        return rule(name, (who.scope != Scope::All).then_some(false), "Assigned to nobody.");
    };
    let person = a.name.clone().unwrap_or_else(|| a.id.to_string());
    let mine = Some(a.id) == who.employee_id;
    let account = if a.user_id.is_some() { "" } else { ", and has no user account" };
    let detail = if mine {
        format!("Assigned to this user ({person}).")
    } else {
        format!("Assigned to {person}, who is {}{account}.", a.status)
    };
    rule(name, (mine || who.scope != Scope::All).then_some(mine), detail)
}

/// The rules about the record.
pub(super) fn rules(subject: &Subject, at: Question, facts: Option<&Facts>) -> Vec<Rule> {
    let who = &subject.identity;
    let Some(facts) = facts else {
        return vec![rule("record_exists", false, "There is no such record in this tenant.")];
    };
    let mut out = vec![
        rule("record_exists", true, format!("{} “{}”.", at.def.name, facts.name)),
        match facts.archived {
            true => rule("not_archived", false, "It is in the archive."),
            false => rule("not_archived", true, "It is not in the archive."),
        },
        match facts.trashed {
            true => rule("not_in_trash", false, "It is in the trash."),
            false => rule("not_in_trash", true, "It is not in the trash."),
        },
        rule(
            "test_data",
            None,
            match facts.is_test_data {
                true => "It is test data: lists with show_test_data=false leave it out.",
                false => "It is no test data.",
            },
        ),
    ];
    if !at.def.scope.owned() {
        out.push(rule("owner", true, format!("{} are seen by everybody in the tenant.", at.def.plural)));
        return out;
    }
    out.push(assignee_rule("assigned_to", who, facts.assigned_to.as_ref()));
    let by = facts.created_by.as_ref();
    let mine = by.is_some_and(|(id, _)| *id == who.user_id.0);
    out.push(rule(
        "created_by",
        (mine || who.scope != Scope::All).then_some(mine),
        match by {
            None => "Nobody is known to have created it.".to_owned(),
            Some(_) if mine => "Created by this user.".to_owned(),
            Some((_, Some(email))) => format!("Created by {email}."),
            Some((id, None)) => format!("Created by {id}, who is no user of this tenant."),
        },
    ));
    if who.scope == Scope::Department {
        let theirs = facts.assigned_to.as_ref().and_then(|a| a.department.as_deref());
        let own = who.department.as_deref();
        let show = |d: Option<&str>| d.unwrap_or("none").to_owned();
        let detail = format!("Department of the assignee: {}; of this user: {}.", show(theirs), show(own));
        out.push(rule("department", own.is_some() && own == theirs, detail));
    }
    if at.def.scope == RowScope::Attached {
        match &facts.related_type {
            None => out.push(rule("related_record", None, "It belongs to no other record.")),
            Some(kind) => {
                let mut related = assignee_rule("related_assigned_to", who, facts.related_assigned_to.as_ref());
                related.detail = format!("The {kind} that it belongs to: {}", related.detail);
                out.push(related);
                let mine = facts.related_created_by == Some(who.user_id.0);
                let detail = if mine { "was created by this user" } else { "was created by somebody else" };
                let passed = (mine || who.scope != Scope::All).then_some(mine);
                out.push(rule("related_created_by", passed, format!("The {kind} that it belongs to {detail}.")));
            }
        }
    }
    if facts.is_private {
        let detail = "It is a private note, which its author and the admins see.";
        out.push(rule("private_note", !facts.hidden_note(who), detail));
    }
    let found = way(who, at.def, facts);
    let detail = match found {
        Some(way) => format!("It is this user's to see, by {}.", way.replace('_', " ")),
        None => "Nothing makes it this user's to see.".to_owned(),
    };
    out.push(rule("record_visible", found.is_some() && !facts.trashed, detail));
    out
}
