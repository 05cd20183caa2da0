//! Writing notifications.

use crate::sql::{col, json};
use aisha_db::{Bind, Sql, SystemTx};
use aisha_kernel::{Error, new_id};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use uuid::Uuid;

/// SQL that is true for a user `u` of the current tenant, or a superadmin, who is active and has not switched off the kind
/// whose expression follows.
pub(super) const RECEIVES: &str = "u.is_active AND (u.tenant_id = current_tenant_id() OR u.role = 'superadmin') \
    AND NOT EXISTS (SELECT FROM notification_setting s WHERE s.tenant_id = current_tenant_id() AND s.user_id = u.id \
                    AND NOT s.enabled AND s.type = ";

/// The active admins of the transaction's tenant who have not switched the kind off.
pub(super) async fn admins(tx: &mut SystemTx, kind: &str) -> Result<Vec<Uuid>, Error> {
    let mut sql = Sql::new(format!(
        "SELECT u.id FROM users u WHERE u.tenant_id = current_tenant_id() AND u.role = 'admin' AND {RECEIVES}"
    ));
    sql.bind(Bind::text(kind)).push(") ORDER BY u.id");
    tx.rows(sql).await?.iter().map(|row| col(row, 0)).collect()
}

/// A notification that is about to be written.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub user_id: Uuid,
    pub kind: &'static str,
    pub title: String,
    pub message: String,
    pub link: Option<String>,
    pub related_type: Option<String>,
    pub related_id: Option<Uuid>,
    pub count: i64,
    pub group_key: String,
    pub event_id: Option<Uuid>,
    /// How it reads when it stands for several.
    pub many: Option<Many>,
}

/// What a notification says once it stands for several occasions.
#[derive(Debug, Clone)]
pub(super) struct Many {
    /// The text around the number.
    pub before: String,
    pub after: String,
    pub link: Option<String>,
}

#[derive(Serialize)]
struct Row<'d> {
    id: Uuid,
    user_id: Uuid,
    r#type: &'static str,
    title: String,
    message: String,
    link: Option<&'d str>,
    related_type: Option<&'d str>,
    related_id: Option<Uuid>,
    count: i64,
    group_key: &'d str,
    event_id: Option<Uuid>,
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(chars).collect()
}

/// Writes them; what is of a group that is there already adds to it and is new again.
pub(super) async fn store(tx: &mut SystemTx, drafts: Vec<Draft>) -> Result<(), Error> {
    if drafts.is_empty() {
        return Ok(());
    }
    let rows = drafts.iter().map(|d| Row {
        id: new_id(),
        user_id: d.user_id,
        r#type: d.kind,
        title: cut(&d.title, 300),
        message: cut(&d.message, 2_000),
        link: d.link.as_deref(),
        related_type: d.related_type.as_deref(),
        related_id: d.related_id,
        count: d.count,
        group_key: &d.group_key,
        event_id: d.event_id,
    });
    let rows = serde_json::to_value(rows.collect::<Vec<_>>()).map_err(Error::internal)?;
    let mut sql = Sql::new(
        "INSERT INTO notifications (tenant_id, id, user_id, type, title, message, link, related_type, related_id, count, \
         group_key, event_id) SELECT current_tenant_id(), r.* FROM jsonb_to_recordset(",
    );
    // Always in the same order, so that two consumers wait for each other and do not block each other.
    sql.bind(json(&rows)).push(
        ") AS r (id uuid, user_id uuid, type text, title text, message text, link text, related_type text, related_id uuid, \
         count bigint, group_key text, event_id uuid) ORDER BY r.user_id, r.group_key \
         ON CONFLICT ON CONSTRAINT notifications_group_key DO UPDATE SET count = notifications.count + EXCLUDED.count, \
         title = EXCLUDED.title, message = EXCLUDED.message, link = EXCLUDED.link, is_read = false, read_at = NULL, \
         updated_at = now() RETURNING id, user_id, group_key, count",
    );
    let mut several = Vec::new();
    for row in tx.rows(sql).await? {
        let (id, user, group, count): (Uuid, Uuid, String, i64) =
            (col(&row, 0)?, col(&row, 1)?, col(&row, 2)?, col(&row, 3)?);
        let draft = drafts.iter().find(|d| d.user_id == user && d.group_key == group);
        if count > 1
            && let Some(many) = draft.and_then(|d| d.many.as_ref())
        {
            let mut title = many.before.clone();
            // Writing to a string does not fail.
            let _ = write!(title, "{count}{}", many.after);
            several.push(json!({ "id": id, "title": cut(&title, 300), "link": many.link }));
        }
    }
    if several.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::new(
        "UPDATE notifications n SET title = r.title, link = r.link, message = '', related_id = NULL \
         FROM jsonb_to_recordset(",
    );
    sql.bind(json(&several.into()))
        .push(") AS r (id uuid, title text, link text) WHERE n.tenant_id = current_tenant_id() AND n.id = r.id");
    tx.rows(sql).await.map(|_| ())
}
