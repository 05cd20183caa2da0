//! The list of what happened, newest first, and one entry with its seal.

use crate::{acting, col, first};
use aisha_auth::{Action, Identity, Principal};
use aisha_db::{
    Bind, Db, Json, PgRow, RequestContext, Sql, Timestamp,
    record::{Count, list::COUNT_CAP},
    tx::Rows,
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The permission that all of it takes.
pub const RESOURCE: &str = "audit_logs";
/// What a cursor of this list belongs to.
const SORT: &str = "-changed_at";

/// Whose entries.
#[derive(Debug, Clone)]
pub enum Reach {
    /// Those of one tenant, as its principal.
    Tenant(Principal),
    /// Those that concern no tenant; for a superadmin.
    Platform(Arc<Identity>),
}

impl Reach {
    /// Entries of one tenant.
    ///
    /// # Errors
    /// 403 without the right.
    pub fn tenant(me: Principal, action: Action) -> Result<Self, Error> {
        me.require(RESOURCE, action)?;
        Ok(Self::Tenant(me))
    }

    /// Entries that concern no tenant.
    ///
    /// # Errors
    /// 403 for anybody but a superadmin.
    pub fn platform(me: Arc<Identity>, action: Action) -> Result<Self, Error> {
        me.require(RESOURCE, action)?;
        if me.role != aisha_auth::Role::Superadmin {
            return Err(Error::forbidden("Only a superadmin may read what concerns no tenant."));
        }
        Ok(Self::Platform(me))
    }

    /// Who reads.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Tenant(me) => me.identity(),
            Self::Platform(me) => me,
        }
    }

    /// The tenant, if it is one's.
    #[must_use]
    pub fn tenant_id(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(me) => Some(me.tenant()),
            Self::Platform(_) => None,
        }
    }

    /// Reads as whoever asks: with the policies of its role, or as the platform where there is no tenant.
    pub(crate) async fn fetch(&self, db: &Db, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        match self {
            Self::Tenant(me) => db.fetch(me, statements).await,
            Self::Platform(me) => {
                let why = acting(me, "audit log", None, &RequestContext::default());
                db.system(&why, async |tx| tx.flight(statements.clone()).await).await
            }
        }
    }

    fn push_tenant(&self, sql: &mut Sql) {
        match self {
            Self::Tenant(me) => sql.push("a.tenant_id = ").bind(me.tenant().0),
            Self::Platform(_) => sql.push("a.tenant_id IS NULL"),
        };
    }
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Of what this user did, and of sign-ins that failed as this user or with this address.
    pub user_email: Option<String>,
    /// Of this action, exactly.
    pub action: Option<String>,
    /// About rows of this table.
    pub table: Option<String>,
    /// About this record.
    pub entity_id: Option<Uuid>,
    /// At this time or later.
    pub from: Option<OffsetDateTime>,
    /// Before this time.
    pub before: Option<OffsetDateTime>,
    /// Entries per page.
    pub limit: i64,
    /// Entries to skip.
    pub offset: i64,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// Whether to count.
    pub count: Count,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Id.
    pub id: Uuid,
    /// The tenant; null for what concerns none.
    pub tenant_id: Option<Uuid>,
    /// When.
    pub changed_at: Timestamp,
    /// What.
    pub action: String,
    /// The kind of record, or the table where it is none.
    pub entity_type: String,
    /// The record.
    pub entity_id: Option<Uuid>,
    /// The table.
    pub table_name: String,
    /// The user who did it; null for the platform itself.
    pub changed_by: Option<Uuid>,
    /// That user's address today; for a failed sign-in the one that was tried.
    pub user_email: Option<String>,
    /// The role it acted in.
    pub role: Option<String>,
    /// The superadmin who acted in the tenant.
    pub impersonator: Option<Uuid>,
    /// Why, where the platform acted.
    pub reason: Option<String>,
    /// The client's address.
    pub ip: Option<String>,
    /// The client's program.
    pub user_agent: Option<String>,
    /// The request, as in its response and the log.
    pub request_id: Option<String>,
    /// What was there before.
    pub old_values: Option<Json>,
    /// What is there since.
    pub new_values: Option<Json>,
}

const COLUMNS: &str = "a.id, a.tenant_id, a.changed_at, a.action, coalesce(a.entity, a.table_name), a.record_id, \
    a.table_name, a.changed_by, coalesce(u.email::text, CASE WHEN a.changed_by IS NULL AND a.action = 'FAILED_LOGIN' \
    THEN a.new_values ->> 'email' END), a.role, a.impersonator, a.reason, a.ip, a.user_agent, a.request_id, \
    a.old_values, a.new_values";

