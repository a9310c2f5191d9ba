//! The key of tokens: what signs, what checks, and how others learn to check (RFC 7517, OpenID Connect Discovery 1.0).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use portcullis_pki::PrivateKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::TokenKeyError;

/// No Debug: it holds the signing key.
pub(super) struct Keys {
    pub signing: EncodingKey,
    pub verifying: DecodingKey,
    pub id: String,
    /// The two halves of the public point, base64.
    point: [String; 2],
}

impl Keys {
    pub(super) fn new(key: &PrivateKey) -> Result<Self, TokenKeyError> {
        let public = key.public_key_pem();
        let signing = EncodingKey::from_ec_pem(key.pem().as_bytes());
        let verifying = DecodingKey::from_ec_pem(public.as_bytes());
        // An uncompressed point: 4, then the coordinates (SEC 1 section 2.3.3).
        let raw = key.public_key_raw();
        let [4, x @ ..] = raw else {
            return Err(TokenKeyError::Curve);
        };
        let (x, y) = x.split_at(x.len() / 2);
        if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
            return Err(TokenKeyError::Curve);
        }
        Ok(Self {
            signing: signing.map_err(TokenKeyError::Kind)?,
            verifying: verifying.map_err(TokenKeyError::Kind)?,
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key_der())),
            point: [URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)],
        })
    }

    /// `/openid/v1/jwks`.
    pub(super) fn set(&self) -> Value {
        let [x, y] = &self.point;
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y,
        }]})
    }
}

pub(super) const ALGORITHM: Algorithm = Algorithm::ES256;
/// Of P-256.
const COORDINATE_BYTES: usize = 32;
