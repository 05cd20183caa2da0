//! Taking a promotion back: the source is what it was, out of the trash if it went there, and what the promotion made is
//! gone, as long as nobody has done anything with it.

use crate::{
    BizdevSource,
    ops::{
        bizdev_promote::write_source,
        lead_rollback::Removed,
        transition::{
            NewTransition, Target, Transition, changed_since, follow_back, refuse_changed, remove, require_rollback,
            transition_create, transition_last,
        },
    },
};
use aisha_auth::Action;
use aisha_db::{
    Bind, Sql, TenantTx,
    record::write::{Expected, record_lock, record_restore},
};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// A source that is one again.
#[derive(Debug, Serialize)]
pub struct BizdevRollback {
    /// The source.
    pub bizdev_source: BizdevSource,
    /// What the promotion had made.
    pub removed: Removed,
    /// The entry in its history.
    pub transition: Transition,
}

/// Whether the source is in the trash. Keeps it there, or out of there.
async fn trashed(tx: &mut TenantTx, id: Uuid) -> Result<bool, Error> {
    let mut sql = Sql::new("SELECT deleted_at IS NOT NULL FROM bizdev_sources WHERE tenant_id = ");
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" FOR UPDATE");
    tx.rows(sql).await?.first().ok_or_else(Error::not_found)?.get(0).map_err(Error::internal)
}

/// Takes the promotion of a source back.
///
/// # Errors
/// 404 when the caller does not see the source, 403 when somebody else promoted it and the caller may not delete, 409 when it
/// is not promoted or, with the list of them, when records were changed or linked since, 412 when somebody changed it first.
pub async fn bizdev_rollback(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<BizdevRollback, Error> {
    tx.principal().require("bizdevsources", Action::Update)?;
    let in_trash = trashed(tx, id).await?;
    let last = transition_last(tx, id, "promote").await?;
    if in_trash {
        // What somebody has put into the trash by hand is not there for anybody but who looks into the trash.
        if !last.as_ref().is_some_and(|(.., made)| made.deleted_source) {
            return Err(Error::not_found());
        }
        record_restore::<BizdevSource>(tx, id).await?;
    }
    let source: BizdevSource = record_lock(tx, id, if in_trash { Expected::Any } else { expected }).await?;
    if source.promoted_at.is_none() {
        return Err(Error::conflict("This source is not promoted."));
    }
    let Some((promotion, performed_by, made)) = last else {
        return Err(Error::conflict("Nothing is known of this source's promotion that could be taken back."));
    };
    require_rollback(tx.principal(), performed_by, &["contacts", "accounts"])?;
    let target = Target { table: "bizdev_sources", id, followed: "account" };
    refuse_changed(changed_since(tx, target, &made).await?)?;

    if let Some(account) = &made.account {
        follow_back(tx, &made.moved, ("account", account.id), ("bizdev_source", id)).await?;
    }
    let mut sql = Sql::new("UPDATE bizdev_sources SET status = ");
    sql.bind(Bind::text(&made.status)).push(", promoted_at = NULL, account_id = NULL, contact_id = NULL");
    let bizdev_source = write_source(tx, id, sql).await?;
    remove(tx, &[("contacts", made.contact.as_ref()), ("accounts", made.account.as_ref())]).await?;
    let removed = Removed::of(&made);
    let data = json!({ "promotion": promotion, "removed": removed });
    let new = NewTransition { entity_id: id, from_type: "account", to_type: "bizdev_source", action: "rollback", data };
    let transition = transition_create(tx, new).await?;
    Ok(BizdevRollback { bizdev_source, removed, transition })
}
