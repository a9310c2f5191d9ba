//! Which certificate a host is served with.

use std::collections::BTreeSet;

use portcullis_route::spec::HostMatch;

use super::Sources;
use crate::{
    fragment::{Fragment, Tls},
    notice::{Notice, Reason},
    object::ObjectKey,
};

#[derive(Default)]
pub(super) struct Election {
    /// Served with some certificate, if only the default one: plain requests are redirected.
    pub is_tls: bool,
    /// None: the default certificate.
    pub secret: Option<ObjectKey>,
    /// Whatever was looked at, so that a Secret that appears later is taken up.
    pub consulted: BTreeSet<ObjectKey>,
    pub notices: Vec<Notice>,
}

/// The first Ingress of the host with a `spec.tls` decides, as in ingress-nginx.
pub(super) fn elect(
    host: &HostMatch,
    fragments: &[&Fragment],
    sources: &mut Sources<'_>,
) -> Election {
    let mut election = Election::default();
    let mut candidates = fragments.iter().filter(|fragment| {
        !fragment.tls.is_empty() && fragment.rules.iter().any(|rule| rule.host == *host)
    });
    let Some(fragment) = candidates.next().filter(|_| *host != HostMatch::Any) else {
        return election;
    };
    election.is_tls = true;
    let name = host.to_string();
    let listed = fragment
        .tls
        .iter()
        .find(|entry| entry.hosts.contains(&name));
    match listed {
        Some(entry) => listed_secret(&mut election, host, fragment, entry, sources),
        None => any_secret(&mut election, host, fragment, sources),
    }
    election
}

fn listed_secret(
    election: &mut Election,
    host: &HostMatch,
    fragment: &Fragment,
    entry: &Tls,
    sources: &mut Sources<'_>,
) {
    let Some(secret) = &entry.secret else {
        return;
    };
    let key = ObjectKey::new(&fragment.key.namespace, secret);
    let fault = match sources.materials.get(&key, sources.snapshot).as_ref() {
        Err(fault) => Some(fault.clone()),
        Ok(material) if !material.covers(host) => {
            Some(format!("has no certificate for the name {host}"))
        }
        Ok(_) => None,
    };
    match fault {
        None => election.secret = Some(key.clone()),
        Some(fault) => election.notices.push(fragment.warning(
            Reason::CertificateUnusable,
            format!("host {host}: Secret {key} {fault}; the default certificate is served"),
        )),
    }
    election.consulted.insert(key);
}

/// No entry lists the host: the first Secret whose certificate has its name.
fn any_secret(
    election: &mut Election,
    host: &HostMatch,
    fragment: &Fragment,
    sources: &mut Sources<'_>,
) {
    for secret in fragment
        .tls
        .iter()
        .filter_map(|entry| entry.secret.as_ref())
    {
        let key = ObjectKey::new(&fragment.key.namespace, secret);
        let material = sources.materials.get(&key, sources.snapshot);
        let fits = material
            .as_ref()
            .as_ref()
            .is_ok_and(|material| material.covers(host));
        election.consulted.insert(key.clone());
        if fits {
            election.secret = Some(key);
            return;
        }
    }
}
