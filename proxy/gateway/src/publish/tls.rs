//! Certificates by SNI and one rustls configuration per TLS policy.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use portcullis_route::{
    Refusal,
    spec::{CertificateSpec, HostMatch, Specs, TlsPolicySpec, TlsVersion},
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// All TLS state of the gateway.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    memory: Mutex<Memory>,
}

/// What was built before, so that an unchanged unit is not parsed again and a policy keeps its tickets.
#[derive(Debug, Default)]
struct Memory {
    certificates: HashMap<String, (Arc<CertificateSpec>, Arc<CertifiedKey>), FixedState>,
    policies: HashMap<String, (Arc<TlsPolicySpec>, Arc<ServerConfig>), FixedState>,
}

/// The SNI table, swapped whole.
#[derive(Debug)]
struct Resolver {
    table: ArcSwap<SniTable>,
    fallback: Arc<CertifiedKey>,
}

#[derive(Debug, Default)]
struct SniTable {
    exact: HashMap<String, Arc<CertifiedKey>, FixedState>,
    wildcard: HashMap<String, Arc<CertifiedKey>, FixedState>,
    default: Option<Arc<CertifiedKey>>,
}

/// The self-made default certificate could not be made: the random source or the provider is broken.
#[derive(Debug, thiserror::Error)]
pub enum TlsStartError {
    #[error("default certificate")]
    DefaultCertificate(#[from] rcgen::Error),
    #[error("default certificate's key")]
    DefaultKey(#[from] rustls::Error),
}

impl Tls {
    pub fn new() -> Result<Self, TlsStartError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fallback = Arc::new(fake_certificate(&provider)?);
        Ok(Self {
            provider,
            resolver: Arc::new(Resolver {
                table: ArcSwap::default(),
                fallback,
            }),
            memory: Mutex::default(),
        })
    }

    /// Swaps in the certificates of `specs` and returns the configuration of each policy by name.
    pub fn apply(
        &self,
        specs: &Specs,
        refusals: &mut Vec<Refusal>,
    ) -> HashMap<String, Arc<ServerConfig>, FixedState> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply_certificates(&specs.certificates, &mut memory, refusals);
        self.apply_policies(&specs.tls_policies, &mut memory, refusals)
    }

    fn apply_certificates(
        &self,
        specs: &[Arc<CertificateSpec>],
        memory: &mut Memory,
        refusals: &mut Vec<Refusal>,
    ) {
        let mut kept = HashMap::default();
        let mut table = SniTable::default();
        for spec in specs {
            let known = memory.certificates.get(&spec.name);
            let key = match known.filter(|(old, _)| old == spec) {
                Some((_, key)) => Ok(key.clone()),
                None => certified_key(spec, &self.provider).map(Arc::new),
            };
            match key {
                Ok(key) => {
                    table.add(spec, &key);
                    kept.insert(spec.name.clone(), (spec.clone(), key));
                }
                Err(reason) => refusals.push(Refusal {
                    unit: format!("certificate {}", spec.name),
                    reason,
                }),
            }
        }
        memory.certificates = kept;
        self.resolver.table.store(Arc::new(table));
    }

    fn apply_policies(
        &self,
        specs: &[Arc<TlsPolicySpec>],
        memory: &mut Memory,
        refusals: &mut Vec<Refusal>,
    ) -> HashMap<String, Arc<ServerConfig>, FixedState> {
        let mut kept = HashMap::default();
        for spec in specs {
            let known = memory.policies.get(&spec.name);
            let config = match known.filter(|(old, _)| old == spec) {
                Some((_, config)) => Ok(config.clone()),
                None => self.server_config(spec).map(Arc::new),
            };
            match config {
                Ok(config) => {
                    kept.insert(spec.name.clone(), (spec.clone(), config));
                }
                Err(error) => refusals.push(Refusal {
                    unit: format!("TLS policy {}", spec.name),
                    reason: error.to_string(),
                }),
            }
        }
        memory.policies = kept;
        memory
            .policies
            .iter()
            .map(|(name, (_, config))| (name.clone(), config.clone()))
            .collect()
    }

    fn server_config(&self, spec: &TlsPolicySpec) -> Result<ServerConfig, rustls::Error> {
        let versions: &[&rustls::SupportedProtocolVersion] = match spec.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(self.resolver.clone());
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.alpn_protocols = match spec.http2 {
            true => vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()],
            false => vec![ALPN_HTTP11.to_vec()],
        };
        Ok(config)
    }
}

impl SniTable {
    /// The first certificate that claims a name keeps it.
    fn add(&mut self, spec: &CertificateSpec, key: &Arc<CertifiedKey>) {
        for name in &spec.server_names {
            match name {
                HostMatch::Exact(host) => {
                    let entry = self.exact.entry(host.as_str().to_owned());
                    entry.or_insert_with(|| key.clone());
                }
                HostMatch::Wildcard(suffix) => {
                    let entry = self.wildcard.entry(suffix.as_str().to_owned());
                    entry.or_insert_with(|| key.clone());
                }
                HostMatch::Any => {
                    self.default.get_or_insert_with(|| key.clone());
                }
            }
        }
    }

    /// `name` is in lower case: rustls hands it out so.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.exact.get(name).or_else(|| {
            let (_, suffix) = name.split_once('.')?;
            self.wildcard.get(suffix)
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let found = hello.server_name().and_then(|name| {
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                return table.find(&name.to_ascii_lowercase());
            }
            table.find(name)
        });
        let found = found.or(table.default.as_ref()).unwrap_or(&self.fallback);
        Some(found.clone())
    }
}

fn certified_key(
    spec: &CertificateSpec,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    if spec.chain.is_empty() {
        return Err("no certificate in the chain".to_owned());
    }
    let chain = spec.chain.iter().cloned().map(CertificateDer::from);
    let key = PrivateKeyDer::try_from(spec.key.0.clone()).map_err(str::to_owned)?;
    CertifiedKey::from_der(chain.collect(), key, provider).map_err(|error| error.to_string())
}

/// ingress-nginx's name for it; scanners and dashboards know it.
fn fake_certificate(provider: &CryptoProvider) -> Result<CertifiedKey, TlsStartError> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(rcgen::DnType::OrganizationName, "Acme Co");
    name.push(
        rcgen::DnType::CommonName,
        "Kubernetes Ingress Controller Fake Certificate",
    );
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(CertifiedKey::from_der(
        vec![certificate.der().clone()],
        key,
        provider,
    )?)
}

pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP11: &[u8] = b"http/1.1";
