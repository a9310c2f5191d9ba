//! Pods: the one kind whose cells need thought (`printPod`).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::table::age::human_duration;
use crate::table::cell::{NONE, array, at, condition, integer_at, or, string_or};
use crate::table::{AGE, Column, NAME, text, wide};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "Ready containers of all.", |o, _| {
        let summary = Summary::of(o);
        json!(format!("{}/{}", summary.ready, summary.containers))
    }),
    text("Status", "State of the pod and its containers.", |o, _| {
        json!(Summary::of(o).status)
    }),
    text(
        "Restarts",
        "Restarts of its containers, and the last one.",
        |o, now| json!(Summary::of(o).restarts_text(now)),
    ),
    AGE,
    wide("IP", "Address of the pod.", |o, _| {
        json!(or(
            or(at(o, "/status/podIPs/0/ip"), at(o, "/status/podIP")),
            NONE
        ))
    }),
    wide("Node", "The node it runs on.", |o, _| {
        string_or(o, "/spec/nodeName", NONE)
    }),
    wide("Nominated Node", "The node it waits for.", |o, _| {
        string_or(o, "/status/nominatedNodeName", NONE)
    }),
    wide("Readiness Gates", "Gates passed of all.", |o, _| {
        json!(readiness_gates(o))
    }),
];

struct Summary {
    ready: usize,
    containers: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    status: String,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let sidecars = array(pod, "/spec/initContainers")
            .iter()
            .filter(|c| is_sidecar(c))
            .count();
        let mut summary = Self {
            ready: 0,
            containers: array(pod, "/spec/containers").len() + sidecars,
            restarts: 0,
            last_restart: None,
            status: or(at(pod, "/status/reason"), at(pod, "/status/phase")).to_owned(),
        };
        if condition(pod, "PodScheduled").map(|c| at(c, "/reason")) == Some("SchedulingGated") {
            summary.status = "SchedulingGated".to_owned();
        }
        let initializing = summary.read_init_containers(pod);
        if !initializing || is_true(pod, "Initialized") {
            summary.read_containers(pod);
        }
        summary.mark_deletion(pod);
        summary
    }

    /// True while an init container is not done.
    fn read_init_containers(&mut self, pod: &Value) -> bool {
        let specs = array(pod, "/spec/initContainers");
        for (index, status) in array(pod, "/status/initContainerStatuses")
            .iter()
            .enumerate()
        {
            let spec = specs.iter().find(|s| at(s, "/name") == at(status, "/name"));
            let sidecar = spec.is_some_and(is_sidecar);
            self.restarts += integer_at(status, "/restartCount");
            self.note_restart(status);
            let terminated = status.pointer("/state/terminated");
            if terminated.is_some_and(|t| integer_at(t, "/exitCode") == 0) {
                continue;
            }
            if sidecar && status.get("started") == Some(&Value::Bool(true)) {
                self.ready += usize::from(is_ready(status));
                continue;
            }
            let waiting = at(status, "/state/waiting/reason");
            self.status = match terminated {
                Some(terminated) => format!("Init:{}", exit_text(terminated)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{}", specs.len()),
            };
            return true;
        }
        false
    }

    fn read_containers(&mut self, pod: &Value) {
        let sidecar_names: Vec<&str> = array(pod, "/spec/initContainers")
            .iter()
            .filter(|c| is_sidecar(c))
            .map(|c| at(c, "/name"))
            .collect();
        // Restarts of init containers that are done no longer matter; those of sidecars do.
        self.restarts = array(pod, "/status/initContainerStatuses")
            .iter()
            .filter(|s| sidecar_names.contains(&at(s, "/name")))
            .map(|s| integer_at(s, "/restartCount"))
            .sum();
        let mut running = false;
        for status in array(pod, "/status/containerStatuses").iter().rev() {
            self.restarts += integer_at(status, "/restartCount");
            self.note_restart(status);
            let waiting = at(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if let Some(terminated) = status.pointer("/state/terminated") {
                self.status = exit_text(terminated);
            } else if is_ready(status) && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && running {
            let ready = is_true(pod, "Ready");
            self.status = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn mark_deletion(&mut self, pod: &Value) {
        if pod.pointer("/metadata/deletionTimestamp").is_none() {
            return;
        }
        if at(pod, "/status/reason") == "NodeLost" {
            self.status = "Unknown".to_owned();
        } else if !matches!(at(pod, "/status/phase"), "Succeeded" | "Failed") {
            self.status = "Terminating".to_owned();
        }
    }

    fn note_restart(&mut self, status: &Value) {
        let finished = at(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last_restart = self.last_restart.max(finished);
    }

    fn restarts_text(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => {
                let ago = human_duration(now.as_second() - last.as_second());
                format!("{} ({ago} ago)", self.restarts)
            }
            _ => self.restarts.to_string(),
        }
    }
}

fn exit_text(terminated: &Value) -> String {
    let reason = at(terminated, "/reason");
    match integer_at(terminated, "/signal") {
        _ if !reason.is_empty() => reason.to_owned(),
        0 => format!("ExitCode:{}", integer_at(terminated, "/exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

fn is_sidecar(container: &Value) -> bool {
    at(container, "/restartPolicy") == "Always"
}

fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true))
}

fn is_true(pod: &Value, name: &str) -> bool {
    condition(pod, name).is_some_and(|c| at(c, "/status") == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = array(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let passed = gates
        .iter()
        .filter(|g| is_true(pod, at(g, "/conditionType")))
        .count();
    format!("{passed}/{}", gates.len())
}
