//! Brings the files of a running pod's volumes up to date with the objects and tokens they show.

use crate::pods::execute::{Failed, Round};
use crate::pods::fetch;
use crate::pods::worker::Worker;
use portcullis_pod::notices::FAILED_MOUNT;
use portcullis_pod::observed::SANDBOX;
use portcullis_pod::refresh;
use portcullis_pod::sources::volume_references;
use std::time::Duration;
use tokio::time::Instant;

/// When a pod's files are looked at next.
pub(crate) struct Schedule {
    at: Instant,
}

impl Schedule {
    pub(crate) fn new(uid: &str) -> Self {
        Schedule {
            at: Instant::now() + refresh::period(uid),
        }
    }

    /// What the pod shows of itself has changed: soon, with whatever else changes until then.
    pub(crate) fn hasten(&mut self) {
        self.at = self.at.min(Instant::now() + SOON);
    }
}

impl Worker {
    /// How long until [`Worker::refresh`] is due; `None` when the pod has nothing to refresh, or does not run.
    pub(super) fn refresh_in(&self) -> Option<Duration> {
        let wanted = self.in_api
            && self.pod.metadata.deletion_timestamp.is_none()
            && self.runtime.sandbox().is_some()
            && self
                .runtime
                .containers
                .iter()
                .any(|container| container.is_running())
            && self.spec.volumes.iter().flatten().any(refresh::is_live);
        wanted.then(|| self.refresh.at.saturating_duration_since(Instant::now()))
    }

    /// Listens while it fetches: any message ends it early, and it is tried again a little later.
    pub(super) async fn refresh(&mut self) {
        let round = self.round();
        let work = tokio::time::timeout(REFRESH_LIMIT, round.refresh());
        tokio::pin!(work);
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let mut next = refresh::period(uid);
        tokio::select! {
            done = &mut work => match done {
                Ok(failed) => failed.iter().for_each(|failed| self.tell_failure(failed)),
                Err(_) => tracing::debug!("the volumes of pod {uid} were not refreshed in time"),
            },
            Some(message) = self.inbox.recv() => {
                self.take(message);
                next = SOON;
            }
        }
        self.refresh.at = Instant::now() + next;
    }
}

impl Round {
    /// A volume that cannot be refreshed keeps what it has.
    async fn refresh(&self) -> Vec<Failed> {
        let failed = |message: String| Failed {
            subject: SANDBOX.to_owned(),
            reason: FAILED_MOUNT,
            message,
        };
        let wanted = volume_references(&self.spec);
        let sources = fetch::sources(self, wanted).await;
        let sources = match sources {
            Ok(sources) => sources,
            Err(error) => {
                tracing::debug!(
                    "the volumes of pod {} stay as they are: {error}",
                    self.uid()
                );
                return Vec::new();
            }
        };
        let ips = self
            .runtime
            .sandbox()
            .map(|sandbox| sandbox.ips.clone())
            .unwrap_or_default();
        let live = self.spec.volumes.iter().flatten();
        live.filter(|volume| refresh::is_live(volume))
            .filter_map(|volume| self.make_volume(volume, &sources, &ips).err())
            .map(|error| failed(error.to_string()))
            .collect()
    }
}

/// One pod's fetches; beyond it the files stay as they are until the next time.
const REFRESH_LIMIT: Duration = Duration::from_secs(10);
/// After a change to the pod, or an interrupted refresh: a pod that changes all the time costs one refresh in this.
const SOON: Duration = Duration::from_secs(1);
