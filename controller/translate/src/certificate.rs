//! Secrets as certificates: what they hold, whether it fits together, and for which names.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use portcullis_route::spec::{CertificateSpec, HostMatch, PrivateKey};
use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{object::ObjectKey, snapshot::Snapshot};

/// A usable chain with its key. It has no `Debug`.
pub(crate) struct Material {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
    /// Lower case: the subject alternative names, then the common name.
    names: Vec<String>,
}

/// What each Secret turned out to be, read once per version and only when somebody asks.
#[derive(Default)]
pub(crate) struct Materials {
    read: HashMap<ObjectKey, Arc<Result<Material, String>>>,
}

impl Materials {
    /// # Errors
    /// Why the Secret cannot be served, as the end of a sentence that begins with its name.
    pub(crate) fn get(
        &mut self,
        key: &ObjectKey,
        snapshot: &Snapshot,
    ) -> Arc<Result<Material, String>> {
        if let Some(known) = self.read.get(key) {
            return known.clone();
        }
        let material = match snapshot.secrets.get(key) {
            Some(secret) => Material::read(secret),
            None => Err("does not exist".to_owned()),
        };
        let material = Arc::new(material);
        self.read.insert(key.clone(), material.clone());
        material
    }

    pub(crate) fn forget(&mut self, key: &ObjectKey) {
        self.read.remove(key);
    }
}

impl Material {
    fn read(secret: &Secret) -> Result<Self, String> {
        let chain = chain(data(secret, "tls.crt")?)?;
        let pem = data(secret, "tls.key")?;
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "has no private key in tls.key that can be read".to_owned())?;
        let signing = any_supported_type(&key)
            .map_err(|_| "has a private key in tls.key that is not supported".to_owned())?;
        let leaf = chain.first().cloned().unwrap_or_default();
        CertifiedKey::new(vec![CertificateDer::from(leaf.clone())], signing)
            .keys_match()
            .map_err(|_| {
                "has a private key in tls.key that does not belong to the certificate in tls.crt"
                    .to_owned()
            })?;
        Ok(Self {
            names: names(&leaf).ok_or("has no certificate in tls.crt that can be read")?,
            key: key.secret_der().to_vec(),
            chain,
        })
    }

    /// Whether a client that asks for the host would accept the names (RFC 6125 6.4; the common name, which clients
    /// no longer accept, is still honoured by ingress-nginx).
    pub(crate) fn covers(&self, host: &HostMatch) -> bool {
        match host {
            HostMatch::Any => false,
            HostMatch::Wildcard(suffix) => self
                .names
                .iter()
                .any(|name| name.strip_prefix("*.") == Some(suffix.as_str())),
            HostMatch::Exact(host) => {
                let parent = host.as_str().split_once('.').map(|(_, parent)| parent);
                self.names.iter().any(|name| {
                    name == host.as_str()
                        || name
                            .strip_prefix("*.")
                            .is_some_and(|suffix| Some(suffix) == parent)
                })
            }
        }
    }

    pub(crate) fn spec(&self, name: String, server_names: Vec<HostMatch>) -> CertificateSpec {
        CertificateSpec {
            name,
            server_names,
            chain: self.chain.clone(),
            key: PrivateKey(self.key.clone()),
        }
    }
}

fn data<'s>(secret: &'s Secret, key: &str) -> Result<&'s [u8], String> {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    match found {
        Some(bytes) if !bytes.0.is_empty() => Ok(&bytes.0),
        _ => Err(format!("has no {key}")),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let unreadable = || "has no certificate in tls.crt that can be read".to_owned();
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| unreadable())?;
        chain.push(certificate.as_ref().to_vec());
        if chain.len() > MAX_CHAIN {
            return Err(format!("has more than {MAX_CHAIN} certificates in tls.crt"));
        }
    }
    if chain.is_empty() {
        return Err(unreadable());
    }
    Ok(chain)
}

fn names(leaf: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let mut names = Vec::new();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    let common = certificate.subject().iter_common_name();
    names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase())));
    Some(names)
}

/// Certificates of one chain: each is sent in every handshake.
const MAX_CHAIN: usize = 10;
