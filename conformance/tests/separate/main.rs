//! Controller and proxy as two processes, against the API server of `portcullis up` or one that stands alone.

mod alone;
mod apart;
mod outages;
mod requests;
mod secret;
mod statuses;
mod trust;

use std::process::ExitCode;
use std::time::Duration;

use apart::Apart;
use portcullis_conformance::{
    ClusterOptions, EchoServer, Environment, Kubectl, Process, Shared, Stage, Suite, certificate,
    eventually, eventually_some, free_port, scenarios,
};

fn main() -> ExitCode {
    Suite::shared("separate", &ClusterOptions::default(), SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    apart::the_same_traffic_is_served,
    apart::every_part_stands_alone,
    outages::the_proxy_serves_on_without_its_controller,
    outages::the_proxy_starts_from_its_last_set,
    trust::the_proxy_holds_no_api_credentials,
    trust::a_bad_certificate_is_refused,
    secret::controller_and_proxy_meet_by_a_secret,
    statuses::one_of_two_controllers_writes,
    statuses::a_controller_that_was_held_up_writes_nothing,
    statuses::statuses_follow_the_published_service,
    statuses::statuses_show_the_nodes_of_ready_proxies,
    statuses::the_last_controller_empties_the_statuses,
    requests::the_controller_asks_for_what_is_written_down,
];

fn ingress(name: &str, host: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  \
         ingressClassName: portcullis\n  rules:\n  - host: {host}\n    http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
    )
}

/// One host of one echo server that calls itself after its Service.
fn serve(kubectl: &Kubectl, host: &str, name: &str) -> EchoServer {
    let server = EchoServer::start(name);
    kubectl.apply(&EchoServer::service(name, &[&server])).ok();
    kubectl.apply(&ingress("site", host, name)).ok();
    server
}

#[track_caller]
fn expect_pod(apart: &Apart, url: &str, pod: &str, deadline: Duration) {
    eventually(deadline, || match apart.get(url).send().pod() {
        Ok(found) if found == pod => Ok(()),
        found => Err(format!("{found:?} instead of {pod}\n{}", apart.logs())),
    });
}

/// What is promised for every change.
const CHANGE: Duration = Duration::from_secs(1);

/// Two processes start, meet (a proxy tries again after at most 3 s), and the first set is served.
const START: Duration = Duration::from_secs(30);
