//! What processes use: processor time and memory, as the kernel counts them.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// A process of a cluster.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its process id.
    pub pid: u32,
    /// The file name of its program.
    pub name: String,
}

impl Consumer {
    /// Processes whose program's name starts with `name` and whose command line names `directory`.
    ///
    /// # Panics
    /// When `/proc` cannot be read.
    #[must_use]
    pub fn find(name: &str, directory: &Path) -> Vec<Self> {
        let directory = directory.display().to_string();
        let entries = fs::read_dir("/proc").expect("/proc is readable");
        let consumer = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let program = line.split('\0').next()?.rsplit('/').next()?.to_owned();
            let wanted = line.contains(&directory) && program.starts_with(name);
            wanted.then_some(Self { pid, name: program })
        };
        entries.filter_map(|entry| consumer(entry.ok()?)).collect()
    }

    /// Resident memory in megabytes (10⁶ bytes), 0 when the process is gone.
    #[must_use]
    pub fn resident_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) * 1024.0 / 1e6
    }

    /// User and system time of all its threads, in seconds.
    fn processor_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The second field is the name in brackets and may hold blanks.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<_> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        (ticks(USER_TIME).unwrap_or(0.0) + ticks(SYSTEM_TIME).unwrap_or(0.0)) / TICKS_PER_SECOND
    }
}

/// Percent of one core that the consumers use together over `window`, which is waited for.
#[must_use]
pub fn processor_percent(consumers: &[Consumer], window: Duration) -> f64 {
    let sum = || -> f64 { consumers.iter().map(Consumer::processor_seconds).sum() };
    let (start, before) = (Instant::now(), sum());
    while start.elapsed() < window {
        thread::sleep(window.saturating_sub(start.elapsed()));
    }
    100.0 * (sum() - before) / start.elapsed().as_secs_f64()
}

/// Fields of `/proc/PID/stat` after the name (proc(5): 14 and 15 of all).
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// Linux fixes the unit at 100 per second on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;
