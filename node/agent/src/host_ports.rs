//! Ports of the node's addresses, held for load balancers: a bound socket keeps every other process off, and a process that
//! was there first keeps its port.

mod holder;

use portcullis_nft::{HostPort, Protocol};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

/// Port and protocol as users write them (`80/TCP`) → who has it instead of us; empty when we hold it.
pub(crate) type Report = BTreeMap<String, String>;

pub(crate) struct HostPorts {
    /// TCP ports promised to others of this process, with their names.
    reserved: BTreeMap<u16, String>,
    /// Nothing is bound for a protocol that the kernel does not speak: nobody else can have the port either.
    held: BTreeMap<HostPort, Option<Socket>>,
    refused: BTreeMap<HostPort, String>,
}

impl HostPorts {
    pub(crate) fn new(reserved: BTreeMap<u16, String>) -> Self {
        HostPorts {
            reserved,
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Tries to hold what is wanted and not held yet; what is held then.
    pub(crate) async fn hold(&mut self, wanted: &BTreeSet<HostPort>) -> BTreeSet<HostPort> {
        let named = std::mem::take(&mut self.refused);
        for port in wanted {
            if self.held.contains_key(port) {
                continue;
            }
            match self.bind(*port) {
                Ok(socket) => drop(self.held.insert(*port, socket)),
                // Looking for a name costs a walk over all processes, so one is kept as long as the port is.
                Err(holder) => {
                    let named = named.get(port).cloned();
                    self.refused.insert(*port, named.unwrap_or(holder));
                }
            }
        }
        self.name_holders().await;
        wanted
            .iter()
            .filter(|port| self.held.contains_key(port))
            .copied()
            .collect()
    }

    /// Lets go of what is wanted no more. To be called when no rule is left that sends such a port elsewhere.
    pub(crate) fn release(&mut self, wanted: &BTreeSet<HostPort>) {
        self.held.retain(|port, _| wanted.contains(port));
    }

    /// A port counts as held when it is on every address.
    pub(crate) fn report(&self) -> Report {
        let held = self.held.keys().map(|port| (name(port), String::new()));
        let refused = self.refused.iter();
        held.chain(refused.map(|(port, holder)| (name(port), holder.clone())))
            .collect()
    }

    /// Somebody else has a port who may give it back: not who has reserved it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.refused
            .keys()
            .any(|port| self.reserver(port).is_none())
    }

    fn reserver(&self, port: &HostPort) -> Option<&String> {
        let reserved = self.reserved.get(&port.port);
        reserved.filter(|_| port.protocol == Protocol::Tcp)
    }

    /// The error says who has it, as far as is known yet.
    fn bind(&self, port: HostPort) -> Result<Option<Socket>, String> {
        if let Some(name) = self.reserver(&port) {
            return Err(name.clone());
        }
        match bind(port) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.raw_os_error() == Some(NO_SUCH_PROTOCOL) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(String::new()),
            Err(error) => Err(format!("nobody, but it cannot be held: {error}")),
        }
    }

    async fn name_holders(&mut self) {
        let unnamed: Vec<HostPort> = self
            .refused
            .iter()
            .filter(|(_, holder)| holder.is_empty())
            .map(|(port, _)| *port)
            .collect();
        if unnamed.is_empty() {
            return;
        }
        let ports = unnamed.clone();
        let found = tokio::task::spawn_blocking(move || holder::find(&ports)).await;
        let mut found = found.unwrap_or_default();
        for port in unnamed {
            let holder = found
                .remove(&(port.protocol, port.port))
                .unwrap_or_else(|| "another process".to_owned());
            self.refused.insert(port, holder);
        }
    }
}

fn name(port: &HostPort) -> String {
    format!("{}/{}", port.port, port.protocol.name().to_uppercase())
}

/// A socket that takes the port and answers nobody.
fn bind(port: HostPort) -> io::Result<Socket> {
    let address = SocketAddr::new(port.ip, port.port);
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        Protocol::Sctp => (Type::STREAM, socket2::Protocol::SCTP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections that a server of this port left behind do not count as its use; a listening one does.
    let stream = port.protocol == Protocol::Tcp;
    if stream {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    // From here on nobody may share it.
    if stream {
        socket.set_reuse_address(false)?;
    }
    Ok(socket)
}

/// `EPROTONOSUPPORT`: a kernel without SCTP.
const NO_SUCH_PROTOCOL: i32 = nix::libc::EPROTONOSUPPORT;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    fn port(protocol: Protocol, port: u16) -> HostPort {
        HostPort {
            ip: Ipv4Addr::LOCALHOST.into(),
            protocol,
            port,
        }
    }

    fn free() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn a_held_port_is_nobody_elses_until_it_is_released() {
        let number = free();
        let mut ports = HostPorts::new(BTreeMap::new());
        let both = BTreeSet::from([port(Protocol::Tcp, number), port(Protocol::Udp, number)]);
        assert_eq!(ports.hold(&both).await, both);
        for address in [format!("127.0.0.1:{number}"), format!("0.0.0.0:{number}")] {
            let taken = TcpListener::bind(&address).map(drop).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{address}");
            UdpSocket::bind(&address).unwrap_err();
        }
        let names = [format!("{number}/TCP"), format!("{number}/UDP")];
        let report = ports.report();
        assert!(report.keys().eq(&names), "{report:?}");
        assert!(report.values().all(String::is_empty));
        ports.release(&BTreeSet::new());
        TcpListener::bind(format!("127.0.0.1:{number}")).unwrap();
        assert!(ports.report().is_empty());
    }

    #[tokio::test]
    async fn a_process_that_was_there_first_is_named_and_its_end_is_noticed() {
        let server = TcpListener::bind("0.0.0.0:0").unwrap();
        let number = server.local_addr().unwrap().port();
        // A connection that the server closes first stays in TIME_WAIT when the server has gone.
        let client = std::net::TcpStream::connect(("127.0.0.1", number)).unwrap();
        drop(server.accept().unwrap());
        drop(client);
        let mut ports = HostPorts::new(BTreeMap::new());
        let wanted = BTreeSet::from([port(Protocol::Tcp, number)]);
        assert!(ports.hold(&wanted).await.is_empty());
        assert!(ports.is_waiting());
        let holder = ports.report().remove(&format!("{number}/TCP")).unwrap();
        let own = format!("(pid {})", std::process::id());
        assert!(holder.ends_with(&own), "{holder}");
        drop(server);
        assert_eq!(ports.hold(&wanted).await, wanted);
        assert!(!ports.is_waiting());
    }

    #[tokio::test]
    async fn a_reserved_port_is_not_touched() {
        let number = free();
        let mut ports = HostPorts::new(BTreeMap::from([(number, "the ingress".to_owned())]));
        let wanted = BTreeSet::from([port(Protocol::Tcp, number)]);
        assert!(ports.hold(&wanted).await.is_empty());
        TcpListener::bind(format!("127.0.0.1:{number}")).unwrap();
        assert_eq!(ports.report()[&format!("{number}/TCP")], "the ingress");
        assert!(!ports.is_waiting(), "it will not be given back");
    }
}
