//! What this machine is: addresses, size, resolver.

use crate::node::Capacity;
use portcullis_pod::files::Resolver;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

/// The node's addresses, the IPv4 one first: those that a packet to the outside would leave with, or any that is up.
pub fn addresses() -> Vec<IpAddr> {
    let routed = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let mut found: Vec<_> = routed
        .into_iter()
        .filter_map(|(from, to)| source(from, to))
        .collect();
    if found.is_empty() {
        found.extend(of_interfaces().into_iter().next());
    }
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found
}

pub(crate) fn capacity(directory: &Path) -> Capacity {
    let cpus = std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let memory = nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total());
    let disk = nix::sys::statvfs::statvfs(directory)
        .map_or(0, |disk| disk.blocks() * disk.fragment_size());
    Capacity {
        cpus,
        memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        disk_bytes: disk,
    }
}

pub(crate) fn resolver() -> Resolver {
    // systemd's stub listens on the node's loopback, which a pod cannot reach; its upstream list is here.
    let direct = std::fs::read_to_string("/run/systemd/resolve/resolv.conf");
    let text = direct
        .or_else(|_| std::fs::read_to_string("/etc/resolv.conf"))
        .unwrap_or_default();
    Resolver::parse(&text)
}

/// Connecting a UDP socket sends nothing; it makes the kernel choose a source address.
fn source(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn of_interfaces() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let addresses = interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
    addresses
        .filter(|ip| {
            !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
        })
        .collect()
}
