//! What each volume of a pod holds, before any file is written.

use crate::environment::{Facts, field, resource_field};
use crate::resources;
use crate::sources::{Sources, token_request};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume, VolumeProjection,
};
use std::collections::BTreeMap;
use thiserror::Error;

/// A volume, ready to be made. No `Debug`: it may hold a secret.
#[derive(Clone, PartialEq)]
pub enum VolumePlan {
    Empty {
        in_memory: bool,
        size_bytes: Option<u64>,
    },
    /// By relative path; written by rename so that a reader never sees a half-updated set.
    Files {
        files: BTreeMap<String, File>,
        in_memory: bool,
    },
    Host {
        path: String,
        kind: String,
    },
}

#[derive(Clone, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Whose it is; root's where nobody is named.
    pub owner: Option<u32>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum VolumeError {
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        volume: String,
        kind: &'static str,
        name: String,
    },
    #[error("{kind} \"{name}\" has no key \"{key}\"")]
    NoKey {
        volume: String,
        kind: &'static str,
        name: String,
        key: String,
    },
    #[error("the path {path:?} leaves the volume")]
    BadPath { volume: String, path: String },
    #[error("unsupported field {field}")]
    NoField { volume: String, field: String },
    #[error("no token was issued for it")]
    NoToken { volume: String },
    #[error("this node does not support its type")]
    Unsupported { volume: String },
}

/// Whether containers only ever read the volume, whatever they ask for: its files are the node's to write, and a
/// container that could swap them could lead the node's next update elsewhere. As upstream since 1.10.
pub fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Plans one volume of the pod.
pub fn volume(
    volume: &Volume,
    spec: &PodSpec,
    facts: &Facts,
    sources: &Sources,
) -> Result<VolumePlan, VolumeError> {
    if let Some(empty) = &volume.empty_dir {
        let size = empty
            .size_limit
            .as_ref()
            .and_then(|size| resources::milli(&size.0));
        let size_bytes = size
            .and_then(|size| u64::try_from(size / 1000).ok())
            .filter(|size| *size > 0);
        return Ok(VolumePlan::Empty {
            in_memory: empty.medium.as_deref() == Some("Memory"),
            size_bytes,
        });
    }
    if let Some(host) = &volume.host_path {
        return Ok(VolumePlan::Host {
            path: host.path.clone(),
            kind: host.type_.clone().unwrap_or_default(),
        });
    }
    let mut files = Files {
        volume: &volume.name,
        spec,
        facts,
        sources,
        mode: DEFAULT_MODE,
        found: BTreeMap::new(),
    };
    let mut in_memory = false;
    if let Some(map) = &volume.config_map {
        files.mode = mode(map.default_mode, DEFAULT_MODE);
        files.config_map(&map.name, map.items.as_deref(), map.optional)?;
    } else if let Some(secret) = &volume.secret {
        in_memory = true;
        files.mode = mode(secret.default_mode, DEFAULT_MODE);
        files.secret(
            secret.secret_name.as_deref().unwrap_or(""),
            secret.items.as_deref(),
            secret.optional,
        )?;
    } else if let Some(downward) = &volume.downward_api {
        files.mode = mode(downward.default_mode, DEFAULT_MODE);
        files.downward(downward.items.as_deref().unwrap_or_default())?;
    } else if let Some(projected) = &volume.projected {
        files.mode = mode(projected.default_mode, DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            in_memory |= source.secret.is_some() || source.service_account_token.is_some();
            files.projection(source)?;
        }
    } else {
        return Err(VolumeError::Unsupported {
            volume: volume.name.clone(),
        });
    }
    Ok(VolumePlan::Files {
        files: files.found,
        in_memory,
    })
}

struct Files<'a> {
    volume: &'a str,
    spec: &'a PodSpec,
    facts: &'a Facts<'a>,
    sources: &'a Sources,
    mode: u32,
    found: BTreeMap<String, File>,
}

