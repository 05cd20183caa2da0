//! What the e-mails about accounts say. Plain text: it reads everywhere and hides no address behind another.

use aisha_kernel::{Error, clock};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

/// A letter to one recipient; also what is sealed while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Address of the recipient.
    pub to: String,
    /// Name of the recipient; may be empty.
    pub name: String,
    /// Subject.
    pub subject: String,
    /// Body.
    pub text: String,
}

/// What a letter is about, as the queue remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Invitation,
    PasswordReset,
    PasswordChanged,
    TotpEnabled,
    TotpDisabled,
    TotpReset,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password_reset",
            Self::PasswordChanged => "password_changed",
            Self::TotpEnabled => "totp_enabled",
            Self::TotpDisabled => "totp_disabled",
            Self::TotpReset => "totp_reset",
        }
    }
}

/// Whom a letter is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipient<'a> {
    pub email: &'a str,
    pub name: &'a str,
}

fn at(time: OffsetDateTime) -> Result<String, Error> {
    let form = format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    time.to_offset(time::UtcOffset::UTC).format(form).map_err(Error::internal)
}

fn letter(to: Recipient<'_>, subject: String, text: &str) -> Letter {
    let greeting = if to.name.trim().is_empty() { "Hello,".to_owned() } else { format!("Hello {},", to.name.trim()) };
    let text = format!("{greeting}\n\n{}\n\nAisha CRM\n", text.trim());
    Letter { to: to.email.to_owned(), name: to.name.to_owned(), subject, text }
}

/// An invitation to choose a password.
pub(crate) fn invitation(
    to: Recipient<'_>,
    inviter: &str,
    tenant: Option<&str>,
    link: &str,
    expires: OffsetDateTime,
) -> Result<Letter, Error> {
    let subject = match tenant {
        Some(tenant) => format!("Your invitation to {tenant} on Aisha CRM"),
        None => "Your invitation to Aisha CRM".to_owned(),
    };
    let what = match tenant {
        Some(tenant) => format!("{inviter} has invited you to work with {tenant} on Aisha CRM."),
        None => format!("{inviter} has invited you to administer Aisha CRM."),
    };
    let text = format!(
        "{what}\n\nChoose a password here, and you are in:\n\n{link}\n\n\
         The link works once, until {}. After that, ask for a new invitation.\n\n\
         If you did not expect this, ignore it: nobody can use the account without the link.",
        at(expires)?
    );
    Ok(letter(to, subject, &text))
}

/// A link to choose a new password; `by` is the administrator who had it sent, if it was not the recipient.
pub(crate) fn password_reset(
    to: Recipient<'_>,
    by: Option<&str>,
    link: &str,
    expires: OffsetDateTime,
) -> Result<Letter, Error> {
    let what = match by {
        Some(by) => format!("{by} asks you to choose a new password for Aisha CRM."),
        None => "Somebody, probably you, has asked for a new password for your account at Aisha CRM.".to_owned(),
    };
    let text = format!(
        "{what}\n\nChoose it here:\n\n{link}\n\nThe link works once, until {}. Your present password holds until then.\n\n\
         If you did not ask for this, ignore this e-mail and nothing changes: your password is still secret. If it \
         comes again and again, tell your administrator.",
        at(expires)?
    );
    Ok(letter(to, "Choose a new password for Aisha CRM".to_owned(), &text))
}

/// What was done to the credentials of an account, after it was done.
pub(crate) fn notice(to: Recipient<'_>, kind: Kind, by: Option<&str>) -> Result<Letter, Error> {
    let (subject, what) = match kind {
        Kind::PasswordChanged => ("Your password was changed", "The password of your account was changed".to_owned()),
        Kind::TotpEnabled => ("Two-step sign-in is on", "Two-step sign-in was switched on for your account".to_owned()),
        Kind::TotpDisabled => {
            ("Two-step sign-in is off", "Two-step sign-in was switched off for your account".to_owned())
        }
        _ => ("Two-step sign-in was reset", "Two-step sign-in was removed from your account".to_owned()),
    };
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let after = match kind {
        Kind::PasswordChanged => " All other sessions were signed out.",
        Kind::TotpReset => " All your sessions were signed out; sign in with your password and set it up anew.",
        _ => "",
    };
    let text = format!(
        "{what}{by} on {}.{after}\n\n\
         If this was not you, choose a new password at once (\"forgot password\" on the sign-in page) and tell your \
         administrator.",
        at(clock::now())?
    );
    Ok(letter(to, format!("{subject} - Aisha CRM"), &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_invitation_says_who_where_and_until_when() {
        let to = Recipient { email: "ada@example.test", name: "" };
        let expires = datetime!(2026-11-29 09:05 UTC);
        let letter =
            invitation(to, "Grace (grace@example.test)", Some("Acme"), "https://crm/x?token=1", expires).unwrap();
        assert_eq!(letter.subject, "Your invitation to Acme on Aisha CRM");
        assert!(letter.text.starts_with("Hello,\n"));
        for part in ["Grace (grace@example.test)", "Acme", "\nhttps://crm/x?token=1\n", "29 November 2026, 09:05 UTC"] {
            assert!(letter.text.contains(part), "{part} in {}", letter.text);
        }
    }

    #[test]
    fn a_notice_says_what_to_do() {
        let to = Recipient { email: "ada@example.test", name: "Ada" };
        for kind in [Kind::PasswordChanged, Kind::TotpEnabled, Kind::TotpDisabled, Kind::TotpReset] {
            let letter = notice(to, kind, None).unwrap();
            assert!(letter.text.starts_with("Hello Ada,\n") && letter.text.contains("If this was not you"));
        }
        let reset = notice(to, Kind::TotpReset, Some("Grace")).unwrap();
        assert!(reset.text.contains("removed from your account by Grace on "), "{}", reset.text);
    }
}
