//! The services behind the gateway, and which paths are whose. A new service is a variant and its prefixes.

/// A service behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// Records, tenants, settings, imports: everything under `/api` that nobody else has.
    CrmCore,
    /// From slugs and UUIDs to tenants.
    TenantResolver,
}

/// The first segment after `/api/` and whose it is. What is not listed is crm-core's.
const PREFIXES: &[(&str, Upstream)] = &[("tenantresolve", Upstream::TenantResolver)];

impl Upstream {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::CrmCore, Self::TenantResolver];

    /// Its name, which is also the audience of its tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrmCore => "crm-core",
            Self::TenantResolver => "tenant-resolver",
        }
    }

    /// Whose a path under `/api/` is.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let segment = path.strip_prefix("/api/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        PREFIXES.iter().find(|(prefix, _)| *prefix == segment).map_or(Self::CrmCore, |(_, upstream)| *upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_whole_segment() {
        for path in ["/api/tenantresolve", "/api/tenantresolve/acme", "/api/tenantresolve/a/b"] {
            assert_eq!(Upstream::of(path), Upstream::TenantResolver, "{path}");
        }
        for path in ["/api/tenants", "/api/tenantresolver", "/api/tenantresolve-x/y", "/api", "/api/"] {
            assert_eq!(Upstream::of(path), Upstream::CrmCore, "{path}");
        }
        // Proxies keep their addresses by this number.
        for (number, upstream) in Upstream::ALL.iter().enumerate() {
            assert_eq!(*upstream as usize, number);
        }
    }
}
