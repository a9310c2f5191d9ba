//! Which process of the host has a port, by the kernel's own tables.

use portcullis_nft::{HostPort, Protocol};
use std::collections::{BTreeMap, BTreeSet};

type Key = (Protocol, u16);

/// `NAME (pid N)` for each port that some process has; one that cannot be looked at is left out.
pub(super) fn find(ports: &[HostPort]) -> BTreeMap<Key, String> {
    let wanted: BTreeSet<Key> = ports
        .iter()
        .map(|port| (port.protocol, port.port))
        .collect();
    let mut sockets = BTreeMap::new();
    for (protocol, tables) in TABLES {
        for table in tables {
            let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
            for (inode, port) in sockets_of(&text, protocol) {
                if wanted.contains(&(protocol, port)) {
                    sockets.insert(inode, (protocol, port));
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let links = files
            .flatten()
            .filter_map(|file| file.path().read_link().ok());
        let inodes = links.filter_map(|link| inode(link.to_str()?));
        for key in inodes.filter_map(|inode| sockets.get(&inode)) {
            let command = std::fs::read_to_string(process.path().join("comm"));
            let command = command.unwrap_or_default();
            found
                .entry(*key)
                .or_insert_with(|| format!("{} (pid {pid})", command.trim()));
        }
    }
    found
}

fn inode(link: &str) -> Option<u64> {
    let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// Inode and local port of each socket that others cannot share: of TCP only those that listen.
fn sockets_of(table: &str, protocol: Protocol) -> impl Iterator<Item = (u64, u16)> {
    table.lines().skip(1).filter_map(move |line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, port) = columns.get(LOCAL)?.rsplit_once(':')?;
        let listens = protocol != Protocol::Tcp || *columns.get(STATE)? == LISTEN;
        let inode = columns.get(INODE)?.parse().ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        listens.then_some((inode, port))
    })
}

/// Columns of `/proc/net/tcp` (proc_net_tcp of the kernel's documentation); `udp` has the same.
const LOCAL: usize = 1;
const STATE: usize = 3;
const INODE: usize = 9;
const LISTEN: &str = "0A";
/// SCTP has no such table without its module, and one of another shape with it.
const TABLES: [(Protocol, [&str; 2]); 2] = [
    (Protocol::Tcp, ["tcp", "tcp6"]),
    (Protocol::Udp, ["udp", "udp6"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0\n   \
            1: 0100007F:0050 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0\n";
        let tcp: Vec<_> = sockets_of(table, Protocol::Tcp).collect();
        assert_eq!(tcp, [(4711, 80)]);
        assert_eq!(sockets_of(table, Protocol::Udp).count(), 2);
        assert_eq!(sockets_of("", Protocol::Tcp).count(), 0);
    }
}
