//! The routes of crm-core.

mod custom_fields;
mod duplicates;
mod exports;
mod imports;
mod merges;
mod tenants;

use actix_web::web::ServiceConfig;
pub(crate) use duplicates::MERGEABLE;

macro_rules! mount_records {
    ($($record:path),+ $(,)?) => {
        /// Names of the record types, as in `custom_fields.entity`.
        pub(crate) const ENTITIES: &[&str] = &[$(<$record as aisha_db::record::Record>::DEF.name),+];

        fn records(cfg: &mut ServiceConfig) {
            $(aisha_http::record::routes::<$record>(cfg, |scope| {
                let scope = scope.service(imports::resource::<$record>()).service(exports::resource::<$record>());
                merges::beside::<$record>(duplicates::beside::<$record>(scope))
            });)+
        }
    };
}
aisha_crm::records!(mount_records);

/// Mounts everything.
pub fn configure(cfg: &mut ServiceConfig) {
    tenants::routes(cfg);
    custom_fields::routes(cfg);
    imports::log_routes(cfg);
    duplicates::routes(cfg);
    merges::routes(cfg);
    records(cfg);
}
