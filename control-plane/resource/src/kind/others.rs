//! Groups with one or two kinds each.

use super::{ALL_VERBS, KindSpec, PLAIN, Strategy};
use crate::table::columns;

/// Events are stored once, in their core form.
pub(super) const EVENTS: &[KindSpec] = &[KindSpec {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    root_type: "io.k8s.api.events.v1.Event",
    verbs: ALL_VERBS,
    subresources: &[],
    strategy: Strategy {
        create_on_update: true,
        ..PLAIN
    },
    columns: columns::event::COLUMNS,
    selectable_fields: &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ],
    storage_prefix: "events",
    renamed_in_storage: EVENT_RENAMES,
}];

pub(super) const SCHEDULING: &[KindSpec] = &[KindSpec {
    group: "scheduling.k8s.io",
    version: "v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    namespaced: false,
    root_type: "io.k8s.api.scheduling.v1.PriorityClass",
    verbs: ALL_VERBS,
    subresources: &[],
    strategy: Strategy {
        has_generation: true,
        ..PLAIN
    },
    columns: columns::workload::PRIORITY_CLASS,
    selectable_fields: &[],
    storage_prefix: "priorityclasses",
    renamed_in_storage: &[],
}];

pub(super) const COORDINATION: &[KindSpec] = &[KindSpec {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    root_type: "io.k8s.api.coordination.v1.Lease",
    verbs: ALL_VERBS,
    subresources: &[],
    strategy: Strategy {
        create_on_update: true,
        unconditional_update: false,
        ..PLAIN
    },
    columns: columns::workload::LEASE,
    selectable_fields: &[],
    storage_prefix: "leases",
    renamed_in_storage: &[],
}];

/// `pkg/apis/events/v1/conversion.go`: the same object under two sets of field names.
const EVENT_RENAMES: &[(&str, &str)] = &[
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
