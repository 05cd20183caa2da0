//! The permission matrix (admin guide §3.2) as data.
//!
//! One table decides for every resource; [`matrix`] prints it to a reviewed file. Which *rows* a principal sees is not
//! decided here but by its scope and the database.

use crate::Role;
use aisha_kernel::Error;
use serde::{Deserialize, Serialize};
use std::{fmt, fmt::Write as _, str::FromStr};

/// What can be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read and list.
    Read,
    /// Create one or many.
    Create,
    /// Change.
    Update,
    /// Move to the trash, see the trash, restore, purge.
    Delete,
    /// Take data out in bulk.
    Export,
    /// Bring data in bulk, and undo it.
    Import,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] = [Self::Read, Self::Create, Self::Update, Self::Delete, Self::Export, Self::Import];

    /// The verb.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Export => "export",
            Self::Import => "import",
        }
    }

    /// Whether the action leaves data as it is.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Export)
    }
}

/// Resources that are not records, with the weakest role for each action:
/// `[read, create, update, delete, export, import]`; `None` stands for nobody.
type Row = (&'static str, [Option<Role>; 6]);

const EMPLOYEE: Option<Role> = Some(Role::Employee);
const MANAGER: Option<Role> = Some(Role::Manager);
const ADMIN: Option<Role> = Some(Role::Admin);
const SUPERADMIN: Option<Role> = Some(Role::Superadmin);

/// Records that a sales team works with: everybody reads, creates and edits what it sees; deleting is for admins,
/// taking data out for managers and above.
const RECORDS: Row = ("(records)", [EMPLOYEE, EMPLOYEE, EMPLOYEE, ADMIN, MANAGER, MANAGER]);

const SPECIAL: &[Row] = &[
    ("tenants", [EMPLOYEE, SUPERADMIN, ADMIN, None, None, None]),
    ("users", [ADMIN, ADMIN, ADMIN, ADMIN, ADMIN, ADMIN]),
    ("employees", [EMPLOYEE, ADMIN, ADMIN, ADMIN, MANAGER, ADMIN]),
    ("api_keys", [EMPLOYEE, EMPLOYEE, EMPLOYEE, EMPLOYEE, None, None]),
    ("module_settings", [EMPLOYEE, ADMIN, ADMIN, ADMIN, None, None]),
    ("custom_fields", [EMPLOYEE, ADMIN, ADMIN, ADMIN, None, None]),
    // Export is what the specification calls advanced: reports about people, and taking numbers out.
    ("reports", [EMPLOYEE, None, None, None, MANAGER, None]),
    ("sessions", [EMPLOYEE, None, None, EMPLOYEE, None, None]),
    ("permissions", [ADMIN, ADMIN, ADMIN, ADMIN, None, None]),
    ("system_settings", [SUPERADMIN, SUPERADMIN, SUPERADMIN, SUPERADMIN, None, None]),
    // About oneself; about others it takes the right to read users.
    ("diagnostics", [EMPLOYEE, None, None, None, None, None]),
    ("lead_diagnostics", [MANAGER, MANAGER, MANAGER, None, None, None]),
    ("data_care", [ADMIN, ADMIN, ADMIN, ADMIN, None, None]),
    // Reading too: addresses often carry a token, and bodies are whole records.
    ("webhooks", [ADMIN, ADMIN, ADMIN, ADMIN, None, None]),
    ("audit_logs", [ADMIN, None, None, None, ADMIN, None]),
    ("trust", [ADMIN, None, None, None, None, None]),
    ("data_quality", [MANAGER, None, None, None, None, None]),
    // What is found is the own tenant only; a superadmin finds all.
    ("tenantresolve", [EMPLOYEE, None, None, None, None, None]),
    // Its metrics, and forgetting it.
    ("tenantresolve_cache", [SUPERADMIN, None, None, SUPERADMIN, None, None]),
    // Everybody's application reports its errors.
    ("system_logs", [ADMIN, EMPLOYEE, None, None, ADMIN, None]),
    ("performance", [SUPERADMIN, None, None, None, None, None]),
    ("system", [SUPERADMIN, None, None, None, None, None]),
    // One's own; marking as read is reading.
    ("notifications", [EMPLOYEE, None, EMPLOYEE, EMPLOYEE, None, None]),
];

/// What a custom role may add rights to: the records that teams work with. Everything else says who somebody is, what a
/// tenant or the platform is set to, or (employees) decides what others see, and stays with the roles of the matrix.
pub const GRANTABLE: [&str; 8] =
    ["accounts", "activities", "bizdevsources", "cashflow", "contacts", "leads", "notes", "opportunities"];

/// The resources that are not records.
pub fn special() -> impl Iterator<Item = &'static str> {
    SPECIAL.iter().map(|(name, _)| *name)
}

