//! Helm, built from its Go module by `make tools`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Output, run_with_deadline, tool};

/// Helm with a home of its own, so that nobody's repositories and plugins matter.
pub struct Helm {
    binary: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: TempDir,
}

impl Helm {
    /// Helm without a cluster: for rendering.
    ///
    /// # Panics
    /// When there is no directory for temporary files.
    #[must_use]
    pub fn alone() -> Self {
        let home = tempfile::Builder::new()
            .prefix("portcullis-helm-")
            .tempdir();
        Self {
            binary: tool("helm"),
            kubeconfig: None,
            home: home.expect("a temporary directory"),
        }
    }

    /// Helm for one cluster.
    #[must_use]
    pub fn new(kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..Self::alone()
        }
    }

    /// Runs `helm ARGS…`.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        for (name, directory) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(name, self.home.path().join(directory));
        }
        // Without one nothing is to be reached, whatever the tester's own says.
        let nowhere = self.home.path().join("no-kubeconfig");
        command.env("KUBECONFIG", self.kubeconfig.as_ref().unwrap_or(&nowhere));
        run_with_deadline(&mut command, "", DEADLINE)
    }
}

/// The chart of this repository.
#[must_use]
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portcullis")
}

/// Longer than the `--timeout` that scenarios give.
const DEADLINE: Duration = Duration::from_secs(240);
