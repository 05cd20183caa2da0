//! Names of values in Redis.

use aisha_kernel::TenantId;
use std::fmt::{self, Write as _};

/// A key. There is no way to make one that belongs to neither a tenant nor, by name, to the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// A key inside a tenant: `aisha:t:<tenant>:<name>`.
    #[must_use]
    pub fn tenant(tenant: TenantId, name: &str) -> Self {
        Self(format!("aisha:t:{tenant}")).part(name)
    }

    /// A key that belongs to no tenant: `aisha:p:<name>`.
    #[must_use]
    pub fn platform(name: &str) -> Self {
        Self("aisha:p".to_owned()).part(name)
    }

    /// Appends a part. Separators inside it are escaped, so that different parts never make the same key (an IPv6
    /// address is full of them).
    #[must_use]
    pub fn part(mut self, part: impl fmt::Display) -> Self {
        let start = self.0.len();
        // Writing to a string does not fail.
        let _ = write!(self.0, ":{part}");
        let written = self.0.get(start + 1..).unwrap_or_default();
        if written.contains([':', '%']) {
            let escaped = written.replace('%', "%25").replace(':', "%3A");
            self.0.truncate(start + 1);
            self.0.push_str(&escaped);
        }
        self
    }

    /// The name in Redis.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        let tenant = TenantId(aisha_kernel::new_id());
        assert_eq!(Key::tenant(tenant, "rate").part("u1").as_str(), format!("aisha:t:{tenant}:rate:u1"));
        assert_eq!(Key::platform("auth").part("::1").part("a@b").as_str(), "aisha:p:auth:%3A%3A1:a@b");
        assert_ne!(Key::platform("x").part("a:b").part("c"), Key::platform("x").part("a").part("b:c"));
        assert_ne!(Key::platform("x").part("a%3Ab"), Key::platform("x").part("a:b"));
        assert_ne!(Key::platform("t"), Key::tenant(tenant, "t"));
    }
}
