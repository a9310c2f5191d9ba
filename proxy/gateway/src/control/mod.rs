//! Specs from a controller in another process: dial, follow, keep the last set.
//!
//! The connection may break at any time and for any while: what is served stays. A proxy that starts while no
//! controller answers serves its last set from the file.

mod keep;
mod session;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use portcullis_route::{Refusal, spec::Specs};
use portcullis_wire::{KNOWN_FEATURE, Received};
use rand::Rng;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use keep::Keeper;

/// Where the controller is and who we are.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// `host:port`; a host name is resolved anew for each connection.
    pub controller: String,
    /// The name that the controller's certificate must have.
    pub server_name: ServerName<'static>,
    /// For the controller's log.
    pub proxy: String,
    /// Where the last set is kept: on a memory-backed volume, for it holds private keys. None keeps nothing.
    pub state_file: Option<PathBuf>,
}

/// How the proxy stands to its controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub is_connected: bool,
    /// The controller's process and the version of its set that is served; none before the first set.
    pub instance: Option<String>,
    pub version: u64,
    /// What is served is what the controller at the other end publishes now.
    pub is_current: bool,
    /// When it was so for the last time; none before the first set. A stored set remembers it to half a minute.
    pub was_current_at: Option<SystemTime>,
}

impl Link {
    /// How old the set that is served is: the time since a controller stood behind it. None without a set.
    pub fn set_age(&self, now: SystemTime) -> Option<Duration> {
        if self.is_current {
            return Some(Duration::ZERO);
        }
        let at = self.was_current_at?;
        // A clock that was set back makes nothing younger than new.
        Some(now.duration_since(at).unwrap_or_default())
    }
}

/// A follower of one controller.
pub struct Control {
    config: ControlConfig,
    received: Received,
    link: watch::Sender<Link>,
    keeper: Keeper,
    /// What the gateway refused of the set that it serves; none before the first one.
    refused: Option<Vec<Refusal>>,
}

impl Control {
    pub fn new(config: ControlConfig) -> Self {
        Self {
            keeper: Keeper::new(config.state_file.clone()),
            config,
            received: Received::new(KNOWN_FEATURE),
            link: watch::Sender::default(),
            refused: None,
        }
    }

    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Follows until dropped. `tls` is asked for each connection, so that rotated certificates are taken up; it offers
    /// `h2` and shows a client certificate. `apply` serves a set and says what it cannot serve
    /// ([`crate::Gateway::apply`]).
    pub async fn run<E: std::fmt::Display>(
        mut self,
        mut tls: impl FnMut() -> Result<Arc<ClientConfig>, E>,
        mut apply: impl FnMut(Arc<Specs>) -> Vec<Refusal>,
    ) {
        if let Some(kept) = self.keeper.read().await {
            let stored = self.received.restore(kept.units);
            let was_current_at = Some(kept.was_current_at);
            self.link
                .send_modify(|link| link.was_current_at = was_current_at);
            info!(refused = stored.refused.len(), "serving the stored set");
            self.serve(&mut apply);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            match tls() {
                Err(error) => warn!(%error, "cannot read our own certificate"),
                Ok(tls) => {
                    let ended = session::follow(&mut self, tls, &mut apply).await;
                    let controller = &self.config.controller;
                    warn!(%controller, "not following the controller: {ended}");
                }
            }
            self.confirm();
            self.link.send_modify(|link| {
                link.is_connected = false;
                link.is_current = false;
            });
            if begin.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            // All proxies lose a controller at once; they need not all come back at once.
            let part = rand::rng().random_range(0.5..1.0);
            sleep(pause.mul_f64(part)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Notes that the set was current until now, if it was.
    fn confirm(&self) {
        let now = SystemTime::now();
        let is_current = self.link.borrow().is_current;
        if is_current {
            self.link
                .send_modify(|link| link.was_current_at = Some(now));
            self.keeper.confirm(now);
        }
    }

    /// Hands what is held to the gateway.
    fn serve(&mut self, apply: &mut impl FnMut(Arc<Specs>) -> Vec<Refusal>) {
        let refused = apply(Arc::new(self.received.specs()));
        self.refused = Some(refused);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A controller that comes back is followed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
