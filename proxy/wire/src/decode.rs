//! Units as specs again, by a proxy that may be older than their writer.

use std::sync::Arc;

use portcullis_route::spec::{
    BackendSpec, CertificateSpec, Denial, GlobalSpec, HostRoutes, ListenerSpec, RouteAction,
    RouteMatch, RouteSpec, TlsPolicySpec,
};
use serde::de::DeserializeOwned;

use crate::{
    MAX_NAME_BYTES, MAX_UNIT_BYTES,
    encode::{HostBody, RouteBody, denied},
    unit::{Refusal, Unit, UnitKey, UnitKind},
};

pub(crate) enum Decoded {
    Listener(Arc<ListenerSpec>),
    Host(Arc<HostRoutes>),
    Backend(Arc<BackendSpec>),
    Certificate(Arc<CertificateSpec>),
    TlsPolicy(Arc<TlsPolicySpec>),
    Global(Arc<GlobalSpec>),
}

/// Reads one unit. None: it is refused, and whatever stood under its key stays. A host is never refused but denied.
pub(crate) fn decode(
    unit: &Unit,
    known_feature: u32,
    refused: &mut Vec<Refusal>,
) -> Option<Decoded> {
    let decoded = match fault(unit, known_feature) {
        None => read(unit, known_feature, refused),
        Some(reason) => Err(reason),
    };
    match decoded {
        Ok(decoded) => Some(decoded),
        Err(reason) => {
            refused.push(Refusal::new(&unit.key, &reason));
            deny(&unit.key, reason)
        }
    }
}

fn fault(unit: &Unit, known_feature: u32) -> Option<String> {
    if unit.key.name.len() > MAX_NAME_BYTES {
        return Some(format!("its name is longer than {MAX_NAME_BYTES} bytes"));
    }
    if unit.body.len() > MAX_UNIT_BYTES {
        return Some(format!("larger than {MAX_UNIT_BYTES} bytes"));
    }
    if !unit.is_whole() {
        return Some("its content does not have its hash".to_owned());
    }
    (unit.required_feature > known_feature)
        .then(|| unknown_feature(unit.required_feature, known_feature))
}

fn read(unit: &Unit, known_feature: u32, refused: &mut Vec<Refusal>) -> Result<Decoded, String> {
    let body = &unit.body;
    Ok(match unit.key.kind {
        UnitKind::Listener => Decoded::Listener(json(body)?),
        UnitKind::HostRoutes => Decoded::Host(Arc::new(host(unit, known_feature, refused)?)),
        UnitKind::Backend => Decoded::Backend(json(body)?),
        UnitKind::Certificate => Decoded::Certificate(json(body)?),
        UnitKind::TlsPolicy => Decoded::TlsPolicy(json(body)?),
        UnitKind::Global => Decoded::Global(json(body)?),
        UnitKind::Unknown(number) => return Err(format!("kind {number} is not known")),
    })
}

/// # Errors
/// A route whose match cannot be read denies its whole host: which requests it would have denied is not known.
fn host(unit: &Unit, known_feature: u32, refused: &mut Vec<Refusal>) -> Result<HostRoutes, String> {
    let (table, host) = unit
        .key
        .table_and_host()
        .ok_or("its name is not that of a host")?;
    let body: HostBody = serde_json::from_slice(&unit.body).map_err(|_| UNREADABLE)?;
    let mut routes = Vec::with_capacity(body.routes.len());
    for route in body.routes {
        routes.push(decode_route(unit, route, known_feature, refused)?);
    }
    Ok(HostRoutes {
        table: table.to_owned(),
        host,
        routes,
    })
}

fn decode_route(
    unit: &Unit,
    body: RouteBody,
    known_feature: u32,
    refused: &mut Vec<Refusal>,
) -> Result<RouteSpec, String> {
    let matches: RouteMatch = serde_json::from_str(body.matches.get())
        .map_err(|_| format!("route {}: its match is not understood", body.id))?;
    let action = match body.required_feature > known_feature {
        true => Err(unknown_feature(body.required_feature, known_feature)),
        false => serde_json::from_str(body.action.get())
            .map_err(|_| "its action is not understood".to_owned()),
    };
    let action = action.unwrap_or_else(|reason| {
        let reason = format!("route {}: {reason}", body.id);
        refused.push(Refusal::new(&unit.key, &reason));
        RouteAction::Deny(Denial {
            status: 503,
            reason,
        })
    });
    Ok(RouteSpec {
        id: body.id,
        labels: body.labels,
        matches,
        rank: body.rank,
        action,
    })
}

fn deny(key: &UnitKey, reason: String) -> Option<Decoded> {
    if key.kind != UnitKind::HostRoutes {
        return None;
    }
    let (table, host) = key.table_and_host()?;
    Some(Decoded::Host(Arc::new(denied(table, host, reason))))
}

fn unknown_feature(required: u32, known: u32) -> String {
    format!("it requires feature {required} of the proxy, which knows up to {known}")
}

/// The parser's own words are not passed on: they may quote the content, and the content may be a key.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<Arc<T>, String> {
    let read = serde_json::from_slice(body).map(Arc::new);
    read.map_err(|_| UNREADABLE.to_owned())
}

const UNREADABLE: &str = "its content is not understood";
