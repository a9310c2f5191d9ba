//! The host's ends of pods' links, and the one node per network namespace that a range of pod addresses has.
//!
//! A node that was killed for good leaves its pods' links and their routes in the kernel. Another node with the same
//! addresses would hand them out again, the `ptp` plugin would take the old route for its own, and the new pod's traffic
//! would go to the old pod.

use crate::cri::Cri;
use crate::error::{Error, Result};
use crate::programs::{Programs, run};
use portcullis_nft::Cidr;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Holds the pods' addresses for this process: abstract socket names belong to the network namespace, as the addresses
/// do, and are free again when their process ends, however it ends.
pub(crate) struct Claim(#[expect(dead_code, reason = "held, never used")] Vec<UnixDatagram>);

impl Claim {
    /// # Errors
    /// [`Error::Claimed`] when a living node of this network namespace has some of them, [`Error::TableClaimed`] when it
    /// keeps its Services' rules in that table.
    pub(crate) fn take(pod_cidrs: &[Cidr], table: &str) -> Result<Self> {
        let held = pod_cidrs.iter().map(|cidr| {
            let claimed = |source| Error::Claimed {
                cidr: *cidr,
                source,
            };
            let others = || claimed_here().into_iter().filter(|other| other != cidr);
            let held = hold(&format!("{CLAIM}{cidr}")).map_err(claimed)?;
            // Looked for only now: of two that start at once, each sees the other or is seen.
            match others().find(|other| other.overlaps(*cidr) && !pod_cidrs.contains(other)) {
                None => Ok(held),
                Some(_) => Err(claimed(ErrorKind::AddrInUse.into())),
            }
        });
        let mut held = held.collect::<Result<Vec<_>>>()?;
        let table = hold(&format!("portcullis table {table}"));
        held.push(table.map_err(Error::TableClaimed)?);
        Ok(Claim(held))
    }
}

fn hold(name: &str) -> std::io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// The ranges that are held in this network namespace, by whomever.
fn claimed_here() -> Vec<Cidr> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once('@'));
    names
        .filter_map(|(_, name)| name.strip_prefix(CLAIM)?.parse().ok())
        .collect()
}

/// Removes the links to which our pods' addresses are routed but which lead to none of the runtime's pods.
pub(crate) async fn clear(programs: &Programs, cri: &Cri, pod_cidrs: &[Cidr]) -> Result<()> {
    let mut routes = Vec::new();
    for family in ["-4", "-6"] {
        let table = run(&programs.ip, &["-j", family, "route", "show"], b"").await?;
        if !table.is_empty() {
            routes.push(
                serde_json::from_slice(&table).map_err(|error| Error::Failed {
                    program: programs.ip.display().to_string(),
                    message: error.to_string(),
                })?,
            );
        }
    }
    for link in lost(&routes, pod_cidrs, &addresses(cri).await?) {
        tracing::warn!(
            "removing the link {link}: it leads to a pod of a node that was killed, whose address is this node's to give"
        );
        if let Err(error) = run(&programs.ip, &["link", "delete", &link], b"").await {
            tracing::warn!("cannot remove the link {link}: {error}");
        }
    }
    Ok(())
}

/// Links with a route to one of our pod addresses that no living pod has, by name.
fn lost(routes: &[Value], pod_cidrs: &[Cidr], living: &BTreeSet<IpAddr>) -> BTreeSet<String> {
    let routes = routes.iter().filter_map(Value::as_array).flatten();
    let lost = routes.filter(|route| {
        // A route to one host is printed as its address alone.
        let to = route["dst"].as_str().and_then(|to| to.parse().ok());
        to.is_some_and(|ip| pod_cidrs.iter().any(|cidr| cidr.contains(ip)) && !living.contains(&ip))
    });
    lost.filter_map(|route| route["dev"].as_str())
        .filter(|link| link.starts_with(PLUGIN_PREFIX))
        .map(str::to_owned)
        .collect()
}

/// Addresses of all pods that the runtime has.
async fn addresses(cri: &Cri) -> Result<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    for sandbox in cri.sandboxes(None).await? {
        let network = cri.sandbox_status(&sandbox.id).await?;
        let network = network.and_then(|status| status.network);
        let ips = network.into_iter().flat_map(|network| {
            let more = network.additional_ips.into_iter().map(|ip| ip.ip);
            std::iter::once(network.ip).chain(more)
        });
        all.extend(ips.filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    Ok(all)
}

/// What an abstract socket that holds a range is called, before the range.
const CLAIM: &str = "portcullis pods ";
/// How the plugin names the host's ends.
const PLUGIN_PREFIX: &str = "veth";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_link_is_lost_when_its_address_is_ours_and_no_pod_has_it() {
        let v4 = json!([
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "10.42.0.0/24", "dev": "vethrange"},
            {"dst": "10.42.0.2", "dev": "vetha", "scope": "host"},
            {"dst": "10.42.0.3", "dev": "vethb", "scope": "host"},
            {"dst": "10.42.0.4", "dev": "tunnel", "scope": "host"},
            {"dst": "10.42.1.2", "dev": "vethother", "scope": "host"},
        ]);
        let v6 = json!([{"dst": "fd42::2", "dev": "vethb"}, {"dst": "fd42::3", "dev": "vethc"}]);
        let cidrs = ["10.42.0.0/24", "fd42::/64"].map(|cidr| cidr.parse().unwrap());
        let living = ["10.42.0.2", "fd42::2"].map(|ip| ip.parse().unwrap());
        let lost = lost(&[v4, v6], &cidrs, &living.into());
        assert_eq!(lost, BTreeSet::from(["vethb".into(), "vethc".into()]));
    }

    #[test]
    fn a_range_has_one_holder_at_a_time() {
        let cidr = ["198.51.100.0/24".parse().unwrap()];
        let first = Claim::take(&cidr, "one").unwrap();
        let refused = Claim::take(&cidr, "two").err().unwrap().to_string();
        assert!(refused.contains("198.51.100.0/24"), "{refused}");
        let part = ["198.51.100.128/25".parse().unwrap()];
        assert!(Claim::take(&part, "two").is_err());
        let beside = ["198.51.101.0/24".parse().unwrap()];
        assert!(Claim::take(&beside, "two").is_ok());
        assert!(Claim::take(&beside, "one").is_err());
        drop(first);
        Claim::take(&cidr, "one").unwrap();
    }
}
