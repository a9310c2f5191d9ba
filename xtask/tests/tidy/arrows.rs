//! Who may depend on whom, directly and through others.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use crate::house::{Fault, House};

/// Every crate of the house with the crates of the house that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("route", &[]),
    ("wire", &["route"]),
    ("gateway", &["route", "wire", "pki", "serve"]),
    ("translate", &["route"]),
    ("daemon", &["translate", "wire", "route", "pki", "serve"]),
    ("resource", &[]),
    ("schedule", &["resource"]),
    ("reconcile", &["resource"]),
    ("store", &[]),
    ("apiserver", &["resource", "store", "pki", "serve"]),
    (
        "controllers",
        &["resource", "schedule", "reconcile", "pki", "serve"],
    ),
    ("nft", &[]),
    ("pod", &[]),
    ("dns", &[]),
    ("agent", &["nft", "pod", "dns", "pki", "serve"]),
    ("pki", &[]),
    ("serve", &[]),
    ("echo", &["serve"]),
    ("xtask", &["resource"]),
    ("conformance", &["echo", "pki"]),
];

/// Nothing may depend on these; the command and the benches may use everything else.
const TOPS: &[&str] = &["benches", "conformance", "xtask", ""];

/// Crates that compute and do nothing else.
pub(crate) const PURE: &[&str] = &[
    "route",
    "wire",
    "translate",
    "resource",
    "schedule",
    "reconcile",
    "nft",
    "pod",
    "dns",
    "pki",
];

const INGRESS: &[&str] = &["route", "wire", "gateway", "translate", "daemon"];
const CLUSTER: &[&str] = &[
    "resource",
    "schedule",
    "reconcile",
    "store",
    "apiserver",
    "controllers",
    "nft",
    "pod",
    "dns",
    "agent",
];

/// What no pure crate may bring in, however deep.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "hyper",
    "socket2",
    "kube",
    "kube-client",
    "reqwest",
    "redb",
];

/// Pure crates that bring in something impure all the same, and why.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "wire",
    "the protocol's generated stubs are tonic's; nothing in the crate calls them",
)];

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let graph = Graph::of(&house.metadata);
    let members = house.members();
    let mut faults = Vec::new();
    for (package, directory) in &members {
        let manifest = format!("{directory}/Cargo.toml");
        let name = short(package);
        let direct = graph.house_crates(package, false);
        let deep = graph.house_crates(package, true);
        faults.extend(direct_faults(name, &manifest, &direct));
        for (side, other) in [(INGRESS, CLUSTER), (CLUSTER, INGRESS)] {
            if side.contains(&name) {
                let fix = "they meet over the Kubernetes API alone";
                let crossing = deep.iter().filter(|one| other.contains(&one.as_str()));
                faults.extend(
                    crossing.map(|one| Fault::new(&manifest, format!("{name} reaches {one}"), fix)),
                );
            }
        }
        if PURE.contains(&name) && !EXCEPTIONS.iter().any(|(exempt, _)| *exempt == name) {
            let fix = "a pure crate takes values; move the I/O to its shell";
            let reached = graph.outside(package);
            let impure = IMPURE.iter().filter(|one| reached.contains(**one));
            faults.extend(impure.map(|one| {
                Fault::new(&manifest, format!("{name} is pure and reaches {one}"), fix)
            }));
        }
    }
    faults
}

fn direct_faults(name: &str, manifest: &str, direct: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for one in direct.iter().filter(|one| TOPS.contains(&one.as_str())) {
        faults.push(Fault::new(
            manifest,
            format!("{name} depends on {one}"),
            "nothing may use it",
        ));
    }
    if name == "portcullis" || name == "benches" {
        return faults;
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        faults.push(Fault::new(
            manifest,
            "a crate without a place",
            "give it a row in the arrows of xtask/tests/tidy",
        ));
        return faults;
    };
    for one in direct.iter().filter(|one| !allowed.contains(&one.as_str())) {
        let fix = "arrows point down or not at all: pass a value, or move the code";
        faults.push(Fault::new(
            manifest,
            format!("{name} depends on {one}"),
            fix,
        ));
    }
    faults
}

/// `portcullis-route` is `route` here, the command is `portcullis`.
fn short(package: &str) -> &str {
    package.strip_prefix("portcullis-").unwrap_or(package)
}

/// Normal and build dependencies; tests may use what they like.
struct Graph<'a> {
    names: BTreeMap<&'a PackageId, &'a str>,
    edges: BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Graph<'a> {
    fn of(metadata: &'a Metadata) -> Self {
        let names = metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.as_str()));
        let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
        let edges = resolve.nodes.iter().map(|node| {
            let product = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind != DependencyKind::Development)
            });
            (&node.id, product.map(|dep| &dep.pkg).collect())
        });
        Self {
            names: names.collect(),
            edges: edges.collect(),
        }
    }

    /// Crates of the house that `package` depends on, by their short names.
    fn house_crates(&self, package: &str, deep: bool) -> BTreeSet<String> {
        let reached = if deep {
            self.reach(package)
        } else {
            self.step(package)
        };
        let house = reached
            .into_iter()
            .filter(|name| name.starts_with("portcullis"));
        house.map(|name| short(name).to_owned()).collect()
    }

    /// Everything else that `package` reaches.
    fn outside(&self, package: &str) -> BTreeSet<&'a str> {
        self.reach(package)
    }

    fn step(&self, package: &str) -> BTreeSet<&'a str> {
        let direct = self.edges.get(self.id(package)).into_iter().flatten();
        direct.map(|id| self.names[*id]).collect()
    }

    fn reach(&self, package: &str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id(package)];
        while let Some(id) = open.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id]).collect()
    }

    fn id(&self, package: &str) -> &'a PackageId {
        let mut all = self.names.iter();
        let (id, _) = all
            .find(|(_, name)| **name == package)
            .expect("a member of the workspace");
        id
    }
}
