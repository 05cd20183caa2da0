//! Which parts of the application a user's menu shows: the defaults of the role, and what differs for one user.

use aisha_auth::Role;
use aisha_kernel::FieldError;
use serde_json::{Map, Value};

/// Every part of the application that a menu can show.
pub const PAGES: &[&str] = &[
    "Dashboard",
    "Contacts",
    "Accounts",
    "Leads",
    "Opportunities",
    "Activities",
    "Calendar",
    "BizDevSources",
    "CashFlow",
    "DocumentProcessing",
    "DocumentManagement",
    "AICampaigns",
    "Employees",
    "Reports",
    "Integrations",
    "Documentation",
    "Settings",
    "Agent",
    "PaymentPortal",
    "Utilities",
    "Workflows",
    "ClientOnboarding",
    "WorkflowGuide",
    "ClientRequirements",
    "Tenants",
    "AuditLog",
    "UnitTests",
    "DuplicateContacts",
    "DuplicateAccounts",
    "DuplicateLeads",
];

const NOT_FOR_MANAGERS: &[&str] = &["PaymentPortal", "Tenants", "UnitTests", "ClientRequirements"];

const FOR_EMPLOYEES: &[&str] = &[
    "Dashboard",
    "Contacts",
    "Leads",
    "Opportunities",
    "Activities",
    "Calendar",
    "Documentation",
    "Agent",
    "Settings",
];

/// Whether a role sees a page unless told otherwise.
fn default(role: Role, page: &str) -> bool {
    match role {
        Role::Superadmin | Role::Admin => true,
        Role::Manager => !NOT_FOR_MANAGERS.contains(&page),
        Role::Employee => FOR_EMPLOYEES.contains(&page),
    }
}

/// Every page with what the user sees: what is stored, over the defaults of the role.
pub(super) fn effective(role: Role, stored: &Value) -> Map<String, Value> {
    let one = |page: &&str| stored.get(page).and_then(Value::as_bool).unwrap_or_else(|| default(role, page));
    PAGES.iter().map(|page| ((*page).to_owned(), one(page).into())).collect()
}

/// What of a client's object differs from the role's defaults: only that is stored, so that what was read can be sent
/// back and a later role brings its own defaults.
pub(super) fn overrides(role: Role, sent: &Value) -> Value {
    let sent = sent.as_object().into_iter().flatten();
    sent.filter(|(page, v)| v.as_bool() != Some(default(role, page)))
        .map(|(page, v)| (page.clone(), v.clone()))
        .collect()
}

/// A message for every key that is no page and every value that is no truth value.
pub(super) fn problems(sent: &Map<String, Value>) -> Vec<FieldError> {
    let message = |page: &str, v: &Value| match PAGES.contains(&page) {
        false => Some("is no page of the application"),
        true if !v.is_boolean() => Some("must be true or false"),
        true => None,
    };
    let at = |page: &str| format!("navigation_permissions.{}", page.chars().take(100).collect::<String>());
    sent.iter().filter_map(|(page, v)| Some(FieldError::new(at(page), message(page, v)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_those_of_the_role() {
        let count = |role| PAGES.iter().filter(|p| default(role, p)).count();
        assert_eq!([Role::Employee, Role::Manager, Role::Admin, Role::Superadmin].map(count), [9, 26, 30, 30]);
        assert!(FOR_EMPLOYEES.iter().chain(NOT_FOR_MANAGERS).all(|p| PAGES.contains(p)));
    }

    #[test]
    fn only_differences_are_stored_and_all_pages_are_shown() {
        let sent = json!({"Contacts": true, "Reports": true, "Leads": false});
        let stored = overrides(Role::Employee, &sent);
        assert_eq!(stored, json!({"Reports": true, "Leads": false}));
        let shown = effective(Role::Employee, &stored);
        assert_eq!(
            (&shown["Contacts"], &shown["Reports"], &shown["Leads"]),
            (&json!(true), &json!(true), &json!(false))
        );
        assert_eq!(
            overrides(Role::Employee, &Value::Object(shown.clone())),
            stored,
            "reading and sending back is no change"
        );
        assert_eq!(shown.len(), PAGES.len());
        // What an older version stored does not show.
        assert!(!effective(Role::Admin, &json!({"Nonsense": true})).contains_key("Nonsense"));
    }

    #[test]
    fn every_wrong_key_is_named() {
        let Value::Object(sent) = json!({"Contacts": "yes", "Moon": true, "Leads": false}) else { unreachable!() };
        let fields: Vec<String> = problems(&sent).into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["navigation_permissions.Contacts", "navigation_permissions.Moon"]);
    }
}
