//! How our components reach a Kubernetes API.

use std::path::Path;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig},
};
use portcullis_apiserver::Identity;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::SecretString;

/// A client with the given kubeconfig, or that of the pod in which we run (its token is read anew when it is rotated),
/// or with what kubectl would use.
pub async fn from_environment(path: Option<&Path>) -> anyhow::Result<Client> {
    let config = match path {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("kubeconfig {} cannot be used", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("kubeconfig {} cannot be used", path.display()))?
        }
        None => match Config::incluster_env() {
            Ok(config) => config,
            // Not in a pod.
            Err(InClusterError::ReadEnvironmentVariable(_)) => Config::infer()
                .await
                .context("no way to the Kubernetes API: name a file with --kubeconfig")?,
            Err(error) => {
                return Err(error).context("this pod's way to the Kubernetes API cannot be used");
            }
        },
    };
    Ok(Client::try_from(config)?)
}

/// A client with a certificate, for components of the same process.
pub fn from_identity(url: &str, ca_pem: &str, identity: &Identity) -> anyhow::Result<Client> {
    let ca = CertificateDer::pem_slice_iter(ca_pem.as_bytes())
        .map(|certificate| Ok(certificate?.to_vec()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut config = Config::new(url.parse()?);
    config.root_cert = Some(ca);
    config.auth_info.client_certificate_data = Some(STANDARD.encode(&identity.certificate_pem));
    config.auth_info.client_key_data = Some(SecretString::from(STANDARD.encode(&identity.key_pem)));
    Ok(Client::try_from(config)?)
}
