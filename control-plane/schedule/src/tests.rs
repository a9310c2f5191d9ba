//! Golden cases, quantities, and a naive twin that recomputes everything from scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Cluster, Decision, Quantity, Refusal};

/// What one case asks: where does the first pod without a node go?
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    nodes: Vec<Value>,
    pods: Vec<Value>,
}

fn typed<K: serde::de::DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).expect("a valid object")
}

fn answer(case: &Case) -> String {
    let mut cluster = Cluster::default();
    case.nodes
        .iter()
        .for_each(|node| cluster.apply_node(Arc::new(typed::<Node>(node))));
    let pods: Vec<Pod> = case.pods.iter().map(typed).collect();
    pods.iter().for_each(|pod| cluster.apply_pod(pod));
    let is_pending = |pod: &&Pod| {
        pod.spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_none())
    };
    match cluster.decide(pods.iter().find(is_pending).expect("a pending pod"), 0) {
        Decision::Bind(node) => format!("bind: {node}\n"),
        Decision::Unschedulable(Refusal { message }) => format!("unschedulable: {message}\n"),
    }
}

#[test]
fn golden_cases_hold() {
    let cases = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))
        .expect("cases are there");
    let mut inputs: Vec<_> = cases
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    inputs.retain(|path| path.to_string_lossy().ends_with(".in.yaml"));
    assert!(!inputs.is_empty());
    for input in inputs {
        let text = std::fs::read_to_string(&input).expect("a readable case");
        let case: Case = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", input.display()));
        let given = answer(&case);
        let output = input.with_file_name(
            input
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .replace(".in.", ".out."),
        );
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&output, &given).expect("the answer is writable");
        }
        assert_eq!(
            std::fs::read_to_string(&output).unwrap_or_default(),
            given,
            "{}",
            input.display()
        );
    }
}

#[test]
fn quantities_are_read_as_the_api_writes_them() {
    let units = |text: &str| Quantity::parse(text).map(Quantity::units).ok();
    let milli = |text: &str| Quantity::parse(text).map(Quantity::milli).ok();
    assert_eq!(milli("100m"), Some(100));
    assert_eq!(milli("0.5"), Some(500));
    assert_eq!(milli("2"), Some(2_000));
    assert_eq!(milli("1u"), Some(1), "rounded up, never to nothing");
    assert_eq!(units("1Gi"), Some(1 << 30));
    assert_eq!(units("1.5Ki"), Some(1_536));
    assert_eq!(units("128974848"), Some(128_974_848));
    assert_eq!(units("129e6"), Some(129_000_000));
    assert_eq!(units("12E"), Some(i64::MAX), "capped");
    assert_eq!(units("-1k"), Some(-1_000));
    for text in ["", "m", "1.2.3", "1x", "--1", "1e", "Ki", "1e99"] {
        assert_eq!(units(text), None, "{text:?}");
    }
}

