//! Listeners as the specs ask for them: opened, kept, closed; what cannot be bound is tried again.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portcullis_route::{
    Refusal,
    spec::{ListenerProtocol, ListenerSpec, Specs},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{bind, ids::Id, registry::Registry};
use crate::{gateway::BoundListener, worker::Command};

/// The open listeners and what they were opened for.
#[derive(Debug)]
pub(crate) struct Listeners {
    workers: Vec<UnboundedSender<Command>>,
    open: HashMap<String, OpenListener>,
    wanted: Arc<Specs>,
    /// Accept loops that have not drained their queues.
    accepting: TaskTracker,
}

#[derive(Debug)]
struct OpenListener {
    id: Arc<Id>,
    asked: SocketKey,
    address: SocketAddr,
    stop: CancellationToken,
}

/// What makes a listener need another socket.
type SocketKey = (IpAddr, u16, ListenerProtocol);

impl Listeners {
    pub fn new(workers: Vec<UnboundedSender<Command>>) -> Self {
        Self {
            workers,
            open: HashMap::new(),
            wanted: Arc::default(),
            accepting: TaskTracker::new(),
        }
    }

    /// Opens what is new before closing what is gone, so that a moved listener never refuses. Returns what could not be
    /// opened.
    pub fn listen(&mut self, specs: &Arc<Specs>, registry: &mut Registry) -> Vec<Refusal> {
        self.wanted = specs.clone();
        let refusals = self.open_missing(registry);
        self.open.retain(|name, listener| {
            let is_wanted = specs.listeners.iter().any(|spec| spec.name == *name);
            if !is_wanted {
                listener.stop.cancel();
            }
            is_wanted
        });
        refusals
    }

    /// Opens what is wanted and not open, or open elsewhere. Returns what still is not.
    pub fn open_missing(&mut self, registry: &mut Registry) -> Vec<Refusal> {
        let specs = self.wanted.clone();
        let mut refusals = Vec::new();
        for spec in &specs.listeners {
            let asked = (spec.address, spec.port, spec.protocol);
            let open = self.open.get(&spec.name);
            if open.is_some_and(|open| open.asked == asked) {
                continue;
            }
            if let Err(reason) = self.open(spec, asked, registry) {
                refusals.push(Refusal {
                    unit: format!("listener {}", spec.name),
                    reason,
                });
            }
        }
        refusals
    }

    /// Closes everything. Whoever has connected by then is counted as a connection once the returned loops have ended.
    pub fn close(&mut self) -> TaskTracker {
        self.wanted = Arc::default();
        for (_, listener) in self.open.drain() {
            listener.stop.cancel();
        }
        self.accepting.close();
        self.accepting.clone()
    }

    /// Sorted by name.
    pub fn bound(&self) -> Vec<BoundListener> {
        let mut bound: Vec<BoundListener> = self
            .open
            .iter()
            .map(|(name, listener)| BoundListener {
                name: name.clone(),
                address: listener.address,
            })
            .collect();
        bound.sort_by(|a, b| a.name.cmp(&b.name));
        bound
    }

    fn open(
        &mut self,
        spec: &ListenerSpec,
        asked: SocketKey,
        registry: &mut Registry,
    ) -> Result<(), String> {
        if spec.protocol == ListenerProtocol::Https {
            let policy = spec.tls_policy.as_ref().ok_or("no TLS policy")?;
            if !self.wanted.tls_policies.iter().any(|p| p.name == *policy) {
                return Err(format!("TLS policy {policy} does not exist"));
            }
        }
        let failed = |error| format!("{}: {error}", SocketAddr::new(spec.address, spec.port));
        let shares = |open: &OpenListener| open.address.port() == spec.port;
        if !self.open.values().any(shares) {
            bind::alone(spec.address, spec.port).map_err(failed)?;
        }
        let sockets = bind::bind(spec.address, spec.port, self.workers.len()).map_err(failed)?;
        let address = sockets
            .first()
            .and_then(|socket| socket.local_addr().ok())
            .ok_or("socket has no address")?;
        let listener = OpenListener {
            id: registry.listener_id(&spec.name),
            asked,
            address,
            stop: CancellationToken::new(),
        };
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let command = Command::Listen {
                listener: listener.id.clone(),
                socket,
                stop: listener.stop.clone(),
                accepting: self.accepting.token(),
            };
            if worker.send(command).is_err() {
                return Err("worker is gone".to_owned());
            }
        }
        if let Some(old) = self.open.insert(spec.name.clone(), listener) {
            old.stop.cancel();
        }
        Ok(())
    }
}
