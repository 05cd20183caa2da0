//! "Why can't I see this?" Rule by rule, and the database's own answer beside it.
//!
//! The rules say *why*; whether somebody may read or change a record is asked of the database in that person's role. The
//! two must agree, and the report says so if they ever do not. Nothing is written.

mod facts;
mod lead;

pub use facts::{Facts, record_facts, way};
pub use lead::{LeadVisibility, lead_fix_assignment, lead_visibility};

use super::{RECORDS, acting, number};
use aisha_auth::{Action, Identity, Principal, Role, Scope};
use aisha_db::{
    Db, RequestContext, Sql,
    record::{RecordDef, RowScope},
};
use aisha_kernel::{Error, ErrorCode, TenantId};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// Somebody of a tenant, as far as it matters to what they see.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What a session of theirs would prove.
    pub identity: Identity,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub full_name: String,
    /// Whether the account is active.
    pub is_active: bool,
    /// Status of their tenant; `None` for a superadmin.
    pub tenant_status: Option<String>,
    /// Name and status of the employee record of the account.
    pub employee: Option<(String, String)>,
    /// Names of custom roles.
    pub custom_roles: Vec<String>,
}

impl Subject {
    /// Whether they can sign in at all.
    #[must_use]
    pub fn can_sign_in(&self) -> bool {
        self.is_active && self.tenant_status.as_deref().is_none_or(|s| s == "active")
    }

    /// Them, in one tenant.
    ///
    /// # Errors
    /// 403 when it is not theirs.
    pub fn principal(&self, tenant: TenantId) -> Result<Principal, Error> {
        Arc::new(self.identity.clone()).in_tenant(Some(tenant))
    }
}

/// One condition.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// Its name.
    pub rule: &'static str,
    /// Whether it lets the user through; null when it does not apply or is not shown.
    pub passed: Option<bool>,
    /// What was found.
    pub detail: String,
}

/// What the user may do with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    /// See it.
    pub can_read: bool,
    /// Change it.
    pub can_update: bool,
    /// Move it to the trash.
    pub can_delete: bool,
}

/// Something that would help.
#[derive(Debug, Clone, Serialize)]
pub struct Suggestion {
    /// In one word, for programs.
    pub action: &'static str,
    /// In a sentence.
    pub detail: String,
}

/// The record in question.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Its type.
    pub def: &'static RecordDef,
    /// Its id.
    pub id: Uuid,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct AccessReport {
    /// The user.
    pub user_id: Uuid,
    /// Its address.
    pub email: String,
    /// The record type in question.
    pub entity: Option<&'static str>,
    /// The record in question.
    pub id: Option<Uuid>,
    /// Condition by condition.
    pub rules: Vec<Rule>,
    /// What the database answered in the user's role; null without a record.
    pub verdict: Option<Verdict>,
    /// Whether the rules come to the same.
    pub agrees: Option<bool>,
    /// What would help.
    pub suggestions: Vec<Suggestion>,
}

fn rule(rule: &'static str, passed: impl Into<Option<bool>>, detail: impl Into<String>) -> Rule {
    Rule { rule, passed: passed.into(), detail: detail.into() }
}

fn subject_rules(subject: &Subject) -> Vec<Rule> {
    let id = &subject.identity;
    let tenant = subject.tenant_status.as_deref();
    let scope = match (id.role, id.scope) {
        (Role::Superadmin | Role::Admin, _) => "Sees every record of the tenant, as its role does.".to_owned(),
        (_, Scope::All) => "Sees every record of the tenant: manager_scope of the tenant is all.".to_owned(),
        (_, Scope::Department) => format!(
            "Sees the records of its department ({}) and what it created: manager_scope of the tenant is department.",
            id.department.as_deref().unwrap_or("none is set on the employee record")
        ),
        (_, Scope::Own) => {
            "Sees what is assigned to it or was created by it, and what belongs to such a record.".into()
        }
    };
    vec![
        rule("user_exists", true, format!("{} ({}).", subject.full_name, subject.email)),
        rule(
            "user_active",
            subject.is_active,
            if subject.is_active { "The account is active." } else { "The account is deactivated." },
        ),
        rule(
            "tenant_active",
            tenant.is_none_or(|s| s == "active"),
            tenant.map_or_else(
                || "Superadmins belong to no tenant and may act in each.".to_owned(),
                |s| format!("The tenant is {s}."),
            ),
        ),
        rule("role", None, format!("The role is {}.", id.role)),
        rule(
            "access_level",
            None,
            match id.access {
                aisha_auth::AccessLevel::Read => "May only read, whatever the role allows.",
                aisha_auth::AccessLevel::ReadWrite => "May read and write, within the role.",
            },
        ),
        rule(
            "custom_roles",
            None,
            if subject.custom_roles.is_empty() {
                "None.".to_owned()
            } else {
                format!("{}.", subject.custom_roles.join(", "))
            },
        ),
        rule("scope", None, scope),
        match (&subject.employee, id.role) {
            (Some((name, status)), _) => {
                rule("employee_linked", true, format!("Linked to the employee {name}, who is {status}."))
            }
            (None, Role::Superadmin) => rule("employee_linked", None, "Superadmins have no employee record."),
            (None, _) => rule(
                "employee_linked",
                id.scope == Scope::All,
                "No employee record is linked, so no record can be assigned to this user.",
            ),
        },
    ]
}

