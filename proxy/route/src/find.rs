//! The lookup: listener and head in, route out, without allocation.

use http::{HeaderMap, Method};

use crate::{
    route::Route,
    table::{HostSet, Table},
};

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Lower case, without port or trailing dot.
    pub host: &'a str,
    /// From [`crate::path::normalise`].
    pub path: &'a [u8],
    pub query: Option<&'a str>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
}

/// The answer of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t> {
    pub route: &'t Route,
    /// Index into [`Table::hosts`].
    pub host: u32,
    /// Index into that host's routes.
    pub route_index: u32,
}

impl Table {
    /// The route of a request: the most specific host of the listener's table (exact, then wildcard of one label, then
    /// any) and its best path. A known host that has no such path is not looked up again under a less specific host, as
    /// nginx chooses its server once. None is the default backend's 404.
    ///
    /// `listener` is an index into [`Table::listeners`].
    pub fn find(&self, listener: usize, head: &Head<'_>) -> Option<Found<'_>> {
        let set = self.listeners.get(listener)?.set?;
        let host = self.sets[set as usize].find(head.host)?;
        let unit = &self.hosts[host as usize];
        let route_index = unit.find(head)?;
        Some(Found {
            route: &unit.routes[route_index as usize],
            host,
            route_index,
        })
    }
}

impl HostSet {
    pub(crate) fn find(&self, host: &str) -> Option<u32> {
        if let Some(&index) = self.exact.get(host) {
            return Some(index);
        }
        self.find_wildcard(host).or(self.any)
    }

    fn find_wildcard(&self, host: &str) -> Option<u32> {
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, suffix) = host.split_once('.')?;
        let index = self.wildcard.get(suffix).copied();
        index.filter(|_| !label.is_empty())
    }
}
