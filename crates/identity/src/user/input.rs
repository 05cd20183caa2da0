//! What a client may write on a user, checked field by field so that all problems show at once.

use super::navigation;
use aisha_auth::{AccessLevel, Role, password};
use aisha_db::record::value::{is_email, storable};
use aisha_kernel::{Error, ErrorCode, FieldError, Patch, TenantId};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Fields of the row that a client may send back but not write.
pub(super) const READ_ONLY: &[&str] = &[
    "id",
    "employee_id",
    "last_login_at",
    "last_seen_at",
    "live_status",
    "created_at",
    "created_date",
    "created_by",
    "updated_at",
    "version",
];
/// Fields that [`UserInput::parse`] takes beside them, in the order of an export.
pub(super) const WRITABLE: &[&str] = &[
    "tenant_id",
    "email",
    "first_name",
    "last_name",
    "full_name",
    "role",
    "employee_role",
    "access_level",
    "can_use_softphone",
    "is_active",
    "department",
    "navigation_permissions",
    "custom_roles",
    "external_id",
    "metadata",
    "password",
    "send_invitation",
];

const LONGEST_NAME: usize = 200;
const LARGEST_JSON: usize = 65_536;

/// What was sent. Absent fields stay as they are (or get their default).
#[derive(Debug, Clone, Default)]
pub struct UserInput {
    pub(super) email: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) role: Option<RoleInput>,
    pub(super) tenant_id: Patch<Uuid>,
    pub(super) password: Option<String>,
    pub(super) access_level: Option<AccessLevel>,
    pub(super) can_use_softphone: Option<bool>,
    pub(super) is_active: Option<bool>,
    pub(super) navigation_permissions: Option<Value>,
    pub(super) custom_roles: Option<Vec<String>>,
    pub(super) metadata: Option<Value>,
    pub(super) department: Patch<String>,
    pub(super) external_id: Patch<String>,
    pub(super) send_invitation: Option<bool>,
}

/// The role as it was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoleInput {
    /// One of ours, or `user`/`power-user` with its `employee_role`.
    Exact(Role),
    /// `employee_role` alone: moves between manager and employee and says nothing about those above.
    Within(Role),
}

impl RoleInput {
    /// The role that a user with the role `current` gets.
    pub(super) fn resolve(self, current: Option<Role>) -> Role {
        match (self, current) {
            (Self::Within(_), Some(above)) if above >= Role::Admin => above,
            (Self::Exact(role) | Self::Within(role), _) => role,
        }
    }
}

impl UserInput {
    /// Whether an invitation was asked for.
    #[must_use]
    pub fn send_invitation(&self) -> bool {
        self.send_invitation.unwrap_or(false)
    }

    /// Reads a body. `creating` asks for what a new user cannot be without.
    ///
    /// # Errors
    /// 400 for a body that is no object or a tenant id that is no UUID; 422 with every problem.
    pub fn parse(body: &Value, creating: bool) -> Result<Self, Error> {
        let Some(map) = body.as_object() else {
            return Err(Error::new(ErrorCode::MalformedBody, "The body must be a JSON object."));
        };
        let mut out = Self::default();
        let mut problems = Vec::new();
        for (name, value) in map {
            if let Err(message) = out.field(name, value, &mut problems)? {
                problems.push(FieldError::new(name, message));
            }
        }
        out.names(map, &mut problems);
        match role(map) {
            Ok(role) => out.role = role,
            Err(problem) => problems.push(problem),
        }
        if creating && out.email.is_none() && !problems.iter().any(|p| p.field == "email") {
            problems.push(FieldError::new("email", "is required"));
        }
        if problems.is_empty() { Ok(out) } else { Err(Error::validation(problems)) }
    }

