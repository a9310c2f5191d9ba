//! Leader election over a Lease, as client-go's: whoever holds the Lease and renews it leads.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Election;

/// Whether this controller may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    Follows,
    /// Until then, unless the Lease is renewed: a process that was stopped meanwhile knows it without asking.
    LeadsUntil(Instant),
    /// There is no election.
    Leads,
}

impl Leadership {
    pub(crate) fn leads(self) -> bool {
        match self {
            Self::Follows => false,
            Self::LeadsUntil(end) => Instant::now() < end,
            Self::Leads => true,
        }
    }
}

pub(crate) struct Campaign {
    leases: Api<Lease>,
    election: Election,
    leading: watch::Sender<Leadership>,
    stopping: CancellationToken,
    /// The Lease as last seen and when it was first seen like that: other machines' clocks are not trusted.
    seen: Option<(LeaseSpec, Instant)>,
    /// When the try began that last wrote the Lease: the answer may have come much later.
    renewed: Option<Instant>,
}

impl Campaign {
    pub(crate) fn new(
        client: Client,
        election: Election,
        leading: watch::Sender<Leadership>,
        stopping: &CancellationToken,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, &election.namespace),
            election,
            leading,
            stopping: stopping.clone(),
            seen: None,
            renewed: None,
        }
    }

    /// Campaigns until stopped, then gives the Lease back.
    pub(crate) async fn run(mut self) {
        let stopping = self.stopping.clone();
        // A try that hangs is given up, and leadership is judged before and after each: at the latest at 2/3 + 1/5 of
        // the lease we know that it has not been renewed. Another sees the last renewal one retry after it at worst, and
        // tries one retry after the end: it leads after 7/5 of the lease.
        let retry = self.election.ttl / 5;
        loop {
            self.judge();
            let attempt = timeout(retry, self.attempt());
            let attempted = stopping.run_until_cancelled(attempt).await;
            let lease = &self.election.lease;
            match attempted {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Err(_)) => warn!(%lease, "the API server does not answer, trying again"),
                Some(Ok(Err(error))) => {
                    warn!(%lease, %error, "cannot take or renew the Lease, trying again");
                }
            }
            self.judge();
            if stopping.run_until_cancelled(sleep(retry)).await.is_none() {
                break;
            }
        }
        if self.renewed.is_some() {
            self.leading.send_replace(Leadership::Follows);
            self.release().await;
        }
    }

    /// One try to take or renew the Lease. A conflict means that somebody else was faster.
    async fn attempt(&mut self) -> kube::Result<()> {
        let begun = Instant::now();
        let Some(lease) = self.leases.get_opt(&self.election.lease).await? else {
            let lease = self.lease(ObjectMeta {
                name: Some(self.election.lease.clone()),
                namespace: Some(self.election.namespace.clone()),
                ..ObjectMeta::default()
            });
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return self.settle(created.map(|_| ()), begun);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.may_take(&spec) {
            self.renewed = None;
            return Ok(());
        }
        let mut next = self.lease(lease.metadata);
        if let Some(new) = &mut next.spec {
            let ours = spec.holder_identity.as_deref() == Some(self.election.identity.as_str());
            let transitions = spec.lease_transitions.unwrap_or_default();
            new.lease_transitions = Some(transitions + i32::from(!ours));
            if ours {
                new.acquire_time = spec.acquire_time;
            }
        }
        let replaced = self
            .leases
            .replace(&self.election.lease, &PostParams::default(), &next)
            .await;
        self.settle(replaced.map(|_| ()), begun)
    }

    fn settle(&mut self, written: kube::Result<()>, begun: Instant) -> kube::Result<()> {
        match written {
            Ok(()) => {
                self.renewed = Some(begun);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The Lease is ours, given back, or has not been renewed for its whole duration while we watched.
    fn may_take(&mut self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.election.identity {
            return true;
        }
        let unchanged_since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let seconds = spec.lease_duration_seconds.unwrap_or_default().max(0);
        let duration = Duration::from_secs(u64::from(seconds.unsigned_abs()));
        unchanged_since.elapsed() > duration
    }

    /// We lead while our last renewal is younger than two thirds of the lease: we stop before another may begin.
    fn judge(&mut self) {
        let next = match self.renewed.map(|at| at + self.election.ttl * 2 / 3) {
            Some(end) if Instant::now() < end => Leadership::LeadsUntil(end),
            _ => Leadership::Follows,
        };
        let leads = next != Leadership::Follows;
        // Nobody is woken for a renewal, but all are for one that came too late: they have stopped by themselves.
        let changed = self.leading.send_if_modified(|leading| {
            let stood = *leading != Leadership::Follows;
            let changed = stood != leads || leading.leads() != leads;
            *leading = next;
            changed
        });
        if changed {
            let identity = &self.election.identity;
            info!(%identity, leads, "leadership changed");
        }
    }

    async fn release(&self) {
        let give_back = async {
            let mut lease = self.leases.get(&self.election.lease).await?;
            if let Some(spec) = &mut lease.spec {
                if spec.holder_identity.as_deref() != Some(self.election.identity.as_str()) {
                    return Ok(());
                }
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            self.leases
                .replace(&self.election.lease, &PostParams::default(), &lease)
                .await
                .map(|_| ())
        };
        match tokio::time::timeout(RELEASE_TIMEOUT, give_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "cannot give the Lease back; it will expire"),
            Err(_) => warn!("the Lease could not be given back in time; it will expire"),
        }
    }

    fn lease(&self, metadata: ObjectMeta) -> Lease {
        let now = MicroTime(Timestamp::now());
        let seconds = i32::try_from(self.election.ttl.as_secs()).unwrap_or(i32::MAX);
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.election.identity.clone()),
                lease_duration_seconds: Some(seconds.max(1)),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// A shutdown does not wait longer for a courtesy.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
