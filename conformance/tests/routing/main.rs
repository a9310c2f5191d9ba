//! The ingress, by kubectl and curl, without a node: the endpoints are echo servers outside of the cluster.

mod changes;
mod faults;
mod hosts;
mod policies;

use std::process::ExitCode;
use std::time::Duration;

use portcullis_conformance::{
    ClusterOptions, Shared, Stage, Suite, certificate, eventually, scenarios,
};

fn main() -> ExitCode {
    Suite::shared("routing", &ClusterOptions::default(), SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    hosts::hosts_exact_and_wildcard,
    hosts::paths_by_type_and_length,
    hosts::the_backend_learns_of_the_client,
    hosts::unknown_is_404_and_unready_503,
    hosts::the_default_backend_takes_the_rest,
    hosts::an_ingress_without_class_gets_the_default,
    hosts::the_status_names_an_address,
    policies::certificates_go_by_name,
    policies::tls_hosts_redirect,
    policies::rates_are_limited,
    policies::a_cookie_keeps_the_endpoint,
    changes::changes_show_within_a_second,
    changes::changes_lose_nothing,
    faults::a_bad_certificate_is_told,
    faults::a_missing_service_is_told,
    faults::a_missing_class_is_left_alone,
    faults::the_older_ingress_keeps_its_path,
];

fn ingress(name: &str, host: &str, path: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  \
         ingressClassName: portcullis\n  rules:\n  - host: {host}\n    http:\n      paths:\n      \
         - {{path: {path}, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
    )
}

/// With a Secret of its own name.
fn tls_ingress(name: &str, host: &str, service: &str) -> String {
    format!(
        "{}  tls: [{{hosts: [{host}], secretName: {name}}}]\n",
        ingress(name, host, "/", service)
    )
}

fn tls_secret(name: &str, dns_names: &[&str]) -> String {
    let issued = certificate(dns_names);
    let indented = |pem: &str| pem.trim().replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}}}\nstringData:\n  \
         tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
        indented(&issued.certificate_pem),
        indented(issued.key.pem())
    )
}

fn annotate(stage: &Stage, ingress: &str, change: &str) {
    let change = format!("nginx.ingress.kubernetes.io/{change}");
    stage
        .kubectl
        .run(&["annotate", "--overwrite", "ingress", ingress, &change])
        .ok();
}

#[track_caller]
fn expect_pod(stage: &Stage, url: &str, pod: &str) {
    eventually(CHANGE, || match stage.cluster.get(url).send().pod()? {
        found if found == pod => Ok(()),
        found => Err(format!("{url}: {found} answers instead of {pod}")),
    });
}

#[track_caller]
fn expect_status(stage: &Stage, url: &str, status: u16) {
    eventually(CHANGE, || {
        stage.cluster.get(url).send().expect_status(status)
    });
}

/// What is promised for every change.
const CHANGE: Duration = Duration::from_secs(1);
