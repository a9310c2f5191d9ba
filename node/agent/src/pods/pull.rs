//! Pulling an image with the credentials that the pod names for its registry.

use crate::cri::generated as cri;
use crate::error::{Error, Result};
use crate::pods::execute::Round;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use portcullis_pod::notices;
use portcullis_pod::pull_secrets::credentials;

impl Round {
    /// Tries every credential for the registry in turn; without any, as nobody.
    pub(super) async fn pull(&self, image: &str, sandbox: &cri::PodSandboxConfig) -> Result<()> {
        let mut tried = credentials(image, &self.pull_secrets().await)
            .into_iter()
            .map(|credential| {
                Some(cri::AuthConfig {
                    username: credential.username,
                    password: credential.password,
                    ..Default::default()
                })
            })
            .collect::<Vec<_>>();
        if tried.is_empty() {
            tried.push(None);
        }
        let mut last = Ok(());
        for auth in tried {
            last = self.node.cri.pull(image, auth, sandbox.clone()).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// One that cannot be read is told and left out: the image may need none.
    async fn pull_secrets(&self) -> Vec<Secret> {
        let references = self.spec.image_pull_secrets.iter().flatten();
        let names = references.map(|reference| reference.name.as_str());
        let api = Api::<Secret>::namespaced(self.node.client.clone(), self.namespace());
        let mut secrets = Vec::new();
        let mut missing = Vec::new();
        for name in names.filter(|name| !name.is_empty()) {
            match api.get(name).await {
                Ok(secret) => secrets.push(secret),
                Err(error) => {
                    let error = Error::api(format!("read the image pull secret {name}"))(error);
                    tracing::warn!("pod {}: {error}", self.uid());
                    missing.push(name.to_owned());
                }
            }
        }
        if !missing.is_empty() {
            self.tell(notices::pull_secrets_missing(&missing));
        }
        secrets
    }
}
