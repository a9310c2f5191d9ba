//! What a pod's worker is told, and what it makes of it.

use crate::pods::worker::Worker;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use portcullis_pod::probe::ProbeKind;
use std::sync::Arc;
use std::time::Instant;

/// What a worker is told.
pub(crate) enum Message {
    /// The API's newest form of the pod.
    Pod(Arc<Pod>),
    /// The API has it no more.
    Gone,
    /// The runtime says that this container or sandbox ended; it may be another pod's.
    Ended(String),
    /// Something at the runtime may have changed.
    Look,
    Verdict {
        container_id: String,
        kind: ProbeKind,
        verdict: bool,
        reason: String,
    },
}

impl Worker {
    /// Takes a message in; true when an action under way should be thought over.
    pub(super) fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Pod(pod) => {
                let hastened = grace(&pod) < grace(&self.pod)
                    || pod.metadata.deletion_timestamp.is_some()
                        != self.pod.metadata.deletion_timestamp.is_some();
                let shown = |pod: &Pod| {
                    let meta = &pod.metadata;
                    (meta.labels.clone(), meta.annotations.clone())
                };
                if shown(&pod) != shown(&self.pod) {
                    self.refresh.hasten();
                }
                self.spec = Arc::new(pod.spec.clone().unwrap_or_default());
                self.pod = pod;
                self.in_api = true;
                hastened
            }
            Message::Gone => {
                self.pod = doomed(&self.pod);
                std::mem::replace(&mut self.in_api, false)
            }
            Message::Ended(id) => {
                if self.may_own(&id) {
                    self.ended.report(id, Instant::now());
                    self.stale = true;
                }
                false
            }
            Message::Look => {
                self.stale = true;
                false
            }
            Message::Verdict {
                container_id,
                kind,
                verdict,
                reason,
            } => {
                if !verdict {
                    let name = self.pod.metadata.name.as_deref().unwrap_or_default();
                    tracing::info!("{} probe of pod {name} failed: {reason}", kind.name());
                }
                if self.probes.contains_key(&container_id) {
                    let verdicts = self.verdicts.entry(container_id).or_default();
                    match kind {
                        ProbeKind::Startup => verdicts.startup = Some(verdict),
                        ProbeKind::Liveness => verdicts.liveness = Some(verdict),
                        ProbeKind::Readiness => verdicts.readiness = Some(verdict),
                    }
                }
                false
            }
        }
    }

    /// What a round has just made is not in `runtime` before the next look; others' are let go at that look.
    fn may_own(&self, id: &str) -> bool {
        let sandboxes = self.runtime.sandboxes.iter().map(|sandbox| &sandbox.id);
        let mut ids = sandboxes.chain(
            self.runtime
                .containers
                .iter()
                .map(|container| &container.id),
        );
        self.stale || ids.any(|known| known == id)
    }
}

/// The pod as if its deletion had been asked for with no grace: its object is gone.
pub(super) fn doomed(pod: &Pod) -> Arc<Pod> {
    let mut pod = pod.clone();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
    pod.metadata.deletion_timestamp.get_or_insert(now);
    pod.metadata.deletion_grace_period_seconds = Some(0);
    Arc::new(pod)
}

fn grace(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .unwrap_or(i64::MAX)
}
