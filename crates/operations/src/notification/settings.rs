//! Which kinds of notification somebody wants. Each is on until it is switched off.

use super::KINDS;
use crate::sql::col;
use aisha_auth::Principal;
use aisha_db::{Bind, Db, RequestContext, Sql};
use aisha_kernel::{Error, FieldError};
use serde_json::{Map, Value};

/// Each kind with whether it is on.
///
/// # Errors
/// 503 when the database is away.
pub async fn notification_settings(db: &Db, me: &Principal) -> Result<Map<String, Value>, Error> {
    let mut sql = Sql::new("SELECT type, enabled FROM notification_setting WHERE tenant_id = ");
    sql.bind(me.tenant().0).push(" AND user_id = ").bind(me.user().0);
    let mut out: Map<String, Value> = KINDS.iter().map(|(kind, _)| ((*kind).to_owned(), true.into())).collect();
    for row in db.fetch(me, vec![sql]).await?.pop().unwrap_or_default() {
        if let Some(value) = out.get_mut(&col::<String>(&row, 0)?) {
            *value = col::<bool>(&row, 1)?.into();
        }
    }
    Ok(out)
}

/// Switches the given kinds on or off and leaves the others; answers with all.
///
/// # Errors
/// 422 with a message for every field that does not fit.
pub async fn notification_settings_set(
    db: &Db,
    me: &Principal,
    request: &RequestContext,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let (mut on, mut off, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in body {
        match value {
            _ if !KINDS.iter().any(|(kind, _)| *kind == name) => {
                problems.push(FieldError::new(name, "is not a kind of notification"));
            }
            Value::Bool(true) => on.push(name),
            Value::Bool(false) => off.push(name),
            _ => problems.push(FieldError::new(name, "must be true or false")),
        }
    }
    if !problems.is_empty() {
        return Err(Error::validation(problems));
    }
    let mut sql = Sql::new("INSERT INTO notification_setting (tenant_id, user_id, type, enabled) SELECT ");
    sql.bind(me.tenant().0).push(", ").bind(me.user().0).push(", kind, enabled FROM (SELECT unnest(");
    sql.bind(Bind::Texts(Some(on))).push(") AS kind, true AS enabled UNION ALL SELECT unnest(");
    sql.bind(Bind::Texts(Some(off)));
    sql.push("), false) AS given ON CONFLICT (tenant_id, user_id, type) DO UPDATE SET enabled = EXCLUDED.enabled");
    db.write(me, request, async |tx| tx.rows(sql.clone()).await.map(|_| ())).await?;
    notification_settings(db, me).await
}
