//! Reading certificates.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::PublicKeyData;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

use crate::{PkiError, PrivateKey};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Subject common name, empty when absent.
    pub common_name: String,
    /// Subject organizations in order.
    pub organizations: Vec<String>,
    /// DNS subject alternative names, as written.
    pub dns_names: Vec<String>,
    /// Address subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// Start of the validity.
    pub not_before: SystemTime,
    /// End of the validity.
    pub not_after: SystemTime,
    /// Whether the certificate may sign others.
    pub is_authority: bool,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// Which key this is the certificate of (RFC 5280 section 4.2.1.2), if it says so.
    pub key_id: Option<Vec<u8>>,
    /// Which key has signed it (RFC 5280 section 4.2.1.1), if it says so. That is a claim, not a proof.
    pub authority_key_id: Option<Vec<u8>>,
}

impl CertificateInfo {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] when it is none.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let mut info = Self {
            common_name: subject
                .iter_common_name()
                .next()
                .map(text)
                .unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            not_before: instant(certificate.validity().not_before.timestamp()),
            not_after: instant(certificate.validity().not_after.timestamp()),
            is_authority: certificate.is_ca(),
            serial: hexadecimal(certificate.raw_serial()),
            key_id: None,
            authority_key_id: None,
        };
        for extension in certificate.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => info.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    info.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        let names = certificate.subject_alternative_name().map_err(refused)?;
        for name in names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::DNSName(dns) => info.dns_names.push((*dns).to_owned()),
                GeneralName::IPAddress(octets) => info.ip_addresses.extend(address(octets)),
                _ => {}
            }
        }
        Ok(info)
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`PkiError::Pem`] without a certificate block, [`PkiError::Certificate`] when it is none.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let first = first_certificate(pem)?;
        Self::from_der(&first)
    }

    /// Whether `now` lies within the validity.
    #[must_use]
    pub fn valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether less than a third of the validity is left: time to issue anew.
    #[must_use]
    pub fn renewal_due(&self, now: SystemTime) -> bool {
        let lifetime = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        let left = self.not_after.duration_since(now).unwrap_or_default();
        left < lifetime / 3
    }
}

/// All certificates of a PEM text in order; other blocks are passed over.
///
/// # Errors
/// [`PkiError::Pem`] when there is none or one is damaged.
pub fn certificates_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| no_certificate())?;
    if certificates.is_empty() {
        return Err(no_certificate());
    }
    Ok(certificates)
}

/// Checks that `key` is the private half of the first certificate in `certificate_pem`.
///
/// # Errors
/// [`PkiError::KeyMismatch`] when it is not, or the error of reading the certificate.
pub fn check_key_matches(certificate_pem: &str, key: &PrivateKey) -> Result<(), PkiError> {
    let der = first_certificate(certificate_pem)?;
    let certificate = parse(&der)?;
    if certificate.public_key().raw == key.pair().subject_public_key_info() {
        return Ok(());
    }
    let subject = certificate.subject().iter_common_name().next().map(text);
    Err(PkiError::KeyMismatch {
        subject: subject.unwrap_or_default(),
    })
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| no_certificate())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(refused)?;
    if rest.is_empty() {
        return Ok(certificate);
    }
    Err(PkiError::Certificate {
        reason: format!("{} bytes after its end", rest.len()),
    })
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> String {
    attribute.as_str().unwrap_or_default().to_owned()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn instant(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        return SystemTime::UNIX_EPOCH - distance;
    }
    SystemTime::UNIX_EPOCH + distance
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_certificate() -> PkiError {
    PkiError::Pem {
        wanted: "certificate",
    }
}

fn refused(error: impl ToString) -> PkiError {
    PkiError::Certificate {
        reason: error.to_string(),
    }
}
