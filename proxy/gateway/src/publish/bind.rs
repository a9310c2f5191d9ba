//! Sockets of a listener: one per worker on the same address, bound before anybody accepts.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Binds `count` sockets that share one address. Port 0 picks a port once, for all of them.
///
/// # Errors
/// What the system said: the address is in use, not local, or the port is privileged. Nothing stays bound.
pub(crate) fn bind(address: IpAddr, port: u16, count: usize) -> io::Result<Vec<TcpListener>> {
    let mut wanted = SocketAddr::new(address, port);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind_one(wanted)?;
        wanted = socket.local_addr()?;
        sockets.push(socket);
    }
    for socket in &sockets {
        socket2::SockRef::from(socket).listen(BACKLOG)?;
    }
    Ok(sockets)
}

/// Whether nobody else listens there: sockets that share their port bind beside a stranger's that share it, too, and the
/// kernel would give each a part of the connections.
///
/// # Errors
/// As [`bind`].
pub(crate) fn alone(address: IpAddr, port: u16) -> io::Result<()> {
    let address = SocketAddr::new(address, port);
    let socket = new_socket(address)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit both.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Connections that wait to be accepted, per worker; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// After so long without a byte the kernel asks whether the peer still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
