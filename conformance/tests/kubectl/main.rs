//! A current kubectl against the API server, without a node.

mod access;
mod reading;
mod refusals;
mod writing;

use std::process::ExitCode;
use std::time::Duration;

use portcullis_conformance::{ClusterOptions, Shared, Suite, scenarios};

fn main() -> ExitCode {
    Suite::shared("kubectl", &ClusterOptions::default(), SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    reading::apply_get_and_describe,
    reading::tables_look_like_upstreams,
    reading::api_resources_are_listed,
    reading::watch_sees_changes,
    writing::create_makes_every_common_kind,
    writing::patches_of_every_kind,
    writing::edit_saves,
    writing::apply_changes_only_what_changed,
    writing::scale_reaches_the_replica_set,
    writing::delete_takes_dependents_along,
    writing::a_deleted_namespace_is_emptied,
    refusals::unknown_fields_are_refused,
    refusals::invalid_objects_name_the_field,
    refusals::malformed_manifests_are_refused,
    refusals::conflicts_and_absences_are_told,
    access::refusals_read_as_upstreams,
    access::can_i_follows_the_bindings,
    access::accounts_and_groups_are_bound,
    access::whoami_shows_who_is_meant,
    access::nobody_grants_more_than_they_hold,
    access::no_component_lacks_a_right,
];

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: echo, image: 'portcullis.dev/echo:1', ports: [{containerPort: 8080}]}
";

/// What the controllers do takes no longer, even on a busy machine.
const SOON: Duration = Duration::from_secs(5);
