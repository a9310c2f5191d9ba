//! Golden cases: `cases/<sentence>.in.yaml` says what is observed, `.out.yaml` what is planned.
//! `UPDATE=1 cargo test -p portcullis-reconcile` writes the answers anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::expectations::{Expectations, Written};
use crate::garbage::{Graph, Presence};
use crate::replicaset::{Failure, Stage};
use crate::{
    Plan, Resource, clusterrole, deployment, endpointslice, garbage, loadbalancer, namespace, node,
    podgc, replicaset, rootca, serviceaccount,
};

/// What one case observes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    controller: String,
    /// Name of the object decided about.
    name: String,
    now: Timestamp,
    /// Creations asked for at `now` and not yet seen.
    #[serde(default)]
    awaited: usize,
    /// What the last creation ran into.
    failure: Option<String>,
    /// When a node was last heard of, or since when it is absent.
    since: Option<Timestamp>,
    #[serde(default)]
    absent_owners: Vec<String>,
    objects: Vec<Value>,
}

impl Case {
    fn all<K: DeserializeOwned + k8s_openapi::Resource>(&self) -> Vec<Arc<K>> {
        let of_kind = self
            .objects
            .iter()
            .filter(|object| object["kind"] == K::KIND);
        of_kind
            .map(|object| Arc::new(serde_json::from_value(object.clone()).expect("a valid object")))
            .collect()
    }

    fn find<K>(&self) -> Option<Arc<K>>
    where
        K: DeserializeOwned + k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta>,
    {
        self.all::<K>()
            .into_iter()
            .find(|object| object.metadata().name.as_ref() == Some(&self.name))
    }

    fn subject<K>(&self) -> Arc<K>
    where
        K: DeserializeOwned + k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta>,
    {
        self.find()
            .expect("the object decided about is among the objects")
    }

    fn expectations(&self) -> Expectations {
        let mut expectations = Expectations::default();
        expectations.expect(self.awaited, [], self.now);
        expectations
    }

    fn plan(&self) -> Plan {
        match self.controller.as_str() {
            "clusterrole" => clusterrole::plan(
                &clusterrole::Observed {
                    role: &self.subject(),
                    roles: &self.all(),
                },
                self.now,
            ),
            "deployment" => self.deployment(),
            "replicaset" => self.replica_set(),
            "endpointslice" => self.endpoint_slice(),
            "loadbalancer" => {
                let observed = loadbalancer::Observed {
                    service: &self.subject(),
                    services: &self.all(),
                    nodes: &self.all(),
                    pods: &self.all(),
                    slices: &self.all(),
                };
                loadbalancer::plan(&observed, self.now)
            }
            "namespace" => self.namespace(),
            "garbage" => self.garbage(),
            "node" => {
                let heard_at = self.since.unwrap_or(self.now);
                node::plan(
                    &node::Observed {
                        node: &self.subject(),
                        heard_at,
                        pods: &self.all(),
                    },
                    self.now,
                )
            }
            "podgc" => podgc::plan(
                &podgc::Observed {
                    pod: &self.subject(),
                    node_absent_since: self.since,
                },
                self.now,
            ),
            "rootca" => {
                let current = self
                    .all::<k8s_openapi::api::core::v1::ConfigMap>()
                    .into_iter()
                    .next();
                let observed = rootca::Observed {
                    namespace: &self.subject(),
                    current: current.as_deref(),
                    ca_pem: "the ca",
                };
                rootca::plan(&observed, self.now)
            }
            "serviceaccount" => {
                let present = !self
                    .all::<k8s_openapi::api::core::v1::ServiceAccount>()
                    .is_empty();
                serviceaccount::plan(
                    &serviceaccount::Observed {
                        namespace: &self.subject(),
                        present,
                    },
                    self.now,
                )
            }
            other => panic!("no controller {other}"),
        }
    }