fn row(resource: &str) -> &'static Row {
    SPECIAL.iter().find(|(name, _)| *name == resource).unwrap_or(&RECORDS)
}

/// Whether `role` may do `action` to `resource` (the plural, as in the path).
#[must_use]
pub fn allows(role: Role, resource: &str, action: Action) -> bool {
    let index = Action::ALL.iter().position(|a| *a == action);
    index.and_then(|i| row(resource).1.get(i).copied().flatten()).is_some_and(|weakest| role >= weakest)
}

/// The matrix as a Markdown table, one line per resource and action.
#[must_use]
pub fn matrix() -> String {
    let mut out =
        String::from("| resource | action | employee | manager | admin | superadmin |\n|---|---|---|---|---|---|\n");
    for (name, _) in std::iter::once(&RECORDS).chain(SPECIAL) {
        for action in Action::ALL {
            let _ = write!(out, "| {name} | {} |", action.as_str());
            for role in Role::ALL {
                out.push_str(if allows(role, name, action) { " yes |" } else { " - |" });
            }
            out.push('\n');
        }
    }
    out
}

/// One right that a custom role adds: `delete:contacts`, `*:contacts`, `export:*`. Unlike in the list of an API key, each
/// action is itself and nothing more: `read` does not take data out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Extra {
    /// `None` stands for all of them.
    action: Option<Action>,
    /// One of [`GRANTABLE`], or `*` for all of them.
    resource: String,
}

impl Extra {
    /// From the columns of a permission.
    ///
    /// # Errors
    /// 422 naming `resource` or `action`, also for a resource that no custom role may add rights to.
    pub fn new(resource: &str, action: &str) -> Result<Self, Error> {
        if resource != "*" && !GRANTABLE.contains(&resource) {
            let message = format!("cannot be granted: must be * or one of {}", GRANTABLE.join(", "));
            return Err(Error::invalid("resource", message));
        }
        let action = match action {
            "*" => None,
            name => Some(Action::ALL.into_iter().find(|a| a.as_str() == name).ok_or_else(|| {
                Error::invalid("action", "must be read, create, update, delete, export, import or *")
            })?),
        };
        Ok(Self { action, resource: resource.to_owned() })
    }

    /// Whether it adds the right to do `action` to `resource`.
    #[must_use]
    pub fn covers(&self, resource: &str, action: Action) -> bool {
        self.action.is_none_or(|a| a == action)
            && (self.resource == resource || self.resource == "*")
            && GRANTABLE.contains(&resource)
    }

    /// Every single right that it stands for.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Action)> {
        let all = GRANTABLE.into_iter().flat_map(|r| Action::ALL.map(|a| (r, a)));
        all.filter(|(resource, action)| self.covers(resource, *action))
    }
}

impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action.map_or("*", Action::as_str), self.resource)
    }
}

impl FromStr for Extra {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let (action, resource) = s.split_once(':').unwrap_or((s, ""));
        Self::new(resource, action)
    }
}

impl TryFrom<String> for Extra {
    type Error = Error;
    fn try_from(s: String) -> Result<Self, Error> {
        s.parse()
    }
}

impl From<Extra> for String {
    fn from(extra: Extra) -> Self {
        extra.to_string()
    }
}

