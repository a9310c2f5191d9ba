//! The real ExternalDNS publishes our Ingresses into a real name server, with no configuration of ours.

use std::process::ExitCode;
use std::time::Duration;

use portcullis_conformance::{
    ClusterOptions, ExternalDns, NameServer, Shared, Stage, Suite, eventually, eventually_some,
    scenarios,
};

fn main() -> ExitCode {
    Suite::shared("external_dns", &ClusterOptions::default(), SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    hosts_are_published_and_removed,
    a_service_is_published_and_changes_its_kind_of_record,
];

fn hosts_are_published_and_removed(stage: &Stage) {
    let server = NameServer::start("ingress.test");
    let external_dns = ExternalDns::start(&stage.cluster.ready.kubeconfig, &server);
    let kubectl = &stage.kubectl;
    kubectl
        .apply(&ingress(
            "site",
            "portcullis",
            &["a.ingress.test", "b.ingress.test", "*.w.ingress.test"],
        ))
        .ok();
    // Nobody serves this one, so that nobody says where it is.
    kubectl
        .apply(&ingress("foreign", "nobody", &["c.ingress.test"]))
        .ok();
    let addresses = eventually_some(STATUS, || {
        let ingress = kubectl.get_json(&["ingress", "site"]);
        let shown = ingress["status"]["loadBalancer"]["ingress"].as_array();
        let ips = shown.into_iter().flatten();
        let ips: Vec<String> = ips
            .filter_map(|entry| Some(entry["ip"].as_str()?.to_owned()))
            .collect();
        match ips.is_empty() {
            false => Ok(ips),
            true => Err(ingress.to_string()),
        }
    });
    let (mut four, mut six): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|ip| ip.contains('.'));
    four.sort();
    six.sort();
    for name in ["a.ingress.test", "b.ingress.test", "any.w.ingress.test"] {
        expect(&server, &external_dns, name, "A", &four);
        expect(&server, &external_dns, name, "AAAA", &six);
    }
    let owner = server.query("a-a.ingress.test", "TXT").concat();
    let namespace = "hosts-are-published-and-removed";
    let resource = format!("external-dns/resource=ingress/{namespace}/site");
    assert!(owner.contains(&resource), "{owner}");
    assert!(server.query("c.ingress.test", "A").is_empty());

    kubectl
        .apply(&ingress("site", "portcullis", &["a.ingress.test"]))
        .ok();
    expect(&server, &external_dns, "b.ingress.test", "A", &[]);
    assert_eq!(server.query("a.ingress.test", "A"), four);
    kubectl.run(&["delete", "ingress", "site"]).ok();
    eventually(RECORD, || match server.records() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}\n{}", external_dns.logs())),
    });
}

fn a_service_is_published_and_changes_its_kind_of_record(stage: &Stage) {
    let server = NameServer::start("service.test");
    let external_dns = ExternalDns::start(&stage.cluster.ready.kubeconfig, &server);
    let kubectl = &stage.kubectl;
    kubectl
        .apply(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: balanced\n  annotations: \
             {external-dns.kubernetes.io/hostname: lb.service.test}\n\
             spec: {type: LoadBalancer, loadBalancerClass: example.com/by-hand, ports: [{port: 80}]}\n",
        )
        .ok();
    let balance = |entry: &str| {
        let patch = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": [{entry}]}}}}}}");
        let arguments = ["--subresource=status", "--type=merge", "-p", &patch];
        let all = ["patch", "service", "balanced"]
            .into_iter()
            .chain(arguments);
        kubectl.run(&all.collect::<Vec<_>>()).ok();
    };
    balance(r#"{"ip": "192.0.2.7"}"#);
    expect(
        &server,
        &external_dns,
        "lb.service.test",
        "A",
        &["192.0.2.7".to_owned()],
    );
    balance(r#"{"hostname": "lb.example.com"}"#);
    let name = ["lb.example.com.".to_owned()];
    expect(&server, &external_dns, "lb.service.test", "CNAME", &name);
    kubectl.run(&["delete", "service", "balanced"]).ok();
    expect(&server, &external_dns, "lb.service.test", "CNAME", &[]);
}

#[track_caller]
fn expect(
    server: &NameServer,
    external_dns: &ExternalDns,
    name: &str,
    kind: &str,
    data: &[String],
) {
    eventually(RECORD, || match server.query(name, kind) {
        found if found == data => Ok(()),
        found => Err(format!(
            "{name} {kind} is {found:?}, not {data:?}\n{}\n{}",
            external_dns.logs(),
            server.logs()
        )),
    });
}

fn ingress(name: &str, class: &str, hosts: &[&str]) -> String {
    let backend = "{service: {name: none, port: {number: 80}}}";
    let rules: String = hosts
        .iter()
        .map(|host| {
            format!(
                "  - host: '{host}'\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}\n"
            )
        })
        .collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  \
         ingressClassName: {class}\n  rules:\n{rules}"
    )
}

/// Seconds, not a minute.
const STATUS: Duration = Duration::from_secs(5);
/// A start on a loaded machine, then two rounds of ExternalDNS.
const RECORD: Duration = Duration::from_secs(30);