impl Entry {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        Ok(Self {
            id: col(row, 0)?,
            tenant_id: col(row, 1)?,
            changed_at: col(row, 2)?,
            action: col(row, 3)?,
            entity_type: col(row, 4)?,
            entity_id: col(row, 5)?,
            table_name: col(row, 6)?,
            changed_by: col(row, 7)?,
            user_email: col(row, 8)?,
            role: col(row, 9)?,
            impersonator: col(row, 10)?,
            reason: col(row, 11)?,
            ip: col(row, 12)?,
            user_agent: col(row, 13)?,
            request_id: col(row, 14)?,
            old_values: col(row, 15)?,
            new_values: col(row, 16)?,
        })
    }
}

/// A page of the log.
#[derive(Debug)]
pub struct LogPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many there are, if counted.
    pub total: Option<i64>,
    /// Whether there are more than counted.
    pub total_is_lower_bound: bool,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<String>,
}

fn time(at: OffsetDateTime) -> Result<Bind, Error> {
    Ok(Bind::Text(Some(at.format(&Rfc3339).map_err(Error::internal)?), "timestamptz"))
}

/// The conditions, without the place in the list.
fn condition(reach: &Reach, query: &LogQuery, who: Option<&Who>) -> Result<Sql, Error> {
    // Planned for its values: an index that serves one user, or one action, is of no use for another.
    let mut sql = Sql::new(" WHERE ").prepared_once();
    reach.push_tenant(&mut sql);
    if let Some(who) = who {
        // The address that was tried may be nobody's, or one that the user had then; each part has its index.
        let users = || Bind::Uuids(who.users.clone());
        sql.push(" AND (a.changed_by = ANY (").bind(users());
        sql.push(") OR (a.action = 'FAILED_LOGIN' AND a.record_id = ANY (").bind(users());
        sql.push(")) OR (a.action = 'FAILED_LOGIN' AND a.new_values ->> 'email' = ").bind(Bind::text(&who.email));
        sql.push("))");
    }
    if let Some(action) = &query.action {
        sql.push(" AND a.action = ").bind(Bind::text(action));
    }
    if let Some(table) = &query.table {
        sql.push(" AND a.table_name = ").bind(Bind::text(table));
    }
    if let Some(id) = query.entity_id {
        sql.push(" AND a.record_id = ").bind(id);
    }
    if let Some(from) = query.from {
        sql.push(" AND a.changed_at >= ").bind(time(from)?);
    }
    if let Some(before) = query.before {
        sql.push(" AND a.changed_at < ").bind(time(before)?);
    }
    Ok(sql)
}

fn after(cursor: &Cursor) -> Result<Sql, Error> {
    let mut sql = Sql::new(" AND (a.changed_at, a.id) < (");
    sql.bind(time(cursor.instant(SORT)?)?).push(", ").bind(cursor.id).push(")");
    Ok(sql)
}

/// Somebody by address.
struct Who {
    email: String,
    /// The users with it, among the tenant's own and the platform's operators, who act in tenants too.
    users: Vec<Uuid>,
}

impl Who {
    async fn find(db: &Db, reach: &Reach, email: &str) -> Result<Self, Error> {
        let email = email.trim().to_lowercase();
        let mut sql = Sql::new("SELECT id FROM users WHERE email = ");
        sql.bind(Bind::text(&email)).push(" AND (tenant_id IS NULL OR tenant_id = ");
        sql.bind(Bind::Uuid(reach.tenant_id().map(|t| t.0))).push(")");
        let why = acting(reach.identity(), "audit log", reach.tenant_id(), &RequestContext::default());
        let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
        Ok(Self { email, users: rows.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()? })
    }
}

/// Adds the addresses of operators: a tenant's role does not see them, and a tenant is to know who acted in it.
async fn name_operators(db: &Db, reach: &Reach, entries: &mut [Entry]) -> Result<(), Error> {
    let unnamed = |e: &&mut Entry| e.user_email.is_none() && e.changed_by.is_some() && e.changed_by == e.impersonator;
    let ids: Vec<Uuid> = entries.iter_mut().filter(unnamed).filter_map(|e| e.impersonator).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::new("SELECT id, email::text FROM users WHERE tenant_id IS NULL AND id = ANY (");
    sql.bind(Bind::Uuids(ids)).push(")");
    let why = acting(reach.identity(), "audit log", reach.tenant_id(), &RequestContext::default());
    let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
    let emails =
        rows.iter().map(|row| Ok((col(row, 0)?, col(row, 1)?))).collect::<Result<HashMap<Uuid, String>, Error>>()?;
    for entry in entries.iter_mut().filter(unnamed) {
        entry.user_email = entry.impersonator.and_then(|id| emails.get(&id).cloned());
    }
    Ok(())
}

