//! What this process uses, from `/proc/self`.

use std::fmt::Write as _;
use std::fs;

/// Clock ticks a second in `/proc/self/stat`: fixed by the Linux user-space interface on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A reading; what cannot be read (another system) is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<usize>,
    /// User and system CPU time in seconds.
    pub cpu_seconds: Option<f64>,
}

impl Usage {
    /// Reads the current values.
    #[must_use]
    pub fn read() -> Self {
        Self {
            resident_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|s| resident(&s)),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            cpu_seconds: fs::read_to_string("/proc/self/stat").ok().and_then(|s| cpu(&s)),
        }
    }

    /// Appends the values in the Prometheus text format under their customary names.
    pub fn write_prometheus(&self, out: &mut String) {
        let mut line = |name: &str, kind: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        };
        if let Some(n) = self.resident_bytes {
            line("process_resident_memory_bytes", "gauge", n.to_string());
        }
        if let Some(n) = self.open_fds {
            line("process_open_fds", "gauge", n.to_string());
        }
        if let Some(n) = self.cpu_seconds {
            line("process_cpu_seconds_total", "counter", n.to_string());
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses and may itself contain spaces and parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_proc() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1024 kB\nThreads: 1\n"), Some(1_048_576));
        assert_eq!(cpu("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0"), Some(2.0));
        let now = Usage::read();
        assert!(now.resident_bytes.is_some_and(|n| n > 100_000));
        assert!(now.open_fds.is_some_and(|n| n >= 3));
        assert!(now.cpu_seconds.is_some());
    }
}
