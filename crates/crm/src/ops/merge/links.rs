//! What points at a record, and moving it to another one.
//!
//! A test compares [`LINKS`] with the foreign keys and related types of the catalogue, so that a table that comes later
//! is not forgotten.

use aisha_db::{Bind, Json, Sql, TenantTx};
use aisha_kernel::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Links of one merge; with more it would hold its locks for minutes.
const MOST_LINKS: i64 = 50_000;

/// How a column points at a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It holds the id.
    Id,
    /// It holds the id, and `related_type` says of what.
    Related,
    /// It is a list of ids.
    Ids,
}

/// A column that points at records of a type.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Record type it points at, singular.
    pub to: &'static str,
    /// The table it is in.
    pub table: &'static str,
    /// That table's record type, singular.
    pub entity_type: &'static str,
    /// The column.
    pub field: &'static str,
    /// How it points.
    pub way: Way,
}

const fn link(to: &'static str, table: &'static str, entity_type: &'static str, field: &'static str, way: Way) -> Link {
    Link { to, table, entity_type, field, way }
}

/// Every column that points at an account, a contact or a lead.
pub const LINKS: &[Link] = &[
    link("account", "activities", "activity", "related_id", Way::Related),
    link("account", "bizdev_sources", "bizdev_source", "account_id", Way::Id),
    link("account", "cash_flow", "cash_flow", "account_id", Way::Id),
    link("account", "contacts", "contact", "account_id", Way::Id),
    link("account", "leads", "lead", "account_id", Way::Id),
    link("account", "leads", "lead", "converted_account_id", Way::Id),
    link("account", "notes", "note", "related_id", Way::Related),
    link("account", "opportunities", "opportunity", "account_id", Way::Id),
    link("contact", "activities", "activity", "related_id", Way::Related),
    link("contact", "bizdev_sources", "bizdev_source", "contact_id", Way::Id),
    link("contact", "leads", "lead", "converted_contact_id", Way::Id),
    link("contact", "notes", "note", "related_id", Way::Related),
    link("contact", "opportunities", "opportunity", "contact_id", Way::Id),
    link("lead", "activities", "activity", "related_id", Way::Related),
    link("lead", "bizdev_sources", "bizdev_source", "lead_ids", Way::Ids),
    link("lead", "notes", "note", "related_id", Way::Related),
    link("lead", "opportunities", "opportunity", "lead_id", Way::Id),
];

/// The columns that point at records of a type.
pub fn links_to(entity: &str) -> impl Iterator<Item = &'static Link> {
    LINKS.iter().filter(move |l| l.to == entity)
}

/// How many links of a column a merge moved.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Moved {
    /// Record type of what points, singular.
    pub entity_type: String,
    /// The column that points.
    pub field: String,
    /// How many.
    pub count: i64,
}

/// Something that an undo left as it was.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Kept {
    /// Record type, singular.
    #[serde(rename = "type")]
    pub entity_type: String,
    /// The record.
    pub id: Uuid,
    /// Its column.
    pub field: String,
    /// Why.
    pub reason: String,
}

fn texts(ids: &[Uuid]) -> Bind {
    Bind::Texts(Some(ids.iter().map(Uuid::to_string).collect()))
}

impl Link {
    /// The condition under which a row points at one of `ids`.
    fn points_at(&self, ids: &[Uuid]) -> Sql {
        let mut sql = Sql::new("tenant_id = current_tenant_id() AND ");
        match self.way {
            Way::Id => sql.push(format!("{} = ANY(", self.field)).bind(Bind::Uuids(ids.to_vec())).push(")"),
            Way::Related => {
                sql.push("related_id = ANY(").bind(Bind::Uuids(ids.to_vec()));
                sql.push(format!(") AND related_type = '{}'", self.to))
            }
            Way::Ids => sql.push(format!("{0} <> '{{}}' AND {0} && ", self.field)).bind(texts(ids)),
        };
        sql
    }

    /// Points every row that points at one of `gone` at `kept`, and remembers first where it pointed. Rows in the trash
    /// too: they may come back. Two statements without a join, which the planner would make quadratic where it has no
    /// statistics yet (measured: 4.6 s for 2,400 rows).
    fn moving(&self, merge: Uuid, gone: &[Uuid], kept: Uuid) -> [Sql; 2] {
        let (table, field) = (self.table, self.field);
        let column = if self.way == Way::Ids { "previous" } else { "from_id" };
        let mut note = Sql::new(format!("WITH old AS MATERIALIZED (SELECT id, {field} AS was FROM {table} WHERE "));
        note.append(self.points_at(gone));
        note.push(format!(
            " ORDER BY id FOR UPDATE), noted AS (INSERT INTO record_merge_link (tenant_id, merge_id, table_name, field, \
             record_id, {column}) SELECT current_tenant_id(), "
        ));
        note.bind(merge);
        note.push(format!(", '{table}', '{field}', id, was FROM old RETURNING 1) SELECT count(*) FROM noted"));

        let mut point = Sql::new(format!("UPDATE {table} SET {field} = "));
        match self.way {
            Way::Ids => {
                point.push(format!("replace_ids({field}, ")).bind(texts(gone)).push(", ");
                point.bind(Bind::text(kept.to_string())).push(")")
            }
            Way::Id | Way::Related => point.bind(kept),
        };
        point.push(" WHERE ").append(self.points_at(gone));
        [note, point]
    }

