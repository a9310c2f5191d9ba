//! Says of every pod, as the node stops, that it is not ready: what routes to it must not wait to find out.

use crate::pods::{Directory, report};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use portcullis_pod::stopped;
use std::time::Duration;

/// Ends when all is said or the time is up; whatever is left the next start corrects.
pub(crate) async fn disclaim(client: &kube::Client, directory: &Directory) {
    let pods = stream::iter(directory.all());
    let writes = pods.for_each_concurrent(AT_ONCE, |pod| async move {
        if let Err(error) = one(client, &pod).await {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            tracing::debug!("the pod {name} may still claim to be ready: {error}");
        }
    });
    if tokio::time::timeout(LIMIT, writes).await.is_err() {
        tracing::warn!("some pods still claim to be ready: the API did not answer in time");
    }
}

/// From the API's newest form: what the watch brought may be older than what the pod's worker wrote last.
async fn one(client: &kube::Client, known: &Pod) -> kube::Result<()> {
    let namespace = known.metadata.namespace.as_deref().unwrap_or("default");
    let name = known.metadata.name.as_deref().unwrap_or_default();
    let newest = Api::<Pod>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    let newest = newest.filter(|newest| newest.metadata.uid == known.metadata.uid);
    let Some(newest) = newest else {
        return Ok(());
    };
    if let Some(status) = stopped(&newest, Timestamp::now()) {
        report::write(client, &newest, &status).await?;
    }
    Ok(())
}

/// Of the node's stop, before containers are asked to end; an API that is gone refuses at once.
const LIMIT: Duration = Duration::from_secs(2);
/// Calls under way together.
const AT_ONCE: usize = 16;
