//! Why a request meets the route that it meets: the lookup again, slowly, with its reasons.

use crate::{
    find::Head,
    spec::{HostMatch, PathMatch},
    table::Table,
};

/// The way of one request through a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The host whose routes were asked; none when no host of the listener answers.
    pub host: Option<HostMatch>,
    /// Every route of that host, in the order of the specs.
    pub considered: Vec<Considered>,
    /// The id of the route that serves the request.
    pub chosen: Option<String>,
}

/// What spoke for or against one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    pub id: String,
    pub path: PathMatch,
    pub verdict: RouteVerdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteVerdict {
    PathDiffers,
    /// The path matches; method, headers or query do not.
    ConditionsDiffer,
    /// Everything matches, but another route takes precedence.
    Outranked,
    Chosen,
}

impl Table {
    /// Says what [`Table::find`] does with a request, and why.
    pub fn explain(&self, listener: usize, head: &Head<'_>) -> Explanation {
        let set = self.listeners.get(listener).and_then(|l| l.set);
        let host = set.and_then(|set| self.sets[set as usize].find(head.host));
        let Some(host) = host.map(|index| &self.hosts[index as usize]) else {
            return Explanation {
                host: None,
                considered: Vec::new(),
                chosen: None,
            };
        };
        let chosen = host.find(head);
        let considered = (0u32..).zip(&host.spec.routes).map(|(index, spec)| {
            let (path_matches, conditions_match) = host.match_alone(index, head);
            Considered {
                id: spec.id.clone(),
                path: spec.matches.path.clone(),
                verdict: match (path_matches, conditions_match) {
                    _ if chosen == Some(index) => RouteVerdict::Chosen,
                    (false, _) => RouteVerdict::PathDiffers,
                    (true, false) => RouteVerdict::ConditionsDiffer,
                    (true, true) => RouteVerdict::Outranked,
                },
            }
        });
        Explanation {
            host: Some(host.spec.host.clone()),
            considered: considered.collect(),
            chosen: chosen.map(|index| host.routes[index as usize].id.clone()),
        }
    }
}
