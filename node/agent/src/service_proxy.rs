//! Keeps the kernel's ruleset equal to what the Services say: waits, gathers, renders, applies once. Ports of the host that
//! load balancers want are held before rules send them elsewhere, and let go of after.

use crate::error::Result;
use crate::health_checks::HealthChecks;
use crate::host_ports::{HostPorts, Report};
use crate::node::Node;
use crate::programs;
use crate::service_store::ServiceStore;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use portcullis_nft::{Here, Network, health_checks, removal, render, service_ports, wanted_ports};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(crate) struct ServiceProxy {
    pub store: Arc<ServiceStore>,
    pub network: Network,
    pub node: Arc<Node>,
    pub nft: PathBuf,
    pub host_ports: HostPorts,
    pub health_checks: HealthChecks,
    /// Which ports load balancers may use here, for the API to know.
    pub report: watch::Sender<Report>,
    /// Set once the first ruleset stands.
    pub programmed: watch::Sender<bool>,
}

impl ServiceProxy {
    /// Ends only when dropped; the table then stays until [`remove`].
    pub(crate) async fn run(mut self) {
        let mut changes = self.store.changes();
        // Half a list would refuse Services whose endpoints are just not read yet.
        if changes.wait_for(|synced| synced.complete()).await.is_err() {
            return;
        }
        let mut applied = String::new();
        let mut retry = RETRY_FIRST;
        loop {
            changes.borrow_and_update();
            let (services, slices) = self.store.snapshot();
            let healthy = self.apply(&services, &slices, &mut applied).await;
            let again = match (healthy, self.is_waiting()) {
                (false, _) => retry,
                (true, true) => PORT_RETRY,
                (true, false) => Duration::MAX,
            };
            retry = match healthy {
                true => RETRY_FIRST,
                false => (retry * 2).min(RETRY_LIMIT),
            };
            if let Ok(Err(_)) = tokio::time::timeout(again, changes.changed()).await {
                return;
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    /// Whether the rules are what they should be.
    async fn apply(
        &mut self,
        services: &[Arc<Service>],
        slices: &[Arc<EndpointSlice>],
        applied: &mut String,
    ) -> bool {
        let services = || services.iter().map(AsRef::as_ref);
        let slices = || slices.iter().map(AsRef::as_ref);
        let wanted = wanted_ports(services(), &self.node.host_ips);
        let held = self.host_ports.hold(&wanted).await;
        let here = Here {
            node: &self.node.name,
            addresses: &self.node.host_ips,
            held: &held,
        };
        let text = render(&self.network, &service_ports(services(), slices(), &here));
        let mut healthy = true;
        if text != *applied {
            match programs::run(&self.nft, &["-f", "-"], text.as_bytes()).await {
                Ok(_) => {
                    *applied = text;
                    self.programmed.send_replace(true);
                }
                Err(error) => {
                    tracing::error!("the Services' ruleset was not applied: {error}");
                    healthy = false;
                }
            }
        }
        if healthy {
            self.host_ports.release(&wanted);
        }
        let checks = health_checks(services(), slices(), &self.node.name);
        self.health_checks.set(checks, healthy);
        let report = self.host_ports.report();
        self.report.send_if_modified(|known| {
            let changed = *known != report;
            *known = report;
            changed
        });
        healthy
    }

    /// Somebody else has a port, and may let go of it without a word.
    fn is_waiting(&self) -> bool {
        self.host_ports.is_waiting() || self.health_checks.is_waiting()
    }
}

/// Takes the table away.
pub(crate) async fn remove(nft: &std::path::Path, table: &str) -> Result<()> {
    programs::run(nft, &["-f", "-"], removal(table).as_bytes())
        .await
        .map(drop)
}

/// Gathers a burst (a rollout changes slices several times a second) without a delay anybody would notice.
const DEBOUNCE: Duration = Duration::from_millis(20);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// How soon a port that its process gave up is ours.
const PORT_RETRY: Duration = Duration::from_secs(2);
