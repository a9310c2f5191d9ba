//! Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::IMMUTABLE;
use super::faults::{Faults, Path, text};
use super::plain::{config_keys, frozen};

/// Bytes of all values together.
const MAX_SECRET_BYTES: usize = 1 << 20;
const ACCOUNT: &str = "kubernetes.io/service-account.name";

pub(super) fn check(secret: &Value, faults: &mut Faults) {
    let at = Path::root("data");
    let bytes = config_keys(&secret["data"], &at, faults);
    // Values are base64: four letters for three bytes.
    if bytes / 4 * 3 > MAX_SECRET_BYTES {
        faults.too_long(at.clone(), MAX_SECRET_BYTES);
    }
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| secret["data"][**key].is_null()) {
            faults.required(at.key(key), "");
        }
    };
    match text(secret, "type") {
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => need(&["ssh-privatekey"]),
        "kubernetes.io/dockercfg" => docker(secret, ".dockercfg", &at, faults),
        "kubernetes.io/dockerconfigjson" => docker(secret, ".dockerconfigjson", &at, faults),
        "kubernetes.io/basic-auth" => {
            let data = &secret["data"];
            if data["username"].is_null() && data["password"].is_null() {
                faults.required(at.key("username"), "");
                faults.required(at.key("password"), "");
            }
        }
        "kubernetes.io/service-account-token" => account(secret, faults),
        _ => {}
    }
}

fn account(secret: &Value, faults: &mut Faults) {
    if text(&secret["metadata"]["annotations"], ACCOUNT).is_empty() {
        faults.required(Path::root("metadata").child("annotations").key(ACCOUNT), "");
    }
}

/// Contents are never shown.
fn docker(secret: &Value, key: &str, at: &Path, faults: &mut Faults) {
    let Some(encoded) = secret["data"][key].as_str() else {
        return faults.required(at.key(key), "");
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_err() {
        let shown = "<secret contents redacted>";
        faults.invalid(
            at.key(key),
            &shown.into(),
            "the content is not a JSON object",
        );
    }
}

pub(super) fn changes(old: &Value, new: &Value, faults: &mut Faults) {
    if old["type"] != new["type"] {
        faults.invalid(Path::root("type"), &new["type"], IMMUTABLE);
    }
    frozen(old, new, &["data"], faults);
}
