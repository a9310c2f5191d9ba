//! The objects that `up` applies, through the API like anybody's.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::Service,
    networking::v1::{Ingress, IngressClass},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

/// The default class, in whose name the ingress serves. Without an ingress that of an earlier start goes, so that whoever
/// serves instead can make its own.
pub async fn ingress_class(client: &Client, wanted: bool) -> anyhow::Result<()> {
    let api = Api::<IngressClass>::all(client.clone());
    if !wanted {
        return match api.get_opt(CLASS).await? {
            Some(found) if found.labels().get(MANAGED_BY).is_some_and(|by| by == UP) => {
                api.delete(CLASS, &DeleteParams::default()).await?;
                Ok(())
            }
            _ => Ok(()),
        };
    }
    let class: IngressClass = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": CLASS,
            "labels": {MANAGED_BY: UP},
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
        },
        "spec": {"controller": "portcullis.dev/ingress"},
    }))?;
    create(&api, &class).await
}

/// The example application; what exists is left as it is, so that nobody's edits are lost at the next start.
pub async fn demo(client: &Client) -> anyhow::Result<()> {
    let mut documents = DEMO.split("\n---\n");
    let mut next = || documents.next().context("the demo has three documents");
    create(
        &Api::default_namespaced(client.clone()),
        &parse::<Deployment>(next()?)?,
    )
    .await?;
    create(
        &Api::default_namespaced(client.clone()),
        &parse::<Service>(next()?)?,
    )
    .await?;
    create(
        &Api::default_namespaced(client.clone()),
        &parse::<Ingress>(next()?)?,
    )
    .await
}

/// Returns when a pod of the demo is available, or after the limit: then it says so.
pub async fn demo_available(client: &Client) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let is_available = |found: Option<&Deployment>| {
        let status = found.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas.unwrap_or_default() > 0)
    };
    match timeout(DEMO_LIMIT, await_condition(api, DEMO_NAME, is_available)).await {
        Ok(waited) => waited.map(drop).context("the demo cannot be watched"),
        Err(_) => anyhow::bail!(
            "no pod of it is available after {} s: kubectl describe pods -l app={DEMO_NAME}",
            DEMO_LIMIT.as_secs()
        ),
    }
}

/// Where the demo answers: names below `localhost` need no resolver (RFC 6761 6.3).
pub fn demo_url(http_port: u16) -> String {
    match http_port {
        80 => format!("http://{DEMO_HOST}/"),
        port => format!("http://{DEMO_HOST}:{port}/"),
    }
}

fn parse<T: DeserializeOwned>(document: &str) -> anyhow::Result<T> {
    Ok(serde_saphyr::from_str(document)?)
}

async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => {
            let name = object.meta().name.clone().unwrap_or_default();
            Err(error).with_context(|| format!("{} {name}", K::kind(&())))
        }
    }
}

/// Makes an object, or gives the existing one these values. Creating blindly would be refused for the address that the
/// object itself has.
pub async fn put<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let about = || format!("{} {name}", K::kind(&()));
    if api.get_opt(&name).await.with_context(about)?.is_none() {
        return create(api, object).await;
    }
    let patch = Patch::Merge(object);
    let patched = api.patch(&name, &PatchParams::default(), &patch).await;
    patched.map(drop).with_context(about)
}

const CLASS: &str = "portcullis";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const UP: &str = "portcullis-up";
const DEMO: &str = include_str!("../../examples/demo/demo.yaml");
const DEMO_HOST: &str = "demo.localhost";
const DEMO_NAME: &str = "echo";
/// Its image is there already: what takes longer will not come by itself.
const DEMO_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_reads_as_what_it_says() {
        let documents: Vec<&str> = DEMO.split("\n---\n").collect();
        assert_eq!(documents.len(), 3);
        let deployment: Deployment = parse(documents[0]).unwrap();
        assert_eq!(deployment.metadata.name.as_deref(), Some(DEMO_NAME));
        assert_eq!(deployment.spec.replicas, Some(2));
        let service: Service = parse(documents[1]).unwrap();
        assert_eq!(service.metadata.name.as_deref(), Some("echo"));
        let ingress: Ingress = parse(documents[2]).unwrap();
        assert_eq!(
            ingress.spec.unwrap().rules.unwrap()[0].host.as_deref(),
            Some(DEMO_HOST)
        );
        assert_eq!(demo_url(80), "http://demo.localhost/");
        assert_eq!(demo_url(8080), "http://demo.localhost:8080/");
    }
}
