//! How much a peer may ask of a server.

use std::time::Duration;

/// Limits of one server. The defaults suit the control plane's and the node's own servers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections served at once; more wait in the kernel's accept queue.
    pub max_connections: usize,
    /// From the accepted connection to the end of the TLS handshake; then it is closed.
    pub handshake_timeout: Duration,
    /// From the first byte of a request (or the accepted connection) to the end of its head; then it is closed.
    pub header_read_timeout: Duration,
    /// Without a request in progress; then the connection is closed in order.
    pub idle_timeout: Duration,
    /// Bytes of a request's head; beyond it HTTP/1 answers 431 and HTTP/2 refuses the stream.
    pub max_header_bytes: usize,
    /// Number of header fields of an HTTP/1 request; beyond it the answer is 431.
    pub max_headers: usize,
    /// HTTP/2 streams per connection; a peer that opens more has them refused.
    pub max_concurrent_streams: u32,
    /// HTTP/2 resets in a row that were not yet accepted; beyond it the connection ends (CVE-2023-44487).
    pub max_pending_resets: usize,
    /// An HTTP/2 peer is pinged after this time without a frame, and TCP keep-alive starts after it.
    pub keep_alive_interval: Duration,
    /// A peer that does not answer an HTTP/2 ping for this long is gone.
    pub keep_alive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Twice a node's worth of watching pods and a room of clients, well below the usual 64 Ki descriptors.
            max_connections: 8 * 1024,
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            // Longer than the 90 s for which Go clients keep idle connections, so that they close first.
            idle_timeout: Duration::from_secs(180),
            // Room for long tokens and label selectors; kube-apiserver allows 1 MiB.
            max_header_bytes: 64 * 1024,
            max_headers: 128,
            // kube-apiserver's number: one client keeps a watch per kind on one connection.
            max_concurrent_streams: 250,
            max_pending_resets: 20,
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(15),
        }
    }
}
