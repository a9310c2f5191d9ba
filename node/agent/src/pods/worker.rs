//! One pod's loop: look, report, plan, act. Serialised, so that no two actions on one pod ever race.

use crate::node::Node;
use crate::pods::execute::{Outcome, Round};
use crate::pods::fetch::Tokens;
use crate::pods::inbox::{Message, doomed};
use crate::pods::observe::Observer;
use crate::pods::pace::{Lag, Retry};
use crate::pods::probing::{Probing, Target};
use crate::pods::refresh::Schedule;
use crate::pods::report;
use crate::pods::settle::Ended;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use portcullis_pod::{
    Action, ContainerState, Failure, Observed, ProbeVerdicts, Runtime, notices, plan, status,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

pub(crate) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) inbox: mpsc::Receiver<Message>,
    /// Handed to the probes.
    reports: mpsc::Sender<Message>,
    index: Index,
    pub(super) pod: Arc<Pod>,
    pub(super) spec: Arc<PodSpec>,
    pub(super) in_api: bool,
    observer: Observer,
    pub(super) runtime: Runtime,
    /// The runtime may have moved since `runtime` was read.
    pub(super) stale: bool,
    pub(super) ended: Lag,
    pub(super) probes: HashMap<String, Probing>,
    pub(super) verdicts: BTreeMap<String, ProbeVerdicts>,
    pub(super) failures: BTreeMap<String, Failure>,
    tokens: Tokens,
    pub(super) refresh: Schedule,
}

/// From the runtime's ids to the pod's uid, for events.
pub(crate) type Index = Arc<std::sync::Mutex<HashMap<String, String>>>;

impl Worker {
    pub(crate) fn new(
        node: Arc<Node>,
        pod: Arc<Pod>,
        in_api: bool,
        inbox: mpsc::Receiver<Message>,
        reports: mpsc::Sender<Message>,
        index: Index,
    ) -> Self {
        let spec = Arc::new(pod.spec.clone().unwrap_or_default());
        let refresh = Schedule::new(pod.metadata.uid.as_deref().unwrap_or_default());
        Worker {
            node,
            inbox,
            reports,
            index,
            pod: if in_api { pod } else { doomed(&pod) },
            spec,
            in_api,
            observer: Observer::default(),
            runtime: Runtime::default(),
            stale: true,
            ended: Lag::default(),
            probes: HashMap::new(),
            verdicts: BTreeMap::new(),
            failures: BTreeMap::new(),
            tokens: Tokens::default(),
            refresh,
        }
    }

