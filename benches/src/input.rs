//! The fixed input: hosts, connections, requests and the origin's answer.

/// As many as a mid-sized cluster has; more than any per-connection memo of the last host would hold.
pub const HOSTS: usize = 1_000;

/// Keep-alive connections, each with one request in flight.
pub const CONNECTIONS: usize = 64;

/// The origin's answer: 100 bytes.
pub const BODY: &[u8; 100] =
    b"one hundred bytes of plain text, answered by the origin for every request that the bench asks for ..";

/// Never configured: must be answered 404.
pub const UNKNOWN_HOST: &str = "unknown.bench.example";

/// The path where the origin answers with the head it received.
pub const ECHO_PATH: &str = "/head";

/// Name of the only backend, as ingress-nginx would call it.
pub const BACKEND: &str = "bench-origin-80";

pub fn host_name(index: usize) -> String {
    format!("h{index:04}.bench.example")
}

pub fn host_names() -> impl Iterator<Item = String> {
    (0..HOSTS).map(host_name)
}

/// A request as a small client sends it.
pub fn request(host: &str, path: &str, more_headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n{more_headers}\r\n")
        .into_bytes()
}
