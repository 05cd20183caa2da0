//! Tenants and what a tenant decides for itself.
//!
//! Belongs here: the tenant and its custom field definitions. Does not belong here: users and their credentials
//! (`identity`), records (`crm`), HTTP.

pub mod custom_field;
pub mod tenant;
