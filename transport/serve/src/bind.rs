//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Several sockets share the port and the kernel spreads connections over them (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// An IPv6 socket takes IPv4 connections too. `[::]` falls back to `0.0.0.0` on a machine without IPv6.
    pub dual_stack: bool,
    /// Connections that the kernel completes before they are accepted.
    pub backlog: i32,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            reuse_port: false,
            dual_stack: true,
            // The kernel cuts it to net.core.somaxconn, which is 4096 since Linux 5.4.
            backlog: 4096,
        }
    }
}

/// Why a socket cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("cannot listen on {address}: the port is in use by another process")]
    InUse {
        /// The wanted address.
        address: SocketAddr,
    },
    /// A port below 1024 without the right to it.
    #[error("cannot listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    NotPermitted {
        /// The wanted address.
        address: SocketAddr,
    },
    /// Anything else the kernel says.
    #[error("cannot listen on {address}")]
    Other {
        /// The wanted address.
        address: SocketAddr,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

/// Opens a non-blocking listening socket; port 0 takes a free one.
///
/// # Errors
/// [`BindError`], naming the address.
pub fn bind(address: SocketAddr, options: BindOptions) -> Result<std::net::TcpListener, BindError> {
    let opened = match open(address, options) {
        Err(error) if without_ipv6(&error) && takes_all_families(address, options) => open(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()),
            options,
        ),
        opened => opened,
    };
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { address },
        _ => BindError::Other { address, source },
    })
}

/// [`bind`] for the current tokio runtime.
///
/// # Errors
/// [`BindError`], naming the address.
pub fn listen(address: SocketAddr, options: BindOptions) -> Result<TcpListener, BindError> {
    let listener = bind(address, options)?;
    TcpListener::from_std(listener).map_err(|source| BindError::Other { address, source })
}

fn open(address: SocketAddr, options: BindOptions) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    // A restarted server must not wait for connections of its former self in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

fn takes_all_families(address: SocketAddr, options: BindOptions) -> bool {
    options.dual_stack && address.is_ipv6() && address.ip().is_unspecified()
}

/// `EAFNOSUPPORT` without the protocol family, `EADDRNOTAVAIL` with IPv6 switched off by sysctl.
fn without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Linux errno: address family not supported by protocol.
const EAFNOSUPPORT: i32 = 97;
