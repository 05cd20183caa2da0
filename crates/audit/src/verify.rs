//! Walking a chain and the rows behind it: which row was changed, removed, put in, or erased with a record of it.
//!
//! In batches by key, so that memory stays flat over any number of rows. What is compared is computed by the database from the
//! rows as they are; only what is wrong comes back.

use crate::{col, platform};
use aisha_db::{Bind, Db, Json, Sql, Timestamp};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Links and rows per statement.
const BATCH: i64 = 10_000;
/// Problems that are named; the rest is counted.
const NAMED: usize = 100;
/// What is sealed after rows that are this much younger was put in later: no transaction of a service lasts as long.
const LATEST: &str = "1 hour";

/// The chain of what concerns no tenant.
pub const PLATFORM: Uuid = Uuid::nil();

/// Something that is not as it was sealed.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// `row_changed`, `row_missing`, `row_unsealed`, `row_backdated`, `redaction_unrecorded`, `link_changed`,
    /// `link_missing` or `anchor_differs`.
    pub kind: String,
    /// The link.
    pub link: Option<i64>,
    /// The row of the audit log.
    pub audit_id: Option<Uuid>,
    /// Its time.
    pub changed_at: Option<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// Links walked.
    pub links: i64,
    /// Rows whose values were erased, with a record of it.
    pub redacted: i64,
    /// Rows that wait for their seal.
    pub pending: i64,
    /// How often each kind of problem occurs.
    pub problems: BTreeMap<String, i64>,
    /// The first of them.
    pub named: Vec<Problem>,
    /// The last hash, hexadecimal: what is worth keeping elsewhere.
    pub head: Option<String>,
}

impl Verification {
    /// Whether everything is as it was sealed.
    #[must_use]
    pub fn intact(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        *self.problems.entry(problem.kind.clone()).or_default() += 1;
        if self.named.len() < NAMED {
            self.named.push(problem);
        }
    }

    fn add_link(&mut self, kind: &str, link: i64) {
        self.add(Problem { kind: kind.into(), link: Some(link), audit_id: None, changed_at: None });
    }

    /// Takes `[{"kind", "link", "audit_id", "changed_at"}]`.
    fn add_all(&mut self, found: &Json) {
        for problem in found.value().as_array().into_iter().flatten() {
            let text = |name: &str| problem.get(name).and_then(Value::as_str);
            self.add(Problem {
                kind: text("kind").unwrap_or_default().into(),
                link: problem.get("link").and_then(Value::as_i64),
                audit_id: text("audit_id").and_then(|id| id.parse().ok()),
                changed_at: text("changed_at").map(str::to_owned),
            });
        }
    }
}

/// A hash that somebody wrote down: the chain must still have it.
#[derive(Debug, Clone)]
pub struct Anchor {
    /// The link.
    pub link: i64,
    /// Its hash, hexadecimal.
    pub hash: String,
}

/// Every chain there is, or should be: tenants first, then those that only the chains know, the platform's among them.
///
/// # Errors
/// 503 when the database is away.
pub async fn chains(db: &Db) -> Result<Vec<Uuid>, Error> {
    let sql = Sql::new(
        "SELECT id FROM tenant UNION SELECT tenant_id FROM audit_chain_state UNION SELECT '00000000-0000-0000-0000-000000000000' ORDER BY 1",
    );
    let rows = db.system(&platform("audit verification"), async |tx| tx.rows(sql.clone()).await).await?;
    rows.iter().map(|row| col(row, 0)).collect()
}

/// Walks the whole chain of a tenant (or [`PLATFORM`]) and every row, and keeps the result.
///
/// # Errors
/// 503 when the database is away.
pub async fn verify(db: &Db, chain: Uuid, anchor: Option<&Anchor>) -> Result<Verification, Error> {
    let why = platform("audit verification");
    // Read first: whatever is sealed from here on only adds to it.
    let mut known = Sql::new("SELECT link, encode(hash, 'hex') FROM audit_chain_state WHERE tenant_id = ");
    known.bind(chain);
    let place = Sql::new("SELECT transaction_id, changed_at::text, audit_id FROM audit_sealing");
    let mut results = db.system(&why, async |tx| tx.flight(vec![place.clone(), known.clone()]).await).await?;
    let known = results.pop().unwrap_or_default();
    let place = results.pop().unwrap_or_default();
    let mut out = Verification::default();
    let mut anchors: Vec<(i64, String, &str)> =
        anchor.map(|a| (a.link, a.hash.to_lowercase(), "anchor_differs")).into_iter().collect();
    if let Some(row) = known.first() {
        anchors.push((col(row, 0)?, col(row, 1)?, "link_changed"));
    }
    let end = walk_links(db, chain, &anchors, &mut out).await?;
    for (link, _, kind) in anchors.iter().filter(|(link, ..)| *link > end) {
        // The end was cut off; what somebody wrote down is not there any more.
        out.add_link(if *kind == "link_changed" { "link_missing" } else { kind }, *link);
    }
    if let Some(row) = place.first() {
        let place = (col::<i64>(row, 0)?, col::<String>(row, 1)?, col::<Uuid>(row, 2)?);
        walk_rows(db, chain, &place, &mut out).await?;
    }
    save(db, chain, &out).await?;
    Ok(out)
}

