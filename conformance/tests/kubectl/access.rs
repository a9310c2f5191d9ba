//! Who may do what, as kubectl asks and shows it.

use portcullis_conformance::{Kubectl, Stage, eventually};

use crate::{DEPLOYMENT, SOON};

/// The first line that `kubectl auth can-i` prints; it fails where the answer is no.
fn can_i(kubectl: &Kubectl, arguments: &[&str]) -> String {
    let mut all = vec!["auth", "can-i"];
    all.extend_from_slice(arguments);
    let answer = kubectl.run(&all);
    let said = answer.stdout.lines().next().unwrap_or_default().to_owned();
    assert_eq!(answer.success(), said == "yes", "{answer:?}");
    said
}

#[track_caller]
fn becomes_possible(kubectl: &Kubectl, arguments: &[&str]) {
    eventually(SOON, || match can_i(kubectl, arguments).as_str() {
        "yes" => Ok(()),
        other => Err(format!("{arguments:?}: {other}")),
    });
}

pub(crate) fn refusals_read_as_upstreams(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let refused = kubectl.run(&["get", "pods", "--as=eve"]).refused();
    assert_eq!(
        refused.trim(),
        "Error from server (Forbidden): pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" \
         in the namespace \"refusals-read-as-upstreams\""
    );
    let refused = kubectl
        .run(&["delete", "node", "a", "--as=eve", "--as-group=devs"])
        .refused();
    let wanted = "Error from server (Forbidden): nodes \"a\" is forbidden: User \"eve\" cannot delete resource \"nodes\" \
                  in API group \"\" at the cluster scope";
    // kubectl warns first that the namespace does not matter here.
    assert!(refused.trim().ends_with(wanted), "{refused}");
}