impl Files<'_> {
    fn projection(&mut self, source: &VolumeProjection) -> Result<(), VolumeError> {
        if let Some(map) = &source.config_map {
            self.config_map(&map.name, map.items.as_deref(), map.optional)?;
        }
        if let Some(secret) = &source.secret {
            self.secret(&secret.name, secret.items.as_deref(), secret.optional)?;
        }
        if let Some(downward) = &source.downward_api {
            self.downward(downward.items.as_deref().unwrap_or_default())?;
        }
        if let Some(token) = &source.service_account_token {
            let request = token_request(token.audience.as_deref(), token.expiration_seconds);
            let issued = self.sources.tokens.get(&request);
            let issued = issued.ok_or_else(|| VolumeError::NoToken {
                volume: self.volume.into(),
            })?;
            let file = self.token(issued);
            self.insert(&token.path, file)?;
        }
        Ok(())
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(map) = self.sources.config_maps.get(name) else {
            return self.absent("configmap", name, optional);
        };
        let texts = map
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = map
            .binary_data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()));
        self.keys(
            "configmap",
            name,
            texts.chain(binary).collect(),
            items,
            optional,
        )
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(secret) = self.sources.secrets.get(name) else {
            return self.absent("secret", name, optional);
        };
        let data = secret
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()));
        self.keys("secret", name, data.collect(), items, optional)
    }

    fn absent(
        &self,
        kind: &'static str,
        name: &str,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        match optional {
            Some(true) => Ok(()),
            _ => Err(VolumeError::NoObject {
                volume: self.volume.into(),
                kind,
                name: name.into(),
            }),
        }
    }

    fn keys(
        &mut self,
        kind: &'static str,
        name: &str,
        mut data: BTreeMap<String, Vec<u8>>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return data
                .into_iter()
                .try_for_each(|(key, content)| self.add(&key, content, None));
        };
        for item in items {
            match data.remove(&item.key) {
                Some(content) => self.add(&item.path, content, item.mode)?,
                None if optional == Some(true) => {}
                None => {
                    let (volume, name, key) = (self.volume.into(), name.into(), item.key.clone());
                    return Err(VolumeError::NoKey {
                        volume,
                        kind,
                        name,
                        key,
                    });
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardAPIVolumeFile]) -> Result<(), VolumeError> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(reference), _) => {
                    field(&reference.field_path, self.facts).ok_or(&reference.field_path)
                }
                (None, Some(reference)) => {
                    let container = self.container(reference.container_name.as_deref());
                    let divisor = reference
                        .divisor
                        .as_ref()
                        .and_then(|divisor| resources::milli(&divisor.0));
                    let value = container.and_then(|container| {
                        resource_field(&reference.resource, divisor, container, self.facts)
                    });
                    value.ok_or(&reference.resource)
                }
                (None, None) => Err(&item.path),
            };
            let value = value.map_err(|field| VolumeError::NoField {
                volume: self.volume.into(),
                field: field.clone(),
            })?;
            self.add(&item.path, value.into_bytes(), item.mode)?;
        }
        Ok(())
    }

    fn container(&self, name: Option<&str>) -> Option<&Container> {
        let mut all = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        all.find(|container| Some(container.name.as_str()) == name)
    }

    /// A token is nobody's business but its pod's: where the pod's user or group is known, nobody else can read it, whatever
    /// mode the volume asks for (as upstream).
    fn token(&self, token: &str) -> File {
        let owner = only_user(self.spec);
        let context = self.spec.security_context.as_ref();
        let group = context.and_then(|context| context.fs_group);
        File {
            content: token.into(),
            mode: if owner.is_some() || group.is_some() {
                TOKEN_MODE
            } else {
                self.mode
            },
            owner,
        }
    }

    fn add(
        &mut self,
        path: &str,
        content: Vec<u8>,
        own_mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let file = File {
            content,
            mode: mode(own_mode, self.mode),
            owner: None,
        };
        self.insert(path, file)
    }

    fn insert(&mut self, path: &str, file: File) -> Result<(), VolumeError> {
        let safe = !path.is_empty()
            && path
                .split('/')
                .all(|part| !part.is_empty() && part != "." && !part.starts_with(".."));
        if !safe {
            return Err(VolumeError::BadPath {
                volume: self.volume.into(),
                path: path.into(),
            });
        }
        self.found.insert(path.into(), file);
        Ok(())
    }
}

fn mode(stated: Option<i32>, default: u32) -> u32 {
    stated
        .and_then(|mode| u32::try_from(mode).ok())
        .map_or(default, |mode| mode & 0o777)
}

/// The user that all containers of a pod run as, if its spec says so and they agree.
fn only_user(spec: &PodSpec) -> Option<u32> {
    let context = spec.security_context.as_ref();
    let of_pod = context.and_then(|context| context.run_as_user);
    let inits = spec.init_containers.iter().flatten();
    let mut users = inits.chain(&spec.containers).map(|container| {
        let own = container.security_context.as_ref();
        own.and_then(|own| own.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    let agreed = users.all(|user| user == Some(first));
    agreed.then(|| u32::try_from(first).ok())?
}

/// The API's default for `defaultMode`.
const DEFAULT_MODE: u32 = 0o644;
const TOKEN_MODE: u32 = 0o600;
