//! Which endpoint a request goes to.

use std::net::SocketAddr;

use http::{HeaderMap, header};
use smallvec::SmallVec;

use super::{
    affinity::{self, Stickiness},
    forward::Forwarding,
};
use crate::{core::Core, exchange::Exchange, publish::link::Backend, reply::Failure};

/// What the request's cookie says, on a route with affinity.
///
/// # Errors
/// The backend does not exist.
pub(crate) fn stickiness(
    exchange: &Exchange,
    forwarding: &Forwarding<'_>,
    headers: &HeaderMap,
) -> Result<Option<Stickiness>, Failure> {
    let Some(cookie) = &forwarding.spec.affinity else {
        return Ok(None);
    };
    let view = exchange.core.view();
    let backend = view
        .published
        .backend(forwarding.backend)
        .ok_or(Failure::NoEndpoint)?;
    if let Some(key) = affinity::read(headers, cookie, &backend.tag) {
        return Ok(Some(Stickiness { key, is_new: false }));
    }
    Ok(Some(Stickiness {
        key: String::new(),
        is_new: true,
    }))
}

/// The endpoint to ask next: the client's own, or whose turn it is; never one that was asked before.
pub(crate) fn pick(
    exchange: &Exchange,
    forwarding: &Forwarding<'_>,
    sticky: Option<&mut Stickiness>,
    tried: &[SocketAddr],
) -> Option<SocketAddr> {
    let core = &exchange.core;
    let view = core.view();
    let backend = view.published.backend(forwarding.backend)?;
    match (sticky, &forwarding.spec.affinity) {
        (Some(sticky), Some(cookie)) => {
            if !tried.is_empty() && !sticky.is_new && !cookie.change_on_failure {
                return None;
            }
            if cookie.persistent {
                return pick_persistent(core, forwarding.backend, backend, sticky, tried);
            }
            if sticky.key.is_empty() || !tried.is_empty() {
                return pick_by_new_key(core, backend, sticky, tried);
            }
            affinity::choose(&sticky.key, &backend.eligible)
        }
        _ => pick_in_turn(core, forwarding.backend, backend, tried),
    }
}

fn pick_in_turn(
    core: &Core,
    id: u32,
    backend: &Backend,
    tried: &[SocketAddr],
) -> Option<SocketAddr> {
    let count = backend.eligible.len();
    if count == 0 {
        return None;
    }
    let turn = core.next_turn(id) as usize;
    (0..count)
        .map(|offset| backend.eligible[(turn + offset) % count])
        .find(|endpoint| !tried.contains(endpoint))
}

/// Draws a key whose own endpoint was not asked yet, so that the client's next request goes where this one went.
fn pick_by_new_key(
    core: &Core,
    backend: &Backend,
    sticky: &mut Stickiness,
    tried: &[SocketAddr],
) -> Option<SocketAddr> {
    sticky.is_new = true;
    for _ in 0..MAX_DRAWS {
        let now = time::OffsetDateTime::now_utc();
        sticky.key = affinity::new_key(now, core.id, core.random_u64());
        let endpoint = affinity::choose(&sticky.key, &backend.eligible)?;
        if !tried.contains(&endpoint) {
            return Some(endpoint);
        }
    }
    let open: SmallVec<[SocketAddr; 16]> = untried(backend, tried).collect();
    affinity::choose(&sticky.key, &open)
}

fn pick_persistent(
    core: &Core,
    id: u32,
    backend: &Backend,
    sticky: &mut Stickiness,
    tried: &[SocketAddr],
) -> Option<SocketAddr> {
    let name = &backend.spec.name;
    let kept = untried(backend, tried)
        .find(|endpoint| affinity::endpoint_key(name, *endpoint) == sticky.key);
    if kept.is_some() {
        return kept;
    }
    let endpoint = pick_in_turn(core, id, backend, tried)?;
    sticky.key = affinity::endpoint_key(name, endpoint);
    sticky.is_new = true;
    Some(endpoint)
}

fn untried<'a>(
    backend: &'a Backend,
    tried: &'a [SocketAddr],
) -> impl Iterator<Item = SocketAddr> + 'a {
    let eligible = backend.eligible.iter().copied();
    eligible.filter(move |endpoint| !tried.contains(endpoint))
}

/// Gives a client whose key is new its cookie.
pub(crate) fn set_cookie(
    exchange: &Exchange,
    forwarding: &Forwarding<'_>,
    sticky: Option<Stickiness>,
    headers: &mut HeaderMap,
) {
    let (Some(sticky), Some(cookie)) = (sticky, &forwarding.spec.affinity) else {
        return;
    };
    let view = exchange.core.view();
    let Some(backend) = view.published.backend(forwarding.backend) else {
        return;
    };
    if !sticky.is_new {
        return;
    }
    let now = time::OffsetDateTime::now_utc();
    let is_https = exchange.connection.is_tls;
    if let Some(value) = affinity::set_cookie(cookie, &sticky.key, &backend.tag, is_https, now) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Keys drawn for one pick: with one endpoint of three tried, all of them miss once in three thousand million.
const MAX_DRAWS: usize = 20;
