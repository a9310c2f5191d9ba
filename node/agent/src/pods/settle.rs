//! What a round of actions came to: failures remembered, told, and counted against the next try.

use crate::pods::execute::{Failed, Outcome};
use crate::pods::worker::Worker;
use jiff::Timestamp;
use portcullis_pod::observed::SANDBOX;
use portcullis_pod::{Failure, notices};

/// What a round of actions came to.
pub(super) enum Ended {
    Done,
    /// Something failed that the planner would only order again.
    Stuck,
    /// The pod is no more.
    Finished,
}

impl Worker {
    pub(super) fn settle(&mut self, outcome: Outcome) -> Ended {
        for subject in outcome.worked {
            self.failures.remove(&subject);
        }
        for failed in outcome.failed {
            let count = self
                .failures
                .get(&failed.subject)
                .map_or(0, |failure| failure.count)
                + 1;
            let subject = if failed.subject == SANDBOX {
                "the pod"
            } else {
                &failed.subject
            };
            let name = self.pod.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(
                "pod {name}: {subject}: {}: {}",
                failed.reason,
                failed.message
            );
            self.tell_failure(&failed);
            let reason = match failed.reason {
                "ErrImagePull" if count > 1 => "ImagePullBackOff",
                notices::FAILED_MOUNT => "ContainerCreating",
                reason => reason,
            };
            let failure = Failure {
                reason: reason.into(),
                message: failed.message,
                at: Timestamp::now(),
                count,
            };
            self.failures.insert(failed.subject, failure);
        }
        match outcome {
            Outcome { finished: true, .. } => Ended::Finished,
            Outcome { stuck: true, .. } => Ended::Stuck,
            _ => Ended::Done,
        }
    }

    pub(super) fn tell_failure(&self, failed: &Failed) {
        let container = self.container(&failed.subject);
        let image = container.and_then(|container| container.image.as_deref());
        let image = image.unwrap_or_default();
        for notice in notices::failed(&failed.subject, image, failed.reason, &failed.message) {
            self.node.recorder.record(&self.pod, notice);
        }
    }
}
