//! Who is asked: the name servers of a `resolv.conf`, which may change while we run.

use portcullis_pod::files::Resolver;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct Upstreams {
    path: PathBuf,
    /// Us: a file that names us as well would have us ask ourselves.
    own: Vec<SocketAddr>,
    own_ips: Vec<IpAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read_at: Option<Instant>,
    servers: Arc<[SocketAddr]>,
    /// Those that did not answer lately, and since when.
    failing: HashMap<SocketAddr, Instant>,
}

impl Upstreams {
    /// `own` are our listeners, `own_ips` addresses that lead to us on the DNS port.
    pub(crate) fn new(path: PathBuf, own: Vec<SocketAddr>, own_ips: Vec<IpAddr>) -> Self {
        Upstreams {
            path,
            own,
            own_ips,
            state: Mutex::default(),
        }
    }

    /// In the file's order, those that fail last.
    pub(crate) async fn in_order(&self, now: Instant) -> Vec<SocketAddr> {
        self.refresh(now).await;
        let state = self.state.lock().expect("no holder of this lock panics");
        let fails = |server: &&SocketAddr| {
            let since = state.failing.get(server);
            since.is_some_and(|since| now.saturating_duration_since(*since) < REST)
        };
        let (mut failing, mut order): (Vec<_>, Vec<_>) = state.servers.iter().partition(fails);
        order.append(&mut failing);
        order
    }

    pub(crate) fn answers(&self, server: SocketAddr) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.failing.remove(&server);
    }

    pub(crate) fn fails(&self, server: SocketAddr, now: Instant) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.failing.insert(server, now);
    }

    /// Reads the file when that is long enough ago: a laptop moves from one network to another.
    async fn refresh(&self, now: Instant) {
        {
            let mut state = self.state.lock().expect("no holder of this lock panics");
            let is_new = |at: Instant| now.saturating_duration_since(at) < FRESH;
            if state.read_at.is_some_and(is_new) {
                return;
            }
            // Whoever comes meanwhile takes what is known.
            state.read_at = Some(now);
        }
        let text = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!("{} cannot be read: {error}", self.path.display());
                return;
            }
        };
        let servers = self.servers(&text);
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if *state.servers != *servers {
            tracing::info!(?servers, "other names are asked of these resolvers");
            state.failing.clear();
            state.servers = servers.into();
        }
    }

    fn servers(&self, text: &str) -> Vec<SocketAddr> {
        let named = Resolver::parse(text).servers;
        let servers = named.iter().filter_map(|name| match parse(name) {
            Some(server) if self.is_own(server) => {
                tracing::warn!(%server, "{} names this very server, which is left out", self.path.display());
                None
            }
            Some(server) => Some(server),
            None => {
                tracing::warn!("{name} in {} is no address", self.path.display());
                None
            }
        });
        servers.take(MOST_SERVERS).collect()
    }

    fn is_own(&self, server: SocketAddr) -> bool {
        self.own.contains(&server) || (server.port() == PORT && self.own_ips.contains(&server.ip()))
    }
}

/// An address, or an address with a port, as the resolvers of the BSDs read it.
fn parse(name: &str) -> Option<SocketAddr> {
    let plain = name.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    plain.or_else(|_| name.parse()).ok()
}

const PORT: u16 = 53;
/// Upstream's limit for a forward; the rest of the file is not read.
const MOST_SERVERS: usize = 15;
const FRESH: Duration = Duration::from_secs(5);
/// A resolver that failed is asked last for so long.
const REST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_read_again_ourselves_left_out_and_who_fails_is_asked_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(
            "nameserver 192.0.2.1\nnameserver 10.43.0.10\nnameserver nobody\nnameserver [::1]:5300\n",
        );
        let own = vec!["[::1]:5353".parse().unwrap()];
        let upstreams = Upstreams::new(path.clone(), own, vec!["10.43.0.10".parse().unwrap()]);
        let now = Instant::now();
        let (one, two) = (
            "192.0.2.1:53".parse().unwrap(),
            "[::1]:5300".parse().unwrap(),
        );
        assert_eq!(upstreams.in_order(now).await, [one, two]);
        upstreams.fails(one, now);
        assert_eq!(upstreams.in_order(now).await, [two, one]);
        upstreams.answers(one);
        assert_eq!(upstreams.in_order(now).await, [one, two]);
        write("nameserver ::1:5353\nnameserver [::1]:5353\nnameserver [::1]:5300\n");
        assert_eq!(
            upstreams.in_order(now).await,
            [one, two],
            "known for a while"
        );
        let now = now + FRESH;
        assert_eq!(
            upstreams.in_order(now).await,
            ["[::1:5353]:53".parse().unwrap(), two]
        );
    }
}