pub(crate) fn can_i_follows_the_bindings(stage: &Stage) {
    let kubectl = &stage.kubectl;
    assert_eq!(can_i(kubectl, &["*", "*"]), "yes");
    assert_eq!(can_i(kubectl, &["list", "pods", "--as=jane"]), "no");
    let bind = [
        "create",
        "rolebinding",
        "jane",
        "--clusterrole=view",
        "--user=jane",
    ];
    kubectl.run(&bind).ok();
    // `view` has no rules of its own: the controller manager gathers them.
    becomes_possible(kubectl, &["list", "pods", "--as=jane"]);
    becomes_possible(kubectl, &["get", "pods", "--subresource=log", "--as=jane"]);
    assert_eq!(can_i(kubectl, &["get", "secrets", "--as=jane"]), "no");
    assert_eq!(can_i(kubectl, &["delete", "pods", "--as=jane"]), "no");
    kubectl.run(&["get", "pods", "--as=jane"]).ok();
    let listed = kubectl.run(&["auth", "can-i", "--list", "--as=jane"]).ok();
    let row = listed.lines().find(|line| line.starts_with("pods/log "));
    assert!(
        row.is_some_and(|row| row.contains("[get list watch]")),
        "{listed}"
    );
    assert!(listed.contains("[/version]"), "{listed}");
    let elsewhere = kubectl.within("kube-system");
    assert_eq!(can_i(&elsewhere, &["list", "pods", "--as=jane"]), "no");
    kubectl.run(&["delete", "rolebinding", "jane"]).ok();
    eventually(SOON, || {
        match can_i(kubectl, &["list", "pods", "--as=jane"]).as_str() {
            "no" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

pub(crate) fn accounts_and_groups_are_bound(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let namespace = "accounts-and-groups-are-bound";
    let account = format!("--as=system:serviceaccount:{namespace}:robot");
    let role = [
        "create",
        "role",
        "reader",
        "--verb=get,list",
        "--resource=configmaps",
        "--resource-name=one",
    ];
    kubectl.run(&role).ok();
    let robot = format!("--serviceaccount={namespace}:robot");
    kubectl
        .run(&["create", "rolebinding", "robots", "--role=reader", &robot])
        .ok();
    becomes_possible(kubectl, &["get", "configmaps/one", &account]);
    assert_eq!(can_i(kubectl, &["get", "configmaps/two", &account]), "no");
    kubectl
        .run(&[
            "create",
            "rolebinding",
            "all",
            "--clusterrole=edit",
            &format!("--group=system:serviceaccounts:{namespace}"),
        ])
        .ok();
    becomes_possible(kubectl, &["create", "deployments", &account]);
    assert_eq!(can_i(kubectl, &["create", "rolebindings", &account]), "no");
}

pub(crate) fn whoami_shows_who_is_meant(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let myself = kubectl.run(&["auth", "whoami"]).ok();
    assert!(myself.contains("kubernetes-admin"), "{myself}");
    assert!(
        myself.contains("[system:masters system:authenticated]"),
        "{myself}"
    );
    let jane = kubectl
        .run(&[
            "auth",
            "whoami",
            "--as=jane",
            "--as-group=devs",
            "--as-uid=u1",
        ])
        .ok();
    for part in ["jane", "[devs system:authenticated]", "u1"] {
        assert!(jane.contains(part), "{jane}");
    }
    let refused = kubectl
        .run(&["auth", "whoami", "--as=jane", "--as-user-extra=a=b"])
        .ok();
    assert!(refused.contains("[b]"), "{refused}");
}

pub(crate) fn nobody_grants_more_than_they_hold(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl
        .run(&[
            "create",
            "rolebinding",
            "admins",
            "--clusterrole=admin",
            "--user=alice",
        ])
        .ok();
    becomes_possible(kubectl, &["create", "roles", "--as=alice"]);
    let role = [
        "create",
        "role",
        "breaker",
        "--verb=get",
        "--resource=nodes",
        "--as=alice",
    ];
    let refused = kubectl.run(&role).refused();
    assert!(
        refused.contains(
            "user \"alice\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"
        ),
        "{refused}"
    );
    let everything = [
        "create",
        "rolebinding",
        "root",
        "--clusterrole=cluster-admin",
        "--user=alice",
        "--as=alice",
    ];
    assert!(
        kubectl
            .run(&everything)
            .refused()
            .contains("is attempting to grant")
    );
    kubectl
        .run(&[
            "create",
            "rolebinding",
            "viewers",
            "--clusterrole=view",
            "--user=bob",
            "--as=alice",
        ])
        .ok();
}

/// The components do their work under names of their own; what one may not do stands in the log.
pub(crate) fn no_component_lacks_a_right(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    kubectl.run(&["expose", "deployment", "web"]).ok();
    let ingress = [
        "create",
        "ingress",
        "web",
        "--class=portcullis",
        "--rule=rights.test/*=web:8080",
    ];
    kubectl.run(&ingress).ok();
    eventually(SOON, || {
        let pods = kubectl
            .run(&[
                "get",
                "pods",
                "-o",
                "jsonpath={.items[*].status.conditions[*].reason}",
            ])
            .ok();
        let events = kubectl
            .run(&["get", "events", "-o", "jsonpath={.items[*].reason}"])
            .ok();
        let shown = kubectl.get_json(&["ingress", "web"])["status"]["loadBalancer"].clone();
        // Without a node the scheduler can only say so, in a status and in an Event.
        let told = pods == "Unschedulable Unschedulable" && events.contains("FailedScheduling");
        match told && events.contains("SuccessfulCreate") && shown["ingress"].is_array() {
            true => Ok(()),
            false => Err(format!(
                "{pods}\n{events}\n{shown}\n{}",
                stage.cluster.logs()
            )),
        }
    });
    kubectl.run(&["delete", "deployment", "web"]).ok();
    eventually(SOON, || {
        let left = kubectl
            .run(&["get", "pods,replicasets,endpointslices", "-o", "name"])
            .ok();
        match left
            .lines()
            .filter(|line| !line.contains("endpointslice"))
            .count()
        {
            0 => Ok(()),
            _ => Err(left),
        }
    });
    let logs = stage.cluster.logs();
    assert!(!logs.contains("is forbidden"), "{logs}");
}
