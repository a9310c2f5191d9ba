//! A runner for scenarios that share what is costly to start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use crate::{Cluster, ClusterOptions, Kubectl};

/// A scenario that brings all it needs.
pub type Alone = (&'static str, fn());

/// A scenario on a cluster that others use too.
pub type Shared = (&'static str, fn(&Stage<'_>));

/// Pairs functions with their names: `scenarios![one, two]` or `scenarios![file::one, file::two]`.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => { &[$((stringify!($name), $name)),+] };
    ($($file:ident::$name:ident),+ $(,)?) => { &[$((stringify!($name), $file::$name)),+] };
}

/// What a shared scenario works on.
pub struct Stage<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// kubectl in a namespace of this scenario's own, named after it.
    pub kubectl: Kubectl,
}

/// Runs scenarios one after another, reports each, and fails if one did.
///
/// Arguments filter as in cargo's own harness: a word that is no option must be part of a scenario's name.
pub struct Suite {
    name: &'static str,
    filters: Vec<String>,
    listing: bool,
    passed: usize,
    failed: Vec<&'static str>,
}

impl Suite {
    /// Runs scenarios that bring all they need.
    #[must_use]
    pub fn alone(name: &'static str, scenarios: &[Alone]) -> ExitCode {
        let mut suite = Self::new(name);
        for (name, scenario) in scenarios {
            if suite.wants(name) {
                suite.run(name, scenario, String::new);
            }
        }
        suite.finish()
    }

    /// Starts one cluster, runs the scenarios on it, and ends it.
    #[must_use]
    pub fn shared(name: &'static str, options: &ClusterOptions, scenarios: &[Shared]) -> ExitCode {
        let mut suite = Self::new(name);
        let wanted: Vec<_> = scenarios
            .iter()
            .filter(|(name, _)| suite.wants(name))
            .collect();
        if wanted.is_empty() {
            return suite.finish();
        }
        let cluster = Cluster::start(options);
        for (name, scenario) in wanted {
            let run = || {
                let kubectl = cluster.kubectl().in_new_namespace(&name.replace('_', "-"));
                scenario(&Stage {
                    cluster: &cluster,
                    kubectl,
                });
            };
            suite.run(name, run, || cluster.logs());
        }
        suite.finish()
    }

    fn new(name: &'static str) -> Self {
        let (options, filters): (Vec<_>, Vec<_>) = std::env::args()
            .skip(1)
            .partition(|one| one.starts_with('-'));
        Self {
            name,
            filters,
            listing: options.iter().any(|option| option == "--list"),
            passed: 0,
            failed: Vec::new(),
        }
    }

    fn wants(&self, name: &str) -> bool {
        if self.listing {
            println!("{name}: test");
            return false;
        }
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| name.contains(filter.as_str()))
    }

    fn run(&mut self, name: &'static str, scenario: impl FnOnce(), logs: impl FnOnce() -> String) {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let took = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {}::{name} ... ok ({took:.1} s)", self.name);
            }
            Err(_) => {
                self.failed.push(name);
                println!(
                    "test {}::{name} ... FAILED ({took:.1} s)\n{}",
                    self.name,
                    logs()
                );
            }
        }
    }

    fn finish(self) -> ExitCode {
        if self.listing {
            return ExitCode::SUCCESS;
        }
        println!(
            "{}: {} passed, {} failed {}",
            self.name,
            self.passed,
            self.failed.len(),
            self.failed.join(", ")
        );
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Whether this process may start nodes.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
