//! Taking a conversion back: the lead is what it was, and what the conversion made is gone, as long as nobody has done
//! anything with it.

use crate::{
    Lead,
    ops::transition::{
        Made, NewTransition, Target, Transition, changed_since, follow_back, refuse_changed, remove, require_rollback,
        transition_create, transition_last,
    },
};
use aisha_auth::Action;
use aisha_db::{
    Bind, Sql, TenantTx,
    record::{
        Record,
        write::{Expected, record_lock},
    },
};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// What taking a transition back did.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The contact that is gone.
    pub contact_id: Option<Uuid>,
    /// The account that is gone; null when it was there before.
    pub account_id: Option<Uuid>,
    /// The opportunity that is gone.
    pub opportunity_id: Option<Uuid>,
}

impl Removed {
    pub(crate) fn of(made: &Made) -> Self {
        Self {
            contact_id: made.contact.as_ref().map(|p| p.id),
            account_id: made.new_account().map(|p| p.id),
            opportunity_id: made.opportunity.as_ref().map(|p| p.id),
        }
    }
}

/// A lead that is one again.
#[derive(Debug, Serialize)]
pub struct LeadRollback {
    /// The lead.
    pub lead: Lead,
    /// What the conversion had made.
    pub removed: Removed,
    /// The entry in its history.
    pub transition: Transition,
}

/// Takes the last conversion of a lead back.
///
/// # Errors
/// 404 when the caller does not see the lead, 403 when somebody else converted it and the caller may not delete, 409 when it
/// is not converted or, with the list of them, when records were changed or linked since, 412 when somebody changed it first.
pub async fn lead_rollback(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<LeadRollback, Error> {
    tx.principal().require("leads", Action::Update)?;
    let lead: Lead = record_lock(tx, id, expected).await?;
    if lead.converted_at.is_none() {
        return Err(Error::conflict("This lead is not converted."));
    }
    let Some((conversion, performed_by, made)) = transition_last(tx, id, "convert").await? else {
        return Err(Error::conflict("Nothing is known of this lead's conversion that could be taken back."));
    };
    require_rollback(tx.principal(), performed_by, &["contacts", "accounts", "opportunities"])?;
    let target = Target { table: "leads", id, followed: "contact" };
    refuse_changed(changed_since(tx, target, &made).await?)?;

    follow_back(tx, &made.moved, ("contact", id), ("lead", id)).await?;
    unlink_opportunities(tx, &lead, &made).await?;
    let mut sql = Sql::new("UPDATE leads SET status = ");
    sql.bind(Bind::text(&made.status)).push(
        ", converted_at = NULL, converted_contact_id = NULL, converted_account_id = NULL, \
         converted_opportunity_id = NULL WHERE tenant_id = ",
    );
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {}", Lead::columns()));
    let rows = tx.rows(sql).await?;
    let lead = Lead::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)?;
    remove(
        tx,
        &[
            ("opportunities", made.opportunity.as_ref()),
            ("contacts", made.contact.as_ref()),
            ("accounts", made.account.as_ref()),
        ],
    )
    .await?;
    let removed = Removed::of(&made);
    let data = json!({ "conversion": conversion, "removed": removed });
    let new = NewTransition { entity_id: id, from_type: "contact", to_type: "lead", action: "rollback", data };
    let transition = transition_create(tx, new).await?;
    Ok(LeadRollback { lead, removed, transition })
}

/// Takes contact and account away from the lead's opportunities that got them, unless they have others by now.
async fn unlink_opportunities(tx: &mut TenantTx, lead: &Lead, made: &Made) -> Result<(), Error> {
    let tenant = tx.principal().tenant().0;
    let links = [
        ("contact_id", Some(lead.id), &made.moved.opportunities_contact),
        ("account_id", lead.converted_account_id, &made.moved.opportunities_account),
    ];
    let statements = links.into_iter().filter(|(_, _, ids)| !ids.is_empty()).map(|(column, value, ids)| {
        let mut sql = Sql::new(format!("UPDATE opportunities SET {column} = NULL WHERE tenant_id = "));
        sql.bind(tenant).push(format!(" AND {column} = ")).bind(Bind::Uuid(value));
        sql.push(" AND id = ANY(").bind(Bind::Uuids(ids.clone())).push(")");
        sql
    });
    tx.beyond_scope(statements.collect()).await?;
    Ok(())
}
