//! The loop every controller runs in: take a key, plan, execute, record, come back.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use portcullis_reconcile::{Action, Plan};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::execute::{ActionError, Done, execute_all, put_status};
use crate::queue::Queue;
use crate::recorder::Recorder;

/// One controller: observes a key and plans. Everything else is common.
pub(crate) trait Controller: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static;
    const NAME: &'static str;

    /// Observes and decides. `Err` retries the key.
    fn plan(
        &self,
        key: &Self::Key,
        now: Timestamp,
    ) -> impl Future<Output = Result<Plan, kube::Error>> + Send;

    /// The plan is about to be executed.
    fn starting(&self, _key: &Self::Key, _plan: &Plan, _now: Timestamp) {}

    /// One action's fate is known.
    fn settled(&self, _key: &Self::Key, _action: &Action, _outcome: &Result<Done, ActionError>) {}

    /// The batch failed. Returns whether the failure belongs in the status, which is then planned again and written.
    fn failed(&self, _key: &Self::Key, _action: Option<&Action>, _error: &ActionError) -> bool {
        false
    }

    /// The whole plan went through.
    fn completed(&self, _key: &Self::Key) {}
}

/// When a controller begins and ends.
#[derive(Clone)]
pub(crate) struct Start {
    /// Opens when the caches show the world: acting earlier would take "not listed yet" for "gone".
    pub gate: watch::Receiver<bool>,
    pub shutdown: CancellationToken,
}

/// A controller with its queue and the tools to act.
pub(crate) struct Actor<C: Controller> {
    controller: C,
    queue: Arc<Queue<C::Key>>,
    client: Client,
    recorder: Recorder,
}

impl<C: Controller> Actor<C> {
    pub fn new(
        controller: C,
        queue: Arc<Queue<C::Key>>,
        client: Client,
        recorder: &Recorder,
    ) -> Arc<Self> {
        Arc::new(Self {
            controller,
            queue,
            client,
            recorder: recorder.for_component(C::NAME),
        })
    }

    /// Starts `workers` loops that begin when the gate opens and end at shutdown, each after the key it is at.
    pub fn start(self: &Arc<Self>, workers: usize, tasks: &mut JoinSet<()>, start: &Start) {
        for _ in 0..workers {
            let actor = Arc::clone(self);
            let Start { mut gate, shutdown } = start.clone();
            tasks.spawn(async move {
                if !matches!(
                    shutdown
                        .run_until_cancelled(gate.wait_for(|open| *open))
                        .await,
                    Some(Ok(_))
                ) {
                    return;
                }
                while let Some(key) = shutdown.run_until_cancelled(actor.queue.next()).await {
                    actor.handle(&key).await;
                    actor.queue.done(&key);
                }
            });
        }
    }

    async fn handle(&self, key: &C::Key) {
        match self.step(key).await {
            Ok(requeue_after) => {
                self.queue.succeeded(key);
                if let Some(after) = requeue_after {
                    self.queue.add_after(key.clone(), after);
                }
            }
            Err(error) => {
                if error.is_routine() {
                    tracing::debug!(controller = C::NAME, %key, %error, "retrying");
                } else {
                    tracing::warn!(controller = C::NAME, %key, %error, "retrying");
                }
                self.queue.retry(key.clone());
            }
        }
    }

    async fn step(&self, key: &C::Key) -> Result<Option<Duration>, StepError> {
        let now = clock::now();
        let plan = self
            .controller
            .plan(key, now)
            .await
            .map_err(StepError::Observe)?;
        self.controller.starting(key, &plan, now);
        let mut refused = None;
        let outcome = execute_all(&self.client, &plan.actions, |action, outcome| {
            if outcome.is_err() {
                refused.get_or_insert(action);
            }
            self.controller.settled(key, action, outcome);
        })
        .await;
        if let Err(error) = outcome {
            if error.is_namespace_terminating() {
                return Ok(None);
            }
            if self.controller.failed(key, refused, &error) {
                self.write_failure(key, now).await;
            }
            return Err(StepError::Act(error));
        }
        if let Some(status) = &plan.status {
            put_status(&self.client, status)
                .await
                .map_err(StepError::Act)?;
        }
        plan.events
            .into_iter()
            .for_each(|note| self.recorder.record(note));
        self.controller.completed(key);
        Ok(plan
            .requeue_after
            .and_then(|after| Duration::try_from(after).ok()))
    }

    /// Only the status of a second look: the actions just failed and wait for their retry.
    async fn write_failure(&self, key: &C::Key, now: Timestamp) {
        let Ok(Plan {
            status: Some(status),
            ..
        }) = self.controller.plan(key, now).await
        else {
            return;
        };
        if let Err(error) = put_status(&self.client, &status).await {
            tracing::debug!(controller = C::NAME, %key, %error, "failure not written to the status");
        }
    }
}

/// Why a key is tried again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("cannot observe: {0}")]
    Observe(#[source] kube::Error),
    #[error(transparent)]
    Act(ActionError),
}

impl StepError {
    /// Lost races are part of optimistic locking, not news.
    fn is_routine(&self) -> bool {
        matches!(self, Self::Act(error) if error.is_conflict())
    }
}
