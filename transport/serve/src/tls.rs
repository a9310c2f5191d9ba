//! TLS configurations of the house: aws-lc-rs only, TLS 1.2 and 1.3.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ClientConfig, VerifierBuilderError};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS cannot be set up from given texts.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in a PEM text, or a damaged one.
    #[error("no readable certificate in the PEM text")]
    NoCertificate,
    /// No private key in a PEM text, or a damaged one.
    #[error("no readable private key in the PEM text")]
    NoPrivateKey,
    /// The pair does not fit together, or is of an unsupported kind.
    #[error("the certificate and its private key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The authority that client certificates are checked against cannot be used.
    #[error("the client certificate authority cannot be used")]
    ClientAuthority(#[source] VerifierBuilderError),
    /// The authority that the server is checked against cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[source] rustls::Error),
}

/// The provider of every TLS session in the house.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Who must show a client certificate.
#[derive(Clone, Copy, Debug)]
pub enum ClientAuth<'a> {
    /// Nobody is asked.
    None,
    /// Clients are asked; those that show one must show one of this authority (PEM text).
    Optional(&'a str),
    /// Clients without a certificate of this authority (PEM text) are turned away at the handshake.
    Required(&'a str),
}

/// Application protocols offered (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2` before `http/1.1`.
    Http2AndHttp1,
    /// `http/1.1` alone.
    Http1,
    /// `h2` alone, for gRPC.
    Http2,
}

/// A server's certificate, which may be exchanged while connections are served.
#[derive(Debug)]
pub struct CertificateSlot {
    current: ArcSwap<CertifiedKey>,
}

impl CertificateSlot {
    /// A slot with a first certificate chain (leaf first) and its key, both PEM texts.
    ///
    /// # Errors
    /// [`TlsError`] when either is unreadable or the two do not fit.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(certified_key(certificate_pem, key_pem)?);
        Ok(Arc::new(Self { current }))
    }

    /// Puts another certificate in: handshakes from now on show it. On an error the former one stays.
    ///
    /// # Errors
    /// As [`CertificateSlot::new`].
    pub fn replace(&self, certificate_pem: &str, key_pem: &str) -> Result<(), TlsError> {
        self.current
            .store(Arc::new(certified_key(certificate_pem, key_pem)?));
        Ok(())
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Reads a chain (leaf first) and its key from PEM texts and checks that they fit.
///
/// # Errors
/// [`TlsError::NoCertificate`], [`TlsError::NoPrivateKey`] or [`TlsError::Unusable`].
pub fn certified_key(certificate_pem: &str, key_pem: &str) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate_pem)?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| TlsError::NoPrivateKey)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Unusable)
}

/// A server configuration over an exchangeable certificate.
///
/// # Errors
/// [`TlsError::NoCertificate`] or [`TlsError::ClientAuthority`] when the client authority cannot be used.
pub fn server_config(
    certificate: Arc<CertificateSlot>,
    clients: ClientAuth<'_>,
    alpn: Alpn,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3");
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(trust(authority)?, provider())
                    .allow_unauthenticated()
                    .build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::ClientAuthority)?)
        }
        ClientAuth::Required(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(trust(authority)?, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::ClientAuthority)?)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = protocols(alpn);
    Ok(Arc::new(config))
}

/// A client configuration that trusts `authority_pem` alone and shows `identity` (certificate and key PEM) if asked.
///
/// # Errors
/// [`TlsError`] when a text is unreadable or unusable.
pub fn client_config(
    authority_pem: &str,
    identity: Option<(&str, &str)>,
    alpn: Alpn,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(trust(authority_pem)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate_pem, key_pem)) => {
            let chain = certificates(certificate_pem)?;
            let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
                .map_err(|_| TlsError::NoPrivateKey)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Unusable)?
        }
    };
    config.alpn_protocols = protocols(alpn);
    Ok(Arc::new(config))
}

fn protocols(alpn: Alpn) -> Vec<Vec<u8>> {
    match alpn {
        Alpn::Http2AndHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
    }
}

fn trust(authority_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority_pem)? {
        roots.add(certificate).map_err(TlsError::Authority)?;
    }
    Ok(Arc::new(roots))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate),
    }
}