/// One step in the life of a small cluster.
#[derive(Clone, Debug)]
enum Step {
    Node {
        index: usize,
        cpu: i64,
        pods: i64,
        tainted: bool,
    },
    DropNode(usize),
    Schedule {
        cpu: i64,
        port: Option<i32>,
        tolerant: bool,
    },
    /// The API shows the assumed pod bound.
    Confirm(usize),
    Forget(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = (0..4_usize, 0..6_i64, 0..5_i64, prop::bool::weighted(0.2));
    let pod = (
        0..4_i64,
        prop::option::weighted(0.3, 80..83_i32),
        any::<bool>(),
    );
    prop_oneof![
        3 => node.prop_map(|(index, cpu, pods, tainted)| Step::Node { index, cpu, pods, tainted }),
        1 => (0..4_usize).prop_map(Step::DropNode),
        6 => pod.prop_map(|(cpu, port, tolerant)| Step::Schedule { cpu, port, tolerant }),
        2 => (0..12_usize).prop_map(Step::Confirm),
        1 => (0..12_usize).prop_map(Step::Forget),
        2 => (0..12_usize).prop_map(Step::Remove),
    ]
}

fn node(index: usize, cpu: i64, pods: i64, tainted: bool) -> Value {
    let taints = if tainted {
        json!([{"key": "k", "effect": "NoSchedule"}])
    } else {
        json!([])
    };
    json!({
        "metadata": {"name": format!("n{index}")},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": cpu.to_string(), "memory": "1Gi", "pods": pods.to_string()}},
    })
}

fn pod(serial: usize, cpu: i64, port: Option<i32>, tolerant: bool) -> Value {
    let ports = port.map_or(
        json!([]),
        |port| json!([{"containerPort": 1, "hostPort": port}]),
    );
    let tolerations = if tolerant {
        json!([{"operator": "Exists"}])
    } else {
        json!([])
    };
    json!({
        "metadata": {"name": format!("p{serial}"), "uid": format!("p{serial}")},
        "spec": {
            "tolerations": tolerations,
            "containers": [{"name": "c", "ports": ports, "resources": {"requests": {"cpu": cpu.to_string()}}}],
        },
    })
}

/// The twin: nodes and placed pods as plain rows, everything added up anew for each question.
#[derive(Default)]
struct Twin {
    nodes: BTreeMap<String, (i64, i64, bool)>,
    placed: BTreeMap<String, (String, i64, Option<i32>)>,
}

impl Twin {
    fn fitting(&self, cpu: i64, port: Option<i32>, tolerant: bool) -> Vec<String> {
        let fits = |(name, (node_cpu, node_pods, tainted)): &(&String, &(i64, i64, bool))| {
            let here: Vec<_> = self
                .placed
                .values()
                .filter(|(node, _, _)| node == *name)
                .collect();
            let used: i64 = here.iter().map(|(_, cpu, _)| cpu).sum();
            let taken = port.is_some() && here.iter().any(|(_, _, other)| *other == port);
            let count = i64::try_from(here.len()).expect("few pods");
            (tolerant || !tainted)
                && !taken
                && count < *node_pods
                && (cpu == 0 || used + cpu <= *node_cpu)
        };
        self.nodes
            .iter()
            .filter(fits)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_incremental_picture_agrees_with_a_recount(steps in prop::collection::vec(step(), 1..60), tie in any::<u64>()) {
        let mut cluster = Cluster::default();
        let mut twin = Twin::default();
        let mut made: Vec<Value> = Vec::new();
        let mut confirmed = BTreeSet::new();
        for step in steps {
            match step {
                Step::Node { index, cpu, pods, tainted } => {
                    cluster.apply_node(Arc::new(typed(&node(index, cpu, pods, tainted))));
                    twin.nodes.insert(format!("n{index}"), (cpu, pods, tainted));
                }
                Step::DropNode(index) => {
                    cluster.remove_node(&format!("n{index}"));
                    twin.nodes.remove(&format!("n{index}"));
                }
                Step::Schedule { cpu, port, tolerant } => {
                    let value = pod(made.len(), cpu, port, tolerant);
                    let fitting = twin.fitting(cpu, port, tolerant);
                    match cluster.decide(&typed(&value), tie) {
                        Decision::Bind(chosen) => {
                            prop_assert!(fitting.contains(&chosen), "{} does not fit", chosen);
                            cluster.assume(&typed(&value), &chosen);
                            twin.placed.insert(format!("p{}", made.len()), (chosen, cpu, port));
                        }
                        Decision::Unschedulable(_) => prop_assert!(fitting.is_empty(), "{:?} would fit", fitting),
                    }
                    made.push(value);
                }
                Step::Confirm(index) => {
                    if let (Some(value), Some(row)) = (made.get(index), twin.placed.get(&format!("p{index}"))) {
                        let mut bound = value.clone();
                        bound["spec"]["nodeName"] = json!(row.0);
                        cluster.apply_pod(&typed(&bound));
                        confirmed.insert(index);
                    }
                }
                Step::Forget(index) => {
                    let name = format!("p{index}");
                    cluster.forget(&name);
                    if !confirmed.contains(&index) {
                        twin.placed.remove(&name);
                    }
                }
                Step::Remove(index) => {
                    cluster.remove_pod(&format!("p{index}"));
                    twin.placed.remove(&format!("p{index}"));
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+0-9.eEKMGinum]{0,12}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            prop_assert!(quantity.units() >= quantity.milli() / 1_000);
        }
    }
}
