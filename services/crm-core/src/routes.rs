//! The routes of crm-core.

mod audit_logs;
mod care;
mod conversion;
mod custom_fields;
mod diagnostics;
mod duplicates;
mod exports;
mod imports;
mod merges;
mod module_settings;
mod notifications;
mod performance;
mod permissions;
pub(crate) mod pipeline;
mod reports;
mod roles;
mod system;
mod system_logs;
mod system_settings;
mod tenants;
mod trust;
pub(crate) mod webhooks;

use actix_web::{Scope, web::ServiceConfig};
pub(crate) use duplicates::MERGEABLE;

macro_rules! mount_records {
    ($($record:path),+ $(,)?) => {
        /// Names of the record types, as in `custom_fields.entity`.
        pub(crate) const ENTITIES: &[&str] = &[$(<$record as aisha_db::record::Record>::DEF.name),+];

        fn records(cfg: &mut ServiceConfig) {
            $(aisha_http::record::routes::<$record>(cfg, |scope| {
                let scope = scope.service(imports::resource::<$record>()).service(exports::resource::<$record>());
                let scope = merges::beside::<$record>(duplicates::beside::<$record>(scope));
                beside(<$record as aisha_db::record::Record>::DEF.name, scope)
            });)+
        }
    };
}
aisha_crm::records!(mount_records);

/// What one record type has on top of what all have.
fn beside(record: &str, scope: Scope) -> Scope {
    match record {
        "account" => pipeline::accounts(scope),
        "activity" => pipeline::activities(scope),
        "bizdev_source" => conversion::bizdev_sources(scope),
        "lead" => conversion::leads(scope),
        "opportunity" => pipeline::opportunities(scope),
        _ => scope,
    }
}

/// Mounts everything.
pub fn configure(cfg: &mut ServiceConfig) {
    tenants::routes(cfg);
    custom_fields::routes(cfg);
    module_settings::routes(cfg);
    permissions::routes(cfg);
    roles::routes(cfg);
    system_settings::routes(cfg);
    imports::log_routes(cfg);
    duplicates::routes(cfg);
    merges::routes(cfg);
    reports::routes(cfg);
    care::routes(cfg);
    diagnostics::routes(cfg);
    system_logs::routes(cfg);
    performance::routes(cfg);
    system::routes(cfg);
    notifications::routes(cfg);
    webhooks::routes(cfg);
    audit_logs::routes(cfg);
    trust::routes(cfg);
    records(cfg);
}
