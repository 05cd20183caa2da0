//! What happens to a planned activity: it is completed, or put off.

use crate::Activity;
use aisha_db::{
    TenantTx,
    record::{Changes, Record, changes::Mode, read::record_find, write::Expected, write::record_update},
};
use aisha_kernel::Error;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Marks an activity as done, with what came of it. Completing it again changes nothing but what `fields` say.
///
/// # Errors
/// 404, 409 when it was cancelled, 412 when somebody changed it first, 422 naming the fields.
pub async fn activity_complete(
    tx: &mut TenantTx,
    id: Uuid,
    mut fields: Map<String, Value>,
    expected: Expected,
) -> Result<Activity, Error> {
    let current: Activity = record_find(tx, id).await?;
    if current.status == "cancelled" {
        return Err(Error::conflict("This activity was cancelled: schedule it again before completing it."));
    }
    fields.insert("status".into(), "completed".into());
    let changes = Changes::read(<Activity as Record>::DEF, &fields, Mode::Update)?;
    record_update(tx, id, &changes, expected).await
}

/// Puts an activity off to another day and time. What was cancelled or failed is planned again.
///
/// # Errors
/// 404, 409 when it is completed, 412 when somebody changed it first, 422 naming the fields.
pub async fn activity_reschedule(
    tx: &mut TenantTx,
    id: Uuid,
    mut fields: Map<String, Value>,
    expected: Expected,
) -> Result<Activity, Error> {
    if !fields.contains_key("due_date") {
        return Err(Error::invalid("due_date", "is required"));
    }
    let current: Activity = record_find(tx, id).await?;
    if matches!(current.status.as_str(), "completed" | "sent") {
        return Err(Error::conflict("This activity is done: plan a new one."));
    }
    if matches!(current.status.as_str(), "cancelled" | "failed") {
        fields.insert("status".into(), "scheduled".into());
    }
    let changes = Changes::read(<Activity as Record>::DEF, &fields, Mode::Update)?;
    record_update(tx, id, &changes, expected).await
}
