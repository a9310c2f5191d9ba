//! Addresses and node ports of Services: taken before the object is stored, given back when it is gone.
//!
//! The pools live in memory and are rebuilt from the stored Services at the start, so nothing can leak for longer than
//! the process lives. Only this server writes Services, so they cannot be wrong either.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_resource::error::{ApiError, FieldError};
use portcullis_resource::kind::KindSpec;
use portcullis_resource::prepare::{Allocated, IpFamily, NamedPort, ServiceNeed};
use rand::Rng;
use serde_json::{Value, json};

use crate::cidr::Cidr;

pub(crate) struct Pools {
    cidr: Cidr,
    node_ports: RangeInclusive<u16>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<u16>,
}

/// What one Service holds.
#[derive(Default)]
struct Holdings {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<u16>,
}

/// Addresses and ports taken for a Service that is not stored yet; dropped, it gives them back.
pub(crate) struct Reservation {
    pools: Arc<Pools>,
    allocated: Allocated,
    held: Holdings,
}

impl Pools {
    pub(crate) fn new(cidr: Cidr, node_ports: RangeInclusive<u16>) -> Arc<Self> {
        Arc::new(Self {
            cidr,
            node_ports,
            taken: Mutex::new(Taken::default()),
        })
    }

    /// Notes what stored Services hold: at the start.
    pub(crate) fn adopt(&self, services: &[Value]) {
        let mut taken = self.lock();
        for service in services {
            let held = self.holdings(service);
            taken.addresses.extend(held.addresses);
            taken.ports.extend(held.ports);
        }
    }

    /// Takes what a Service needs beyond what `old` holds already.
    ///
    /// # Errors
    /// 422 naming the address or port that cannot be had.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        kind: &KindSpec,
        name: &str,
        old: Option<&Value>,
        need: &ServiceNeed,
    ) -> Result<Reservation, ApiError> {
        let own = old.map(|o| self.holdings(o)).unwrap_or_default();
        let mut reservation = Reservation {
            pools: Arc::clone(self),
            allocated: Allocated::default(),
            held: Holdings::default(),
        };
        let filled = self.fill(&mut reservation, &own, need);
        filled
            .map(|()| reservation)
            .map_err(|error| ApiError::Invalid {
                kind: kind.group_kind(),
                name: name.to_owned(),
                errors: vec![error],
            })
    }

    fn fill(
        &self,
        reservation: &mut Reservation,
        own: &Holdings,
        need: &ServiceNeed,
    ) -> Result<(), FieldError> {
        check_families(need)?;
        let mut taken = self.lock();
        let held = &mut reservation.held;
        for address in &need.named_ips {
            let IpAddr::V4(named) = address else {
                let value = json!([address.to_string()]);
                let detail = "IPv6 is not configured on this cluster";
                return Err(FieldError::invalid("spec.clusterIPs[0]", &value, detail));
            };
            if own.addresses.contains(named) {
                continue;
            }
            if !self.cidr.contains(*named) {
                let detail = format!(
                    "provided IP is not in the valid range. The range of valid IPs is {}",
                    self.cidr
                );
                return Err(address_error(*address, &detail));
            }
            if !taken.addresses.insert(*named) {
                return Err(address_error(*address, "provided IP is already allocated"));
            }
            held.addresses.insert(*named);
        }
        for NamedPort { field, port } in &need.named_node_ports {
            if own.ports.contains(port) || held.ports.contains(port) {
                continue;
            }
            if !self.node_ports.contains(port) {
                let (from, to) = (self.node_ports.start(), self.node_ports.end());
                let detail = format!(
                    "provided port is not in the valid range. The range of valid ports is {from}-{to}"
                );
                return Err(FieldError::invalid(field, &json!(port), detail));
            }
            if !taken.ports.insert(*port) {
                let detail = "provided port is already allocated";
                return Err(FieldError::invalid(field, &json!(port), detail));
            }
            held.ports.insert(*port);
        }
        for _ in &need.cluster_ips {
            let address = self.free_address(&mut taken)?;
            held.addresses.insert(address);
            reservation.allocated.cluster_ips.push(IpAddr::V4(address));
        }
        for _ in 0..need.node_ports {
            let port = self.free_port(&mut taken)?;
            held.ports.insert(port);
            reservation.allocated.node_ports.push(port);
        }
        Ok(())
    }

    /// From the upper part of the range first: the lower one is where people choose addresses by hand (KEP-3070).
    fn free_address(&self, taken: &mut Taken) -> Result<Ipv4Addr, FieldError> {
        let size = self.cidr.size();
        let by_hand = (size / 16).clamp(16, 256).min(size / 2);
        let free = pick(by_hand + 1, size - 2, |n| {
            taken
                .addresses
                .insert(self.cidr.nth(n))
                .then(|| self.cidr.nth(n))
        });
        let free = free.or_else(|| {
            pick(FIRST_FREE, by_hand, |n| {
                taken
                    .addresses
                    .insert(self.cidr.nth(n))
                    .then(|| self.cidr.nth(n))
            })
        });
        free.ok_or_else(|| {
            FieldError::invalid(
                "spec.clusterIPs",
                &json!([]),
                "failed to allocate IP: range is full",
            )
        })
    }

    /// From the upper part of the range first, for the same reason (KEP-3668).
    fn free_port(&self, taken: &mut Taken) -> Result<u16, FieldError> {
        let (from, to) = (
            u32::from(*self.node_ports.start()),
            u32::from(*self.node_ports.end()),
        );
        let size = (to + 1).saturating_sub(from);
        let by_hand = match size {
            0..16 => 0,
            _ => (size / 32).clamp(16, 128),
        };
        let mut take = |n| {
            let port = u16::try_from(n).ok()?;
            taken.ports.insert(port).then_some(port)
        };
        let free = pick(from + by_hand, to, &mut take);
        let free = free.or_else(|| pick(from, from + by_hand, &mut take));
        free.ok_or_else(|| {
            FieldError::invalid(
                "spec.ports",
                &json!([]),
                "failed to allocate a nodePort: range is full",
            )
        })
    }

    /// After a write: what `old` held and `new` does not is free again.
    pub(crate) fn settle(&self, old: Option<&Value>, new: Option<&Value>) {
        let Some(old) = old else { return };
        let kept = new.map(|n| self.holdings(n)).unwrap_or_default();
        let held = self.holdings(old);
        let mut taken = self.lock();
        for address in held.addresses.difference(&kept.addresses) {
            taken.addresses.remove(address);
        }
        for port in held.ports.difference(&kept.ports) {
            taken.ports.remove(port);
        }
    }

    fn holdings(&self, service: &Value) -> Holdings {
        let list = |pointer: &str| {
            service
                .pointer(pointer)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let single = service.pointer("/spec/clusterIP").cloned();
        let ports = list("/spec/ports");
        let health = service
            .pointer("/spec/healthCheckNodePort")
            .and_then(Value::as_u64);
        Holdings {
            addresses: list("/spec/clusterIPs")
                .iter()
                .chain(single.iter())
                .filter_map(|ip| ip.as_str()?.parse().ok())
                .filter(|ip| self.cidr.contains(*ip))
                .collect(),
            ports: ports
                .iter()
                .filter_map(|port| port.get("nodePort")?.as_u64())
                .chain(health)
                .filter_map(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0)
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    pub(crate) fn allocated(&self) -> &Allocated {
        &self.allocated
    }

    /// The Service is stored: from now on it holds them.
    pub(crate) fn keep(mut self) {
        self.held = Holdings::default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut taken = self.pools.lock();
        remove_all(&mut taken.addresses, &self.held.addresses);
        remove_all(&mut taken.ports, &self.held.ports);
    }
}

fn remove_all<T: Hash + Eq>(from: &mut HashSet<T>, gone: &HashSet<T>) {
    from.retain(|item| !gone.contains(item));
}

/// Tries every number of a range once, from a random one on.
fn pick<T>(from: u32, to: u32, mut take: impl FnMut(u32) -> Option<T>) -> Option<T> {
    if from > to {
        return None;
    }
    let span = to - from + 1;
    let start = rand::rng().random_range(0..span);
    (0..span).find_map(|i| take(from + (start + i) % span))
}

fn address_error(address: IpAddr, detail: &str) -> FieldError {
    let value = json!([address.to_string()]);
    FieldError::invalid(
        "spec.clusterIPs",
        &value,
        format!("failed to allocate IP {address}: {detail}"),
    )
}

/// The Services of this cluster are IPv4's.
fn check_families(need: &ServiceNeed) -> Result<(), FieldError> {
    if need.dual_stack {
        let detail = "this cluster is not configured for dual-stack services";
        let value = json!("RequireDualStack");
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &value, detail));
    }
    match need.families.iter().position(|f| *f == IpFamily::V6) {
        None => Ok(()),
        Some(index) => Err(FieldError::invalid(
            format!("spec.ipFamilies[{index}]"),
            &json!("IPv6"),
            "not configured on this cluster",
        )),
    }
}

