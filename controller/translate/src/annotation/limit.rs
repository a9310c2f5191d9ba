//! `limit-rps`, `limit-rpm`: requests per client address, counted per Ingress object.

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_route::spec::{LimitKey, RateLimit};

use super::{Owner, value::shorten};

/// # Errors
/// A limit that is not understood must not be taken for none.
pub(super) fn parse(
    values: &BTreeMap<&str, &str>,
    owner: &Owner<'_>,
    status: u16,
) -> Result<Vec<RateLimit>, String> {
    let per_second = count(values, "limit-rps")?.unwrap_or(0);
    let per_minute = count(values, "limit-rpm")?.unwrap_or(0);
    let multiplier = match count(values, "limit-burst-multiplier")? {
        None | Some(0) => DEFAULT_BURST_MULTIPLIER,
        Some(multiplier) => multiplier,
    };
    let exempt = exempt(values)?;
    let limit = |unit: &str, requests: u32, interval_seconds| {
        (requests > 0).then(|| RateLimit {
            name: format!("{}_{}_{}_{unit}", owner.namespace, owner.name, owner.uid),
            key: LimitKey::ClientIp,
            requests,
            interval_seconds,
            burst: requests.saturating_mul(multiplier),
            status,
            exempt: exempt.clone(),
        })
    };
    let limits = [limit("rps", per_second, 1), limit("rpm", per_minute, 60)];
    Ok(limits.into_iter().flatten().collect())
}

fn count(values: &BTreeMap<&str, &str>, name: &str) -> Result<Option<u32>, String> {
    let Some(text) = values.get(name) else {
        return Ok(None);
    };
    match text.parse::<u32>() {
        Ok(number) if number <= MAX_COUNT => Ok(Some(number)),
        _ => Err(format!(
            "annotation {name}: {:?} is not a whole number from 0 to {MAX_COUNT}",
            shorten(text)
        )),
    }
}

fn exempt(values: &BTreeMap<&str, &str>) -> Result<Vec<String>, String> {
    let named = ["limit-allowlist", "limit-whitelist"]
        .into_iter()
        .find_map(|name| Some((name, *values.get(name)?)));
    let Some((name, text)) = named else {
        return Ok(Vec::new());
    };
    let mut networks = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match network(part) {
            Some(network) => networks.push(network),
            None => {
                return Err(format!(
                    "annotation {name}: {:?} is not an IP address or CIDR",
                    shorten(part)
                ));
            }
        }
    }
    networks.sort();
    networks.dedup();
    Ok(networks)
}

/// An address or a CIDR; always returned with its prefix length.
fn network(text: &str) -> Option<String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(max);
    (bits <= max).then(|| format!("{address}/{bits}"))
}

/// ingress-nginx's `limit-burst-multiplier`.
const DEFAULT_BURST_MULTIPLIER: u32 = 5;
/// Requests per interval; with any sensible multiplier the burst still fits its integer.
const MAX_COUNT: u32 = 10_000_000;
