//! The sockets: UDP and TCP at one address and port.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};

/// Where a server listens.
pub(crate) struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
    pub address: SocketAddr,
}

/// Opens both; port 0 takes one that is free for both. With `ahead`, the address may come to this machine later.
pub(crate) fn open(address: SocketAddr, ahead: bool) -> io::Result<Sockets> {
    let attempts = if address.port() == 0 {
        MOST_ATTEMPTS
    } else {
        1
    };
    for _ in 1..attempts {
        match pair(address, ahead) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    pair(address, ahead)
}

fn pair(address: SocketAddr, ahead: bool) -> io::Result<Sockets> {
    let tcp = socket(address, Type::STREAM, Protocol::TCP, ahead)?;
    // A restarted server must not wait for connections of its former self in TIME_WAIT.
    tcp.set_reuse_address(true)?;
    tcp.bind(&address.into())?;
    tcp.listen(BACKLOG)?;
    let tcp = TcpListener::from_std(tcp.into())?;
    let address = tcp.local_addr()?;
    let udp = socket(address, Type::DGRAM, Protocol::UDP, ahead)?;
    udp.bind(&address.into())?;
    let udp = UdpSocket::from_std(udp.into())?;
    Ok(Sockets { udp, tcp, address })
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol, ahead: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
        socket.set_freebind_v6(ahead)?;
    } else {
        socket.set_freebind_v4(ahead)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A port that is free for TCP may be taken for UDP.
const MOST_ATTEMPTS: usize = 16;
const BACKLOG: i32 = 512;