    fn deployment(&self) -> Plan {
        let observed = deployment::Observed {
            deployment: &self.subject(),
            replica_sets: &self.all(),
            pods: &self.all(),
            written: &Written::default(),
        };
        deployment::plan(&observed, self.now)
    }

    fn replica_set(&self) -> Plan {
        let failure = self.failure.clone().map(|message| Failure {
            stage: Stage::Create,
            message,
        });
        let observed = replicaset::Observed {
            replica_set: &self.subject(),
            pods: &self.all(),
            replica_sets: &self.all(),
            expectations: &self.expectations(),
            failure: failure.as_ref(),
        };
        replicaset::plan(&observed, self.now)
    }

    fn endpoint_slice(&self) -> Plan {
        let service = self.find();
        let observed = endpointslice::Observed {
            name: &self.name,
            service: service.as_deref(),
            pods: &self.all(),
            slices: &self.all(),
            zones: &BTreeMap::from([("one".to_owned(), "cellar".to_owned())]),
            expectations: &self.expectations(),
        };
        endpointslice::plan(&observed, self.now)
    }

    /// Objects other than the Namespace are its contents.
    fn namespace(&self) -> Plan {
        let mut contents: BTreeMap<String, namespace::Content> = BTreeMap::new();
        for object in self
            .objects
            .iter()
            .filter(|object| object["kind"] != "Namespace")
        {
            let resource = resource(object);
            let entry = contents
                .entry(resource.plural.to_string())
                .or_insert(namespace::Content {
                    resource,
                    remaining: 0,
                    finalizers: BTreeMap::new(),
                });
            entry.remaining += 1;
            for finalizer in object["metadata"]["finalizers"]
                .as_array()
                .into_iter()
                .flatten()
            {
                *entry
                    .finalizers
                    .entry(finalizer.as_str().unwrap_or_default().to_owned())
                    .or_insert(0) += 1;
            }
        }
        let observed = namespace::Observed {
            namespace: &self.subject(),
            contents: &contents.into_values().collect::<Vec<_>>(),
            discovery_failures: &[],
            content_failures: &[],
        };
        namespace::plan(&observed, self.now)
    }

    fn garbage(&self) -> Plan {
        let mut graph = Graph::default();
        for object in &self.objects {
            let metadata =
                serde_json::from_value(object["metadata"].clone()).expect("valid metadata");
            graph.apply(&resource(object), &metadata);
        }
        let presence = self
            .absent_owners
            .iter()
            .map(|uid| (uid.clone(), Presence::Absent))
            .collect();
        let observed = garbage::Observed {
            graph: &graph,
            uid: &self.name,
            presence: &presence,
        };
        garbage::plan(&observed, self.now)
    }
}

fn resource(object: &Value) -> Resource {
    let api_version = object["apiVersion"]
        .as_str()
        .expect("an apiVersion")
        .to_owned();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let kind = object["kind"].as_str().expect("a kind").to_owned();
    Resource {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        plural: format!("{}s", kind.to_lowercase()).into(),
        kind: kind.into(),
    }
}

fn check(input: &Path) {
    let case = std::fs::read_to_string(input).expect("the case is readable");
    let case: Case = serde_saphyr::from_str(&case)
        .unwrap_or_else(|error| panic!("{}: {error}", input.display()));
    // Through a JSON value: typed objects then print without their absent fields, in one order.
    let planned = serde_json::to_value(case.plan()).expect("a plan is plain data");
    let planned = serde_saphyr::to_string(&planned).expect("a plan is plain data");
    let output = input.with_file_name(
        input
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace(".in.", ".out."),
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&output, &planned).expect("the answer is writable");
    }
    let wanted = std::fs::read_to_string(&output).unwrap_or_default();
    assert_eq!(wanted, planned, "{}", input.display());
}

#[test]
fn golden_cases_hold() {
    let cases = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))
        .expect("cases are there");
    let inputs = cases.map(|entry| entry.expect("a readable entry").path());
    let mut inputs: Vec<_> = inputs
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| check(input));
}
