//! Running a command to its end, or to a deadline.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily as UTF-8.
    pub stdout: String,
    /// Standard error, lossily as UTF-8.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code was 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The standard output of a command that had to succeed.
    ///
    /// # Panics
    /// With both outputs when it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.success(),
            "exit code {:?}\n{}\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The standard error of a command that had to fail.
    ///
    /// # Panics
    /// With both outputs when it succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(
            !self.success(),
            "it succeeded\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

/// Runs `command` with `input` on its standard input; kills it, by its process id, when `deadline` passes.
///
/// # Panics
/// When the command cannot be started or does not end in time: a test cannot go on.
#[track_caller]
pub fn run_with_deadline(command: &mut Command, input: &str, deadline: Duration) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let pid = process_id(&child);
    let mut stdin = child.stdin.take().expect("piped above");
    let input = input.to_owned();
    // A command that ends without reading its input breaks the pipe, which is its own affair.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = collect(child.stdout.take().expect("piped above"));
    let stderr = collect(child.stderr.take().expect("piped above"));
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    let status = match ended.recv_timeout(deadline) {
        Ok(status) => status.unwrap_or_else(|error| panic!("cannot wait for {shown}: {error}")),
        Err(_) => {
            let _ = kill(pid, Signal::SIGKILL);
            let (out, err) = (stdout.recv(), stderr.recv());
            panic!(
                "{shown} did not end within {deadline:?}\n{}\n{}",
                out.unwrap_or_default(),
                err.unwrap_or_default()
            );
        }
    };
    Output {
        code: status.code(),
        stdout: stdout.recv().unwrap_or_default(),
        stderr: stderr.recv().unwrap_or_default(),
    }
}

/// The binary under test: `$PORTCULLIS_BIN`, or the one beside this test in cargo's target directory.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_BIN") {
        return PathBuf::from(path);
    }
    let this = std::env::current_exe().expect("a running test has a path");
    let directory = this
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/PROFILE/deps/test");
    let path = directory.join("portcullis");
    assert!(
        path.exists(),
        "{} is missing: cargo build --bin portcullis, or set PORTCULLIS_BIN",
        path.display()
    );
    path
}

/// The tools directory that `make` fills: `target/tools` of the workspace.
pub(crate) fn tool(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let path = root.join(name);
    assert!(path.exists(), "{} is missing: make tools", path.display());
    path
}

pub(crate) fn process_id(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids fit in i32"))
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