/// The first address of the range is the `kubernetes` Service's.
const FIRST_FREE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_resource::kind;

    fn pools() -> Arc<Pools> {
        Pools::new("10.43.0.0/28".parse().expect("parses"), 30_000..=30_001)
    }

    fn reserve(pools: &Arc<Pools>, need: &ServiceNeed) -> Result<Reservation, ApiError> {
        let services = kind::by_resource("", "v1", "services").expect("is served");
        pools.reserve(services, "web", None, need)
    }

    #[test]
    fn a_dropped_reservation_gives_everything_back() {
        let pools = pools();
        let need = ServiceNeed {
            cluster_ips: vec![IpFamily::Primary],
            node_ports: 2,
            ..ServiceNeed::default()
        };
        let first = reserve(&pools, &need).expect("is free");
        let error = reserve(&pools, &need).err().expect("ports are gone");
        assert_eq!(error.code(), 422);
        drop(first);
        reserve(&pools, &need).expect("is free again").keep();
        assert!(reserve(&pools, &need).is_err());
    }

    #[test]
    fn every_address_is_used_once_and_named_ones_are_refused_when_taken() {
        let pools = pools();
        let one = ServiceNeed {
            cluster_ips: vec![IpFamily::V4],
            ..ServiceNeed::default()
        };
        let mut all = HashSet::new();
        while let Ok(reservation) = reserve(&pools, &one) {
            assert!(all.insert(reservation.allocated().cluster_ips[0]));
            reservation.keep();
        }
        // Without the network's own, the `kubernetes` Service's and the broadcast address.
        assert_eq!(all.len(), 13);
        let named = ServiceNeed {
            named_ips: vec!["10.43.0.5".parse().expect("parses")],
            ..ServiceNeed::default()
        };
        let error = reserve(&pools, &named).err().expect("is taken");
        assert!(
            error
                .to_string()
                .contains("provided IP is already allocated"),
            "{error}"
        );
        pools.settle(Some(&json!({"spec": {"clusterIPs": ["10.43.0.5"]}})), None);
        assert!(reserve(&pools, &named).is_ok());
    }
}
