//! Writing the addresses into the statuses of our Ingresses: by the leader, and only where they differ.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    core::v1::Pod,
    networking::v1::{
        Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
    },
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use portcullis_translate::{Address, ObjectKey, StatusChange, is_peer, peer_selector};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{config::Config, leader::Leadership, publish::Outbox};

pub(crate) struct Writer {
    client: Client,
    outbox: watch::Receiver<Arc<Outbox>>,
    leading: watch::Receiver<Leadership>,
}

impl Writer {
    pub(crate) fn new(
        client: Client,
        outbox: watch::Receiver<Arc<Outbox>>,
        leading: watch::Receiver<Leadership>,
    ) -> Self {
        Self {
            client,
            outbox,
            leading,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self
                .leading
                .wait_for(|leading| leading.leads())
                .await
                .is_err()
            {
                return;
            }
            let outbox = self.outbox.borrow_and_update().clone();
            let mut leading = self.leading.clone();
            // Whoever loses the Lease stops half-way: somebody else may be writing already.
            let failed = tokio::select! {
                biased;
                lost = leading.wait_for(|leading| !leading.leads()) => match lost {
                    Ok(_) => continue,
                    Err(_) => return,
                },
                failed = self.write_all(outbox.statuses.clone()) => failed,
            };
            let retry = async {
                match failed {
                    0 => std::future::pending().await,
                    _ => sleep(pause).await,
                }
            };
            tokio::select! {
                changed = self.outbox.changed() => if changed.is_err() { return },
                changed = self.leading.changed() => if changed.is_err() { return },
                () = retry => {}
            }
            pause = match failed {
                0 => FIRST_PAUSE,
                _ => (pause * 2).min(LONGEST_PAUSE),
            };
        }
    }

    /// Returns how many could not be written.
    async fn write_all(&self, changes: Vec<StatusChange>) -> usize {
        let writes = changes
            .into_iter()
            .map(|change| fails(self.client.clone(), change, self.leading.clone()));
        let failed = stream::iter(writes).buffer_unordered(PARALLEL_WRITES);
        let failed = failed.filter(|failed| std::future::ready(*failed));
        failed.count().await
    }
}

async fn fails(client: Client, change: StatusChange, leading: watch::Receiver<Leadership>) -> bool {
    let ingress = &change.ingress;
    match write(&client, ingress, &change.addresses, &leading).await {
        Ok(()) => false,
        Err(error) => {
            warn!(%ingress, %error, "cannot write the status");
            true
        }
    }
}

/// Empties the statuses that were written, if no other controller is left to answer at the addresses.
pub(crate) async fn farewell(
    client: &Client,
    config: &Config,
    ours: &[ObjectKey],
    leading: &watch::Receiver<Leadership>,
) {
    let farewell = async {
        if others_are_running(client, config).await {
            info!("other controllers are running: the statuses stay");
            return;
        }
        let empty = |key: &ObjectKey| StatusChange {
            ingress: key.clone(),
            addresses: Vec::new(),
        };
        let changes: Vec<StatusChange> = ours.iter().map(empty).collect();
        let writes = changes
            .into_iter()
            .map(|change| fails(client.clone(), change, leading.clone()));
        let done = stream::iter(writes).buffer_unordered(PARALLEL_WRITES);
        done.count().await;
    };
    if tokio::time::timeout(FAREWELL_TIMEOUT, farewell)
        .await
        .is_err()
    {
        warn!("the statuses could not be emptied in time");
    }
}

/// Other Pods with the labels of ours that stay. When they cannot be counted they are assumed: a status
/// that stays is repaired by the next controller, a wrongly emptied one takes the DNS records away.
async fn others_are_running(client: &Client, config: &Config) -> bool {
    let Some(pod) = &config.pod else {
        if config.election.is_some() {
            warn!(
                "this controller's Pod is not known, others cannot be counted: the statuses stay"
            );
        }
        return config.election.is_some();
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let others = async {
        let labels = pods.get(&pod.name).await?.metadata.labels;
        let selector = peer_selector(&labels.unwrap_or_default());
        let listed = pods.list(&ListParams::default().labels(&selector)).await?;
        let peers = listed
            .items
            .iter()
            .filter(|other| is_peer(other, &pod.name));
        kube::Result::<usize>::Ok(peers.count())
    };
    match others.await {
        Ok(count) => count > 0,
        Err(error) => {
            warn!(%error, "cannot count the other controllers: the statuses stay");
            true
        }
    }
}

/// Reads, compares, replaces: ingress-nginx's verbs, so that its roles suffice. A vanished Ingress is no error, and
/// neither is a conflict with its deletion. Whoever has lost the Lease meanwhile writes nothing.
async fn write(
    client: &Client,
    key: &ObjectKey,
    addresses: &[Address],
    leading: &watch::Receiver<Leadership>,
) -> kube::Result<()> {
    let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
    for _ in 0..CONFLICT_TRIES {
        let Some(mut ingress) = api.get_opt(&key.name).await? else {
            return Ok(());
        };
        let status = status_of(addresses);
        if ingress
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref())
            == status.load_balancer.as_ref()
        {
            return Ok(());
        }
        ingress.status = Some(status);
        ingress.metadata.managed_fields = None;
        if !leading.borrow().leads() {
            return Ok(());
        }
        let written = api
            .replace_status(&key.name, &PostParams::default(), &ingress)
            .await;
        match written {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn status_of(addresses: &[Address]) -> IngressStatus {
    let entries = addresses.iter().map(|address| match address {
        Address::Ip(ip) => IngressLoadBalancerIngress {
            ip: Some(ip.to_string()),
            ..IngressLoadBalancerIngress::default()
        },
        Address::Hostname(name) => IngressLoadBalancerIngress {
            hostname: Some(name.clone()),
            ..IngressLoadBalancerIngress::default()
        },
    });
    let entries: Vec<_> = entries.collect();
    IngressStatus {
        load_balancer: Some(IngressLoadBalancerStatus {
            ingress: (!entries.is_empty()).then_some(entries),
        }),
    }
}

const PARALLEL_WRITES: usize = 8;
const CONFLICT_TRIES: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A shutdown does not wait longer; the next controller writes them anew.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(10);