const VERBS: [(Action, &str); 3] =
    [(Action::Read, "permission_read"), (Action::Update, "permission_update"), (Action::Delete, "permission_delete")];

fn permission_rules(subject: &Subject, def: &RecordDef) -> Vec<Rule> {
    let refused = subject.identity.require(def.plural, Action::Read).err();
    let off = refused.as_ref().filter(|e| e.code == ErrorCode::ModuleDisabled);
    let mut rules = vec![rule(
        "module_enabled",
        off.is_none(),
        off.map_or_else(|| format!("{} are switched on.", def.plural), |e| e.message.clone().into_owned()),
    )];
    rules.extend(VERBS.iter().map(|(action, name)| match subject.identity.require(def.plural, *action) {
        Ok(()) => rule(name, true, format!("May {} {}.", action.as_str(), def.plural)),
        Err(e) => rule(name, false, e.message.into_owned()),
    }));
    rules
}

/// What the rules come to.
fn predicted(subject: &Subject, def: &'static RecordDef, facts: Option<&Facts>) -> Verdict {
    let may = |action| subject.can_sign_in() && subject.identity.require(def.plural, action).is_ok();
    let seen = facts.is_some_and(|f| !f.trashed && way(&subject.identity, def, f).is_some());
    Verdict {
        can_read: seen && may(Action::Read),
        can_update: seen && may(Action::Update),
        can_delete: seen && may(Action::Delete),
    }
}

/// The database's answer in the role of `subject`. A lock that nobody notices stands for the change: it takes the same
/// right and the same policies.
async fn asked(db: &Db, subject: &Subject, tenant: TenantId, at: Question) -> Result<Verdict, Error> {
    if !subject.can_sign_in() {
        return Ok(Verdict::default());
    }
    let them = subject.principal(tenant)?;
    let select = |tail: &'static str| {
        let mut sql = Sql::new(format!("SELECT id FROM {} WHERE tenant_id = ", at.def.table));
        sql.bind(tenant.0).push(" AND id = ").bind(at.id).push(" AND deleted_at IS NULL").push(tail);
        sql
    };
    let read = db.read(&them, async |tx| Ok(!tx.rows(select("")).await?.is_empty())).await?;
    let locked = db
        .write(&them, &RequestContext::default(), async |tx| Ok(!tx.rows(select(" FOR KEY SHARE")).await?.is_empty()))
        .await;
    let write = match locked {
        Ok(found) => found,
        // 25006 and 42501: a read-only transaction, or no right.
        Err(e) if e.code.status() == 403 => false,
        Err(e) => return Err(e),
    };
    let may = |action| them.require(at.def.plural, action).is_ok();
    Ok(Verdict {
        can_read: read && may(Action::Read),
        can_update: write && may(Action::Update),
        can_delete: write && may(Action::Delete),
    })
}

