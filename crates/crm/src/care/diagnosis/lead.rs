//! Who sees a lead, and giving it to somebody who does.

use super::{Question, Subject, Suggestion, facts::record_facts, suggest, way};
use crate::{
    Lead,
    care::{acting, col},
};
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, RequestContext, Sql, TenantTx,
    record::{
        Changes, Record,
        changes::Mode,
        read::record_find,
        write::{Expected, record_update},
    },
};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// What somebody has to do with the lead.
#[derive(Debug, Clone, Serialize)]
pub struct Viewer {
    /// The user.
    pub user_id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub full_name: String,
    /// Role.
    pub role: &'static str,
    /// Whether the user sees the lead.
    pub can_see: bool,
    /// By what: `role`, `assigned_to`, `created_by` or `department`; else what is in the way.
    pub reason: &'static str,
}

/// Who sees a lead.
#[derive(Debug, Clone, Serialize)]
pub struct LeadVisibility {
    /// The lead.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The employee it is assigned to.
    pub assigned_to: Option<Uuid>,
    /// That employee's name.
    pub assigned_to_name: Option<String>,
    /// What is wrong with the assignment: `unassigned`, `assignee_gone`, `assignee_without_user`.
    pub problems: Vec<&'static str>,
    /// What would help.
    pub suggestions: Vec<Suggestion>,
    /// The users of the tenant.
    pub users: Vec<Viewer>,
}

/// Who of `subjects` sees a lead, and why.
///
/// # Errors
/// 404 when `me` does not see it.
pub async fn lead_visibility(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    id: Uuid,
    subjects: &[Subject],
) -> Result<LeadVisibility, Error> {
    db.read(me, async |tx| record_find::<Lead>(tx, id).await.map(|_| ())).await?;
    let at = Question { def: Lead::DEF, id };
    let facts = db.system(&acting(me, cx, "diagnostics"), async |tx| record_facts(tx, at).await).await?;
    let facts = facts.ok_or_else(Error::not_found)?;
    let mut problems = Vec::new();
    match &facts.assigned_to {
        None => problems.push("unassigned"),
        Some(a) if !a.works_here() => problems.push("assignee_gone"),
        Some(a) if a.user_id.is_none() => problems.push("assignee_without_user"),
        Some(_) => {}
    }
    let mut suggestions = Vec::new();
    if !problems.is_empty() {
        let detail = format!("Give the lead to somebody: POST /api/diagnostics/leads/{id}/fix-assignment.");
        suggestions.push(suggest("fix_assignment", detail));
    }
    let users = subjects
        .iter()
        .map(|s| {
            let found = way(&s.identity, Lead::DEF, &facts);
            let may = s.identity.require(Lead::DEF.plural, aisha_auth::Action::Read).is_ok();
            let (can_see, reason) = match found {
                _ if !s.can_sign_in() => (false, "inactive"),
                _ if !may => (false, "permission"),
                Some(way) => (true, way),
                None => (false, "not_theirs"),
            };
            Viewer {
                user_id: s.identity.user_id.0,
                email: s.email.clone(),
                full_name: s.full_name.clone(),
                role: s.identity.role.as_str(),
                can_see,
                reason,
            }
        })
        .collect();
    Ok(LeadVisibility {
        id,
        name: facts.name.clone(),
        assigned_to: facts.assigned_to.as_ref().map(|a| a.id),
        assigned_to_name: facts.assigned_to.and_then(|a| a.name),
        problems,
        suggestions,
        users,
    })
}

/// Gives a lead to an employee who works here and can sign in.
///
/// # Errors
/// 404 when the principal does not see the lead, 422 naming `assigned_to` when the employee would not see it.
pub async fn lead_fix_assignment(tx: &mut TenantTx, id: Uuid, assigned_to: &Value) -> Result<Lead, Error> {
    let body = Map::from_iter([("assigned_to".to_owned(), assigned_to.clone())]);
    let changes = Changes::read(Lead::DEF, &body, Mode::Update)?;
    let text = assigned_to
        .as_str()
        .ok_or_else(|| Error::invalid("assigned_to", "must be the id or the e-mail address of an employee"))?;
    let mut sql = Sql::new(
        "SELECT e.status IN ('active', 'on_leave'), u.is_active FROM employees e \
         LEFT JOIN users u ON u.tenant_id = e.tenant_id AND u.id = e.user_id \
         WHERE e.tenant_id = current_tenant_id() AND e.deleted_at IS NULL AND ",
    );
    match Uuid::parse_str(text) {
        Ok(employee) => sql.push("e.id = ").bind(employee),
        Err(_) => sql.push("e.email = ").bind(Bind::text(text.to_lowercase())),
    };
    let rows = tx.rows(sql).await?;
    if let Some(row) = rows.first() {
        if !col::<bool>(row, 0)? {
            return Err(Error::invalid("assigned_to", "does not work here any more"));
        }
        if col::<Option<bool>>(row, 1)? != Some(true) {
            return Err(Error::invalid("assigned_to", "has no active user account, so would not see the lead"));
        }
    }
    record_update(tx, id, &changes, Expected::Any).await
}
