//! A receiver of webhooks that keeps what arrives and answers as it is told to: at once, late, with too much, not at all.
//!
//! Belongs here: HTTP as a socket sees it, so that it can be done wrong. Does not belong here: what is right.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// A request that has arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Path and query.
    pub path: String,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
}

impl Arrived {
    /// A header; empty, if it did not come.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// How a receiver answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// With a status and an empty body.
    Status(u16),
    /// With a status, headers and a body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// After a while.
    Late(Duration, Box<Reply>),
    /// 200, and a body of this many bytes.
    Huge(usize),
    /// 200, and a body without an end, a byte at a time.
    Endless,
    /// Not at all, for an hour.
    Silence,
    /// By ending the connection (with RST).
    Reset,
    /// With something that is not HTTP.
    Garbage,
}

type Manners = dyn Fn(&Arrived) -> Reply + Send + Sync;

#[derive(Default)]
struct Seen {
    arrived: Vec<Arrived>,
    under_way: HashMap<String, usize>,
    most: HashMap<String, usize>,
}

struct Shared {
    seen: Mutex<Seen>,
    manners: Mutex<Arc<Manners>>,
}

/// A receiver on a port of its own.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Receiver {
    /// One that answers everything with 200 until it is told otherwise, on a thread of its own.
    pub fn start() -> Self {
        Self::on(0)
    }

    /// The same on a port that is known.
    pub fn on(port: u16) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let manners: Arc<Manners> = Arc::new(|_| Reply::Status(200));
        let shared = Arc::new(Shared { seen: Mutex::default(), manners: Mutex::new(manners) });
        let (stop, mut stopped) = watch::channel(false);
        let inner = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, inner) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        });
        Self { port, shared, stop }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Has it answer like this from now on.
    pub fn answer(&self, manners: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) {
        *self.shared.manners.lock().unwrap() = Arc::new(manners);
    }

    /// What has arrived, in order.
    #[must_use]
    pub fn arrived(&self) -> Vec<Arrived> {
        self.shared.seen.lock().unwrap().arrived.clone()
    }

    /// What has arrived since it was last taken, for who runs too long to keep it all.
    #[must_use]
    pub fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.shared.seen.lock().unwrap().arrived)
    }

    /// What has arrived at a path.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Arrived> {
        self.arrived().into_iter().filter(|a| a.path == path).collect()
    }

    /// How many requests have arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().arrived.len()
    }

    /// How many requests for a path were under way at once, at most.
    #[must_use]
    pub fn most_at_once(&self, path: &str) -> usize {
        self.shared.seen.lock().unwrap().most.get(path).copied().unwrap_or(0)
    }

    /// Waits until this many requests have arrived at a path, and returns what has.
    pub async fn wait(&self, path: &str, count: usize, patience: Duration) -> Vec<Arrived> {
        let until = Instant::now() + patience;
        loop {
            let seen = self.at(path);
            if seen.len() >= count {
                return seen;
            }
            assert!(Instant::now() < until, "{} of {count} requests at {path} within {patience:?}", seen.len());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _ = serve(stream, &shared).await;
        });
    }
}

/// Counts a request as under way for as long as it lives.
struct UnderWay<'s>(&'s Shared, String);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(n) = self.0.seen.lock().unwrap().under_way.get_mut(&self.1) {
            *n -= 1;
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut buffer).await? else { return Ok(()) };
        let path = request.path.clone();
        let manners = Arc::clone(&shared.manners.lock().unwrap());
        let reply = manners(&request);
        {
            let mut seen = shared.seen.lock().unwrap();
            seen.arrived.push(request);
            let n = seen.under_way.entry(path.clone()).or_default();
            *n += 1;
            let n = *n;
            let most = seen.most.entry(path.clone()).or_default();
            *most = n.max(*most);
        }
        let _under_way = UnderWay(shared, path);
        if !answer(&mut stream, reply).await? {
            return Ok(());
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Arrived>> {
    let mut chunk = vec![0u8; 16_384];
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.lines();
            let path = lines.next().and_then(|l| l.split(' ').nth(1)).unwrap_or_default().to_owned();
            let headers: HashMap<String, String> = lines
                .filter_map(|l| l.split_once(':'))
                .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
                .collect();
            let length: usize = headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Ok(Some(Arrived { path, headers, body, at: Instant::now() }));
            }
        }
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..n]);
        // Somebody begins a TLS handshake.
        if buffer[0] == 0x16 {
            full(stream, 400, &[], b"").await?;
            return Ok(None);
        }
    }
}

/// Whether the connection can be used again.
async fn answer(stream: &mut TcpStream, reply: Reply) -> std::io::Result<bool> {
    match reply {
        Reply::Status(status) => full(stream, status, &[], b"").await?,
        Reply::Full(status, headers, body) => full(stream, status, &headers, &body).await?,
        Reply::Late(after, reply) => {
            sleep(after).await;
            return Box::pin(answer(stream, *reply)).await;
        }
        Reply::Huge(bytes) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").as_bytes()).await?;
            let piece = vec![b'x'; 65_536];
            let mut left = bytes;
            while left > 0 {
                let n = left.min(piece.len());
                stream.write_all(&piece[..n]).await?;
                left -= n;
            }
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"1\r\nx\r\n").await?;
                sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Silence => {
            // Until the other side has gone.
            let _ = tokio::time::timeout(Duration::from_secs(3600), stream.read(&mut [0u8; 1])).await;
            return Ok(false);
        }
        Reply::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Reply::Garbage => {
            stream.write_all(b"\x00\x01 this is no HTTP\r\n\r\n").await?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn full(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut all = head.into_bytes();
    all.extend_from_slice(body);
    stream.write_all(&all).await
}
