use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use crate::{
    Authority, CertificateInfo, CertificateRequest, PkiError, PrivateKey, Usage,
    certificates_from_pem, check_key_matches, self_signed,
};

#[test]
fn a_server_certificate_is_trusted_for_its_names_and_no_other() {
    let authority = authority();
    let issued = authority.issue(&request(Usage::Server), now()).unwrap();
    let verifier = server_verifier(&authority);
    let leaf = leaf(&issued.certificate_pem);
    let check = |name: &'static str| {
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&leaf, &[], &name, &[], unix(now()))
    };
    assert!(check("api.test").is_ok());
    assert!(check("a.wild.test").is_ok());
    assert!(check("127.0.0.1").is_ok());
    assert!(check("::1").is_ok());
    assert!(check("other.test").is_err());
}

#[test]
fn usages_are_kept_apart() {
    let authority = authority();
    let server = authority.issue(&request(Usage::Server), now()).unwrap();
    let client = authority.issue(&request(Usage::Client), now()).unwrap();
    let both = authority.issue(&request(Usage::Both), now()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(trust(&authority)), provider())
            .build()
            .unwrap();
    let as_client = |pem: &str| {
        verifier
            .verify_client_cert(&leaf(pem), &[], unix(now()))
            .is_ok()
    };
    assert!(!as_client(&server.certificate_pem));
    assert!(as_client(&client.certificate_pem));
    assert!(as_client(&both.certificate_pem));
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let authority = authority();
    let issued = authority.issue(&request(Usage::Both), now()).unwrap();
    let info = CertificateInfo::from_pem(&issued.certificate_pem).unwrap();
    assert_eq!(info.common_name, "system:node:one");
    assert_eq!(info.organizations, ["system:nodes", "extra"]);
    assert_eq!(info.dns_names, ["api.test", "*.wild.test"]);
    assert_eq!(info.ip_addresses, addresses());
    assert!(!info.is_authority);
    assert_eq!(info.not_after, now() + LIFETIME);
    assert!(info.valid_at(now()));
    assert!(!info.valid_at(now() + LIFETIME + Duration::from_secs(1)));
    assert!(!info.renewal_due(now() + LIFETIME / 2));
    assert!(info.renewal_due(now() + LIFETIME * 3 / 4));
}

#[test]
fn every_certificate_has_its_own_serial() {
    let authority = authority();
    let serial = || {
        let issued = authority.issue(&request(Usage::Both), now()).unwrap();
        CertificateInfo::from_pem(&issued.certificate_pem)
            .unwrap()
            .serial
    };
    assert_ne!(serial(), serial());
}

#[test]
fn an_authority_survives_its_pem_text() {
    let authority = authority();
    let again = Authority::from_pem(authority.certificate_pem(), authority.key().pem()).unwrap();
    let issued = again.issue(&request(Usage::Server), now()).unwrap();
    let name = ServerName::try_from("api.test").unwrap();
    server_verifier(&authority)
        .verify_server_cert(&leaf(&issued.certificate_pem), &[], &name, &[], unix(now()))
        .unwrap();
}

#[test]
fn what_is_no_authority_is_refused() {
    let authority = authority();
    let issued = authority.issue(&request(Usage::Server), now()).unwrap();
    let error = Authority::from_pem(&issued.certificate_pem, issued.key.pem())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "the certificate of \"system:node:one\" is not a certificate authority"
    );
    let other = PrivateKey::generate().unwrap();
    let error = Authority::from_pem(authority.certificate_pem(), other.pem())
        .err()
        .unwrap();
    assert!(matches!(error, PkiError::KeyMismatch { subject } if subject == "test authority"));
}

#[test]
fn keys_belong_to_their_certificates() {
    let issued = self_signed(&request(Usage::Server), now()).unwrap();
    check_key_matches(&issued.certificate_pem, &issued.key).unwrap();
    let other = PrivateKey::generate().unwrap();
    assert!(check_key_matches(&issued.certificate_pem, &other).is_err());
}

#[test]
fn a_bundle_is_read_in_order() {
    let one = authority();
    let two = authority();
    let bundle = format!("{}noise\n{}", one.certificate_pem(), two.certificate_pem());
    let certificates = certificates_from_pem(&bundle).unwrap();
    assert_eq!(
        certificates,
        [leaf(one.certificate_pem()), leaf(two.certificate_pem())]
    );
}

#[test]
fn bad_input_gets_a_sentence() {
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (
            CertificateInfo::from_pem("").err(),
            "no readable certificate in the PEM text",
        ),
        (
            PrivateKey::from_pem("x").err(),
            "no readable private key in the PEM text",
        ),
    ];
    for (error, sentence) in cases {
        assert_eq!(error.unwrap().to_string(), sentence);
    }
    let error = CertificateInfo::from_pem(damaged).unwrap_err().to_string();
    assert!(error.starts_with("not an X.509 certificate: "), "{error}");
    let mut asked = request(Usage::Server);
    asked.dns_names = vec!["bücher.test".to_owned()];
    let error = self_signed(&asked, now()).err().unwrap().to_string();
    assert_eq!(error, "not a DNS name: \"bücher.test\"");
    let mut asked = request(Usage::Client);
    asked.organizations = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let error = self_signed(&asked, now()).err().unwrap().to_string();
    assert_eq!(error, "3 organizations asked for, at most 2 fit");
    let mut asked = request(Usage::Client);
    asked.lifetime = Duration::from_secs(u64::from(u32::MAX) * 1_000);
    assert!(matches!(
        self_signed(&asked, now()),
        Err(PkiError::Validity)
    ));
}

fn authority() -> Authority {
    Authority::create("test authority", now(), LIFETIME).unwrap()
}

fn request(usage: Usage) -> CertificateRequest {
    CertificateRequest {
        common_name: "system:node:one".to_owned(),
        organizations: vec!["system:nodes".to_owned(), "extra".to_owned()],
        dns_names: vec!["api.test".to_owned(), "*.wild.test".to_owned()],
        ip_addresses: addresses(),
        usage,
        lifetime: LIFETIME,
    }
}

fn addresses() -> Vec<IpAddr> {
    vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn leaf(pem: &str) -> CertificateDer<'static> {
    certificates_from_pem(pem).unwrap().remove(0)
}

fn trust(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(leaf(authority.certificate_pem())).unwrap();
    roots
}

fn server_verifier(authority: &Authority) -> Arc<WebPkiServerVerifier> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(trust(authority)), provider())
        .build()
        .unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