/// Why `subject` sees a record or not. `whole` says whether the asker may know about records that the subject does not
/// see; without it, what would tell is left out.
///
/// # Errors
/// 503 when the database is away.
pub async fn access_diagnose(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    subject: &Subject,
    question: Option<Question>,
    whole: bool,
) -> Result<AccessReport, Error> {
    let mut report = AccessReport {
        user_id: subject.identity.user_id.0,
        email: subject.email.clone(),
        entity: question.map(|q| q.def.name),
        id: question.map(|q| q.id),
        rules: subject_rules(subject),
        verdict: None,
        agrees: None,
        suggestions: Vec::new(),
    };
    if !subject.is_active {
        report.suggestions.push(suggest("activate_user", "Activate the account."));
    }
    if subject.employee.is_none() && subject.identity.scope != Scope::All {
        let detail = "Link an employee record to the account, so that records can be assigned to it.";
        report.suggestions.push(suggest("link_employee", detail));
    }
    let Some(at) = question else {
        return Ok(report);
    };
    report.rules.extend(permission_rules(subject, at.def));
    let facts = db.system(&acting(me, cx, "diagnostics"), async |tx| record_facts(tx, at).await).await?;
    let verdict = asked(db, subject, me.tenant(), at).await?;
    let agrees = predicted(subject, at.def, facts.as_ref()) == verdict;
    if !agrees {
        tracing::error!(entity = at.def.name, id = %at.id, user_id = %report.user_id, "the rules of access disagree with the database");
    }
    report.verdict = Some(verdict);
    report.agrees = Some(agrees);
    if whole || verdict.can_read {
        report.rules.extend(facts::rules(subject, at, facts.as_ref()));
        report.suggestions.extend(suggestions(subject, at, facts.as_ref(), verdict));
    } else {
        let detail = "You do not see such a record. Whether there is one, and whose it is, an administrator can tell.";
        report.rules.push(rule("record_visible", false, detail));
    }
    Ok(report)
}

fn suggest(action: &'static str, detail: impl Into<String>) -> Suggestion {
    Suggestion { action, detail: detail.into() }
}

fn suggestions(subject: &Subject, at: Question, facts: Option<&Facts>, verdict: Verdict) -> Vec<Suggestion> {
    let mut out = Vec::new();
    let Some(facts) = facts else { return out };
    if facts.archived {
        out.push(suggest("unarchive", "Bring the record back: POST /api/database/archive/restore."));
        return out;
    }
    if facts.trashed {
        let detail = format!("Restore the record: POST /api/{}/{}/restore.", at.def.plural, at.id);
        out.push(suggest("restore", detail));
        return out;
    }
    if way(&subject.identity, at.def, facts).is_none() {
        if facts.hidden_note(&subject.identity) {
            out.push(suggest("make_public", "The author can clear is_private."));
            return out;
        }
        if subject.identity.employee_id.is_some() {
            out.push(suggest("assign", format!("Assign the record to {}.", subject.email)));
        }
        if at.def.scope == RowScope::Attached && facts.related_type.is_some() {
            out.push(suggest("assign_related", "Assign the record that it belongs to."));
        }
        match subject.identity.scope {
            Scope::Own => out.push(suggest("make_manager", "Make the user a manager, who sees more.")),
            Scope::Department => {
                out.push(suggest("widen_scope", "Set manager_scope of the tenant to all, or correct the department."));
            }
            Scope::All => {}
        }
    } else if verdict.can_read && !verdict.can_update && subject.identity.access == aisha_auth::AccessLevel::Read {
        out.push(suggest("allow_writing", "Set access_level of the user to read_write."));
    }
    out
}

/// How much of a record type somebody sees.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The record type.
    pub entity: &'static str,
    /// Live records that the user sees.
    pub visible: i64,
    /// Live records of the tenant.
    pub total: i64,
}

/// What somebody sees of each record type, counted in that person's role.
///
/// # Errors
/// 503 when the database is away.
pub async fn user_counts(db: &Db, me: &Principal, cx: &RequestContext, subject: &Subject) -> Result<Vec<Seen>, Error> {
    let them = subject.principal(me.tenant())?;
    let counts: Vec<Sql> = RECORDS
        .iter()
        .map(|d| {
            let mut sql = Sql::new(format!("SELECT count(*) FROM {} WHERE tenant_id = ", d.table));
            sql.bind(me.tenant().0).push(" AND deleted_at IS NULL");
            sql
        })
        .collect();
    let all = db.system(&acting(me, cx, "diagnostics"), async |tx| tx.flight(counts.clone()).await).await?;
    let theirs = db.fetch(&them, counts).await?;
    let pairs = RECORDS.iter().zip(theirs.iter().zip(all.iter()));
    pairs
        .map(|(d, (visible, total))| {
            let may = subject.can_sign_in() && them.require(d.plural, Action::Read).is_ok();
            let visible = if may { number(visible)? } else { 0 };
            Ok(Seen { entity: d.name, visible, total: number(total)? })
        })
        .collect()
}
