//! Objects that exist because the server does: the four namespaces, the system's priority classes, the `kubernetes`
//! Service and its endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec};
use portcullis_store::Expected;
use serde_json::{Value, json};

use crate::api::Api;
use crate::object;
use crate::verb::create_object;

/// Makes what is missing, corrects the endpoints. `port` is where the server listens.
pub(crate) async fn bootstrap(api: &Arc<Api>, port: u16) -> Result<(), ApiError> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        ensure(
            api,
            own("", "namespaces"),
            "",
            json!({"metadata": {"name": name}}),
        )
        .await?;
    }
    for (name, value, description) in PRIORITY_CLASSES {
        let class = json!({
            "metadata": {"name": name},
            "value": value,
            "description": description,
        });
        ensure(api, own("scheduling.k8s.io", "priorityclasses"), "", class).await?;
    }
    let address = api.config.service_cidr.nth(1).to_string();
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    keep(api, own("", "services"), service, &["metadata", "spec"]).await?;
    publish(api, port).await
}

/// The endpoints of the `kubernetes` Service: this server, or nothing where it is not to be reached.
async fn publish(api: &Arc<Api>, port: u16) -> Result<(), ApiError> {
    let addresses = own("", "endpoints");
    let slices = own("discovery.k8s.io", "endpointslices");
    let Some(advertised) = api.config.advertise_address else {
        withdraw(api, addresses).await?;
        return withdraw(api, slices).await;
    };
    let (endpoints, slice) = endpoints(advertised, port);
    keep(api, addresses, endpoints, &["metadata", "subsets"]).await?;
    let fields = ["metadata", "addressType", "endpoints", "ports"];
    keep(api, slices, slice, &fields).await
}

/// Makes them again, or corrects them, whenever somebody changes the `kubernetes` Service or its endpoints. Ends with the
/// drain or the store.
pub(crate) async fn guard(api: Arc<Api>, port: u16) {
    while !api.drain.has_begun() {
        let watch = |group, plural| {
            let key = object::key(own(group, plural), "default", "kubernetes");
            api.store.watch(&key, api.store.progress())
        };
        let (Ok(mut service), Ok(mut endpoints), Ok(mut slice)) = (
            watch("", "services"),
            watch("", "endpoints"),
            watch("discovery.k8s.io", "endpointslices"),
        ) else {
            return;
        };
        // What happened before the watches began is made good here, too.
        if let Err(error) = bootstrap(&api, port).await {
            tracing::warn!(%error, "the server's own objects cannot be kept");
        }
        let _ = tokio::select! {
            () = api.drain.signalled() => return,
            event = service.next() => event,
            event = endpoints.next() => event,
            event = slice.next() => event,
        };
    }
}

fn endpoints(address: IpAddr, port: u16) -> (Value, Value) {
    let ip = address.to_string();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": ip}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    (endpoints, slice)
}

async fn ensure(
    api: &Arc<Api>,
    kind: &'static KindSpec,
    namespace: &str,
    mut object: Value,
) -> Result<Value, ApiError> {
    let name = object::text(&object, "/metadata/name").to_owned();
    if let Some((found, _)) = api.find(kind, namespace, &name).await? {
        return Ok(found);
    }
    object["kind"] = json!(kind.kind);
    object["apiVersion"] = json!(kind.api_version());
    create_object(api, kind, namespace, object, "system:apiserver", false).await
}

/// Makes an object of the `default` namespace, or sets `fields` of the one there is.
async fn keep(
    api: &Arc<Api>,
    kind: &'static KindSpec,
    object: Value,
    fields: &[&str],
) -> Result<(), ApiError> {
    let found = ensure(api, kind, "default", object.clone()).await?;
    let mut wanted = found.clone();
    for field in fields {
        merge(&mut wanted[*field], &object[*field]);
    }
    if wanted == found {
        return Ok(());
    }
    let name = object::text(&object, "/metadata/name");
    let key = object::key(kind, "default", name);
    let (stored, _) = api
        .store
        .get(&key, None)
        .await
        .map_err(crate::api::store_error)?;
    let Some(stored) = stored else { return Ok(()) };
    // Nobody else writes before the server listens, so a conflict cannot be.
    let expected = Expected::Modified(stored.modified);
    let _ = api.store(kind, &key, wanted, expected).await?;
    Ok(())
}

/// Takes away what an earlier run published.
async fn withdraw(api: &Arc<Api>, kind: &'static KindSpec) -> Result<(), ApiError> {
    if let Some((_, modified)) = api.find(kind, "default", "kubernetes").await? {
        let key = object::key(kind, "default", "kubernetes");
        // Whoever was faster is looked at again, see `guard`.
        let _ = api
            .store
            .delete(&key, modified)
            .await
            .map_err(crate::api::store_error)?;
    }
    Ok(())
}

/// Sets what `wanted` says, keeps defaults beside it.
fn merge(into: &mut Value, wanted: &Value) {
    match (into, wanted) {
        (Value::Object(into), Value::Object(wanted)) => {
            for (key, value) in wanted {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(wanted)) if into.len() == wanted.len() => {
            for (into, wanted) in into.iter_mut().zip(wanted) {
                merge(into, wanted);
            }
        }
        (into, wanted) => *into = wanted.clone(),
    }
}

fn own(group: &str, plural: &str) -> &'static KindSpec {
    kind::by_resource(group, "v1", plural)
        .expect("the server's own objects are of kinds that have a row")
}

const PRIORITY_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];
