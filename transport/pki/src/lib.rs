//! The public-key infrastructure of the house: authorities, the certificates they issue, and reading certificates.
//!
//! *Owns*: making and loading a certificate authority, issuing ECDSA P-256 certificates for servers and clients,
//! self-signed certificates, what two parties of mutual TLS hold and when it is renewed, and reading what a certificate
//! says (subject, names, validity, key match).
//! *Does not own*: files, the clock (every `now` is an argument), TLS sessions, or the choice of who may ask for a
//! certificate. Key generation is the one impurity: a key drawn from anything but the provider's randomness is no key.
//! *Entry point*: [`Authority::create`], then [`Authority::issue`]; [`CertificateInfo::from_der`] to read one.

mod authority;
mod inspect;
mod key;
mod mutual;
#[cfg(test)]
mod tests;

pub use authority::{Authority, CertificateRequest, Issued, Usage, self_signed};
pub use inspect::{CertificateInfo, certificates_from_pem, check_key_matches};
pub use key::PrivateKey;
pub use mutual::{MutualRequest, MutualTls, PemFiles};

/// What can go wrong when making or reading keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The text holds no PEM block of the wanted kind, or the block is damaged.
    #[error("no readable {wanted} in the PEM text")]
    Pem {
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The PEM block is whole but its content is no X.509 certificate.
    #[error("not an X.509 certificate: {reason}")]
    Certificate {
        /// What the parser disliked.
        reason: String,
    },
    /// The private key is of a kind that the provider cannot load.
    #[error("unusable private key: {reason}")]
    Key {
        /// What the provider disliked.
        reason: String,
    },
    /// The certificate carries another public key than the private key's.
    #[error("the private key does not belong to the certificate of {subject:?}")]
    KeyMismatch {
        /// Common name of the certificate, may be empty.
        subject: String,
    },
    /// The certificate of a would-be authority lacks the CA flag (RFC 5280 section 4.2.1.9).
    #[error("the certificate of {subject:?} is not a certificate authority")]
    NotAnAuthority {
        /// Common name of the certificate, may be empty.
        subject: String,
    },
    /// A DNS name of the request cannot be written into a certificate.
    #[error("not a DNS name: {name:?}")]
    DnsName {
        /// The refused name.
        name: String,
    },
    /// More organizations than can be written, see [`CertificateRequest::organizations`].
    #[error("{count} organizations asked for, at most {limit} fit")]
    TooManyOrganizations {
        /// How many the request named.
        count: usize,
        /// How many fit.
        limit: usize,
    },
    /// Signing or encoding failed.
    #[error("cannot issue a certificate for {subject:?}: {reason}")]
    Issue {
        /// Common name of the request.
        subject: String,
        /// What the provider disliked.
        reason: String,
    },
    /// A validity that no certificate can state (after the year 9999, or before 1950).
    #[error("validity outside of what X.509 can state")]
    Validity,
}
