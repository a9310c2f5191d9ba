//! Authorities and the certificates they issue.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::{CertificateInfo, PkiError, PrivateKey, check_key_matches};

/// A certificate authority: its certificate and its private key.
#[derive(Clone)]
pub struct Authority {
    certificate_pem: String,
    key: PrivateKey,
}

/// What an issued certificate is good for (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS server authentication.
    Server,
    /// TLS client authentication.
    Client,
    /// Both, for peers that dial and listen with one identity.
    Both,
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Subject common name; the user name of a Kubernetes client certificate.
    pub common_name: String,
    /// Subject organizations; the groups of a Kubernetes client certificate. At most two fit: the encoder keeps one
    /// attribute per type and lets a custom type stand in for the second.
    pub organizations: Vec<String>,
    /// DNS subject alternative names; a leading `*.` label is allowed.
    pub dns_names: Vec<String>,
    /// Address subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// What the certificate is good for.
    pub usage: Usage,
    /// Validity counted from `now`.
    pub lifetime: Duration,
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate as PEM, without the authority's.
    pub certificate_pem: String,
    /// Its private key.
    pub key: PrivateKey,
}

impl Authority {
    /// A new self-signed authority that can sign end-entity certificates (path length 0).
    ///
    /// # Errors
    /// [`PkiError::Key`] or [`PkiError::Issue`] when the provider fails, [`PkiError::Validity`] for an absurd lifetime.
    pub fn create(
        common_name: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, PkiError> {
        let key = PrivateKey::generate()?;
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, lifetime)?;
        params.distinguished_name = subject(common_name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params
            .self_signed(key.pair())
            .map_err(|error| issue_error(common_name, &error))?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            key,
        })
    }

    /// Loads an authority that was made earlier, here or elsewhere.
    ///
    /// # Errors
    /// When either text is unreadable, the two do not belong together, or the certificate is no authority's.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = PrivateKey::from_pem(key_pem)?;
        let info = CertificateInfo::from_pem(certificate_pem)?;
        if !info.is_authority {
            return Err(PkiError::NotAnAuthority {
                subject: info.common_name,
            });
        }
        check_key_matches(certificate_pem, &key)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key,
        })
    }

    /// The authority's certificate as PEM: what peers put into their trust store.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Issues a certificate over a fresh key, valid from a little before `now` so that peers with slow clocks accept it.
    ///
    /// # Errors
    /// [`PkiError::DnsName`], [`PkiError::TooManyOrganizations`] or [`PkiError::Validity`] for a bad request,
    /// [`PkiError::Key`] or [`PkiError::Issue`] when the provider fails.
    pub fn issue(&self, request: &CertificateRequest, now: SystemTime) -> Result<Issued, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, self.key.pair())
            .map_err(|error| issue_error(&request.common_name, &error))?;
        let key = PrivateKey::generate()?;
        let mut params = end_entity(request, now)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(key.pair(), &issuer)
            .map_err(|error| issue_error(&request.common_name, &error))?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key,
        })
    }
}

/// A certificate signed by its own key, for a default certificate that nobody is asked to trust.
///
/// # Errors
/// As [`Authority::issue`].
pub fn self_signed(request: &CertificateRequest, now: SystemTime) -> Result<Issued, PkiError> {
    let key = PrivateKey::generate()?;
    let certificate = end_entity(request, now)?
        .self_signed(key.pair())
        .map_err(|error| issue_error(&request.common_name, &error))?;
    Ok(Issued {
        certificate_pem: certificate.pem(),
        key,
    })
}

fn end_entity(
    request: &CertificateRequest,
    now: SystemTime,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now, request.lifetime)?;
    params.distinguished_name = subject(&request.common_name, &request.organizations)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match request.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    };
    for name in &request.dns_names {
        let dns = name
            .as_str()
            .try_into()
            .map_err(|_| PkiError::DnsName { name: name.clone() })?;
        params.subject_alt_names.push(SanType::DnsName(dns));
    }
    for address in &request.ip_addresses {
        params.subject_alt_names.push(SanType::IpAddress(*address));
    }
    Ok(params)
}

fn set_validity(
    params: &mut CertificateParams,
    now: SystemTime,
    lifetime: Duration,
) -> Result<(), PkiError> {
    let from = now.checked_sub(BACKDATE).ok_or(PkiError::Validity)?;
    let until = now.checked_add(lifetime).ok_or(PkiError::Validity)?;
    params.not_before = statable(from)?;
    params.not_after = statable(until)?;
    Ok(())
}

fn statable(at: SystemTime) -> Result<OffsetDateTime, PkiError> {
    let since_epoch = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| PkiError::Validity)?;
    let seconds = i64::try_from(since_epoch.as_secs()).map_err(|_| PkiError::Validity)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Validity)
}

fn subject(common_name: &str, organizations: &[String]) -> Result<DistinguishedName, PkiError> {
    let mut name = DistinguishedName::new();
    for (organization, attribute) in organizations.iter().zip([
        DnType::OrganizationName,
        DnType::CustomDnType(ORGANIZATION_OID.to_vec()),
    ]) {
        name.push(attribute, organization.as_str());
    }
    if organizations.len() > MAX_ORGANIZATIONS {
        return Err(PkiError::TooManyOrganizations {
            count: organizations.len(),
            limit: MAX_ORGANIZATIONS,
        });
    }
    name.push(DnType::CommonName, common_name);
    Ok(name)
}

fn issue_error(subject: &str, error: &rcgen::Error) -> PkiError {
    PkiError::Issue {
        subject: subject.to_owned(),
        reason: error.to_string(),
    }
}

/// How far before `now` a validity starts: covers the clock skew of ordinary machines.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// `id-at-organizationName` (RFC 5280 appendix A).
const ORGANIZATION_OID: [u64; 4] = [2, 5, 4, 10];

/// One through the encoder's own attribute type, one through a custom one.
const MAX_ORGANIZATIONS: usize = 2;
