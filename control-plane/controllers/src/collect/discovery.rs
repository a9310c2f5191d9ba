//! Which kinds the API server serves now. One group that does not answer does not hide the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use portcullis_reconcile::Resource;
use tokio::sync::Mutex;

/// One served kind.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: Resource,
    pub namespaced: bool,
    verbs: BTreeSet<String>,
}

impl Kind {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.contains(verb)
    }
}

/// One look at discovery.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    /// Each kind once, in its group's preferred version.
    pub kinds: Vec<Kind>,
    /// Groups that did not answer, with the reason.
    pub failures: Vec<String>,
}

impl Discovered {
    /// The kind an ownerReference names, in whichever version it names it.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.kinds
            .iter()
            .find(|served| served.resource.group == group && served.resource.kind == kind)
    }
}

/// Discovery, read on first use and again when told that it changed.
pub(crate) struct Catalog {
    client: Client,
    current: Mutex<Option<Arc<Discovered>>>,
}

impl Catalog {
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            current: Mutex::default(),
        })
    }

    /// The served kinds. A look with failures is not kept: the next caller tries again.
    pub async fn discovered(&self) -> Result<Arc<Discovered>, kube::Error> {
        let mut current = self.current.lock().await;
        if let Some(known) = &*current {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(discover(&self.client).await?);
        if fresh.failures.is_empty() {
            *current = Some(Arc::clone(&fresh));
        }
        Ok(fresh)
    }

    /// Forgets what was read.
    pub async fn invalidate(&self) {
        *self.current.lock().await = None;
    }
}

async fn discover(client: &Client) -> Result<Discovered, kube::Error> {
    let mut discovered = Discovered::default();
    let core = client.list_core_api_resources("v1").await?;
    discovered.kinds.extend(kinds("", "v1", &core));
    for group in client.list_api_groups().await?.groups {
        let preferred = group
            .preferred_version
            .or_else(|| group.versions.into_iter().next());
        let Some(preferred) = preferred else { continue };
        match client
            .list_api_group_resources(&preferred.group_version)
            .await
        {
            Ok(list) => discovered
                .kinds
                .extend(kinds(&group.name, &preferred.version, &list)),
            Err(error) => discovered
                .failures
                .push(format!("{}: {error}", preferred.group_version)),
        }
    }
    Ok(discovered)
}

fn kinds(group: &str, version: &str, list: &APIResourceList) -> Vec<Kind> {
    // Events share one storage under two groups; nobody owns through them and they expire by themselves.
    let events = |name: &str| name == "events" && group == "events.k8s.io";
    let whole = list
        .resources
        .iter()
        .filter(|served| !served.name.contains('/') && !events(&served.name));
    let kinds = whole.map(|served| Kind {
        resource: Resource {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: served.kind.clone().into(),
            plural: served.name.clone().into(),
        },
        namespaced: served.namespaced,
        verbs: served.verbs.iter().cloned().collect(),
    });
    kinds.collect()
}
