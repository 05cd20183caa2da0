//! Query parameters that several routes take. What a route does not know is ignored.

use aisha_kernel::{Error, TenantId};
use serde::Deserialize;
use utoipa::IntoParams;

/// The tenant that a request is about.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// One's own tenant, or for a superadmin any. A UUID.
    tenant_id: Option<String>,
}

impl TenantQuery {
    /// The tenant, if one is named.
    ///
    /// # Errors
    /// 400 for what is no UUID.
    pub fn tenant(&self) -> Result<Option<TenantId>, Error> {
        tenant(self.tenant_id.as_deref())
    }
}

/// `live_status` in a parameter: whether those who are online are meant; an empty one counts as none.
///
/// # Errors
/// 400 for anything but `online` and `offline`.
pub fn live_status(text: Option<&str>) -> Result<Option<bool>, Error> {
    match text {
        None | Some("") => Ok(None),
        Some("online") => Ok(Some(true)),
        Some("offline") => Ok(Some(false)),
        Some(_) => Err(Error::parameter("live_status", "must be online or offline")),
    }
}

/// The tenant in a parameter; an empty one counts as none.
///
/// # Errors
/// 400 for what is no UUID.
pub fn tenant(text: Option<&str>) -> Result<Option<TenantId>, Error> {
    text.filter(|t| !t.is_empty()).map(TenantId::parse).transpose()
}