/// Every link in order, each with its row. Returns the last link's number.
async fn walk_links(
    db: &Db,
    chain: Uuid,
    anchors: &[(i64, String, &str)],
    out: &mut Verification,
) -> Result<i64, Error> {
    let why = platform("audit verification");
    let (mut last, mut hash, mut newest) = (0_i64, None::<String>, None::<Timestamp>);
    loop {
        let mut sql = Sql::new("WITH links AS MATERIALIZED (SELECT * FROM audit_chain WHERE tenant_id = ");
        sql.bind(chain).push(" AND link > ").bind(Bind::Int(last)).push(" ORDER BY link LIMIT ").bind(Bind::Int(BATCH));
        sql.push(
            "), judged AS MATERIALIZED (SELECT c.link, c.audit_id, c.changed_at, c.hash, \
             c.link <> lag(c.link, 1, CAST(",
        );
        sql.bind(Bind::Int(last))
            .push(" AS bigint)) OVER in_order + 1 AS gap, CASE WHEN c.previous_hash IS DISTINCT FROM lag(c.hash, 1, ");
        match &hash {
            Some(hash) => sql.push("decode(").bind(Bind::text(hash)).push(", 'hex')"),
            None => sql.push("audit_chain_start(c.tenant_id)"),
        };
        sql.push(
            ") OVER in_order OR c.hash <> sha256(c.previous_hash || audit_link(c.link, c.audit_id, c.row_digest, c.values_digest)) \
             THEN 'link_changed' WHEN l.id IS NULL THEN 'row_missing' \
             WHEN c.row_digest <> audit_row_digest(l.id, l.tenant_id, l.action, l.table_name, l.record_id, l.entity, l.changed_by, \
             l.changed_at, l.role, l.request_id, l.ip, l.user_agent, l.impersonator, l.reason) THEN 'row_changed' \
             WHEN c.salt IS NOT NULL AND c.values_digest <> audit_values_digest(c.salt, l.old_values, l.new_values) THEN 'row_changed' \
             WHEN c.salt IS NULL AND (l.old_values IS NOT NULL OR l.new_values IS NOT NULL) THEN 'row_changed' \
             WHEN c.salt IS NULL AND NOT EXISTS (SELECT FROM audit_log r WHERE r.tenant_id = l.tenant_id AND r.record_id = l.record_id \
             AND r.table_name = l.table_name AND r.action = 'redact') THEN 'redaction_unrecorded' \
             WHEN c.changed_at < greatest(",
        );
        let newest_bind = match newest {
            Some(at) => Bind::Text(Some(at.0.format(&Rfc3339).map_err(Error::internal)?), "timestamptz"),
            None => Bind::Text(None, "timestamptz"),
        };
        sql.bind(newest_bind).push(format!(
            ", max(c.changed_at) OVER in_order) - interval '{LATEST}' THEN 'row_backdated' \
             WHEN c.salt IS NULL THEN 'redacted' END AS verdict \
             FROM links c LEFT JOIN audit_log l ON l.changed_at = c.changed_at AND l.id = c.audit_id \
             AND coalesce(l.tenant_id, '00000000-0000-0000-0000-000000000000') = c.tenant_id \
             WINDOW in_order AS (ORDER BY c.link)) \
             SELECT count(*), max(link), (array_agg(encode(hash, 'hex') ORDER BY link DESC))[1], max(changed_at), \
             count(*) FILTER (WHERE verdict = 'redacted'), \
             coalesce(jsonb_agg(jsonb_build_object('kind', verdict, 'link', link, 'audit_id', audit_id, 'changed_at', changed_at) \
             ORDER BY link) FILTER (WHERE verdict <> 'redacted'), '[]'), \
             coalesce(jsonb_agg(jsonb_build_object('kind', 'link_missing', 'link', link - 1) ORDER BY link) FILTER (WHERE gap), '[]'), \
             coalesce(jsonb_object_agg(link, encode(hash, 'hex')) FILTER (WHERE link = ANY (CAST("
        ));
        let wanted = anchors.iter().map(|(link, ..)| link.to_string()).collect();
        sql.bind(Bind::Texts(Some(wanted))).push(" AS bigint[]))), '{}') FROM judged");
        let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
        let Some(row) = rows.first() else { return Ok(last) };
        let n: i64 = col(row, 0)?;
        if n == 0 {
            out.head = hash;
            return Ok(last);
        }
        out.links += n;
        last = col(row, 1)?;
        hash = col(row, 2)?;
        newest = newest.map(|at| at.0).max(col::<Option<Timestamp>>(row, 3)?.map(|at| at.0)).map(Timestamp);
        out.redacted += col::<i64>(row, 4)?;
        out.add_all(&col(row, 6)?);
        out.add_all(&col(row, 5)?);
        let here = col::<Json>(row, 7)?.value();
        for (link, expected, kind) in anchors {
            if here.get(link.to_string()).is_some_and(|found| found != expected.as_str()) {
                out.add_link(kind, *link);
            }
        }
    }
}

