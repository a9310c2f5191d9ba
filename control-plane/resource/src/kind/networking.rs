//! `networking.k8s.io/v1` and `discovery.k8s.io/v1`.

use super::{ALL_VERBS, COUNTED, KindSpec, PLAIN, Strategy, Subresource};
use crate::table::columns;

pub(super) const NETWORKING: &[KindSpec] = &[
    KindSpec {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        categories: &[],
        namespaced: true,
        root_type: "io.k8s.api.networking.v1.Ingress",
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
        strategy: COUNTED,
        columns: columns::ingress::INGRESS,
        selectable_fields: &[],
        storage_prefix: "ingress",
        renamed_in_storage: &[],
    },
    KindSpec {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        short_names: &[],
        categories: &[],
        namespaced: false,
        root_type: "io.k8s.api.networking.v1.IngressClass",
        verbs: ALL_VERBS,
        subresources: &[],
        strategy: Strategy {
            has_generation: true,
            ..PLAIN
        },
        columns: columns::ingress::INGRESS_CLASS,
        selectable_fields: &[],
        storage_prefix: "ingressclasses",
        renamed_in_storage: &[],
    },
];

pub(super) const DISCOVERY: &[KindSpec] = &[KindSpec {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    root_type: "io.k8s.api.discovery.v1.EndpointSlice",
    verbs: ALL_VERBS,
    subresources: &[],
    strategy: Strategy {
        has_generation: true,
        ..PLAIN
    },
    columns: columns::ingress::ENDPOINT_SLICE,
    selectable_fields: &[],
    storage_prefix: "endpointslices",
    renamed_in_storage: &[],
}];
