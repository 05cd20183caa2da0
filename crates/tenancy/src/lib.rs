//! Tenants, what a tenant decides for itself, and what the platform's operator sets for all of them.
//!
//! Belongs here: the tenant and how it is found, its modules, custom fields, custom permissions and roles; settings of
//! the platform. Does not belong here: users and their credentials (`identity`), records (`crm`), HTTP.

pub mod custom_field;
pub mod module;
pub mod permission;
pub mod resolve;
pub mod role;
pub mod system_setting;
pub mod tenant;
