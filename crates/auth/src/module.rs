//! The modules that a tenant can switch off, and what each of them governs.
//!
//! One table, [`MODULES`]: a request to a resource of a module that is off is refused for everybody in the tenant,
//! whatever its role (`Identity::require`). Belongs here: names and resources. Does not belong here: which modules a
//! tenant has on, and their settings (`aisha_tenancy::module`).

/// A part of the platform that a tenant can switch off. Without a setting it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// `module_name` in SQL and JSON.
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// What it governs: the plurals of paths (`/api/<plural>`), or, where a path serves several modules, the name that
    /// its handler asks for. Empty for what is only an entry of the menu.
    pub resources: &'static [&'static str],
}

const fn module(name: &'static str, label: &'static str, resources: &'static [&'static str]) -> Module {
    Module { name, label, resources }
}

/// Every module, in the order of the menu.
pub static MODULES: [Module; 19] = [
    module("dashboard", "Dashboard", &["dashboard"]),
    module("contacts", "Contacts", &["contacts"]),
    module("accounts", "Accounts", &["accounts"]),
    module("leads", "Leads", &["leads"]),
    module("opportunities", "Opportunities", &["opportunities"]),
    module("activities", "Activities", &["activities"]),
    // Asked for by the handler of /api/reports/calendar: it stays when reports are off.
    module("calendar", "Calendar", &["calendar"]),
    module("bizdev_sources", "BizDev sources", &["bizdevsources"]),
    module("cash_flow", "Cash flow", &["cashflow"]),
    module("document_processing", "Document processing", &["documents"]),
    module("ai_campaigns", "AI campaigns", &["aicampaigns"]),
    module("reports", "Reports", &["reports"]),
    module("employees", "Employees", &["employees"]),
    module("integrations", "Integrations", &["tenantintegrations", "webhooks"]),
    module("payment_portal", "Payment portal", &[]),
    module("utilities", "Utilities", &[]),
    module("client_onboarding", "Client onboarding", &[]),
    module("ai_agent", "AI agent", &["ai", "memory"]),
    module("workflows", "Workflows", &["workflows", "workflowexecutions"]),
];

/// The module with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|m| m.name == name)
}

/// The module that governs a resource; most resources are in none.
#[must_use]
pub fn of(resource: &str) -> Option<&'static Module> {
    MODULES.iter().find(|m| m.resources.contains(&resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_resource_has_one_module_and_each_module_one_name() {
        let all: Vec<&str> = MODULES.iter().flat_map(|m| m.resources).copied().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(MODULES.iter().map(|m| m.name).collect::<BTreeSet<_>>().len(), MODULES.len());
        assert_eq!(of("bizdevsources").map(|m| m.name), Some("bizdev_sources"));
        assert_eq!(of("custom_fields"), None);
        // What switches modules on again must never be switched off.
        assert!(["module_settings", "tenants", "users", "api_keys", "permissions"].iter().all(|r| of(r).is_none()));
    }
}