    /// One field. The outer error ends the parsing, the inner one is this field's problem.
    fn field(&mut self, name: &str, v: &Value, problems: &mut Vec<FieldError>) -> Result<Result<(), String>, Error> {
        let result = match name {
            "email" => text(v, 320)
                .and_then(|s| {
                    let s = s.to_lowercase();
                    if is_email(&s) { Ok(s) } else { Err("must be an e-mail address".into()) }
                })
                .map(|s| self.email = Some(s)),
            "tenant_id" => match v {
                Value::Null => {
                    self.tenant_id = Patch::Null;
                    Ok(())
                }
                Value::String(s) => {
                    self.tenant_id = Patch::Value(TenantId::parse(s)?.0);
                    Ok(())
                }
                _ => Err("must be a UUID".into()),
            },
            "password" => match v.as_str() {
                Some(p) => {
                    problems.extend(password::check("password", p));
                    self.password = Some(p.to_owned());
                    Ok(())
                }
                None => Err("must be a text".into()),
            },
            "access_level" => access(v).map(|a| self.access_level = Some(a)),
            "can_use_softphone" => truth(v).map(|b| self.can_use_softphone = Some(b)),
            "is_active" => truth(v).map(|b| self.is_active = Some(b)),
            "navigation_permissions" => object(v).map(|o| {
                problems.extend(o.as_object().map(navigation::problems).unwrap_or_default());
                self.navigation_permissions = Some(o);
            }),
            "department" => clearable(v).map(|d| self.department = d),
            "external_id" => clearable(v).map(|d| self.external_id = d),
            "send_invitation" => truth(v).map(|b| self.send_invitation = Some(b)),
            "metadata" => object(v).map(|o| self.metadata = Some(o)),
            "custom_roles" => names_list(v).map(|l| self.custom_roles = Some(l)),
            "first_name" | "last_name" | "full_name" | "role" | "employee_role" => Ok(()),
            other if READ_ONLY.contains(&other) => Ok(()),
            _ => Err("is not a field of a user".into()),
        };
        Ok(result)
    }

    /// `first_name` and `last_name`, or `full_name` split at its first blank where neither is given.
    pub(super) fn names(&mut self, map: &Map<String, Value>, problems: &mut Vec<FieldError>) {
        let mut read = |name: &str, longest: usize| {
            let value = map.get(name)?;
            let read = if value.is_null() { Ok(String::new()) } else { text(value, longest) };
            read.map_err(|message| problems.push(FieldError::new(name, message))).ok()
        };
        self.first_name = read("first_name", LONGEST_NAME);
        self.last_name = read("last_name", LONGEST_NAME);
        let full = read("full_name", 2 * LONGEST_NAME + 1);
        if let (None, None, Some(full)) = (&self.first_name, &self.last_name, full) {
            let (first, last) = full.split_once(' ').unwrap_or((&full, ""));
            let (first, last) = (first.trim().to_owned(), last.trim().to_owned());
            if first.chars().count() > LONGEST_NAME || last.chars().count() > LONGEST_NAME {
                problems.push(FieldError::new("full_name", "is too long"));
            }
            self.first_name = Some(first);
            self.last_name = Some(last);
        }
    }
}

/// The role from `role` and `employee_role`. A role of ours wins over `employee_role`, which then is only a view of it
/// that came back.
fn role(map: &Map<String, Value>) -> Result<Option<RoleInput>, FieldError> {
    let tier = match map.get("employee_role") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(s)) if s == "manager" => Some(Some(Role::Manager)),
        Some(Value::String(s)) if s == "employee" => Some(Some(Role::Employee)),
        Some(_) => return Err(FieldError::new("employee_role", "must be manager, employee or null")),
    };
    match map.get("role") {
        None => Ok(tier.flatten().map(RoleInput::Within)),
        Some(Value::String(s)) if s == "user" || s == "power-user" => {
            Ok(Some(RoleInput::Exact(tier.flatten().unwrap_or(Role::Manager))))
        }
        Some(Value::String(s)) => match s.parse() {
            Ok(role) => Ok(Some(RoleInput::Exact(role))),
            Err(_) => Err(FieldError::new("role", "must be superadmin, admin, manager or employee")),
        },
        Some(_) => Err(FieldError::new("role", "must be a text")),
    }
}

fn text(v: &Value, longest: usize) -> Result<String, String> {
    let s = v.as_str().ok_or("must be a text")?.trim();
    if s.chars().count() > longest {
        return Err(format!("must have at most {longest} characters"));
    }
    if s.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(s.to_owned())
}

/// A text that null or nothing clears.
fn clearable(v: &Value) -> Result<Patch<String>, String> {
    if v.is_null() {
        return Ok(Patch::Null);
    }
    let text = text(v, LONGEST_NAME)?;
    Ok(if text.is_empty() { Patch::Null } else { Patch::Value(text) })
}

fn access(v: &Value) -> Result<AccessLevel, String> {
    match v.as_str() {
        Some("read") => Ok(AccessLevel::Read),
        Some("read_write") => Ok(AccessLevel::ReadWrite),
        _ => Err("must be read or read_write".into()),
    }
}

fn truth(v: &Value) -> Result<bool, String> {
    v.as_bool().ok_or_else(|| "must be true or false".into())
}

