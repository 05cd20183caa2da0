//! The routes of crm-core.

mod care;
mod custom_fields;
mod diagnostics;
mod exports;
mod imports;
mod tenants;

use actix_web::web::ServiceConfig;

macro_rules! mount_records {
    ($($record:path),+ $(,)?) => {
        /// Names of the record types, as in `custom_fields.entity`.
        pub(crate) const ENTITIES: &[&str] = &[$(<$record as aisha_db::record::Record>::DEF.name),+];

        fn records(cfg: &mut ServiceConfig) {
            $(aisha_http::record::routes::<$record>(cfg, |scope| {
                scope.service(imports::resource::<$record>()).service(exports::resource::<$record>())
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
    care::routes(cfg);
    diagnostics::routes(cfg);
    records(cfg);
}
