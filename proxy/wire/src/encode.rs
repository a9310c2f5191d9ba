//! Specs as units.

use std::{collections::HashMap, sync::Arc};

use portcullis_route::spec::{
    BackendSpec, CertificateSpec, Denial, GlobalSpec, HostRoutes, ListenerSpec, PathMatch,
    RouteAction, RouteLabels, RouteMatch, RouteSpec, Specs, TlsPolicySpec,
};
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    MAX_UNIT_BYTES,
    set::UnitSet,
    unit::{Refusal, Unit, UnitKey, UnitKind},
};

/// Turns specs into units; a spec that is the same allocation as last time is not encoded again.
#[derive(Default)]
pub struct Encoder {
    known: HashMap<UnitKey, (Source, Arc<Unit>)>,
}

/// Where a unit came from. Kept, so that its address is not given to another spec.
#[derive(Clone)]
enum Source {
    Listener(Arc<ListenerSpec>),
    Host(Arc<HostRoutes>),
    Backend(Arc<BackendSpec>),
    Certificate(Arc<CertificateSpec>),
    TlsPolicy(Arc<TlsPolicySpec>),
    Global(Arc<GlobalSpec>),
}

/// A host on the wire: each route apart, so that one that is not understood leaves the others.
#[derive(Serialize, Deserialize)]
pub(crate) struct HostBody {
    pub routes: Vec<RouteBody>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RouteBody {
    pub required_feature: u32,
    pub id: String,
    pub labels: RouteLabels,
    pub rank: u32,
    pub matches: Box<RawValue>,
    pub action: Box<RawValue>,
}

impl Encoder {
    /// The units of the specs, and those that cannot be sent as they are.
    pub fn encode(&mut self, specs: &Specs) -> (UnitSet, Vec<Refusal>) {
        let listeners = specs.listeners.iter().cloned().map(Source::Listener);
        let hosts = specs.hosts.iter().cloned().map(Source::Host);
        let backends = specs.backends.iter().cloned().map(Source::Backend);
        let certificates = specs.certificates.iter().cloned().map(Source::Certificate);
        let policies = specs.tls_policies.iter().cloned().map(Source::TlsPolicy);
        let global = std::iter::once(Source::Global(specs.global.clone()));
        let sources = listeners.chain(hosts).chain(backends);
        let sources = sources.chain(certificates).chain(policies).chain(global);

        let mut next = HashMap::with_capacity(self.known.len());
        let mut set = UnitSet::new();
        let mut refused = Vec::new();
        for source in sources {
            let key = source.key();
            let unit = match self.known.get(&key) {
                Some((old, unit)) if old.is_same(&source) => Some(unit.clone()),
                _ => source.unit(&key, &mut refused).map(Arc::new),
            };
            if let Some(unit) = unit {
                set.insert(key.clone(), unit.clone());
                next.insert(key, (source, unit));
            }
        }
        self.known = next;
        (set, refused)
    }
}

impl Source {
    fn key(&self) -> UnitKey {
        match self {
            Self::Listener(spec) => UnitKey::new(UnitKind::Listener, &spec.name),
            Self::Host(spec) => UnitKey::host(&spec.table, &spec.host),
            Self::Backend(spec) => UnitKey::new(UnitKind::Backend, &spec.name),
            Self::Certificate(spec) => UnitKey::new(UnitKind::Certificate, &spec.name),
            Self::TlsPolicy(spec) => UnitKey::new(UnitKind::TlsPolicy, &spec.name),
            Self::Global(_) => UnitKey::new(UnitKind::Global, "global"),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listener(a), Self::Listener(b)) => Arc::ptr_eq(a, b),
            (Self::Host(a), Self::Host(b)) => Arc::ptr_eq(a, b),
            (Self::Backend(a), Self::Backend(b)) => Arc::ptr_eq(a, b),
            (Self::Certificate(a), Self::Certificate(b)) => Arc::ptr_eq(a, b),
            (Self::TlsPolicy(a), Self::TlsPolicy(b)) => Arc::ptr_eq(a, b),
            (Self::Global(a), Self::Global(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// A host that is too large is sent as its denial: leaving it out would let requests fall to another host.
    fn unit(&self, key: &UnitKey, refused: &mut Vec<Refusal>) -> Option<Unit> {
        let body = match self {
            Self::Listener(spec) => json(spec),
            Self::Host(spec) => host_body(spec),
            Self::Backend(spec) => json(spec),
            Self::Certificate(spec) => json(spec),
            Self::TlsPolicy(spec) => json(spec),
            Self::Global(spec) => json(spec),
        };
        if body.len() <= MAX_UNIT_BYTES {
            return Some(Unit::new(key.clone(), ENVELOPE_FEATURE, body));
        }
        let reason = format!("larger than {MAX_UNIT_BYTES} bytes");
        refused.push(Refusal::new(key, &reason));
        let Self::Host(spec) = self else {
            return None;
        };
        let body = host_body(&denied(&spec.table, spec.host.clone(), reason));
        Some(Unit::new(key.clone(), ENVELOPE_FEATURE, body))
    }
}

/// A host that answers everything with 503.
pub(crate) fn denied(
    table: &str,
    host: portcullis_route::spec::HostMatch,
    reason: String,
) -> HostRoutes {
    let route = RouteSpec {
        id: format!("denied {host}"),
        labels: RouteLabels::default(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        rank: 0,
        action: RouteAction::Deny(Denial {
            status: 503,
            reason,
        }),
    };
    HostRoutes {
        table: table.to_owned(),
        host,
        routes: vec![route],
    }
}

fn host_body(spec: &HostRoutes) -> Bytes {
    let routes = spec.routes.iter().map(|route| RouteBody {
        required_feature: required_feature(&route.action),
        id: route.id.clone(),
        labels: route.labels.clone(),
        rank: route.rank,
        matches: raw(&route.matches),
        action: raw(&route.action),
    });
    json(&HostBody {
        routes: routes.collect(),
    })
}

fn required_feature(action: &RouteAction) -> u32 {
    let RouteAction::Serve(steps) = action else {
        return ENVELOPE_FEATURE;
    };
    let features = steps.iter().map(|step| step.required_feature());
    features.max().unwrap_or(ENVELOPE_FEATURE)
}

fn json<T: Serialize>(value: &T) -> Bytes {
    let text = serde_json::to_vec(value).expect("specs have only JSON's types");
    Bytes::from(text)
}

fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("specs have only JSON's types")
}

/// Reading bodies as they are written today.
const ENVELOPE_FEATURE: u32 = 1;
