//! The compiled table: listeners, the hosts each serves, and the units behind them.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;

use crate::{
    host::Host,
    spec::{HostMatch, HostRoutes, ListenerSpec, Specs},
};

/// Everything a request is looked up in. Immutable; a new one shares the units that did not change.
#[derive(Debug, Default)]
pub struct Table {
    pub listeners: Vec<Listener>,
    /// In the order of the specs.
    pub hosts: Vec<Arc<Host>>,
    pub(crate) sets: Vec<HostSet>,
}

/// A listener and the set of hosts that it serves.
#[derive(Debug)]
pub struct Listener {
    pub spec: Arc<ListenerSpec>,
    /// Index into the host sets; none serves nothing.
    pub(crate) set: Option<u32>,
}

/// A part of the specs that could not be compiled as asked. Its requests are denied; nothing else is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind and name of the unit.
    pub unit: String,
    pub reason: String,
}

/// The hosts of one named table: indices into [`Table::hosts`].
#[derive(Debug, Default)]
pub(crate) struct HostSet {
    pub exact: HashMap<Box<str>, u32, FixedState>,
    /// Keyed by what follows `*.`.
    pub wildcard: HashMap<Box<str>, u32, FixedState>,
    pub any: Option<u32>,
}

/// Compiles specs; a host whose spec is unchanged keeps its compiled unit.
pub fn compile(previous: Option<&Table>, specs: &Specs) -> Table {
    let known: HashMap<(&str, &HostMatch), &Arc<Host>, FixedState> = previous
        .into_iter()
        .flat_map(|table| &table.hosts)
        .map(|host| (key(&host.spec), host))
        .collect();
    let hosts: Vec<Arc<Host>> = specs
        .hosts
        .iter()
        .map(|spec| match known.get(&key(spec)) {
            Some(host) if same(&host.spec, spec) => Arc::clone(host),
            _ => Arc::new(Host::compile(spec)),
        })
        .collect();
    let (names, sets) = build_sets(&hosts);
    let listeners = specs
        .listeners
        .iter()
        .map(|spec| Listener {
            spec: spec.clone(),
            set: names.get(spec.table.as_str()).copied(),
        })
        .collect();
    Table {
        listeners,
        hosts,
        sets,
    }
}

impl Table {
    /// What was denied at compile time, for the report to the controller.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.hosts.iter().flat_map(|host| &host.refusals)
    }

    pub fn route_count(&self) -> usize {
        self.hosts.iter().map(|host| host.routes.len()).sum()
    }
}

fn build_sets(hosts: &[Arc<Host>]) -> (HashMap<&str, u32, FixedState>, Vec<HostSet>) {
    let mut names: HashMap<&str, u32, FixedState> = HashMap::default();
    let mut sets: Vec<HostSet> = Vec::new();
    for (index, host) in (0u32..).zip(hosts) {
        let set = *names.entry(&host.spec.table).or_insert_with(|| {
            sets.push(HostSet::default());
            sets.len() as u32 - 1
        });
        let set = &mut sets[set as usize];
        match &host.spec.host {
            HostMatch::Exact(name) => {
                set.exact.entry(name.as_str().into()).or_insert(index);
            }
            HostMatch::Wildcard(suffix) => {
                set.wildcard.entry(suffix.as_str().into()).or_insert(index);
            }
            HostMatch::Any => {
                set.any.get_or_insert(index);
            }
        }
    }
    (names, sets)
}

fn key(spec: &HostRoutes) -> (&str, &HostMatch) {
    (&spec.table, &spec.host)
}

/// The pointer first: an unchanged unit is usually the same allocation.
fn same(old: &Arc<HostRoutes>, new: &Arc<HostRoutes>) -> bool {
    Arc::ptr_eq(old, new) || old == new
}
