//! Volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::faults::{Faults, Path, list, text};
use super::super::names;

const HOST_PATH_TYPES: [&str; 7] = [
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const MAX_MODE: i64 = 0o777;
/// Seconds that a token may be asked for: from ten minutes, to below this.
const MIN_TOKEN_S: i64 = 600;
const MAX_TOKEN_S: i64 = (1 << 32) + 1;

/// Names of the volumes a container may mount.
pub(super) fn all<'a>(volumes: &'a [Value], at: &Path, faults: &mut Faults) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let here = at.index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            faults.required(here.child("name"), "");
        } else {
            let messages = names::dns_label(name);
            if messages.is_empty() && !seen.insert(name) {
                faults.duplicate(here.child("name"), &volume["name"]);
            }
            faults.each(&here.child("name"), name, messages);
        }
        source(volume, &here, faults);
    }
    seen
}

fn source(volume: &Value, at: &Path, faults: &mut Faults) {
    let sources: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| *name != "name")
        .collect();
    for extra in sources.iter().skip(1) {
        faults.forbidden(at.child(extra), "may not specify more than 1 volume type");
    }
    let Some(kind) = sources.first() else {
        return faults.required(at.clone(), "must specify a volume type");
    };
    let (source, here) = (&volume[kind.as_str()], at.child(kind));
    mode(source, "defaultMode", &here, faults);
    match kind.as_str() {
        "secret" => {
            need(source, "secretName", &here, faults);
            items(source, &here, faults);
        }
        "configMap" => {
            need(source, "name", &here, faults);
            items(source, &here, faults);
        }
        "persistentVolumeClaim" => need(source, "claimName", &here, faults),
        "hostPath" => {
            need(source, "path", &here, faults);
            if text(source, "path").split('/').any(|part| part == "..") {
                faults.invalid(here.child("path"), &source["path"], "must not contain '..'");
            }
            faults.one_of(source, "type", &HOST_PATH_TYPES, &here);
        }
        "projected" => {
            for (index, projection) in list(source, "sources").iter().enumerate() {
                let here = here.child("sources").index(index);
                for name in ["secret", "configMap"] {
                    if projection[name].is_object() {
                        need(&projection[name], "name", &here.child(name), faults);
                        items(&projection[name], &here.child(name), faults);
                    }
                }
                if projection["serviceAccountToken"].is_object() {
                    let here = here.child("serviceAccountToken");
                    token(&projection["serviceAccountToken"], &here, faults);
                }
            }
        }
        _ => {}
    }
}

fn items(source: &Value, at: &Path, faults: &mut Faults) {
    for (index, item) in list(source, "items").iter().enumerate() {
        let here = at.child("items").index(index);
        need(item, "key", &here, faults);
        need(item, "path", &here, faults);
        mode(item, "mode", &here, faults);
        local_path(item, &here, faults);
    }
}

fn token(token: &Value, at: &Path, faults: &mut Faults) {
    let seconds = &token["expirationSeconds"];
    let detail = match seconds.as_i64() {
        Some(..MIN_TOKEN_S) => Some("may not specify a duration less than 10 minutes"),
        Some(MAX_TOKEN_S..) => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(detail) = detail {
        faults.invalid(at.child("expirationSeconds"), seconds, detail);
    }
    need(token, "path", at, faults);
    local_path(token, at, faults);
}

/// Below the volume, and none of the names that the swapping of its files needs.
fn local_path(object: &Value, at: &Path, faults: &mut Faults) {
    let path = text(object, "path");
    let mut fault = |detail: &str| faults.invalid(at.child("path"), &object["path"], detail);
    if path.starts_with('/') {
        fault("must be a relative path");
    }
    if path.split('/').any(|part| part == "..") {
        fault("must not contain '..'");
    } else if path.starts_with("..") {
        fault("must not start with '..'");
    }
}

fn need(object: &Value, name: &str, at: &Path, faults: &mut Faults) {
    if text(object, name).is_empty() {
        faults.required(at.child(name), "");
    }
}

fn mode(object: &Value, name: &str, at: &Path, faults: &mut Faults) {
    if object[name]
        .as_i64()
        .is_some_and(|mode| !(0..=MAX_MODE).contains(&mode))
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        faults.invalid(at.child(name), &object[name], detail);
    }
}
