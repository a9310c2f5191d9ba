//! The probes of one running container: one task per probe, reporting verdicts, not attempts.

use crate::node::Node;
use crate::pods::check::{self, Subject};
use crate::pods::inbox::Message;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use portcullis_pod::notices;
use portcullis_pod::probe::{ProbeKind, Tally, is_told, timeout};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Running probes; dropping it ends them.
pub(crate) struct Probing {
    _tasks: JoinSet<()>,
}

/// What is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub container_id: String,
    pub ip: Option<IpAddr>,
    pub started_at: Timestamp,
}

impl Probing {
    pub(crate) fn start(target: &Target, reports: &mpsc::Sender<Message>) -> Self {
        let mut tasks = JoinSet::new();
        let (started, starting) = watch::channel(target.container.startup_probe.is_none());
        let started = Arc::new(started);
        for kind in ProbeKind::ALL {
            let Some(probe) = kind.of(&target.container).cloned() else {
                continue;
            };
            let gate = (kind != ProbeKind::Startup).then(|| starting.clone());
            tasks.spawn(run(
                target.clone(),
                kind,
                probe,
                gate,
                started.clone(),
                reports.clone(),
            ));
        }
        Probing { _tasks: tasks }
    }
}

async fn run(
    target: Target,
    kind: ProbeKind,
    probe: Probe,
    gate: Option<watch::Receiver<bool>>,
    started: Arc<watch::Sender<bool>>,
    reports: mpsc::Sender<Message>,
) {
    if let Some(mut gate) = gate
        && gate.wait_for(|started| *started).await.is_err()
    {
        return;
    }
    let subject = Subject {
        node: &target.node,
        container: &target.container,
        container_id: &target.container_id,
        ip: target.ip,
    };
    let (mut tally, mut told_at) = (Tally::default(), None);
    loop {
        let wait = tally
            .next_at(kind, &probe, target.started_at)
            .duration_since(Timestamp::now());
        tokio::time::sleep(wait.try_into().unwrap_or_default()).await;
        let outcome = check::probe(&subject, &probe, timeout(&probe)).await;
        let now = Timestamp::now();
        let changed = tally.record(&probe, outcome.is_ok(), now);
        if let Err(reason) = &outcome {
            let name = &target.container.name;
            tracing::debug!("{} probe of {name} failed: {reason}", kind.name());
            if is_told(kind, &probe, target.started_at, told_at, now) {
                told_at = Some(now);
                let notice = notices::unhealthy(name, kind, reason);
                target.node.recorder.record(&target.pod, notice);
            }
        }
        let Some(verdict) = tally.verdict.filter(|_| changed) else {
            continue;
        };
        let report = Message::Verdict {
            container_id: target.container_id.clone(),
            kind,
            verdict,
            reason: outcome.err().unwrap_or_default(),
        };
        if reports.send(report).await.is_err() {
            return;
        }
        if kind == ProbeKind::Startup && verdict {
            started.send_replace(true);
            return;
        }
    }
}
