//! How mail leaves the platform.

use crate::Env;
use secrecy::SecretString;
use std::{net::IpAddr, path::PathBuf};

/// Whether and when a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Never: for a server on the same machine.
    None,
    /// After a greeting in the clear, without which nothing is sent.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpSection {
    /// `SMTP_HOST`.
    pub host: String,
    /// `SMTP_PORT`.
    pub port: u16,
    /// `SMTP_USER` and `SMTP_PASS`.
    pub login: Option<(String, SecretString)>,
    /// `SMTP_TLS`.
    pub tls: SmtpTls,
}

/// Where mail goes.
#[derive(Debug, Clone)]
pub struct MailSection {
    /// The server; without `SMTP_HOST` mail becomes files.
    pub smtp: Option<SmtpSection>,
    /// `SMTP_FROM`: the sender, an address or `Name <address>`; by default `SMTP_USER` where that is an address.
    pub from: String,
    /// `MAIL_DIR`: where the files go.
    pub folder: PathBuf,
}

impl MailSection {
    /// Reads the section.
    pub fn read(env: &Env) -> Self {
        let smtp = env.optional("SMTP_HOST").map(|host| SmtpSection::read(env, host));
        let user = smtp.as_ref().and_then(|s| s.login.as_ref()).map(|(user, _)| user).filter(|u| u.contains('@'));
        let from = env.optional("SMTP_FROM").or_else(|| user.map(|u| format!("Aisha CRM <{u}>")));
        if from.is_none() && smtp.is_some() {
            env.problem("SMTP_FROM", "is not set, and SMTP_USER is no address that could stand in");
        }
        Self {
            smtp,
            from: from.unwrap_or_else(|| "Aisha CRM <no-reply@aisha.local>".to_owned()),
            folder: env.text_or("MAIL_DIR", ".local/mail").into(),
        }
    }
}

impl SmtpSection {
    fn read(env: &Env, host: String) -> Self {
        let near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let port: Option<u16> = env.optional("SMTP_PORT").map(|_| env.number_or("SMTP_PORT", 0));
        if port == Some(0) {
            env.problem("SMTP_PORT", "must be between 1 and 65535");
        }
        let usual = match port {
            Some(465) => SmtpTls::Tls,
            _ if near => SmtpTls::None,
            _ => SmtpTls::StartTls,
        };
        let words = [("none", SmtpTls::None), ("starttls", SmtpTls::StartTls), ("tls", SmtpTls::Tls)];
        let tls = env.one_of("SMTP_TLS", &words, usual);
        let port = port.unwrap_or(match tls {
            SmtpTls::None => 25,
            SmtpTls::StartTls => 587,
            SmtpTls::Tls => 465,
        });
        let login = match (env.optional("SMTP_USER"), env.optional_secret("SMTP_PASS", 1)) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                env.problem("SMTP_PASS", "is not set, but SMTP_USER is");
                None
            }
            (None, Some(_)) => {
                env.problem("SMTP_USER", "is not set, but SMTP_PASS is");
                None
            }
        };
        if login.is_some() && tls == SmtpTls::None && !near {
            env.problem("SMTP_TLS", "none would send SMTP_PASS over the network in the clear");
        }
        Self { host, port, login, tls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<MailSection, String> {
        let env = Env::from_map(vars.iter().copied());
        let section = MailSection::read(&env);
        env.finish().map(|()| section).map_err(|e| e.to_string())
    }

    #[test]
    fn the_port_says_how_it_is_encrypted() {
        for (vars, port, tls) in [
            (vec![("SMTP_HOST", "smtp.gmail.com")], 587, SmtpTls::StartTls),
            (vec![("SMTP_HOST", "smtp.gmail.com"), ("SMTP_PORT", "465")], 465, SmtpTls::Tls),
            (vec![("SMTP_HOST", "smtp.gmail.com"), ("SMTP_TLS", "tls")], 465, SmtpTls::Tls),
            (vec![("SMTP_HOST", "mail.example"), ("SMTP_PORT", "25")], 25, SmtpTls::StartTls),
            (vec![("SMTP_HOST", "localhost")], 25, SmtpTls::None),
            (vec![("SMTP_HOST", "127.0.0.1"), ("SMTP_PORT", "1025")], 1025, SmtpTls::None),
            (vec![("SMTP_HOST", "relay.internal"), ("SMTP_TLS", "none")], 25, SmtpTls::None),
        ] {
            let section = read(&[&vars[..], &[("SMTP_FROM", "crm@example.com")]].concat()).unwrap();
            let smtp = section.smtp.unwrap();
            assert_eq!((smtp.port, smtp.tls), (port, tls), "{vars:?}");
        }
    }

    #[test]
    fn the_sender_is_known_or_asked_for() {
        let gmail = [("SMTP_HOST", "smtp.gmail.com"), ("SMTP_USER", "me@gmail.com"), ("SMTP_PASS", "app-pass-17")];
        assert_eq!(read(&gmail).unwrap().from, "Aisha CRM <me@gmail.com>");
        assert!(read(&[("SMTP_HOST", "mail.example")]).unwrap_err().contains("SMTP_FROM"));
        let files = read(&[]).unwrap();
        assert!(files.smtp.is_none() && files.folder.ends_with(".local/mail"));
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear() {
        let near = [("SMTP_HOST", "127.0.0.1"), ("SMTP_USER", "a@b.example"), ("SMTP_PASS", "p4ss")];
        assert!(read(&near).is_ok());
        let far = [("SMTP_HOST", "mail.example"), ("SMTP_TLS", "none"), near[1], near[2]];
        assert!(read(&far).unwrap_err().contains("in the clear"));
        assert!(read(&[near[0], near[1]]).unwrap_err().contains("SMTP_PASS"));
        assert!(
            read(&[near[0], ("SMTP_PORT", "70000"), ("SMTP_FROM", "a@b.example")]).unwrap_err().contains("SMTP_PORT")
        );
    }
}
