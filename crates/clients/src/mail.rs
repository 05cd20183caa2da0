//! Sending e-mail: over SMTP (RFC 5321), or into a folder where no server is set.
//!
//! Belongs here: one message, one conversation. Does not belong here: the queue, retries and texts (`aisha-identity` and
//! the gateway).

use aisha_config::{ExposeSecret as _, MailSection, SmtpSection, SmtpTls};
use aisha_kernel::clock;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{authentication::Credentials, response::Severity},
};
use std::{path::PathBuf, time::Duration};
use tokio::{fs, io::AsyncWriteExt as _, time::timeout};
use uuid::Uuid;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one message may take in all, from connecting to the last answer.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(45);

/// Replies of a server that are about us and not about the message: another attempt may meet better settings.
/// Authentication (RFC 4954) and encryption (RFC 3207).
const OUR_SETTINGS: [u16; 4] = [530, 534, 535, 538];

/// A plain text to one recipient.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Becomes the `Message-ID` and the name of the file: sent twice, a receiver can tell.
    pub id: Uuid,
    /// Address of the recipient.
    pub to: String,
    /// Name of the recipient; may be empty.
    pub to_name: String,
    /// Subject.
    pub subject: String,
    /// Body; lines end with a line feed.
    pub text: String,
}

/// Why a message did not leave.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct MailError {
    /// Trying again would not help.
    pub permanent: bool,
    /// What the server replied with, if it did.
    pub code: Option<u16>,
    /// What happened; may contain the recipient's address.
    pub message: String,
}

impl MailError {
    fn lasting(message: impl ToString) -> Self {
        Self { permanent: true, code: None, message: message.to_string() }
    }

    fn passing(message: impl ToString) -> Self {
        Self { permanent: false, code: None, message: message.to_string() }
    }
}

impl From<lettre::transport::smtp::Error> for MailError {
    fn from(e: lettre::transport::smtp::Error) -> Self {
        let code: Option<u16> = e.status().map(Into::into);
        let refused = e.status().is_some_and(|s| s.severity == Severity::PermanentNegativeCompletion);
        Self { permanent: refused && !code.is_some_and(|c| OUR_SETTINGS.contains(&c)), code, message: e.to_string() }
    }
}

enum Way {
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
    Folder(PathBuf),
}

/// Sends messages one by one; every message has a connection of its own, so none can spoil the next.
pub struct Mailer {
    from: Mailbox,
    way: Way,
    patience: Duration,
}

impl Mailer {
    /// With these settings.
    ///
    /// # Errors
    /// When the sender's address or the server's name cannot be used.
    pub fn new(section: &MailSection) -> Result<Self, MailError> {
        let from = section
            .from
            .parse::<Mailbox>()
            .map_err(|_| MailError::lasting("must be an address, alone or as in Aisha CRM <crm@example.com>"))?;
        let way = match &section.smtp {
            Some(smtp) => Way::Smtp(Box::new(transport(smtp)?)),
            None => Way::Folder(section.folder.clone()),
        };
        Ok(Self { from, way, patience: SEND_TIMEOUT })
    }

    /// Gives up on a message after this long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends a message, or gives up after [`SEND_TIMEOUT`] unless something else was said.
    ///
    /// # Errors
    /// [`MailError`]; without an answer of the server it is not known whether the message was taken.
    pub async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.message(mail)?;
        let sent = async {
            match &self.way {
                Way::Smtp(transport) => transport.send(message).await.map(drop).map_err(MailError::from),
                Way::Folder(folder) => {
                    let written = write(folder, mail.id, &message.formatted()).await;
                    written.map_err(|e| MailError::passing(format!("{}: {e}", folder.display())))
                }
            }
        };
        timeout(self.patience, sent).await.unwrap_or_else(|_| Err(MailError::passing("no answer in time")))
    }

    fn message(&self, mail: &Mail) -> Result<Message, MailError> {
        let to: Address = mail.to.parse().map_err(MailError::lasting)?;
        let name = Some(one_line(&mail.to_name)).filter(|n| !n.is_empty());
        // No out-of-office notes in reply (RFC 3834).
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name, to))
            .subject(one_line(&mail.subject))
            .date(clock::now().into())
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .raw_header(automatic)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(MailError::lasting)
    }
}

/// Without line breaks: a name must not end a header.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn transport(smtp: &SmtpSection) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    type Transport = AsyncSmtpTransport<Tokio1Executor>;
    let builder = match smtp.tls {
        SmtpTls::None => Transport::builder_dangerous(&smtp.host),
        SmtpTls::StartTls => Transport::starttls_relay(&smtp.host)?,
        SmtpTls::Tls => Transport::relay(&smtp.host)?,
    };
    let builder = builder.port(smtp.port).timeout(Some(CONNECT_TIMEOUT));
    Ok(match &smtp.login {
        Some((user, password)) => {
            builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned())).build()
        }
        None => builder.build(),
    })
}

/// Writes a message whole or not at all, readable by its owner only.
async fn write(folder: &std::path::Path, id: Uuid, message: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder).await?;
    let unfinished = folder.join(format!(".{id}.part"));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished).await?;
    file.write_all(message).await?;
    file.sync_all().await?;
    fs::rename(&unfinished, folder.join(format!("{id}.eml"))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailparse::MailHeaderMap as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn mail() -> Mail {
        Mail {
            id: Uuid::from_u128(7),
            to: "ada@example.test".into(),
            to_name: "Ada\r\nBcc: all@example.test".into(),
            subject: "Grüße\nX-Evil: 1".into(),
            text: format!("Hello,\n\nhttps://crm.example/accept-invite?token={}\n", "a".repeat(96)),
        }
    }

    #[tokio::test]
    async fn without_a_server_mail_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("not/yet/there");
        let section = MailSection { smtp: None, from: "Aisha CRM <crm@example.test>".into(), folder: inner.clone() };
        let mailer = Mailer::new(&section).unwrap();
        mailer.send(&mail()).await.unwrap();
        mailer.send(&mail()).await.unwrap();
        let path = inner.join(format!("{}.eml", mail().id));
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1, "the same message is the same file");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        let parsed = mailparse::parse_mail(&bytes).unwrap();
        let header = |name: &str| parsed.headers.get_first_value(name);
        assert_eq!(parsed.get_body().unwrap().trim_end(), mail().text.replace('\n', "\r\n").trim_end());
        assert_eq!(header("Subject").unwrap(), "Grüße X-Evil: 1");
        assert_eq!(header("From").unwrap(), "\"Aisha CRM\" <crm@example.test>");
        assert_eq!(header("Message-ID").unwrap(), format!("<{}@example.test>", mail().id));
        assert_eq!((header("Bcc"), header("X-Evil")), (None, None));
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_says_whether_to_try_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let section = MailSection { smtp: None, from: "crm@example.test".into(), folder: file.path().join("x") };
        let failed = Mailer::new(&section).unwrap().send(&mail()).await.unwrap_err();
        assert!(!failed.permanent, "{failed}");
        let nobody = Mail { to: "not an address".into(), ..mail() };
        assert!(Mailer::new(&section).unwrap().send(&nobody).await.unwrap_err().permanent);
        assert!(Mailer::new(&MailSection { from: "nobody".into(), ..section }).is_err());
    }
}
