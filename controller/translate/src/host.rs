//! All routes of one host: who claims what, which certificate is served, what becomes of the rest.

mod route;
mod tls;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use portcullis_route::spec::{HostMatch, HostRoutes, PathMatch, RouteSpec};

use crate::{
    backend::BackendKey,
    certificate::Materials,
    fragment::{Fragment, PathRule, Target},
    notice::{Notice, Reason},
    object::ObjectKey,
    settings::Settings,
    snapshot::Snapshot,
};
use tls::Election;

/// One host's routes with everything that was looked at to make them, so that it is known when to make them again.
pub(crate) struct HostUnit {
    pub routes: Arc<HostRoutes>,
    pub backends: BTreeSet<BackendKey>,
    pub services: BTreeSet<ObjectKey>,
    pub secrets: BTreeSet<ObjectKey>,
    /// The Secret whose certificate is served for this host.
    pub elected: Option<ObjectKey>,
    pub notices: Arc<[Notice]>,
}

pub(crate) struct Sources<'a> {
    pub settings: &'a Settings,
    pub snapshot: &'a Snapshot,
    pub materials: &'a mut Materials,
}

/// Builds the unit from the Ingresses that name the host, in the order of precedence.
pub(crate) fn build(
    host: &HostMatch,
    fragments: &[&Fragment],
    sources: &mut Sources<'_>,
) -> HostUnit {
    let mut build = Build::new(host, sources.settings, sources.snapshot);
    let election = tls::elect(host, fragments, sources);
    build.is_tls = election.is_tls;
    build.catch_all(fragments);
    for (rank, fragment) in fragments.iter().enumerate() {
        let rules = fragment.rules.iter().filter(|rule| rule.host == *host);
        for path in rules.flat_map(|rule| &rule.paths) {
            build.claim(fragment, path, rank);
        }
    }
    build.fallback(fragments);
    build.finish(election)
}

struct Build<'a> {
    host: &'a HostMatch,
    settings: &'a Settings,
    snapshot: &'a Snapshot,
    is_tls: bool,
    claimed: HashMap<PathMatch, ObjectKey>,
    routes: Vec<RouteSpec>,
    backends: BTreeSet<BackendKey>,
    services: BTreeSet<ObjectKey>,
    notices: Vec<Notice>,
}

impl<'a> Build<'a> {
    fn new(host: &'a HostMatch, settings: &'a Settings, snapshot: &'a Snapshot) -> Self {
        Self {
            host,
            settings,
            snapshot,
            is_tls: false,
            claimed: HashMap::new(),
            routes: Vec::new(),
            backends: BTreeSet::new(),
            services: BTreeSet::new(),
            notices: Vec::new(),
        }
    }

    /// The oldest Ingress with a default backend and no rules answers for every unknown host, before any rule for `/`.
    fn catch_all(&mut self, fragments: &[&Fragment]) {
        if *self.host != HostMatch::Any {
            return;
        }
        for (rank, fragment) in fragments.iter().enumerate() {
            let Some(target) = fragment
                .default_backend
                .as_ref()
                .filter(|_| fragment.is_catch_all())
            else {
                continue;
            };
            let path = PathRule {
                path: root(),
                text: "/".to_owned(),
                target: target.clone(),
            };
            self.claim(fragment, &path, rank);
        }
    }

    /// The oldest Ingress with a host, path and path type has it.
    fn claim(&mut self, fragment: &Fragment, path: &PathRule, rank: usize) {
        if let Some(winner) = self.claimed.get(&path.path) {
            let message = match *winner == fragment.key {
                true => format!(
                    "host {} has path {} twice: the first is served",
                    self.host, path.text
                ),
                false => format!(
                    "host {} and path {} are already defined in Ingress {winner}, which comes first",
                    self.host, path.text
                ),
            };
            self.notices
                .push(fragment.warning(Reason::Conflict, message));
            return;
        }
        self.claimed.insert(path.path.clone(), fragment.key.clone());
        let route = self.route(fragment, path, rank);
        self.routes.push(route);
    }

    /// What no path claims: the default backend of the first Ingress of the host, else that of all hosts, else 404.
    /// It stands in every host, so that a known host never falls through to the routes of another.
    fn fallback(&mut self, fragments: &[&Fragment]) {
        let rank = fragments.len();
        if *self.host == HostMatch::Any {
            self.health_check(rank);
        }
        if self.claims_everything() {
            return;
        }
        let first = fragments.iter().find(|fragment| {
            let mut rules = fragment.rules.iter();
            rules.any(|rule| rule.host == *self.host)
        });
        let own = first.and_then(|fragment| fragment.default_backend.as_ref());
        let route = match (first, own) {
            (Some(first), Some(target)) if *self.host != HostMatch::Any => {
                let path = PathRule {
                    path: root(),
                    text: "/".to_owned(),
                    target: target.clone(),
                };
                self.route(first, &path, rank)
            }
            _ => self.unclaimed(first.copied(), rank),
        };
        self.routes.push(route);
    }

    fn claims_everything(&self) -> bool {
        let all = [root(), PathMatch::PlainPrefix("/".to_owned())];
        all.iter().any(|path| self.claimed.contains_key(path))
    }

    fn finish(self, election: Election) -> HostUnit {
        let mut notices = self.notices;
        notices.extend(election.notices);
        notices.sort();
        notices.dedup();
        HostUnit {
            routes: Arc::new(HostRoutes {
                table: Settings::TABLE.to_owned(),
                host: self.host.clone(),
                routes: self.routes,
            }),
            backends: self.backends,
            services: self.services,
            secrets: election.consulted,
            elected: election.secret,
            notices: notices.into(),
        }
    }
}

fn root() -> PathMatch {
    PathMatch::Prefix("/".to_owned())
}

impl Target {
    fn service(&self) -> (&str, &str) {
        match self {
            Self::Service { name, port } => (name, port),
            Self::Refused(_) => ("", ""),
        }
    }
}
