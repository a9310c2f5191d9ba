//! kubectl, built from its Go module by `make tools`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::command::{Output, run_with_deadline, tool};

/// kubectl for one cluster and one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// kubectl in namespace `default`.
    #[must_use]
    pub fn new(kubeconfig: &Path) -> Self {
        Self {
            binary: tool("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
            namespace: "default".to_owned(),
        }
    }

    /// The same in another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// The same in a namespace that is created here.
    #[must_use]
    pub fn in_new_namespace(&self, namespace: &str) -> Self {
        self.run(&["create", "namespace", namespace]).ok();
        self.within(namespace)
    }

    /// Runs `kubectl ARGS…`.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs `kubectl ARGS…` with `input` on standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        run_with_deadline(self.command().args(arguments), input, DEADLINE)
    }

    /// `kubectl apply -f -`.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> Output {
        self.run_with_input(&["apply", "-f", "-"], manifest)
    }

    /// `kubectl edit object` by a person who replaces `from` with `to` and saves.
    #[track_caller]
    pub fn edit(&self, object: &str, from: &str, to: &str) -> Output {
        let editor = format!("sed -i s/{from}/{to}/");
        let mut command = self.command();
        command.env("KUBE_EDITOR", editor).args(["edit", object]);
        run_with_deadline(&mut command, "", DEADLINE)
    }

    /// `kubectl get ARGS… -o json`, parsed.
    ///
    /// # Panics
    /// When kubectl fails or prints no JSON.
    #[must_use]
    #[track_caller]
    pub fn get_json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["get"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["-o", "json"]);
        serde_json::from_str(&self.run(&all).ok()).expect("kubectl prints JSON")
    }

    /// Starts a command that does not end by itself (`get -w`, `logs -f`); the caller ends it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl starts")
    }

    /// Starts a command that does not end by itself; all that it prints and logs goes to a file.
    ///
    /// # Panics
    /// When it cannot be started or the file cannot be made.
    #[must_use]
    pub fn start_into(&self, log: &Path, arguments: &[&str]) -> Child {
        let file = File::create(log).expect("its directory can be written");
        let errors = file.try_clone().expect("a descriptor can be doubled");
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("kubectl starts")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        let cache = self.kubeconfig.with_extension("cache");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", cache)
            .env("KUBE_EDITOR", "false")
            .args(["--namespace", &self.namespace]);
        command
    }
}

/// Longer than any `wait --timeout` in the scenarios.
const DEADLINE: Duration = Duration::from_secs(120);
