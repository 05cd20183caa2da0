//! The generic record path: one table of fields per record type drives reading, writing, filtering, sorting, import,
//! export and the API documentation.
//!
//! Belongs here: what every record type has in common. Does not belong here: a record type (that is `crm`), or a rule
//! that only one of them has (that is an ordinary function on [`crate::TenantTx`]).

pub mod bulk;
pub mod changes;
pub mod custom;
pub mod event;
pub mod field;
pub mod filter;
pub mod list;
pub mod page;
pub mod read;
pub mod value;
pub mod write;

pub use changes::Changes;
pub use field::{Field, Kind};
pub use list::{Count, List, Page};

use crate::row::PgRow;
use serde::Serialize;
use uuid::Uuid;

/// Whose the rows of a record type are; the names are those of `tenant_table()` in `sql/080_tables.sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowScope {
    /// Everybody's in the tenant.
    Tenant,
    /// Somebody's: `assigned_to`, `created_by`.
    Owned,
    /// Somebody's, and seen with the record they belong to: `related_type`, `related_id`.
    Attached,
}

impl RowScope {
    /// Whether rows are somebody's.
    #[must_use]
    pub fn owned(self) -> bool {
        self != Self::Tenant
    }
}

/// What is known about a record type before any row is read.
#[derive(Debug)]
pub struct RecordDef {
    /// Singular name, as in events (`contact.created`).
    pub name: &'static str,
    /// Plural name, as in paths, list keys and permissions.
    pub plural: &'static str,
    /// SQL table.
    pub table: &'static str,
    /// What it is, for the API documentation.
    pub doc: &'static str,
    /// Whose rows are whose.
    pub scope: RowScope,
    /// What makes two records the same one to an import: the field, and the column that holds its compared form.
    pub key: (&'static str, &'static str),
    /// The record's own fields; [`field::COMMON`] come on top.
    pub fields: &'static [Field],
}

impl RecordDef {
    /// Every field in the order in which it is selected and shown.
    pub fn all_fields(&self) -> impl Iterator<Item = &'static Field> {
        let (head, tail) = field::COMMON.split_at(2);
        head.iter().chain(self.fields).chain(tail)
    }

    /// A field by its name or one of its aliases.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.all_fields().find(|f| f.name == name || f.aliases.contains(&name))
    }

    /// The select list.
    #[must_use]
    pub fn columns(&self) -> String {
        self.all_fields().map(Field::selected).collect::<Vec<_>>().join(", ")
    }
}

/// A record type. Implemented by [`crate::record!`].
pub trait Record: Serialize + Sized + 'static {
    /// Its definition.
    const DEF: &'static RecordDef;

    /// [`RecordDef::columns`], made once.
    fn columns() -> &'static str;

    /// Decodes a row selected with [`Record::columns`].
    ///
    /// # Errors
    /// When a column is missing or has another type.
    fn from_row(row: &PgRow) -> crate::Decoded<Self>;

    /// The id.
    fn id(&self) -> Uuid;

    /// Counts the changes; the `ETag` is made of it.
    fn version(&self) -> i32;

    /// The value of a field as text, for page cursors.
    fn cursor_text(&self, field: &str) -> Option<String>;
}

/// Defines a record type: the struct that rows decode to and that the API shows, and its [`RecordDef`].
///
/// ```ignore
/// record! {
///     /// A company.
///     Account { name: "account", plural: "accounts", table: "accounts", scope: Owned, key: "name" => "name_key" }
///     /// Name of the company; unique among live accounts.
///     name: String = text(200).required();
/// }
/// ```
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $ty:ident { name: $name:literal, plural: $plural:literal, table: $table:literal, scope: $scope:ident,
              key: $key:literal => $key_column:literal }
        $( $(#[doc = $field_doc:literal])+ $field:ident : $field_ty:ty = $spec:expr; )+
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, serde::Serialize)]
        pub struct $ty {
            /// Identifier (UUID version 7).
            pub id: uuid::Uuid,
            /// The tenant it belongs to.
            pub tenant_id: uuid::Uuid,
            $( $(#[doc = $field_doc])+ pub $field: $field_ty, )+
            /// Free-form data of integrations.
            pub metadata: $crate::Json,
            /// Values of the tenant's own fields.
            pub custom_fields: $crate::Json,
            /// Whether it was made for testing.
            pub is_test_data: bool,
            /// The user who created it.
            pub created_by: Option<uuid::Uuid>,
            /// When it was created.
            #[serde(with = "time::serde::rfc3339")]
            pub created_at: time::OffsetDateTime,
            /// The same as `created_at`, under its older name.
            #[serde(with = "time::serde::rfc3339")]
            pub created_date: time::OffsetDateTime,
            /// When it was last changed.
            #[serde(with = "time::serde::rfc3339")]
            pub updated_at: time::OffsetDateTime,
            /// When it was moved to the trash; absent on live records.
            #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
            pub deleted_at: Option<time::OffsetDateTime>,
            /// Counts the changes; the `ETag` is made of it.
            pub version: i32,
        }

        impl $crate::record::Record for $ty {
            const DEF: &'static $crate::record::RecordDef = &$crate::record::RecordDef {
                name: $name,
                plural: $plural,
                table: $table,
                doc: concat!($($doc, "\n"),+),
                scope: $crate::record::RowScope::$scope,
                key: ($key, $key_column),
                fields: {
                    #[allow(unused_imports, reason = "a record need not use every kind of field")]
                    use $crate::record::field::*;
                    &[$( $spec.named(stringify!($field), concat!($($field_doc, "\n"),+)) ),+]
                },
            };

            fn columns() -> &'static str {
                static COLUMNS: std::sync::LazyLock<String> =
                    std::sync::LazyLock::new(|| <$ty as $crate::record::Record>::DEF.columns());
                &COLUMNS
            }

            fn from_row(row: &$crate::PgRow) -> $crate::Decoded<Self> {
                let mut at = 0usize..;
                let mut next = || at.next().unwrap_or(usize::MAX);
                let created;
                Ok(Self {
                    id: row.get(next())?,
                    tenant_id: row.get(next())?,
                    $( $field: row.get(next())?, )+
                    metadata: row.get(next())?,
                    custom_fields: row.get(next())?,
                    is_test_data: row.get(next())?,
                    created_by: row.get(next())?,
                    created_at: {
                        created = row.get(next())?;
                        created
                    },
                    created_date: created,
                    updated_at: row.get(next())?,
                    deleted_at: row.get(next())?,
                    version: row.get(next())?,
                })
            }

            fn id(&self) -> uuid::Uuid {
                self.id
            }

            fn version(&self) -> i32 {
                self.version
            }

            fn cursor_text(&self, field: &str) -> Option<String> {
                use $crate::Column as _;
                $( if field == $crate::record::field::plain(stringify!($field)) {
                    return self.$field.cursor_text();
                } )+
                match field {
                    "tenant_id" => self.tenant_id.cursor_text(),
                    "is_test_data" => self.is_test_data.cursor_text(),
                    "created_by" => self.created_by.cursor_text(),
                    "deleted_at" => self.deleted_at.cursor_text(),
                    "version" => self.version.cursor_text(),
                    "created_at" => self.created_at.cursor_text(),
                    "updated_at" => self.updated_at.cursor_text(),
                    _ => None,
                }
            }
        }
    };
}