/// Every row of the tenant: what sealing has passed must have its link.
async fn walk_rows(db: &Db, chain: Uuid, place: &(i64, String, Uuid), out: &mut Verification) -> Result<(), Error> {
    let why = platform("audit verification");
    let mut after: Option<(String, Uuid)> = None;
    loop {
        let mut sql = Sql::new(
            "WITH rows AS MATERIALIZED (SELECT id, changed_at, transaction_id FROM audit_log WHERE tenant_id ",
        );
        if chain == PLATFORM {
            sql.push("IS NULL");
        } else {
            sql.push("= ").bind(chain);
        }
        if let Some((at, id)) = &after {
            sql.push(" AND (changed_at, id) < (")
                .bind(Bind::Text(Some(at.clone()), "timestamptz"))
                .push(", ")
                .bind(*id)
                .push(")");
        }
        sql.push(" ORDER BY changed_at DESC, id DESC LIMIT ").bind(Bind::Int(BATCH));
        sql.push("), unlinked AS MATERIALIZED (SELECT id, changed_at, (transaction_id, changed_at, id) <= (");
        sql.bind(Bind::Int(place.0))
            .push(", ")
            .bind(Bind::Text(Some(place.1.clone()), "timestamptz"))
            .push(", ")
            .bind(place.2);
        sql.push(") AS passed FROM rows r WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.tenant_id = ")
            .bind(chain);
        sql.push(
            " AND c.changed_at = r.changed_at AND c.audit_id = r.id)) \
             SELECT (SELECT count(*) FROM rows), (SELECT changed_at::text FROM rows ORDER BY changed_at, id LIMIT 1), \
             (SELECT id FROM rows ORDER BY changed_at, id LIMIT 1), \
             (SELECT count(*) FROM unlinked WHERE NOT passed), \
             (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', 'row_unsealed', 'audit_id', id, 'changed_at', changed_at)), '[]') \
              FROM unlinked WHERE passed)",
        );
        let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        out.pending += col::<i64>(row, 3)?;
        out.add_all(&col(row, 4)?);
        if col::<i64>(row, 0)? < BATCH {
            return Ok(());
        }
        after = col::<Option<String>>(row, 1)?.zip(col::<Option<Uuid>>(row, 2)?);
    }
}

async fn save(db: &Db, chain: Uuid, found: &Verification) -> Result<(), Error> {
    let verified = serde_json::to_value(found).map_err(Error::internal)?;
    let mut sql = Sql::new("UPDATE audit_chain_state SET verified_at = clock_timestamp(), verified = ");
    sql.bind(Bind::Text(Some(verified.to_string()), "jsonb")).push(" WHERE tenant_id = ").bind(chain);
    db.system(&platform("audit verification"), async |tx| tx.rows(sql.clone()).await).await.map(drop)
}

/// Verifies the chain whose last verification is the longest ago, if that is more than a day. Of several processes one takes
/// it, and has an hour: a chain whose verification came to no end, whatever the reason, is taken again after that. Returns
/// whether there was one.
///
/// # Errors
/// 503 when the database is away.
pub async fn verify_due(db: &Db) -> Result<Option<(Uuid, Verification)>, Error> {
    let sql = Sql::new(
        "UPDATE audit_chain_state SET claimed_at = clock_timestamp() WHERE tenant_id = (SELECT tenant_id \
         FROM audit_chain_state WHERE (verified_at IS NULL OR verified_at < clock_timestamp() - interval '1 day') \
         AND (claimed_at IS NULL OR claimed_at < clock_timestamp() - interval '1 hour') \
         ORDER BY verified_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING tenant_id",
    );
    let rows = db.system(&platform("audit verification"), async |tx| tx.rows(sql.clone()).await).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let chain = col(row, 0)?;
    verify(db, chain, None).await.map(|found| Some((chain, found)))
}
