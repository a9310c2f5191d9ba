//! kubeconfig files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::Identity;

/// The text of a kubeconfig with one cluster, `portcullis`, and one user. JSON, which is YAML: nothing can be misquoted.
/// It holds a key: write it with mode 0600.
pub fn kubeconfig(server: &str, ca_pem: &str, user: &str, identity: &Identity) -> String {
    let encoded = |text: &str| STANDARD.encode(text);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "portcullis",
            "cluster": {"server": server, "certificate-authority-data": encoded(ca_pem)},
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": encoded(&identity.certificate_pem),
                "client-key-data": encoded(&identity.key_pem),
            },
        }],
        "contexts": [{"name": "portcullis", "context": {"cluster": "portcullis", "user": user}}],
        "current-context": "portcullis",
    });
    format!("{config:#}\n")
}
