//! A peer's process: started, watched, accounted for with its children, stopped.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::pinning::pinned;

pub struct PeerProcess {
    child: Child,
    stderr: PathBuf,
}

/// What a process and its children have used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of every thread, living or gone.
    pub cpu: Duration,
    pub resident_bytes: u64,
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl PeerProcess {
    /// Standard output goes to `stdout` (HAProxy can log nowhere else), standard error beside it.
    pub fn start(mut command: Command, core: Option<usize>, stdout: &Path) -> Result<Self> {
        let stderr = stdout.with_file_name("stderr.txt");
        command
            .stdin(Stdio::piped())
            .stdout(File::create(stdout)?)
            .stderr(File::create(&stderr)?);
        let child = pinned(core, || command.spawn())?
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, stderr })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// The process has ended; the error holds the end of what it said.
    pub fn still_runs(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let mut said = String::new();
        File::open(&self.stderr)?.read_to_string(&mut said)?;
        let lines: Vec<&str> = said.lines().rev().take(STDERR_LINES).collect();
        bail!(
            "it ended with {status}: {}",
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }

    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage {
            cpu: Duration::ZERO,
            resident_bytes: 0,
        };
        for id in family(self.child.id())? {
            let stat = stat(id).with_context(|| format!("process {id} is gone"))?;
            usage.cpu += Duration::from_micros(stat.ticks * 1_000_000 / TICKS_PER_SECOND);
            usage.resident_bytes += resident_bytes(id)?;
        }
        Ok(usage)
    }

    /// Asks it to end, waits, and insists.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let family = family(self.child.id())?;
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                for id in family {
                    let _ = kill(Pid::from_raw(id as i32), Signal::SIGKILL);
                }
                self.child.wait()?;
                break;
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The process and its descendants, as nginx's master and worker.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut family = vec![root];
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(stat) = stat(id) {
            processes.push((id, stat.parent));
        }
    }
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(
            processes
                .iter()
                .filter(|process| process.1 == parent)
                .map(|process| process.0),
        );
        next += 1;
    }
    Ok(family)
}

/// proc(5): fields 4, 14 and 15, counted behind the parenthesised name, which may hold anything.
fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

fn resident_bytes(id: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .context("no VmRSS in /proc status")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024)
}

/// USER_HZ, which Linux's ABI fixes on every architecture that Rust's standard library supports.
const TICKS_PER_SECOND: u64 = 100;
/// Enough for every peer to drain 64 connections.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Lines of standard error that an error repeats.
const STDERR_LINES: usize = 10;
