//! What mail arrives at: a folder of files, or a mail server that can be slow, refuse or be down.

use crate::switch::reserve;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// A message as its reader sees it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The recipient's address.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// `Message-ID`.
    pub id: String,
    /// Body.
    pub text: String,
}

impl Received {
    fn parse(bytes: &[u8]) -> Self {
        use mailparse::MailHeaderMap as _;
        let mail = mailparse::parse_mail(bytes).unwrap();
        let header = |name: &str| mail.headers.get_first_value(name).unwrap_or_default();
        let to = mailparse::addrparse(&header("To")).unwrap().extract_single_info().unwrap().addr;
        let text = mail.get_body().unwrap().replace("\r\n", "\n");
        Self { to, subject: header("Subject"), id: header("Message-ID"), text }
    }

    /// The token of the link in the body.
    #[must_use]
    pub fn token(&self) -> String {
        let (_, rest) = self.text.split_once("?token=").unwrap_or_else(|| panic!("no link in {}", self.text));
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

async fn patiently<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < until, "no {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A folder that mail is written into; removed with its contents at the end.
pub struct MailFolder(PathBuf);

impl Drop for MailFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl MailFolder {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("aisha-mail-{}", aisha_kernel::new_id().simple())))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All that has arrived for an address, oldest first.
    #[must_use]
    pub fn all(&self, to: &str) -> Vec<Received> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "eml"));
        paths.sort();
        let mails = paths.iter().map(|p| Received::parse(&std::fs::read(p).unwrap()));
        mails.filter(|m| m.to == to).collect()
    }

    /// The message to an address that is the `n`th, counting from one; waits for it.
    pub async fn nth(&self, to: &str, n: usize) -> Received {
        patiently(&format!("mail {n} to {to}"), || self.all(to).get(n - 1).cloned()).await
    }
}

impl Default for MailFolder {
    fn default() -> Self {
        Self::new()
    }
}

/// How a server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes everything.
    Accept,
    /// Answers a recipient with this, such as `550 no such user`.
    Refuse(String),
    /// Takes this long before it confirms a message.
    Slow(Duration),
    /// Never says a word.
    Silent,
}

#[derive(Debug, Default)]
struct Post {
    received: Vec<Received>,
    attempts: usize,
    logins: Vec<String>,
}

/// A mail server on loopback (RFC 5321, as much as a client needs).
pub struct MailServer {
    port: u16,
    post: Arc<Mutex<Post>>,
    behaviour: Arc<Mutex<Behaviour>>,
    listener: Option<JoinHandle<()>>,
    /// Keeps the port while it is down.
    reserved: Option<TcpSocket>,
}

impl MailServer {
    /// Starts one that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Arc::new(Mutex::new(Behaviour::Accept));
        let mut server = Self { port, post: Arc::default(), behaviour, listener: None, reserved: None };
        server.serve(listener);
        server
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes how it behaves towards connections that come from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Stops listening: connections are refused.
    pub async fn down(&mut self) {
        if let Some(task) = self.listener.take() {
            task.abort();
            let _ = task.await;
            self.reserved = Some(reserve(self.port));
        }
    }

    /// Listens again.
    pub async fn up(&mut self) {
        let listener = self.reserved.take().unwrap().listen(1024).unwrap();
        self.serve(listener);
    }

    /// What it has taken, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.post.lock().unwrap().received.clone()
    }

    /// Connections so far.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.post.lock().unwrap().attempts
    }

    /// Logins so far, as `AUTH` sent them.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        self.post.lock().unwrap().logins.clone()
    }

    /// Waits until it has taken this many messages.
    pub async fn wait(&self, n: usize) -> Vec<Received> {
        patiently(&format!("{n} mails"), || Some(self.received()).filter(|r| r.len() >= n)).await
    }

    /// Waits until there were this many connections.
    pub async fn wait_attempts(&self, n: usize) {
        patiently(&format!("{n} attempts"), || (self.attempts() >= n).then_some(())).await;
    }

    fn serve(&mut self, listener: TcpListener) {
        let (post, behaviour) = (Arc::clone(&self.post), Arc::clone(&self.behaviour));
        self.listener = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                post.lock().unwrap().attempts += 1;
                let (post, behaviour) = (Arc::clone(&post), behaviour.lock().unwrap().clone());
                tokio::spawn(async move {
                    // A client that hangs up has ended the conversation.
                    let _ = converse(stream, &post, behaviour).await;
                });
            }
        }));
    }
}

async fn converse(stream: TcpStream, post: &Mutex<Post>, behaviour: Behaviour) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    if behaviour == Behaviour::Silent {
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest).await?;
        return Ok(());
    }
    write.write_all(b"220 test ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME".to_owned(),
            "AUTH" => {
                post.lock().unwrap().logins.push(line.trim().to_owned());
                "235 welcome".to_owned()
            }
            "RCPT" => match &behaviour {
                Behaviour::Refuse(reply) => reply.clone(),
                _ => "250 ok".to_owned(),
            },
            "DATA" => {
                write.write_all(b"354 go ahead\r\n").await?;
                let message = message(&mut read).await?;
                if let Behaviour::Slow(time) = behaviour {
                    sleep(time).await;
                }
                post.lock().unwrap().received.push(Received::parse(&message));
                "250 taken".to_owned()
            }
            "QUIT" => return write.write_all(b"221 bye\r\n").await,
            "MAIL" | "RSET" | "NOOP" => "250 ok".to_owned(),
            _ => "502 not here".to_owned(),
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}

/// The lines up to the one with a single dot, with doubled dots undone.
async fn message(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let mut line = Vec::new();
        if read.read_until(b'\n', &mut line).await? == 0 || line == b".\r\n" {
            return Ok(out);
        }
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
