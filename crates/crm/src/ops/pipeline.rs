//! A deal's way through the tenant's pipeline: the stages there are, the ones it went through, winning and losing it.

use crate::Opportunity;
use aisha_auth::Principal;
use aisha_db::{
    Db, PgRow, Sql, TenantTx, Timestamp,
    record::{
        Changes, Record, changes::Mode, list::COUNT_CAP, read::record_read, write::Expected, write::record_update,
    },
};
use aisha_kernel::{Error, ErrorCode};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A stage of the tenant's pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// Position, from 1.
    pub position: i32,
    /// What `opportunities.stage` holds.
    pub name: String,
    /// What people see.
    pub label: String,
    /// How likely a deal in this stage is won, in percent.
    pub probability: Option<i32>,
    /// `open`, `won` or `lost`.
    pub outcome: String,
}

/// One step of a deal.
#[derive(Debug, Clone, Serialize)]
pub struct StageChange {
    /// The stage it left; `None` for the first.
    pub from_stage: Option<String>,
    /// The stage it entered.
    pub to_stage: String,
    /// What that stage meant at the time.
    pub outcome: String,
    /// The probability it had from then on.
    pub probability: Option<i32>,
    /// Who moved it; a user id.
    pub changed_by: Option<Uuid>,
    /// That user's name, where the caller may know it.
    pub changed_by_name: Option<String>,
    /// When.
    pub changed_at: Timestamp,
    /// How long it stayed in this stage, in seconds; up to now for the one it is in.
    pub seconds_in_stage: i64,
}

type Decoded<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn stage(row: &PgRow) -> Decoded<Stage> {
    Ok(Stage {
        position: row.get(0)?,
        name: row.get(1)?,
        label: row.get(2)?,
        probability: row.get(3)?,
        outcome: row.get(4)?,
    })
}

fn stages_sql(tenant: Uuid) -> Sql {
    let mut sql = Sql::new("SELECT position, name, label, probability, outcome FROM pipeline_stages(");
    sql.bind(tenant).push(") ORDER BY position");
    sql
}

/// The tenant's stages, in order.
///
/// # Errors
/// 503 when the database is away.
pub async fn stage_list(db: &Db, me: &Principal) -> Result<Vec<Stage>, Error> {
    let rows = db.fetch(me, vec![stages_sql(me.tenant().0)]).await?.pop().unwrap_or_default();
    rows.iter().map(stage).collect::<Decoded<_>>().map_err(Error::internal)
}

/// The stages a deal went through, oldest first.
///
/// # Errors
/// 404 when there is no deal that `me` sees.
pub async fn stage_history(db: &Db, me: &Principal, id: Uuid) -> Result<Vec<StageChange>, Error> {
    record_read::<Opportunity>(db, me, id).await?;
    // The name as the employee record has it: not everybody may read the tenant's users.
    let mut sql = Sql::new(
        "SELECT h.from_stage, h.to_stage, h.outcome, h.probability, h.changed_by, \
         e.first_name || ' ' || e.last_name, h.changed_at, \
         extract(epoch FROM coalesce(lead(h.changed_at) OVER (ORDER BY h.changed_at, h.id), now()) - h.changed_at)::bigint \
         FROM opportunity_stage_history h \
         LEFT JOIN employees e ON e.tenant_id = h.tenant_id AND e.user_id = h.changed_by WHERE h.tenant_id = ",
    );
    sql.bind(me.tenant().0).push(" AND h.opportunity_id = ").bind(id);
    sql.push(format!(" ORDER BY h.changed_at, h.id LIMIT {COUNT_CAP}"));
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    let read = |row: &PgRow| -> Decoded<StageChange> {
        Ok(StageChange {
            from_stage: row.get(0)?,
            to_stage: row.get(1)?,
            outcome: row.get(2)?,
            probability: row.get(3)?,
            changed_by: row.get(4)?,
            changed_by_name: row.get(5)?,
            changed_at: row.get(6)?,
            seconds_in_stage: row.get(7)?,
        })
    };
    rows.iter().map(read).collect::<Decoded<_>>().map_err(Error::internal)
}

/// Moves a deal to the tenant's first stage with the outcome `won` or `lost`, with whatever else `fields` say. A deal that
/// is there already stays where it is.
///
/// # Errors
/// 404, 412 when somebody changed it first, 409 when the pipeline has no such stage, 422 naming the fields.
pub async fn opportunity_close(
    tx: &mut TenantTx,
    id: Uuid,
    outcome: &str,
    mut fields: Map<String, Value>,
    expected: Expected,
) -> Result<Opportunity, Error> {
    let tenant = tx.principal().tenant().0;
    let current: Opportunity = aisha_db::record::read::record_find(tx, id).await?;
    if current.outcome != outcome {
        let stages = tx.rows(stages_sql(tenant)).await?;
        let stages = stages.iter().map(stage).collect::<Decoded<Vec<_>>>().map_err(Error::internal)?;
        let closing = stages.into_iter().find(|s| s.outcome == outcome).ok_or_else(|| {
            Error::new(ErrorCode::Conflict, format!("The pipeline has no stage for deals that are {outcome}."))
        })?;
        fields.insert("stage".into(), closing.name.into());
    }
    let changes = Changes::read(<Opportunity as Record>::DEF, &fields, Mode::Update)?;
    record_update(tx, id, &changes, expected).await
}
