//! Real Helm installs the chart into a cluster without an ingress of its own: from an image archive to an answered
//! request, through upgrade and rollback, to an uninstall that leaves nothing.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use portcullis_conformance::{
    ClusterOptions, Helm, Output, Shared, Stage, Suite, binary, chart, eventually,
    run_with_deadline, scenarios,
};

fn main() -> ExitCode {
    let options = ClusterOptions {
        node: true,
        no_ingress: true,
        ..ClusterOptions::default()
    };
    Suite::shared("install", &options, SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    an_archive_is_loaded_and_what_is_none_is_refused,
    a_release_serves_from_its_install_to_its_uninstall,
    an_unknown_value_is_named,
];

/// The archive is of the binary under test, under a name that the cluster has not made itself.
fn an_archive_is_loaded_and_what_is_none_is_refused(stage: &Stage) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let archive = directory.path().join("image.tar").display().to_string();
    let name = format!("--name={LOADED}");
    portcullis(&[
        "image",
        "build",
        "--compression=none",
        &name,
        "--output",
        &archive,
    ])
    .ok();
    let data_dir = stage.cluster.data_dir().display().to_string();
    let begun = Instant::now();
    let said = portcullis(&["image", "load", &archive, "--data-dir", &data_dir]).ok();
    assert!(said.starts_with(&format!("loaded {LOADED} in ")), "{said}");
    println!("loaded after {:.1} s", begun.elapsed().as_secs_f64());

    let elsewhere = directory.path().display().to_string();
    let complaint = portcullis(&["image", "load", &archive, "--data-dir", &elsewhere]).refused();
    assert!(complaint.contains("portcullis up"), "{complaint}");
    let kubeconfig = stage.cluster.ready.kubeconfig.display().to_string();
    let complaint = portcullis(&["image", "load", &kubeconfig, "--data-dir", &data_dir]).refused();
    assert!(complaint.contains("is no image archive"), "{complaint}");
}

