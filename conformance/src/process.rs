//! `portcullis`, or a program that it works with, in a process of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::command::{binary, process_id};

/// A started `portcullis`, whatever its subcommand, or another program; dropping it ends it.
pub struct Process {
    child: Option<Child>,
    stdout: PathBuf,
    log: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// From SIGTERM to the end of the process.
    pub took: Duration,
}

/// The environment that a component gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// The test's own.
    Inherited,
    /// `PATH` and nothing else.
    Bare,
}

impl Process {
    /// Starts `portcullis ARGUMENTS…`. What it prints goes to `DIRECTORY/NAME.out`, made anew; its log is appended to
    /// `DIRECTORY/NAME.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(
        directory: &Path,
        name: &str,
        arguments: &[A],
        environment: Environment,
    ) -> Self {
        Self::start_program(&binary(), directory, name, arguments, environment)
    }

    /// The same with another program than `portcullis`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_program<A: AsRef<OsStr>>(
        program: &Path,
        directory: &Path,
        name: &str,
        arguments: &[A],
        environment: Environment,
    ) -> Self {
        let stdout = directory.join(format!("{name}.out"));
        let log = directory.join(format!("{name}.log"));
        let appended = File::options().create(true).append(true).open(&log);
        // `setpriv` has the kernel end it should this test die first.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("its directory can be written"))
            .stderr(appended.expect("its directory can be written"));
        if environment == Environment::Bare {
            let path = std::env::var_os("PATH").unwrap_or_default();
            command.env_clear().env("PATH", path);
        }
        Self {
            child: Some(command.spawn().expect("setpriv is there")),
            stdout,
            log,
        }
    }

    /// All that it has printed on standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// All of its log, with what earlier processes of this name wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Process id until it is stopped.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it did so by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Panics
    /// When it does not end in time (it is killed then), or was ended before.
    pub fn stop(&mut self) -> Stopped {
        let start = Instant::now();
        let status = self
            .terminate()
            .unwrap_or_else(|| panic!("no end after SIGTERM\n{}", self.log_tail()));
        Stopped {
            code: status.code(),
            took: start.elapsed(),
        }
    }

    /// SIGKILL, as a power cut would: nothing is drained, nothing tidied up.
    ///
    /// # Panics
    /// When it was ended before.
    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("the process is there");
        child.wait().expect("a killed process ends");
    }

    fn terminate(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let _ = kill(process_id(&child), Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < STOP_DEADLINE {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            thread::sleep(POLL);
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.terminate();
    }
}

/// A port that was free a moment ago, for what must keep its port over a restart. Never the same twice, and below the
/// range from which the kernel takes ports for outgoing connections: one of those might have it in the meantime.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start =
        u16::try_from(std::process::id().wrapping_mul(101) % u32::from(PORTS)).unwrap_or_default();
    let mut candidates = (0..PORTS).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        FIRST_PORT + start.wrapping_add(step) % PORTS
    });
    let free = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok();
    candidates.find(free).expect("a free port")
}

const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;
/// Longer than a pod's default grace of 30 s.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks: short against every time that is measured.
const POLL: Duration = Duration::from_millis(20);

/// Log lines shown with a failure.
const LOG_LINES: usize = 80;
