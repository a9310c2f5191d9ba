//! Echo servers outside of the cluster, as endpoints where pods are not needed.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_echo::Config;
use tokio::sync::oneshot;

/// A running echo server of this process, stopped when dropped.
pub struct EchoServer {
    /// Where it is reachable from the gateway; never a loopback address, which an EndpointSlice may not hold.
    pub address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts one that calls itself `name` in its answers.
    ///
    /// # Panics
    /// When the machine has no address but loopback, or echo cannot listen.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let (ready, address) = oneshot::channel();
        let (shutdown, stopped) = oneshot::channel::<()>();
        let config = Config {
            port: 0,
            pod_name: name.to_owned(),
            pod_namespace: "outside".to_owned(),
            lame_duck: Duration::ZERO,
            drain_deadline: Duration::from_secs(1),
        };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            let stopped = async { drop(stopped.await) };
            runtime
                .block_on(portcullis_echo::run(config, ready, stopped))
                .expect("echo listens");
        });
        let port = address.blocking_recv().expect("echo starts").port();
        Self {
            address: SocketAddr::new(own_address(), port),
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }

    /// A Service without selector and its EndpointSlice over `servers`, port 80.
    #[must_use]
    pub fn service(name: &str, servers: &[&EchoServer]) -> String {
        let slices: String = servers
            .iter()
            .enumerate()
            .map(|(index, server)| slice(name, index, server.address))
            .collect();
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{ports: [{{name: http, port: 80}}]}}\n{slices}"
        )
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn slice(service: &str, index: usize, address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let (ip, port) = (address.ip(), address.port());
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {service}-{index}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: {family}\nports: [{{name: http, port: {port}}}]\n\
         endpoints: [{{addresses: ['{ip}'], conditions: {{ready: true}}}}]\n"
    )
}

/// The address that the machine would use towards others. Nothing is sent: connecting a datagram socket only routes.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a datagram socket");
    socket
        .connect("192.0.2.1:9")
        .expect("the machine has a route: end-to-end tests need one");
    socket
        .local_addr()
        .expect("a connected socket has an address")
        .ip()
}