/// A page, newest first.
///
/// # Errors
/// 400 for a cursor of another list, 503 when the database is away.
pub async fn log_list(db: &Db, reach: &Reach, query: &LogQuery) -> Result<LogPage, Error> {
    let who = match &query.user_email {
        Some(email) => Some(Who::find(db, reach, email).await?),
        None => None,
    };
    let wanted = condition(reach, query, who.as_ref())?;
    // The page first, then the addresses: a join inside would be planned for the whole log.
    let mut page = Sql::new(format!("SELECT {COLUMNS} FROM (SELECT * FROM audit_log a"));
    page.append(wanted.clone());
    if let Some(cursor) = &query.cursor {
        page.append(after(cursor)?);
    }
    page.push(" ORDER BY a.changed_at DESC, a.id DESC LIMIT ").bind(Bind::Int(query.limit + 1));
    page.push(" OFFSET ").bind(Bind::Int(query.offset));
    page.push(") a LEFT JOIN users u ON u.id = a.changed_by ORDER BY a.changed_at DESC, a.id DESC");
    let mut statements = vec![page];
    if query.count != Count::None {
        let mut total = Sql::new("SELECT count(*) FROM (SELECT FROM audit_log a");
        total.append(wanted);
        if query.count == Count::Capped {
            total.push(" LIMIT ").bind(Bind::Int(COUNT_CAP + 1));
        }
        total.push(") AS counted");
        statements.push(total);
    }
    let mut results = reach.fetch(db, statements).await?.into_iter();
    let rows = results.next().unwrap_or_default();
    let counted = results.next().map(|rows| first::<i64>(&rows)).transpose()?;
    let mut entries = rows.iter().map(Entry::from_row).collect::<Result<Vec<_>, _>>()?;
    let limit = usize::try_from(query.limit).unwrap_or(0);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next_cursor = entries.last().filter(|_| more).map(|e| Cursor::at(SORT, e.changed_at.0, e.id).encode());
    name_operators(db, reach, &mut entries).await?;
    let bounded = query.count == Count::Capped && counted.is_some_and(|n| n > COUNT_CAP);
    Ok(LogPage {
        entries,
        total: if bounded { Some(COUNT_CAP) } else { counted },
        total_is_lower_bound: bounded,
        next_cursor,
    })
}

/// An entry's link in the chain, with all that its hash can be computed from.
#[derive(Debug, Clone, Serialize)]
pub struct Seal {
    /// Its number.
    pub link: i64,
    /// Hexadecimal, as the rest.
    pub row_digest: String,
    /// Over salt and values.
    pub values_digest: String,
    /// Null when the values were erased.
    pub salt: Option<String>,
    /// The link before.
    pub previous_hash: String,
    /// This link.
    pub hash: String,
}

/// An entry and its seal; none yet for what happened a moment ago.
#[derive(Debug, Clone, Serialize)]
pub struct SealedEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether its values were erased.
    pub redacted: bool,
    /// Its link in the chain.
    pub seal: Option<Seal>,
}

/// One entry.
///
/// # Errors
/// 404 when there is none, 503 when the database is away.
pub async fn log_read(db: &Db, reach: &Reach, id: Uuid) -> Result<SealedEntry, Error> {
    let mut sql =
        Sql::new(format!("SELECT {COLUMNS} FROM audit_log a LEFT JOIN users u ON u.id = a.changed_by WHERE a.id = "));
    sql.bind(id).push(" AND ");
    reach.push_tenant(&mut sql);
    let rows = reach.fetch(db, vec![sql]).await?.pop().unwrap_or_default();
    let mut entries = vec![Entry::from_row(rows.first().ok_or_else(Error::not_found)?)?];
    name_operators(db, reach, &mut entries).await?;
    let entry = entries.pop().ok_or_else(Error::not_found)?;
    let mut sql = Sql::new(
        "SELECT link, encode(row_digest, 'hex'), encode(values_digest, 'hex'), encode(salt, 'hex'), \
         encode(previous_hash, 'hex'), encode(hash, 'hex') FROM audit_chain WHERE tenant_id = ",
    );
    sql.bind(entry.tenant_id.unwrap_or_default()).push(" AND changed_at = ").bind(time(entry.changed_at.0)?);
    sql.push(" AND audit_id = ").bind(id);
    let why = acting(reach.identity(), "audit log", reach.tenant_id(), &RequestContext::default());
    let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
    let seal = match rows.first() {
        Some(row) => Some(Seal {
            link: col(row, 0)?,
            row_digest: col(row, 1)?,
            values_digest: col(row, 2)?,
            salt: col(row, 3)?,
            previous_hash: col(row, 4)?,
            hash: col(row, 5)?,
        }),
        None => None,
    };
    Ok(SealedEntry { entry, redacted: seal.as_ref().is_some_and(|s| s.salt.is_none()), seal })
}
