//! `schema`: writes the diesel tables from the catalogue of a migrated database.
//!
//! Here is the catalogue; [`render`] turns it into text.

mod render;

use crate::{env_file, generated};
use anyhow::{Context, bail};
use std::{collections::BTreeMap, fs, io, path::Path};
use tokio_postgres::{Client, NoTls};

/// A base table of schema `public`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Table {
    name: String,
    comment: Option<String>,
    /// In the order of the table.
    columns: Vec<Column>,
    /// Column names in the order of the key.
    primary_key: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    /// As `format_type` says it, without length and precision.
    sql_type: String,
    nullable: bool,
    comment: Option<String>,
}

/// Writes or checks crates/db/src/schema.rs.
///
/// # Errors
/// No connection, a table or type that diesel cannot express, or see [`generated::write_or_check`].
pub fn run(root: &Path, database_url: Option<&str>, check: bool) -> anyhow::Result<()> {
    let url = match database_url {
        Some(url) => url.to_owned(),
        None => url_from_files(root)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tables = runtime.block_on(read(&url))?;
    let text = render::schema(&tables)?;
    generated::write_or_check(&root.join("crates/db/src/schema.rs"), &text, check, "cargo xtask schema")
}

fn url_from_files(root: &Path) -> anyhow::Result<String> {
    for file in [".local/test/env", ".local/env", ".env"] {
        let text = match fs::read_to_string(root.join(file)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("cannot read {file}"))?,
        };
        if let Some(url) = env_file::value(&text, "DATABASE_OWNER_URL") {
            return Ok(url);
        }
    }
    bail!("DATABASE_OWNER_URL is neither set nor in .local/test/env, .local/env or .env")
}

async fn read(url: &str) -> anyhow::Result<Vec<Table>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot connect to the database")?;
    // The connection ends, with or without an error that the query reports too, when the client is dropped.
    let (tables, _) = tokio::join!(catalogue(client), connection);
    let tables = tables?;
    if tables.is_empty() {
        bail!("the database has no tables: run the migrations first");
    }
    Ok(tables)
}

/// One row per column. Names sort bytewise, so that the order is the same whatever the database's collation.
const COLUMNS: &str = r#"
SELECT c.relname::text, obj_description(c.oid, 'pg_class'),
       a.attname::text, format_type(a.atttypid, NULL), a.attnotnull, col_description(c.oid, a.attnum),
       array_position(k.conkey, a.attnum)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> '__diesel_schema_migrations'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname COLLATE "C", a.attnum
"#;

async fn catalogue(client: Client) -> anyhow::Result<Vec<Table>> {
    let mut tables = BTreeMap::<String, (Table, BTreeMap<i32, String>)>::new();
    for row in client.query(COLUMNS, &[]).await.context("cannot read the catalogue")? {
        let name: String = row.try_get(0)?;
        let (table, key) = tables.entry(name.clone()).or_default();
        table.name = name;
        table.comment = row.try_get(1)?;
        let column = Column {
            name: row.try_get(2)?,
            sql_type: row.try_get(3)?,
            nullable: !row.try_get::<_, bool>(4)?,
            comment: row.try_get(5)?,
        };
        if let Some(position) = row.try_get::<_, Option<i32>>(6)? {
            key.insert(position, column.name.clone());
        }
        table.columns.push(column);
    }
    Ok(tables.into_values().map(|(table, key)| Table { primary_key: key.into_values().collect(), ..table }).collect())
}