/// A JSON object that Postgres can hold.
pub(super) fn object(v: &Value) -> Result<Value, String> {
    if !v.is_object() {
        return Err("must be an object".into());
    }
    let text = v.to_string();
    if text.len() > LARGEST_JSON {
        return Err(format!("must have at most {LARGEST_JSON} bytes"));
    }
    if !storable(v) {
        return Err("must not contain the character NUL or numbers beyond all bounds".into());
    }
    Ok(v.clone())
}

fn names_list(v: &Value) -> Result<Vec<String>, String> {
    let bad = || "must be a list of at most 50 names".to_owned();
    let list = v.as_array().filter(|l| l.len() <= 50).ok_or_else(bad)?;
    list.iter().map(|item| text(item, 100).ok().filter(|s| !s.is_empty()).ok_or_else(bad)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(body: &Value, creating: bool) -> Vec<String> {
        UserInput::parse(body, creating).unwrap_err().details.into_iter().map(|d| d.field).collect()
    }

    #[test]
    fn every_problem_shows_at_once() {
        let body = json!({"email": "x", "role": "boss", "is_active": 1, "nonsense": 0, "custom_roles": [""],
                          "navigation_permissions": [], "access_level": "all", "password": "Short-1"});
        let mut all = fields(&body, true);
        all.sort();
        assert_eq!(
            all,
            [
                "access_level",
                "custom_roles",
                "email",
                "is_active",
                "navigation_permissions",
                "nonsense",
                "password",
                "role"
            ]
        );
        assert_eq!(fields(&json!({}), true), ["email"]);
        assert!(UserInput::parse(&json!({}), false).is_ok());
        assert_eq!(UserInput::parse(&json!([]), false).unwrap_err().code, ErrorCode::MalformedBody);
    }

    #[test]
    fn the_two_layer_form_is_understood() {
        for (body, role) in [
            (json!({"role": "admin"}), Some(RoleInput::Exact(Role::Admin))),
            (json!({"role": "user", "employee_role": "employee"}), Some(RoleInput::Exact(Role::Employee))),
            (json!({"role": "power-user", "employee_role": "manager"}), Some(RoleInput::Exact(Role::Manager))),
            (json!({"role": "user", "employee_role": null}), Some(RoleInput::Exact(Role::Manager))),
            (json!({"role": "user"}), Some(RoleInput::Exact(Role::Manager))),
            (json!({"role": "employee", "employee_role": "manager"}), Some(RoleInput::Exact(Role::Employee))),
            (json!({"employee_role": "manager"}), Some(RoleInput::Within(Role::Manager))),
            (json!({"employee_role": null}), None),
            (json!({}), None),
        ] {
            assert_eq!(UserInput::parse(&body, false).unwrap().role, role, "{body}");
        }
        assert_eq!(RoleInput::Within(Role::Employee).resolve(Some(Role::Admin)), Role::Admin);
        assert_eq!(RoleInput::Within(Role::Employee).resolve(Some(Role::Manager)), Role::Employee);
        assert_eq!(RoleInput::Exact(Role::Employee).resolve(Some(Role::Admin)), Role::Employee);
    }

    #[test]
    fn full_name_stands_in_for_both() {
        let both = |body: Value| {
            let input = UserInput::parse(&body, false).unwrap();
            (input.first_name, input.last_name)
        };
        let s = |t: &str| Some(t.to_owned());
        assert_eq!(both(json!({"full_name": "Ana Maria Lopez"})), (s("Ana"), s("Maria Lopez")));
        assert_eq!(both(json!({"full_name": "Cher"})), (s("Cher"), s("")));
        assert_eq!(both(json!({"full_name": "Old Name", "first_name": "New"})), (s("New"), None));
    }

    #[test]
    fn what_was_read_can_be_sent_back() {
        let body = json!({"id": "x", "created_at": "y", "created_date": "y", "updated_at": "y", "version": 3,
                          "employee_id": null, "last_login_at": null, "email": "A@B.example", "is_active": true});
        assert_eq!(UserInput::parse(&body, false).unwrap().email.as_deref(), Some("a@b.example"));
    }

    #[test]
    fn a_slug_is_told_where_to_go() {
        let e = UserInput::parse(&json!({"tenant_id": "acme"}), false).unwrap_err();
        assert_eq!(e.code, ErrorCode::InvalidParameter);
        assert!(e.details[0].message.contains("/api/tenantresolve"));
    }
}
