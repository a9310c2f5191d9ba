//! Idle upstream connections of one core.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use foldhash::fast::FixedState;

use super::socket::Upstream;
use crate::{
    body::{BodyOutcome, Progress},
    core::Core,
};

/// Idle connections by endpoint, the most recently used last.
#[derive(Default)]
pub(crate) struct Pool {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    idle: HashMap<SocketAddr, Vec<Idle>, FixedState>,
    max_idle: usize,
    idle_timeout_ms: u64,
    /// What is not in it is closed instead of kept.
    endpoints: Arc<HashSet<SocketAddr, FixedState>>,
}

struct Idle {
    upstream: Upstream,
    since_ms: u64,
}

/// A connection in use. Dropped without release it is closed: its framing is not known to be clean.
pub(crate) struct Lease {
    pub upstream: Upstream,
    /// Of the request body, if there is one.
    progress: Option<Rc<Progress>>,
    core: Rc<Core>,
}

impl Pool {
    /// New limits and endpoints: idle connections to any other are closed.
    pub fn configure(
        &self,
        endpoints: &Arc<HashSet<SocketAddr, FixedState>>,
        max_idle: usize,
        idle_timeout_ms: u64,
    ) {
        let mut inner = self.inner.borrow_mut();
        inner.max_idle = max_idle;
        inner.idle_timeout_ms = idle_timeout_ms;
        if !Arc::ptr_eq(&inner.endpoints, endpoints) {
            inner.endpoints = endpoints.clone();
            inner.idle.retain(|address, _| endpoints.contains(address));
        }
    }

    /// An idle connection, if there is one that was alive when last looked at.
    pub fn take(&self, endpoint: SocketAddr) -> Option<Upstream> {
        let mut inner = self.inner.borrow_mut();
        let idle = inner.idle.get_mut(&endpoint)?;
        while let Some(candidate) = idle.pop() {
            if !candidate.upstream.sender.is_closed() {
                return Some(candidate.upstream);
            }
        }
        None
    }

    fn put(&self, upstream: Upstream, now_ms: u64) {
        let mut inner = self.inner.borrow_mut();
        if !inner.endpoints.contains(&upstream.endpoint) {
            return;
        }
        let max_idle = inner.max_idle;
        let idle = inner.idle.entry(upstream.endpoint).or_default();
        if idle.len() < max_idle {
            idle.push(Idle {
                upstream,
                since_ms: now_ms,
            });
        }
    }

    /// Closes the connection that has been idle for the longest time; false if there is none.
    pub fn close_oldest(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        let oldest = inner
            .idle
            .iter()
            .filter_map(|(endpoint, idle)| Some((idle.first()?.since_ms, *endpoint)))
            .min();
        let Some(idle) = oldest.and_then(|(_, endpoint)| inner.idle.get_mut(&endpoint)) else {
            return false;
        };
        idle.remove(0);
        true
    }

    /// Closes what has been idle for too long or was closed by its peer.
    pub fn sweep(&self, now_ms: u64) {
        let mut inner = self.inner.borrow_mut();
        let timeout_ms = inner.idle_timeout_ms;
        inner.idle.retain(|_, idle| {
            idle.retain(|candidate| {
                !candidate.upstream.sender.is_closed()
                    && now_ms.saturating_sub(candidate.since_ms) < timeout_ms
            });
            !idle.is_empty()
        });
    }
}

impl Lease {
    pub fn new(core: &Rc<Core>, upstream: Upstream, progress: Option<Rc<Progress>>) -> Self {
        Self {
            upstream,
            progress,
            core: core.clone(),
        }
    }

    /// The response is complete: the connection may serve another request, if this one was sent to its end.
    pub fn release(self) {
        self.upstream.gauge.rest();
        let is_sent = self
            .progress
            .as_ref()
            .is_none_or(|progress| progress.outcome.get() == BodyOutcome::Finished);
        if !is_sent || self.upstream.sender.is_closed() {
            return;
        }
        self.upstream.uses.set(self.upstream.uses.get() + 1);
        self.core.pool.put(self.upstream, self.core.clock.now_ms());
    }
}
