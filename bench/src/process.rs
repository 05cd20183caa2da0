//! Services as processes: starting them, their processor time and their memory, as /proc tells them.

use anyhow::{Context as _, bail};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Microseconds in a clock tick of /proc: Linux shows 100 ticks a second to programs.
const TICK: u64 = 10_000;

/// A running service; ends when dropped.
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// From the start of the process to the first answer 200 of `/ready`.
    pub ready_after: Duration,
    child: Child,
    log: File,
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Of these, private to the process and not backed by a file.
    pub anonymous: u64,
    /// Most that was resident since the start or the last [`Service::forget_peak`].
    pub peak: u64,
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b"200"))
    };
    ask().unwrap_or(false)
}

impl Service {
    /// Starts a program with these settings and nothing else of the environment, and waits until it is ready.
    pub fn start(
        name: &'static str,
        program: &Path,
        settings: &[(&str, String)],
        address: SocketAddr,
        log: &Path,
    ) -> anyhow::Result<Self> {
        if TcpStream::connect(address).is_ok() {
            bail!("{address} is taken by another program: stop it, or choose another --port");
        }
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let began = Instant::now();
        let mut child = Command::new(program)
            .env_clear()
            .envs(settings.iter().map(|(k, v)| (*k, v.as_str())))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        while !is_ready(address) {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended while starting ({status}); its log is {}", log.display());
            }
            if began.elapsed() > Duration::from_secs(30) {
                child.kill()?;
                bail!("{name} is not ready after 30 s; its log is {}", log.display());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(Self { name, ready_after: began.elapsed(), child, log: file })
    }

    /// Processor time so far, in microseconds.
    pub fn cpu(&self) -> anyhow::Result<u64> {
        Ok(Ticks::read(self.child.id())?.own * TICK)
    }

    /// Its memory now.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key));
            line.and_then(|l| l.trim_start_matches(':').split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok(Memory { rss: of("VmRSS"), anonymous: of("RssAnon"), peak: of("VmHWM") })
    }

    /// Counts the peak from here on.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Empties its log: a line per request fills a disk.
    pub fn forget_log(&self) -> anyhow::Result<()> {
        Ok(self.log.set_len(0)?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It holds nothing that needs a graceful stop: Postgres ends what was open.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clock ticks of one process.
struct Ticks {
    parent: u32,
    own: u64,
    /// Of children that have ended and were waited for.
    children: u64,
}

impl Ticks {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name may hold spaces; it ends with the last parenthesis.
        let (_, rest) = text.rsplit_once(')').context("/proc/PID/stat")?;
        let fields: Vec<u64> = rest.split_whitespace().map(|f| f.parse().unwrap_or_default()).collect();
        let at = |i: usize| fields.get(i).copied().unwrap_or_default();
        Ok(Self { parent: u32::try_from(at(1))?, own: at(11) + at(12), children: at(13) + at(14) })
    }
}

/// Processor time of a process and all its children, those that have ended included, in microseconds.
pub fn cpu_of_tree(root: u32) -> anyhow::Result<u64> {
    let ticks = Ticks::read(root)?;
    let mut sum = ticks.own + ticks.children;
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok());
        // A process may end between the listing and the reading.
        if let Some(Ok(t)) = pid.map(Ticks::read)
            && t.parent == root
        {
            sum += t.own;
        }
    }
    Ok(sum * TICK)
}
