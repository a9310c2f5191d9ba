//! Private keys, kept out of logs by their type.

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::PkiError;

/// A private key. It has no `Debug` and no `Display`, so that no log line can hold one.
pub struct PrivateKey {
    pem: String,
    pair: KeyPair,
}

impl PrivateKey {
    /// A new ECDSA P-256 key.
    ///
    /// # Errors
    /// [`PkiError::Key`] when the provider has no randomness to give.
    pub fn generate() -> Result<Self, PkiError> {
        let pair = KeyPair::generate().map_err(unusable)?;
        Ok(Self {
            pem: pair.serialize_pem(),
            pair,
        })
    }

    /// Reads a PKCS#8, PKCS#1 or SEC1 key (RSA, ECDSA, Ed25519) from PEM text.
    ///
    /// # Errors
    /// [`PkiError::Pem`] without a private key block, [`PkiError::Key`] when the provider refuses it.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Pem {
            wanted: "private key",
        })?;
        let pair = KeyPair::try_from(&der).map_err(unusable)?;
        Ok(Self {
            pem: pem.to_owned(),
            pair,
        })
    }

    /// The key as PEM text (PKCS#8 for keys made here): for a file of mode 0600 or a Secret, nothing else.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The public half as a PEM `SubjectPublicKeyInfo`, as token verifiers want it.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The public half as a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1), which key ids are made of.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// The public half alone: of ECDSA keys the uncompressed point (SEC 1 section 2.3.3).
    #[must_use]
    pub fn public_key_raw(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self::from_pem(&self.pem).expect("its own PEM was read before")
    }
}

fn unusable(error: rcgen::Error) -> PkiError {
    PkiError::Key {
        reason: error.to_string(),
    }
}
