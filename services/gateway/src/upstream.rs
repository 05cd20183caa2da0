//! The services behind the gateway, and which paths are whose. A new service is a variant and its prefixes.

/// A service behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// Records, tenants, settings, imports: everything under `/api` that nobody else has.
    CrmCore,
}

/// The first segment after `/api/` and whose it is. What is not listed is crm-core's.
const PREFIXES: &[(&str, Upstream)] = &[];

impl Upstream {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 1] = [Self::CrmCore];

    /// Its name, which is also the audience of its tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrmCore => "crm-core",
        }
    }

    /// Whose a path under `/api/` is.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let segment = path.strip_prefix("/api/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        PREFIXES.iter().find(|(prefix, _)| *prefix == segment).map_or(Self::CrmCore, |(_, upstream)| *upstream)
    }
}