fn a_release_serves_from_its_install_to_its_uninstall(stage: &Stage) {
    let release = Release::of(stage);
    stage.kubectl.apply(APPLICATION).ok();
    let begun = Instant::now();
    let notes = release
        .helm(&["install"], &["--wait", "--timeout=90s"])
        .ok();
    assert!(notes.contains("class portcullis"), "{notes}");
    assert!(!notes.contains("not known"), "{notes}");
    release.expect_answer();
    println!(
        "answered {:.1} s after the install",
        begun.elapsed().as_secs_f64()
    );

    release.run(&["test", RELEASE, "--timeout=60s"]).ok();

    let image = format!("controller.image.tag={}", tag(LOADED));
    release
        .helm(&["upgrade"], &["--set", &image, "--wait", "--timeout=90s"])
        .ok();
    assert_eq!(release.images(), [LOADED, LOADED]);
    release.expect_answer();
    release
        .run(&["rollback", RELEASE, "1", "--wait", "--timeout=90s"])
        .ok();
    assert!(!release.images().contains(&LOADED.to_owned()));
    release.expect_answer();

    release.run(&["uninstall", RELEASE, "--wait"]).ok();
    eventually(Duration::from_secs(60), || match release.leftovers() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

fn an_unknown_value_is_named(stage: &Stage) {
    let release = Release::of(stage);
    let said = release.helm(
        &["install"],
        &[
            "--dry-run=server",
            "--set=controller.replicaCuont=2",
            "--set=controller.enableMimalloc=true",
        ],
    );
    let said = said.ok();
    let unknown = said.split("WARNING: these values are not known").nth(1);
    assert!(
        unknown.is_some_and(|text| text.contains("controller.replicaCuont")),
        "{said}"
    );
    assert!(
        said.contains("controller.enableMimalloc: the allocator is built in"),
        "{said}"
    );
}

/// The chart in the namespace of a scenario.
struct Release<'a> {
    stage: &'a Stage<'a>,
    helm: Helm,
    namespace: String,
}

impl<'a> Release<'a> {
    fn of(stage: &'a Stage<'a>) -> Self {
        let namespace = stage
            .kubectl
            .get_json(&["serviceaccount", "--ignore-not-found"]);
        let namespace = namespace["items"][0]["metadata"]["namespace"].as_str();
        Self {
            stage,
            helm: Helm::new(&stage.cluster.ready.kubeconfig),
            namespace: namespace
                .expect("every namespace has an account")
                .to_owned(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let namespace = format!("--namespace={}", self.namespace);
        self.helm.run(&[arguments, &[&namespace]].concat())
    }

    /// `helm VERB RELEASE CHART MORE…`, without the time that a pod of a loaded machine would sleep for nobody.
    fn helm(&self, verb: &[&str], more: &[&str]) -> Output {
        let chart = chart().display().to_string();
        let values = ["--set=controller.preStopSleepSeconds=1"];
        self.run(&[verb, &[RELEASE, &chart], &values, more].concat())
    }

    /// Through the Service, as clients come in.
    #[track_caller]
    fn expect_answer(&self) {
        eventually(Duration::from_secs(30), || {
            let address = self.address()?;
            let header = "Host: installed.test";
            let answer = run_with_deadline(
                Command::new("curl").args(["-sS", "--noproxy", "*", "-m5", "-H", header, &address]),
                "",
                Duration::from_secs(20),
            );
            match answer.stdout.contains("\"pod\"") {
                true => Ok(()),
                false => Err(format!("{address}: {answer:?}\n{}", self.pods())),
            }
        });
    }

    /// That of the load balancer.
    fn address(&self) -> Result<String, String> {
        let service = format!("service/{RELEASE}-portcullis-proxy");
        let service = self.stage.kubectl.get_json(&[&service]);
        let ip = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
        let ip = ip.as_str().ok_or_else(|| service["status"].to_string())?;
        Ok(format!("http://{ip}/"))
    }

    fn images(&self) -> Vec<String> {
        let deployments = self.stage.kubectl.get_json(&["deployments", "-l", OURS]);
        let items = deployments["items"].as_array().cloned().unwrap_or_default();
        let images = items
            .iter()
            .map(|one| &one["spec"]["template"]["spec"]["containers"][0]["image"]);
        images
            .filter_map(|image| image.as_str().map(str::to_owned))
            .collect()
    }

    fn pods(&self) -> String {
        self.stage
            .kubectl
            .run(&["get", "pods", "-o", "wide"])
            .stdout
    }

    /// Everything that the release has made, wherever.
    fn leftovers(&self) -> String {
        let kinds = "pods,services,deployments,replicasets,secrets,configmaps,leases,serviceaccounts,roles,\
                     rolebindings,clusterroles,clusterrolebindings,ingressclasses";
        let by_label = ["get", kinds, "-l", OURS, "-o", "name"];
        let of_helm = ["get", "secrets", "-l", "owner=helm", "-o", "name"];
        let found = [
            self.stage.kubectl.run(&by_label),
            self.stage.kubectl.run(&of_helm),
        ];
        found.map(Output::ok).concat()
    }
}

fn portcullis(arguments: &[&str]) -> Output {
    run_with_deadline(
        Command::new(binary()).args(arguments),
        "",
        Duration::from_secs(120),
    )
}

fn tag(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or_default()
}

const RELEASE: &str = "front";
const OURS: &str = "app.kubernetes.io/instance=front";
const LOADED: &str = "portcullis.dev/portcullis:loaded";

const APPLICATION: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: installed}
spec:
  replicas: 1
  selector: {matchLabels: {app: installed}}
  template:
    metadata: {labels: {app: installed}}
    spec:
      containers:
      - name: echo
        image: portcullis.dev/echo:1
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: installed}
spec: {selector: {app: installed}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: installed}
spec:
  ingressClassName: portcullis
  rules:
  - host: installed.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: installed, port: {number: 80}}}}]}
";
