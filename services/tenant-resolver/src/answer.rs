//! Identifiers as they are asked for, and answers as the API shows them.

use aisha_kernel::Error;
use aisha_tenancy::resolve::{SYSTEM, TenantName};
use bytes::Bytes;
use serde::Serialize;
use std::borrow::Cow;
use uuid::Uuid;

/// Longest identifier in bytes: a UUID has 36, a slug at most 63.
pub const MAX_IDENTIFIER: usize = 100;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier<'a> {
    /// As it was given, without the blanks around it.
    pub text: &'a str,
    /// The UUID that it is.
    pub uuid: Option<Uuid>,
}

impl<'a> Identifier<'a> {
    /// Reads an identifier; blank is none.
    ///
    /// # Errors
    /// 400 naming `name` for what is too long or holds control characters.
    pub fn read(name: &str, raw: &'a str) -> Result<Option<Self>, Error> {
        let text = raw.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_IDENTIFIER {
            return Err(Error::parameter(name, format!("an identifier has at most {MAX_IDENTIFIER} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::parameter(name, "an identifier has no control characters"));
        }
        // Of the forms that the library reads, only the usual one is a UUID here.
        let uuid = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
        Ok(Some(Self { text, uuid }))
    }

    /// What it is remembered by: a UUID in lower case, so that whoever forgets a tenant knows its only spelling.
    #[must_use]
    pub fn key(&self) -> Cow<'a, str> {
        if self.uuid.is_some() && self.text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(self.text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(self.text)
        }
    }

    /// Whether it stands for the platform itself.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.text == SYSTEM
    }
}

macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Where an answer comes from.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Source { $($(#[$doc])* $name),+ }

        impl Source {
            /// Every name, without `-cache`.
            pub const NAMES: &[&str] = &[$($text),+];

            /// The name in the answer.
            #[must_use]
            pub const fn name(self, cached: bool) -> &'static str {
                match (self, cached) {
                    $((Self::$name, false) => $text, (Self::$name, true) => concat!($text, "-cache")),+
                }
            }
        }
    };
}

sources! {
    /// Nothing was asked.
    Empty = "empty",
    /// `system`, by setting.
    Env = "env",
    /// `system`, without a setting.
    SystemSlug = "system-slug",
    /// A tenant's id.
    DbId = "db-id",
    /// A UUID that is no tenant's.
    UuidInput = "uuid-input",
    /// A UUID, and the database is away.
    UuidError = "uuid-error",
    /// A tenant's slug.
    DbSlug = "db-slug",
    /// A text that is no tenant's slug.
    SlugInput = "slug-input",
    /// A text, and the database is away.
    SlugError = "slug-error",
}

/// An answer, apart from what it repeats of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    source: Source,
    tenant: Option<TenantName>,
    /// The body of the response to one identifier when the answer comes from the cache.
    again: Bytes,
}

/// An answer as the API shows it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    uuid: Option<Cow<'a, str>>,
    slug: Option<&'a str>,
    source: &'static str,
    found: bool,
}

impl<'a> Shown<'a> {
    /// In a list it says which identifier it answers.
    #[must_use]
    pub fn in_list(self, input: &'a str) -> Self {
        Self { input: Some(input), ..self }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    status: &'static str,
    data: Shown<'a>,
}

impl Answer {
    /// To a blank question.
    #[must_use]
    pub fn empty() -> Self {
        Self { source: Source::Empty, tenant: None, again: Bytes::new() }
    }

    /// `system`, by setting.
    #[must_use]
    pub fn env(id: Uuid) -> Self {
        Self::of(Source::Env, Some(TenantName { id, slug: SYSTEM.to_owned() }), SYSTEM)
    }

    /// What was found, or that nothing was.
    #[must_use]
    pub fn from_database(asked: &Identifier<'_>, tenant: Option<TenantName>) -> Self {
        let source = match (asked.uuid, &tenant) {
            _ if asked.is_system() => Source::SystemSlug,
            (Some(_), Some(_)) => Source::DbId,
            (Some(_), None) => Source::UuidInput,
            (None, Some(_)) => Source::DbSlug,
            (None, None) => Source::SlugInput,
        };
        Self::of(source, tenant, &asked.key())
    }

    /// The database could not be asked.
    #[must_use]
    pub fn failed(asked: &Identifier<'_>) -> Self {
        let source = if asked.uuid.is_some() { Source::UuidError } else { Source::SlugError };
        Self { source, tenant: None, again: Bytes::new() }
    }

    fn of(source: Source, tenant: Option<TenantName>, key: &str) -> Self {
        let mut answer = Self { source, tenant, again: Bytes::new() };
        let body = Body { status: "success", data: answer.show(key, true) };
        answer.again = serde_json::to_vec(&body).unwrap_or_default().into();
        answer
    }

    /// Whether a tenant was found.
    #[must_use]
    pub fn found(&self) -> bool {
        self.tenant.is_some()
    }