    /// Points the rows that a merge moved back, unless they point elsewhere by now. Returns how many there were to move,
    /// and what was kept.
    fn moving_back(&self, merge: Uuid, restored: &[Uuid], all: &[Uuid], kept: Uuid) -> Sql {
        let (table, field) = (self.table, self.field);
        let of_this = format!(
            "l.tenant_id = current_tenant_id() AND l.table_name = '{table}' AND l.field = '{field}' AND l.merge_id = "
        );
        let mut sql = Sql::new(format!("WITH back AS (UPDATE {table} AS t SET {field} = "));
        sql.push(if self.way == Way::Ids { "l.previous" } else { "l.from_id" });
        sql.push(format!(" FROM record_merge_link l WHERE {of_this}")).bind(merge);
        sql.push(" AND t.tenant_id = current_tenant_id() AND t.id = l.record_id AND ");
        match self.way {
            Way::Ids => {
                sql.push(format!("t.{field} = replace_ids(l.previous, ")).bind(texts(all)).push(", ");
                sql.bind(Bind::text(kept.to_string()))
                    .push(") AND NOT l.previous && ARRAY(SELECT u::text FROM unnest(");
                sql.bind(Bind::Uuids(all.to_vec())).push(") AS u WHERE u <> ALL (");
                sql.bind(Bind::Uuids(restored.to_vec())).push("))")
            }
            Way::Id | Way::Related => {
                sql.push(format!("t.{field} = ")).bind(kept);
                sql.push(if self.way == Way::Related {
                    format!(" AND t.related_type = '{}'", self.to)
                } else {
                    String::new()
                });
                sql.push(" AND l.from_id = ANY(").bind(Bind::Uuids(restored.to_vec())).push(")")
            }
        };
        sql.push(" RETURNING t.id), left_over AS (SELECT l.record_id, t.id IS NULL AS purged, l.from_id = ANY(");
        sql.bind(Bind::Uuids(restored.to_vec()));
        sql.push(format!(
            ") AS reachable FROM record_merge_link l LEFT JOIN {table} t ON t.tenant_id = l.tenant_id AND t.id = l.record_id WHERE {of_this}"
        ));
        sql.bind(merge);
        sql.push(format!(
            " AND l.record_id NOT IN (SELECT id FROM back)) SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM left_over), \
             (SELECT coalesce(jsonb_agg(jsonb_build_object('type', '{}', 'id', record_id, 'field', '{field}', 'reason', \
             CASE WHEN purged THEN 'was deleted for good' WHEN NOT reachable THEN 'the record it pointed at stays in the trash' \
             ELSE 'was changed since' END)), '[]') FROM (SELECT * FROM left_over ORDER BY record_id LIMIT 1000) AS listed)",
            self.entity_type
        ));
        sql
    }
}

/// Moves everything that points at `gone` to `kept`, whoever it belongs to.
///
/// # Errors
/// 409 when there is too much of it, 503 when the database is away.
pub async fn move_links(
    tx: &mut TenantTx,
    entity: &str,
    merge: Uuid,
    gone: &[Uuid],
    kept: Uuid,
) -> Result<Vec<Moved>, Error> {
    let links: Vec<&Link> = links_to(entity).collect();
    let results = tx.beyond_scope(links.iter().flat_map(|l| l.moving(merge, gone, kept)).collect()).await?;
    let mut moved = Vec::new();
    for (link, rows) in links.iter().zip(results.iter().step_by(2)) {
        let count: i64 = rows.first().map(|r| r.get(0)).transpose().map_err(Error::internal)?.unwrap_or_default();
        if count > 0 {
            moved.push(Moved { entity_type: link.entity_type.to_owned(), field: link.field.to_owned(), count });
        }
    }
    if moved.iter().map(|m| m.count).sum::<i64>() > MOST_LINKS {
        return Err(Error::conflict(format!(
            "More than {MOST_LINKS} records are linked to what would be merged; that is too much for one merge."
        )));
    }
    Ok(moved)
}

/// What moving links back did.
#[derive(Debug, Default)]
pub struct MovedBack {
    /// Links that point where they did.
    pub restored: i64,
    /// Links that were left alone.
    pub kept_count: i64,
    /// The first of those, at most a thousand per column.
    pub kept: Vec<Kept>,
}

/// Moves back what `merge` moved: the links of `restored`, of `all` that were merged into `kept`.
///
/// # Errors
/// 503 when the database is away.
pub async fn move_links_back(
    tx: &mut TenantTx,
    entity: &str,
    merge: Uuid,
    restored: &[Uuid],
    all: &[Uuid],
    kept: Uuid,
) -> Result<MovedBack, Error> {
    let statements = links_to(entity).map(|l| l.moving_back(merge, restored, all, kept)).collect();
    let mut out = MovedBack::default();
    for rows in tx.beyond_scope(statements).await? {
        let Some(row) = rows.first() else { continue };
        out.restored += row.get::<i64>(0).map_err(Error::internal)?;
        out.kept_count += row.get::<i64>(1).map_err(Error::internal)?;
        let listed: Json = row.get(2).map_err(Error::internal)?;
        let listed: Value = listed.value();
        out.kept.extend(serde_json::from_value::<Vec<Kept>>(listed).map_err(Error::internal)?);
    }
    Ok(out)
}
