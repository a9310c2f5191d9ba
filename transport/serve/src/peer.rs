//! Who is at the other end of a connection.

use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;

/// One end-to-end connection as the service sees it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address; an IPv4 peer of a dual-stack listener appears as IPv4.
    pub remote: SocketAddr,
    /// Our address on this connection, in the same manner.
    pub local: SocketAddr,
    /// What the TLS handshake established; `None` on a plaintext listener.
    pub tls: Option<PeerTls>,
}

/// What the TLS handshake established.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// The client's verified chain, leaf first; empty when it showed none.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// Server name indication (RFC 6066 section 3).
    pub server_name: Option<String>,
    /// Negotiated application protocol (RFC 7301), such as `h2`.
    pub alpn: Option<Vec<u8>>,
}

/// An IPv4-mapped address (RFC 4291 section 2.5.5.2) as the IPv4 address it is.
pub(crate) fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