    /// The answer to `text`. What was not found is repeated as it was given.
    #[must_use]
    pub fn show<'a>(&'a self, text: &'a str, cached: bool) -> Shown<'a> {
        let (uuid, slug) = match (&self.tenant, self.source) {
            (Some(tenant), _) => (Some(tenant.id.to_string().into()), Some(tenant.slug.as_str())),
            (None, Source::UuidInput | Source::UuidError) => (Some(text.into()), Some(text)),
            (None, Source::Empty) => (None, None),
            (None, _) => (None, Some(text)),
        };
        Shown { input: None, uuid, slug, source: self.source.name(cached), found: self.found() }
    }

    /// The whole body of the response to `asked` from the cache, where it is ready.
    #[must_use]
    pub fn ready(&self, asked: &Identifier<'_>) -> Option<Bytes> {
        // A UUID may be spelled in other letters than the one that is remembered.
        (self.found() || asked.key() == asked.text).then(|| self.again.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ID: &str = "a11dfb63-4b18-4eb8-872e-747af2e37c46";

    fn ask(text: &str) -> Identifier<'_> {
        Identifier::read("identifier", text).unwrap().unwrap()
    }

    fn shown(answer: &Answer, text: &str, cached: bool) -> Value {
        serde_json::to_value(answer.show(text, cached)).unwrap()
    }

    fn acme() -> Option<TenantName> {
        Some(TenantName { id: ID.parse().unwrap(), slug: "acme".into() })
    }

    #[test]
    fn every_row_of_the_table() {
        let other = "00000000-0000-4000-8000-00000000000A";
        for (answer, text, expected) in [
            (Answer::empty(), "", json!([null, null, "empty", false])),
            (Answer::env(ID.parse().unwrap()), "system", json!([ID, "system", "env", true])),
            (Answer::from_database(&ask("system"), None), "system", json!([null, "system", "system-slug", false])),
            (
                Answer::from_database(&ask("system"), Some(TenantName { slug: "system".into(), ..acme().unwrap() })),
                "system",
                json!([ID, "system", "system-slug", true]),
            ),
            (Answer::from_database(&ask(ID), acme()), ID, json!([ID, "acme", "db-id", true])),
            (Answer::from_database(&ask(other), None), other, json!([other, other, "uuid-input", false])),
            (Answer::failed(&ask(other)), other, json!([other, other, "uuid-error", false])),
            (Answer::from_database(&ask("acme"), acme()), "acme", json!([ID, "acme", "db-slug", true])),
            (Answer::from_database(&ask("Nobody"), None), "Nobody", json!([null, "Nobody", "slug-input", false])),
            (Answer::failed(&ask("acme")), "acme", json!([null, "acme", "slug-error", false])),
        ] {
            let is = shown(&answer, text, false);
            assert_eq!(json!([is["uuid"], is["slug"], is["source"], is["found"]]), expected);
            let source = expected[2].as_str().unwrap();
            assert!(Source::NAMES.contains(&source));
            assert_eq!(shown(&answer, text, true)["source"], format!("{source}-cache"));
        }
    }

    #[test]
    fn what_is_ready_is_what_would_be_rendered() {
        let missing = Answer::from_database(&ask(ID), None);
        let body: Value = serde_json::from_slice(&missing.ready(&ask(ID)).unwrap()).unwrap();
        assert_eq!(body, json!({ "status": "success", "data": shown(&missing, ID, true) }));
        // In other letters it is the same question, and yet repeated as it was given.
        let upper = ID.to_uppercase();
        assert_eq!(ask(&upper).key(), ID);
        assert!(missing.ready(&ask(&upper)).is_none());
        assert_eq!(shown(&missing, &upper, true)["slug"], upper);
        let found = Answer::from_database(&ask(&upper), acme());
        let body: Value = serde_json::from_slice(&found.ready(&ask(&upper)).unwrap()).unwrap();
        assert_eq!(body["data"], json!({"uuid": ID, "slug": "acme", "source": "db-id-cache", "found": true}));
    }

    #[test]
    fn identifiers_are_trimmed_and_bounded() {
        assert_eq!(ask("  acme\t").text, "acme");
        assert!(Identifier::read("x", " \n ").unwrap().is_none());
        assert!(Identifier::read("x", &"a".repeat(MAX_IDENTIFIER)).is_ok());
        for bad in ["a".repeat(MAX_IDENTIFIER + 1), "a\0b".into(), "a\u{7}b".into()] {
            assert_eq!(Identifier::read("x", &bad).unwrap_err().code.status(), 400);
        }
        for slug in [&ID.replace('-', ""), &format!("{{{ID}}}"), "urn:uuid:", "Acme"] {
            assert!(ask(slug).uuid.is_none(), "{slug}");
        }
        assert_eq!(ask("Acme").key(), "Acme");
    }
}
