//! Which credentials of a pod's `imagePullSecrets` are tried for an image, as the kubelet's keyring chooses them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a registry is shown. It has no `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: String,
}

/// In the order to try them: the most particular registry first, then as the pod lists its Secrets.
pub fn credentials(image: &str, secrets: &[Secret]) -> Vec<Credential> {
    let image = located(image);
    let mut found: Vec<(String, Credential)> = secrets
        .iter()
        .flat_map(entries)
        .filter_map(|(key, entry)| Some((registry(&key), entry.credential()?)))
        .filter(|(registry, _)| covers(registry, &image))
        .collect();
    // A stable sort, so that equals stay in the pod's order.
    found.sort_by_key(|(registry, _)| std::cmp::Reverse(registry.len()));
    found
        .into_iter()
        .map(|(_, credential)| credential)
        .collect()
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// `USERNAME:PASSWORD` in base64; it wins where it is set, as in upstream.
    #[serde(default)]
    auth: String,
}

impl Entry {
    fn credential(self) -> Option<Credential> {
        if self.auth.is_empty() {
            return (!self.username.is_empty()).then_some(Credential {
                username: self.username,
                password: self.password,
            });
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credential {
            username: username.to_owned(),
            // docker pads it with NULs.
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// A Secret that cannot be read has none: the pull then says what the registry says.
fn entries(secret: &Secret) -> BTreeMap<String, Entry> {
    let data = secret.data.as_ref();
    let value = |key: &str| data.and_then(|data| data.get(key));
    if let Some(config) = value(".dockerconfigjson") {
        let config = serde_json::from_slice::<Config>(&config.0);
        return config.map(|config| config.auths).unwrap_or_default();
    }
    let config = value(".dockercfg").map(|config| serde_json::from_slice(&config.0));
    config.and_then(Result::ok).unwrap_or_default()
}

/// `https://index.docker.io/v1/` → `index.docker.io`.
fn registry(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.trim_end_matches('/');
    let bare = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2"));
    match bare.unwrap_or(key) {
        "docker.io" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}

/// An image's name with the registry that it comes from, and without tag and digest.
fn located(image: &str) -> String {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let image = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", rest)) => format!("{DEFAULT_REGISTRY}/{rest}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        _ => format!("{DEFAULT_REGISTRY}/{image}"),
    }
}

/// Hosts match label by label, `*` within a label for anything; ports are equal; the path begins with the key's.
fn covers(registry: &str, image: &str) -> bool {
    let split = |text: &str| {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        [host, port, path].map(str::to_owned)
    };
    let ([host, port, path], [of, at, name]) = (split(registry), split(image));
    let (pattern, labels): (Vec<_>, Vec<_>) = (host.split('.').collect(), of.split('.').collect());
    let same_host = pattern.len() == labels.len()
        && pattern
            .iter()
            .zip(&labels)
            .all(|(pattern, label)| glob(pattern, label));
    same_host && port == at && name.starts_with(&path)
}

fn glob(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => label.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|cut| rest.is_char_boundary(*cut))
                .any(|cut| glob(after, &rest[cut..]))
        }),
    }
}

const DEFAULT_REGISTRY: &str = "index.docker.io";

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(key: &str, json: &str) -> Secret {
        let data = BTreeMap::from([(key.to_owned(), ByteString(json.as_bytes().to_vec()))]);
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    fn users(image: &str, secrets: &[Secret]) -> Vec<String> {
        let found = credentials(image, secrets);
        found
            .into_iter()
            .map(|found| format!("{}:{}", found.username, found.password))
            .collect()
    }

    #[test]
    fn the_registry_of_the_image_decides() {
        let all = secret(
            ".dockerconfigjson",
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M="},
                "registry.example.com": {"username": "wide", "password": "w"},
                "registry.example.com/team": {"username": "team", "password": "t"},
                "*.internal:5000": {"username": "glob", "password": "g"},
                "broken.example.com": {"auth": "%%"}
            }}"#,
        );
        for (image, expected) in [
            ("nginx", vec!["hub:pass"]),
            ("docker.io/library/nginx:1", vec!["hub:pass"]),
            ("team/app@sha256:00", vec!["hub:pass"]),
            ("registry.example.com/team/app:1", vec!["team:t", "wide:w"]),
            ("registry.example.com/other", vec!["wide:w"]),
            ("registry.example.com:5000/team/app", vec![]),
            ("a.internal:5000/x:2", vec!["glob:g"]),
            ("a.b.internal:5000/x", vec![]),
            ("broken.example.com/x", vec![]),
        ] {
            assert_eq!(
                users(image, std::slice::from_ref(&all)),
                expected,
                "{image}"
            );
        }
    }

    #[test]
    fn secrets_are_tried_in_the_pods_order_and_bad_ones_skipped() {
        let old = secret(
            ".dockercfg",
            r#"{"r.example.com": {"username": "old", "password": "o"}}"#,
        );
        let bad = secret(".dockerconfigjson", "no json");
        let new = secret(
            ".dockerconfigjson",
            r#"{"auths": {"r.example.com": {"username": "new", "password": "n"}}}"#,
        );
        let expected = ["old:o", "new:n"];
        assert_eq!(users("r.example.com/x", &[old, bad, new]), expected);
    }
}
