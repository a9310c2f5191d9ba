//! A pod carried through a simulated life: whatever containers do, planning settles, never acts twice, and obeys its policy.

use super::*;
use crate::{Container, Sandbox};

/// How a simulated container ends each time it runs; `None` runs until stopped.
type Script = Vec<Option<i32>>;

#[derive(Default)]
struct World {
    runtime: Runtime,
    runs: BTreeMap<String, usize>,
    deleted: bool,
    next: u32,
}

impl World {
    fn apply(&mut self, action: &Action, script: &Script, now: Timestamp) {
        match action {
            Action::CreateSandbox { attempt } => {
                assert!(self.runtime.sandbox().is_none(), "two live sandboxes");
                self.next += 1;
                let ips = vec![IpAddr::from([10, 42, 0, 2])];
                self.runtime.sandboxes.insert(
                    0,
                    Sandbox {
                        id: format!("s{}", self.next),
                        attempt: *attempt,
                        ready: true,
                        ips,
                    },
                );
            }
            Action::StartContainer {
                name,
                attempt,
                streak,
            } => self.start(name, *attempt, *streak, script, now),
            Action::StopContainer { id, .. } => {
                let found = self
                    .runtime
                    .containers
                    .iter_mut()
                    .find(|container| container.id == *id)
                    .unwrap();
                assert!(found.is_running(), "stopped what does not run");
                found.state = ended(now, 143);
            }
            Action::RemoveContainer { id } => self
                .runtime
                .containers
                .retain(|container| container.id != *id),
            Action::StopSandbox { id } => {
                self.runtime
                    .sandboxes
                    .iter_mut()
                    .filter(|sandbox| sandbox.id == *id)
                    .for_each(|sandbox| sandbox.ready = false);
            }
            Action::RemoveSandbox { id } => {
                self.runtime.sandboxes.retain(|sandbox| sandbox.id != *id);
                self.runtime
                    .containers
                    .retain(|container| container.sandbox != *id);
            }
            Action::RemoveFiles => {
                assert!(!self.runtime.exists(), "files removed under a living pod")
            }
            Action::DeleteFromApi => {
                assert!(
                    !self.runtime.exists(),
                    "deleted from the API while it exists"
                );
                self.deleted = true;
            }
            Action::WakeAt { .. } => {}
        }
    }

    fn start(&mut self, name: &str, attempt: u32, streak: u32, script: &Script, now: Timestamp) {
        let sandbox = self
            .runtime
            .sandbox()
            .expect("a container needs a live sandbox")
            .id
            .clone();
        let twin = self
            .runtime
            .containers
            .iter()
            .any(|other| other.name == name && other.is_running());
        assert!(!twin, "two runs of {name} at once");
        self.next += 1;
        let run = self.runs.entry(name.to_owned()).or_default();
        let ending = script.get(*run).copied().unwrap_or(None);
        *run += 1;
        let state = match ending {
            None => ContainerState::Running { started_at: now },
            Some(code) => ended(now, code),
        };
        let id = format!("c{}", self.next);
        let (name, attempt, streak) = (name.to_owned(), attempt, streak);
        let (image, image_id) = (String::new(), String::new());
        self.runtime.containers.insert(
            0,
            Container {
                id,
                name,
                sandbox,
                attempt,
                streak,
                image,
                image_id,
                state,
            },
        );
    }
}

fn ended(now: Timestamp, exit_code: i32) -> ContainerState {
    let (reason, message) = (String::new(), String::new());
    ContainerState::Exited {
        started_at: now,
        finished_at: now,
        exit_code,
        reason,
        message,
    }
}

/// Plans and applies until nothing is left to do now; the time to look again.
fn settle(pod: &mut Pod, world: &mut World, script: &Script, now: Timestamp) -> Option<Timestamp> {
    for _ in 0..100 {
        if world.deleted {
            return None;
        }
        let (probes, failures) = (BTreeMap::new(), BTreeMap::new());
        let actions = {
            let spec = pod.spec.as_ref().unwrap();
            let observed = Observed {
                pod,
                spec,
                runtime: &world.runtime,
                probes: &probes,
                failures: &failures,
                host_ips: &[],
            };
            let next = status(&observed, now);
            let actions = plan(&observed, now);
            pod.status = Some(next);
            actions
        };
        let mut wake = None;
        let mut acted = false;
        for action in &actions {
            match action {
                Action::WakeAt { at } => wake = Some(*at),
                action => {
                    acted = true;
                    world.apply(action, script, now);
                }
            }
        }
        if !acted {
            return wake;
        }
    }
    panic!("planning does not settle");
}

fn pod(policy: &str) -> Pod {
    let value = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}],
            "containers": [{"name": "main"}],
        },
    });
    serde_json::from_value(value).unwrap()
}

proptest! {
    #[test]
    fn a_life_settles_and_ends(
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        script in proptest::collection::vec(prop::option::of(0..2i32), 0..8),
        steps in 1..12usize,
    ) {
        let (mut pod, mut world) = (pod(policy), World::default());
        let mut now = Timestamp::UNIX_EPOCH;
        for _ in 0..steps {
            let Some(wake) = settle(&mut pod, &mut world, &script, now) else { break };
            prop_assert!(wake > now, "a wake-up in the past would spin");
            now = wake;
        }
        let phase = pod.status.as_ref().unwrap().phase.clone().unwrap();
        if policy == "Never" {
            prop_assert!(world.runs.get("main").copied().unwrap_or(0) <= 1, "Never ran twice");
        }
        if phase == "Succeeded" || phase == "Failed" {
            prop_assert!(policy != "Always");
            prop_assert!(world.runtime.containers.iter().all(|container| !container.is_running()));
        }
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        settle(&mut pod, &mut world, &script, now);
        prop_assert!(world.deleted, "a deleted pod goes");
    }
}
