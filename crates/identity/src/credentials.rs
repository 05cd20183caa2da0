//! What sign-in credentials are made with, from the settings.

use aisha_auth::sealing::Sealer;
use aisha_kernel::Error;

/// The key that seals what must be read again, and where the links in e-mails lead. One per process.
#[derive(Debug)]
pub struct Credentials {
    sealer: Sealer,
    frontend_url: String,
}

impl Credentials {
    /// `frontend_url` is the address of the web application, without a slash at its end.
    #[must_use]
    pub fn new(sealer: Sealer, frontend_url: String) -> Self {
        Self { sealer, frontend_url }
    }

    /// The address of a page of the web application, with a token.
    pub(crate) fn link(&self, page: &str, token: &str) -> String {
        format!("{}/{page}?token={token}", self.frontend_url)
    }

    /// Names of the keys that can open, the one that seals first.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.sealer.key_ids().map(str::to_owned).collect()
    }

    pub(crate) fn seal(&self, context: &str, text: &[u8]) -> Result<Vec<u8>, Error> {
        self.sealer.seal(context, text).map_err(Error::internal)
    }

    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.sealer.open(context, sealed).map_err(Error::internal)
    }
}