    /// Runs until the pod is gone from the node and the API.
    pub(crate) async fn run(mut self) {
        let mut retry = Retry::default();
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            }
            if self.stale && !self.look().await {
                self.wait(Some(retry.next())).await;
                continue;
            }
            let reported = self.report().await;
            let (mut actions, wake) = split(self.plan());
            if !reported && actions.contains(&Action::DeleteFromApi) {
                // The last status must arrive before the object goes.
                actions.clear();
            }
            if !actions.is_empty() {
                match self.act(actions).await {
                    Ended::Finished => return,
                    Ended::Stuck => self.pause(retry.next()).await,
                    Ended::Done => retry.reset(),
                }
                continue;
            }
            let refresh = self.refresh_in();
            if refresh == Some(Duration::ZERO) {
                self.refresh().await;
                continue;
            }
            let again = (!reported).then(|| retry.next());
            if reported {
                retry.reset();
            }
            let catching_up = self.ended.pause(Instant::now());
            self.wait(
                [wake.map(until), again, catching_up, refresh]
                    .into_iter()
                    .flatten()
                    .min(),
            )
            .await;
            self.stale |= catching_up.is_some();
        }
    }

    /// Sleeps until something happens or the time is up.
    async fn wait(&mut self, limit: Option<Duration>) {
        let message = match limit {
            Some(limit) => tokio::time::timeout(limit, self.inbox.recv())
                .await
                .ok()
                .flatten(),
            None => self.inbox.recv().await,
        };
        if let Some(message) = message {
            self.take(message);
        }
    }

    /// Lets time pass after a failure, whatever else is told; only a hastened deletion cuts it short.
    async fn pause(&mut self, length: Duration) {
        let passed = tokio::time::sleep(length);
        tokio::pin!(passed);
        loop {
            tokio::select! {
                () = &mut passed => return,
                Some(message) = self.inbox.recv() => {
                    if self.take(message) {
                        return;
                    }
                }
            }
        }
    }

    async fn look(&mut self) -> bool {
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        let mut runtime = match self.observer.look(&self.node, &uid).await {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!("cannot see the pod {uid}: {error}");
                return false;
            }
        };
        self.stale = false;
        let running = |id: &str| {
            runtime
                .containers
                .iter()
                .any(|container| container.id == id && container.is_running())
                || runtime
                    .sandboxes
                    .iter()
                    .any(|sandbox| sandbox.id == id && sandbox.ready)
        };
        self.ended.retain(Instant::now(), running);
        self.enter_index(&uid, &runtime);
        runtime.recall(&self.pod);
        self.runtime = runtime;
        self.update_probes();
        true
    }

    fn enter_index(&self, uid: &str, runtime: &Runtime) {
        let mut index = self.index.lock().expect("no holder of this lock panics");
        index.retain(|_, owner| owner != uid);
        let sandboxes = runtime.sandboxes.iter().map(|sandbox| &sandbox.id);
        let ids = sandboxes.chain(runtime.containers.iter().map(|container| &container.id));
        index.extend(ids.map(|id| (id.clone(), uid.to_owned())));
    }

    fn update_probes(&mut self) {
        let running = self
            .runtime
            .containers
            .iter()
            .filter(|container| container.is_running());
        let running: HashSet<_> = running.map(|container| container.id.clone()).collect();
        self.probes.retain(|id, _| running.contains(id));
        self.verdicts.retain(|id, _| running.contains(id));
        let on_host = self.spec.host_network == Some(true);
        let own = self
            .runtime
            .sandbox()
            .and_then(|sandbox| sandbox.ips.first().copied());
        let ip = if on_host {
            self.node.host_ips.first().copied()
        } else {
            own
        };
        for container in &self.runtime.containers {
            let ContainerState::Running { started_at } = container.state else {
                continue;
            };
            let Some(spec) = self.container(&container.name).cloned() else {
                continue;
            };
            if !self.probes.contains_key(&container.id) {
                let (node, container_id) = (self.node.clone(), container.id.clone());
                let target = Target {
                    node,
                    pod: self.pod.clone(),
                    container: spec,
                    container_id,
                    ip,
                    started_at,
                };
                self.probes
                    .insert(container.id.clone(), Probing::start(&target, &self.reports));
            }
        }
    }

    pub(super) fn container(&self, name: &str) -> Option<&Container> {
        let mut all = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        all.find(|container| container.name == name)
    }

    fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            spec: &self.spec,
            runtime: &self.runtime,
            probes: &self.verdicts,
            failures: &self.failures,
            host_ips: &self.node.host_ips,
        }
    }

    fn plan(&self) -> Vec<Action> {
        plan(&self.observed(), Timestamp::now())
    }

    /// Writes the status where it differs; false when that has to be tried again.
    async fn report(&mut self) -> bool {
        if !self.in_api {
            return true;
        }
        let next = status(&self.observed(), Timestamp::now());
        match report::write(&self.node.client, &self.pod, &next).await {
            Ok(None) => true,
            Ok(Some(written)) => {
                let before = self.pod.status.clone().unwrap_or_default();
                for notice in notices::back_offs(&self.pod, &before, &next) {
                    self.node.recorder.record(&self.pod, notice);
                }
                // Only the status is taken over: spec and deletion come by the watch, in order.
                let mut pod = Pod::clone(&self.pod);
                pod.status = written.status;
                self.pod = Arc::new(pod);
                true
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                let name = self.pod.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!("cannot report the status of pod {name}: {error}");
                false
            }
        }
    }

    pub(super) fn round(&self) -> Round {
        Round {
            node: self.node.clone(),
            pod: self.pod.clone(),
            spec: self.spec.clone(),
            runtime: self.runtime.clone(),
            tokens: self.tokens.clone(),
            in_api: self.in_api,
            // Nobody ever sends.
            cut: watch::channel(false).1,
        }
    }

    /// Acts while listening: a deletion that leaves less time cuts a stop short, and the next plan does the rest.
    async fn act(&mut self, actions: Vec<Action>) -> Ended {
        let only_stops = actions
            .iter()
            .all(|action| matches!(action, Action::StopContainer { .. }));
        let (cut, is_cut) = watch::channel(false);
        let round = Round {
            cut: is_cut,
            ..self.round()
        };
        self.stale = true;
        let work = round.run(actions);
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                Some(message) = self.inbox.recv() => {
                    if self.take(message) {
                        if only_stops {
                            break Outcome::default();
                        }
                        cut.send_replace(true);
                    }
                }
            }
        };
        self.settle(outcome)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        self.index
            .lock()
            .expect("no holder of this lock panics")
            .retain(|_, owner| *owner != uid);
    }
}

/// A wake-up alone is no action.
fn split(actions: Vec<Action>) -> (Vec<Action>, Option<Timestamp>) {
    let mut wake = None;
    let mut rest = Vec::with_capacity(actions.len());
    for action in actions {
        match action {
            Action::WakeAt { at } => wake = Some(at),
            action => rest.push(action),
        }
    }
    (rest, wake)
}

fn until(at: Timestamp) -> Duration {
    at.duration_since(Timestamp::now())
        .try_into()
        .unwrap_or_default()
}
