//! What a pod's status says once its node has stopped: nothing answers at its address any more.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The status without any claim to be ready; `None` when it makes none. States and restart counts stay: the next start
/// of the node goes on from them.
pub fn stopped(pod: &Pod, now: Timestamp) -> Option<PodStatus> {
    let mut status = pod.status.clone()?;
    let conditions = status.conditions.iter_mut().flatten();
    let claims = conditions.filter(|condition| {
        matches!(condition.type_.as_str(), "Ready" | "ContainersReady")
            && condition.status != "False"
    });
    let mut claimed = false;
    for condition in claims {
        claimed = true;
        condition.status = "False".into();
        condition.reason = Some("NodeStopped".into());
        condition.message = Some("the node has stopped".into());
        condition.last_transition_time = Some(Time(now));
    }
    for container in status.container_statuses.iter_mut().flatten() {
        claimed |= container.ready;
        container.ready = false;
    }
    claimed.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ready_pod_is_no_longer_and_keeps_the_rest() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut pod: Pod = serde_json::from_value(json!({"status": {
            "phase": "Running",
            "conditions": [condition("Initialized", "True"), condition("Ready", "True"), condition("ContainersReady", "True")],
            "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 4, "state": {"running": {}}}],
        }})).unwrap();
        let status = stopped(&pod, Timestamp::UNIX_EPOCH).unwrap();
        let of = |kind: &str| {
            let conditions = status.conditions.as_ref().unwrap();
            let found = conditions.iter().find(|condition| condition.type_ == kind);
            found.unwrap().status.clone()
        };
        assert_eq!(
            ["Initialized", "Ready", "ContainersReady"].map(of),
            ["True", "False", "False"]
        );
        let container = &status.container_statuses.as_ref().unwrap()[0];
        assert!(!container.ready && container.restart_count == 4);
        assert!(container.state.as_ref().unwrap().running.is_some());
        assert_eq!(status.phase.as_deref(), Some("Running"));
        pod.status = Some(status);
        assert_eq!(stopped(&pod, Timestamp::UNIX_EPOCH), None, "said once");
        assert_eq!(stopped(&Pod::default(), Timestamp::UNIX_EPOCH), None);
    }
}
