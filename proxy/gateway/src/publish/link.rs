//! One published state: the table, and for every route what the registry holds for it.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use foldhash::fast::FixedState;
use http::HeaderValue;
use portcullis_route::{
    Host, Refusal, Route, Step, Table,
    spec::{BackendSpec, EndpointState, GlobalSpec, Specs},
};
use rustls::ServerConfig;

use super::{ids::Id, limiter::Limiter, registry::Registry};
use crate::{
    observe::metrics::{RouteKey, RouteSeries},
    upstream::affinity::backend_tag,
};

/// Everything that a worker needs to serve, immutable.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub version: u64,
    /// Unix time of the publication, in seconds.
    pub applied_at_s: f64,
    pub table: Table,
    /// Beside [`Table::hosts`].
    pub hosts: Vec<Arc<HostLink>>,
    /// By backend id.
    pub backends: Vec<Option<Arc<Backend>>>,
    /// By listener id: index into [`Table::listeners`].
    pub listeners: Vec<Option<usize>>,
    /// Keeps the numbers that index `listeners` from other names.
    _listener_ids: Vec<Arc<Id>>,
    /// By TLS policy name.
    pub tls: HashMap<String, Arc<ServerConfig>, FixedState>,
    pub global: Arc<GlobalSpec>,
    pub hsts: Option<HeaderValue>,
    /// Every endpoint of every backend: pools keep no other.
    pub endpoints: Arc<HashSet<SocketAddr, FixedState>>,
}

/// A host's routes with their state.
#[derive(Debug)]
pub(crate) struct HostLink {
    pub host: Arc<Host>,
    pub routes: Box<[RouteLink]>,
}

#[derive(Debug)]
pub(crate) struct RouteLink {
    /// Beside [`Route::steps`].
    pub steps: Box<[StepLink]>,
    pub series: Arc<RouteSeries>,
}

#[derive(Debug)]
pub(crate) enum StepLink {
    Stateless,
    Limiter(Arc<Limiter>),
    /// Held, so that a request on a route of a former table never finds another backend under the number.
    Backend(Arc<Id>),
}

/// A backend, ready to pick from.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Keeps its number from other names.
    _id: Arc<Id>,
    pub spec: Arc<BackendSpec>,
    /// The ready endpoints, or the terminating ones when none is ready.
    pub eligible: Box<[SocketAddr]>,
    /// Marks affinity cookies as made for this backend.
    pub tag: String,
}

impl Published {
    /// Links a compiled table. Hosts and backends that did not change keep their links.
    pub fn link(
        previous: &Published,
        table: Table,
        specs: &Specs,
        registry: &mut Registry,
        refusals: &mut Vec<Refusal>,
    ) -> Self {
        let known: HashMap<*const Host, &Arc<HostLink>, FixedState> = previous
            .hosts
            .iter()
            .map(|link| (Arc::as_ptr(&link.host), link))
            .collect();
        let hosts = table
            .hosts
            .iter()
            .map(|host| match known.get(&Arc::as_ptr(host)) {
                Some(link) => Arc::clone(link),
                None => Arc::new(HostLink::new(host, registry)),
            })
            .collect();
        let (listeners, listener_ids) = index_listeners(&table, registry);
        let (backends, endpoints) = link_backends(previous, specs, registry);
        Self {
            version: previous.version + 1,
            applied_at_s: 0.0,
            table,
            hosts,
            backends,
            listeners,
            _listener_ids: listener_ids,
            tls: HashMap::default(),
            hsts: parse_hsts(&specs.global, refusals),
            global: specs.global.clone(),
            endpoints: match *previous.endpoints == endpoints {
                true => previous.endpoints.clone(),
                false => Arc::new(endpoints),
            },
        }
    }

    pub fn backend(&self, id: u32) -> Option<&Backend> {
        self.backends.get(id as usize)?.as_deref()
    }
}

impl HostLink {
    fn new(host: &Arc<Host>, registry: &mut Registry) -> Self {
        let name = host.spec.host.to_string();
        Self {
            host: host.clone(),
            routes: host
                .routes
                .iter()
                .map(|route| RouteLink::new(route, &name, registry))
                .collect(),
        }
    }
}

impl RouteLink {
    fn new(route: &Route, host: &str, registry: &mut Registry) -> Self {
        let steps = route.steps.iter().map(|step| match step {
            Step::LimitRate(limit) => StepLink::Limiter(registry.limiter(&limit.spec)),
            Step::Forward(forward) => StepLink::Backend(registry.backend_id(&forward.backend)),
            Step::RedirectToHttps(_) | Step::Respond(_) | Step::Deny(_) => StepLink::Stateless,
        });
        let key = RouteKey {
            host: host.to_owned(),
            labels: route.labels.clone(),
        };
        Self {
            steps: steps.collect(),
            series: registry.series(key),
        }
    }
}

impl Backend {
    fn new(id: Arc<Id>, spec: &Arc<BackendSpec>) -> Self {
        let with_state = |state: EndpointState| -> Box<[SocketAddr]> {
            spec.endpoints
                .iter()
                .filter(|endpoint| endpoint.state == state)
                .map(|endpoint| endpoint.address)
                .collect()
        };
        let mut eligible = with_state(EndpointState::Ready);
        if eligible.is_empty() {
            eligible = with_state(EndpointState::Terminating);
        }
        Self {
            _id: id,
            tag: backend_tag(&spec.name),
            spec: spec.clone(),
            eligible,
        }
    }
}

type IndexedListeners = (Vec<Option<usize>>, Vec<Arc<Id>>);

fn index_listeners(table: &Table, registry: &mut Registry) -> IndexedListeners {
    let mut listeners = Vec::new();
    let mut ids = Vec::new();
    for (index, listener) in table.listeners.iter().enumerate() {
        let id = registry.listener_id(&listener.spec.name);
        let number = id.number() as usize;
        if listeners.len() <= number {
            listeners.resize(number + 1, None);
        }
        listeners[number] = Some(index);
        ids.push(id);
    }
    (listeners, ids)
}

type LinkedBackends = (Vec<Option<Arc<Backend>>>, HashSet<SocketAddr, FixedState>);

fn link_backends(previous: &Published, specs: &Specs, registry: &mut Registry) -> LinkedBackends {
    let mut backends: Vec<Option<Arc<Backend>>> = Vec::new();
    let mut endpoints = HashSet::default();
    for spec in &specs.backends {
        let id = registry.backend_id(&spec.name);
        let number = id.number() as usize;
        if backends.len() <= number {
            backends.resize(number + 1, None);
        }
        let known = previous.backends.get(number).and_then(Option::as_ref);
        let backend = match known.filter(|old| old.spec == *spec) {
            Some(old) => old.clone(),
            None => Arc::new(Backend::new(id, spec)),
        };
        endpoints.extend(backend.spec.endpoints.iter().map(|e| e.address));
        backends[number] = Some(backend);
    }
    (backends, endpoints)
}

fn parse_hsts(global: &GlobalSpec, refusals: &mut Vec<Refusal>) -> Option<HeaderValue> {
    let text = global.hsts.as_deref()?;
    let value = HeaderValue::from_str(text);
    if value.is_err() {
        refusals.push(Refusal {
            unit: "global".to_owned(),
            reason: format!("hsts {text:?} is no header value"),
        });
    }
    value.ok()
}
