//! Keeps the kernel's ruleset equal to what the Services say: waits, gathers, renders, applies once.

use crate::error::Result;
use crate::programs;
use crate::service_store::ServiceStore;
use portcullis_nft::{Network, removal, render, service_ports};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(crate) struct ServiceProxy {
    pub store: Arc<ServiceStore>,
    pub network: Network,
    pub node_name: String,
    pub nft: PathBuf,
    /// Set once the first ruleset stands.
    pub programmed: watch::Sender<bool>,
}

impl ServiceProxy {
    /// Ends only when dropped; the table then stays until [`ServiceProxy::remove`].
    pub(crate) async fn run(self) {
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
            let ports = service_ports(
                services.iter().map(AsRef::as_ref),
                slices.iter().map(AsRef::as_ref),
                &self.node_name,
            );
            let text = render(&self.network, &ports);
            let mut failed = false;
            if text != applied {
                match programs::run(&self.nft, &["-f", "-"], text.as_bytes()).await {
                    Ok(_) => {
                        applied = text;
                        retry = RETRY_FIRST;
                        self.programmed.send_replace(true);
                    }
                    Err(error) => {
                        tracing::error!("the Services' ruleset was not applied: {error}");
                        failed = true;
                    }
                }
            }
            if failed {
                let _ = tokio::time::timeout(retry, changes.changed()).await;
                retry = (retry * 2).min(RETRY_LIMIT);
            } else if changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
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