/// One entry of an API key's permission list: `read:contacts`, `write:*`, `*:*` or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    verb: Verb,
    resource: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Verb {
    Read,
    Write,
    Any,
    One(Action),
}

impl Grant {
    /// Whether the entry allows the action.
    #[must_use]
    pub fn covers(&self, resource: &str, action: Action) -> bool {
        let verb = match self.verb {
            Verb::Any => true,
            Verb::Read => action.is_read(),
            Verb::Write => !action.is_read(),
            Verb::One(a) => a == action,
        };
        verb && (self.resource == "*" || self.resource == resource)
    }
}

impl FromStr for Grant {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let (verb, resource) = if s == "*" { ("*", "*") } else { s.split_once(':').unwrap_or((s, "")) };
        let verb = match verb {
            "*" => Verb::Any,
            "read" => Verb::Read,
            "write" => Verb::Write,
            other => Action::ALL.into_iter().find(|a| a.as_str() == other).map(Verb::One).ok_or_else(bad)?,
        };
        let named = resource.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !resource.is_empty();
        if resource != "*" && (!named || resource.len() > 63) {
            return Err(bad());
        }
        Ok(Self { verb, resource: resource.to_owned() })
    }
}

fn bad() -> Error {
    Error::invalid("permissions", "must be entries such as read:contacts, write:accounts or *")
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Any => "*",
            Verb::One(a) => a.as_str(),
        };
        write!(f, "{verb}:{}", self.resource)
    }
}

impl TryFrom<String> for Grant {
    type Error = Error;
    fn try_from(s: String) -> Result<Self, Error> {
        s.parse()
    }
}

impl From<Grant> for String {
    fn from(g: Grant) -> Self {
        g.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_holds() {
        // Admin guide §3.2: delete is for admins, export for managers and above, user management for admins.
        for (role, delete, export, users) in [
            (Role::Employee, false, false, false),
            (Role::Manager, false, true, false),
            (Role::Admin, true, true, true),
            (Role::Superadmin, true, true, true),
        ] {
            assert_eq!(allows(role, "contacts", Action::Delete), delete);
            assert_eq!(allows(role, "contacts", Action::Export), export);
            assert_eq!(allows(role, "users", Action::Create), users);
            assert!(allows(role, "contacts", Action::Update));
        }
        assert!(!allows(Role::Admin, "tenants", Action::Create));
    }

    #[test]
    fn the_reviewed_file_is_current() {
        let reviewed = include_str!("../../../docs/permission-matrix.md");
        assert!(reviewed.ends_with(&matrix()), "docs/permission-matrix.md must end with:\n{}", matrix());
    }

    #[test]
    fn what_is_added_is_exact_and_never_more_than_records() {
        let extra = |s: &str| s.parse::<Extra>();
        let read = extra("read:accounts").unwrap();
        assert!(read.covers("accounts", Action::Read));
        assert!(!read.covers("accounts", Action::Export), "reading is not taking out");
        assert!(!read.covers("contacts", Action::Read));
        let everything = extra("*:*").unwrap();
        assert!(everything.covers("contacts", Action::Delete));
        for (resource, _) in SPECIAL {
            for action in Action::ALL {
                assert!(!everything.covers(resource, action), "{resource}");
            }
            assert!(extra(&format!("read:{resource}")).is_err(), "{resource}");
            assert!(!GRANTABLE.contains(resource), "{resource}");
        }
        for bad in ["", "read", "read:", "fly:contacts", "read:contact", "read:webhooks", "write:contacts"] {
            assert!(extra(bad).is_err(), "{bad}");
        }
        assert_eq!(extra("delete:*").unwrap().each().count(), GRANTABLE.len());
        assert_eq!(everything.to_string(), "*:*");
    }

    #[test]
    fn grants_parse_strictly() {
        for good in ["*", "*:*", "read:contacts", "write:*", "delete:accounts", "export:module_settings"] {
            assert!(good.parse::<Grant>().is_ok(), "{good}");
        }
        for bad in ["", "read", "read:", "fly:contacts", "read:Contacts", "read:a b", ":contacts"] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
