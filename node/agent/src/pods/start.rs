//! Starting one container: its image, its files, its environment, its mounts, then the runtime's two calls.

use crate::cri::generated as cri;
use crate::error::{Error, Result};
use crate::pods::configuration::{self, Run};
use crate::pods::execute::{MIN_GRACE_SECONDS, Round};
use crate::pods::{fetch, sub_path, volume_files};
use k8s_openapi::api::core::v1::{Container, Volume};
use portcullis_pod::environment::{Facts, environment, service_variables};
use portcullis_pod::notices::{self, FAILED_MOUNT};
use portcullis_pod::sources::{Sources, references};
use portcullis_pod::volumes::{self, is_read_only};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

impl Round {
    pub(super) async fn start(
        &self,
        name: &str,
        attempt: u32,
        streak: u32,
    ) -> Result<(), (&'static str, Error)> {
        let other = |message: String| Error::Failed {
            program: name.to_owned(),
            message,
        };
        let spec = self
            .container(name)
            .ok_or_else(|| ("CreateContainerError", other("not in the pod".into())))?;
        let sandbox = self
            .runtime
            .sandbox()
            .ok_or_else(|| ("CreateContainerError", other("its sandbox is gone".into())))?;
        let sandbox_config =
            configuration::sandbox(&self.node, &self.pod, &self.spec, sandbox.attempt);
        let image = self.image(spec, &sandbox_config).await?;
        let config_error = |error| ("CreateContainerConfigError", error);
        self.check_user(spec, &image).map_err(config_error)?;
        let sources = fetch::sources(self, references(&self.spec)).await;
        let sources = sources.map_err(|error| match error {
            Error::Token { .. } => (FAILED_MOUNT, error),
            _ => config_error(error),
        })?;
        self.write_hosts(&sandbox.ips).map_err(config_error)?;
        let directories = self
            .make_volumes(&sources, &sandbox.ips)
            .map_err(|error| (FAILED_MOUNT, error))?;
        let environment = self.environment(spec, &sources, &sandbox.ips).await;
        let environment = environment.map_err(config_error)?;
        let mounts = self
            .mounts(spec, &directories, &environment)
            .map_err(config_error)?;
        self.prepare_files(name, attempt).map_err(config_error)?;
        let run = Run {
            attempt,
            streak,
            image: &image.id,
            environment,
            mounts,
        };
        let config = configuration::container(&self.node, &self.pod, &self.spec, spec, run);
        let id = self
            .node
            .cri
            .create_container(&sandbox.id, config, sandbox_config)
            .await;
        let id = id.map_err(|error| ("CreateContainerError", error))?;
        self.tell(notices::created(name));
        self.node
            .cri
            .start_container(&id)
            .await
            .map_err(|error| ("RunContainerError", error))?;
        self.tell(notices::started(name));
        let ip = sandbox.ips.first().copied();
        let begun = self.post_start(spec, &id, ip).await;
        begun.map_err(|reason| ("PostStartHookError", other(reason)))
    }

    /// Runs the hook, if there is one; where it fails the container has been stopped.
    async fn post_start(
        &self,
        spec: &Container,
        id: &str,
        ip: Option<IpAddr>,
    ) -> Result<(), String> {
        let lifecycle = spec.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
            return Ok(());
        };
        let outcome = tokio::select! {
            outcome = self.hook(spec, id, hook, HOOK_LIMIT, ip) => outcome,
            // The container runs, and is stopped as any other.
            () = self.interrupted() => return Ok(()),
        };
        if outcome.is_err() {
            let grace = Duration::from_secs(MIN_GRACE_SECONDS);
            let _ = self.node.cri.stop_container(id, grace).await;
        }
        outcome
    }

    async fn environment(
        &self,
        spec: &Container,
        sources: &Sources,
        ips: &[IpAddr],
    ) -> Result<BTreeMap<String, String>> {
        let links = self.spec.enable_service_links.unwrap_or(true);
        let services = self.node.services.services().await;
        // Without them it would never learn where the API is: its environment is made once.
        let services = services.ok_or_else(|| Error::Failed {
            program: spec.name.clone(),
            message: "services have not yet been read at least once, cannot construct envvars"
                .into(),
        })?;
        let services: Vec<_> = services.iter().map(AsRef::as_ref).collect();
        let services = service_variables(&services, self.namespace(), links);
        let variables = environment(spec, &self.facts(ips), sources, &services);
        variables.map_err(|error| Error::Failed {
            program: spec.name.clone(),
            message: error.to_string(),
        })
    }

    /// The image, pulled first where the policy says so.
    async fn image(
        &self,
        spec: &Container,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, (&'static str, Error)> {
        let name = spec.image.as_deref().unwrap_or_default();
        let latest = !name.rsplit('/').next().unwrap_or("").contains([':', '@'])
            || name.ends_with(":latest");
        let default = if latest { "Always" } else { "IfNotPresent" };
        let policy = spec.image_pull_policy.as_deref().unwrap_or(default);
        let refused = |reason: String| Error::Image {
            name: name.to_owned(),
            reason,
        };
        let look = || async {
            self.node
                .cri
                .image(name)
                .await
                .map_err(|error| ("ImageInspectError", error))
        };
        let present = look().await?;
        match (present, policy) {
            (Some(image), "IfNotPresent" | "Never") => {
                self.tell(notices::image_present(&spec.name, name));
                return Ok(image);
            }
            (None, "Never") => {
                return Err((
                    "ErrImageNeverPull",
                    refused("imagePullPolicy is Never".into()),
                ));
            }
            _ => {}
        }
        self.tell(notices::pulling(&spec.name, name));
        let pulled = tokio::select! {
            pulled = self.pull(name, sandbox) => pulled,
            () = self.interrupted() => return Err(("ErrImagePull", refused("the pod is to go".into()))),
        };
        pulled.map_err(|error| ("ErrImagePull", refused(error.to_string())))?;
        self.tell(notices::pulled(&spec.name, name));
        look().await?.ok_or_else(|| {
            (
                "ErrImagePull",
                refused("the runtime does not have it after the pull".into()),
            )
        })
    }

    fn check_user(&self, spec: &Container, image: &cri::Image) -> Result<()> {
        let pod = self.spec.security_context.as_ref();
        let own = spec.security_context.as_ref();
        let required = own
            .and_then(|own| own.run_as_non_root)
            .or(pod.and_then(|pod| pod.run_as_non_root));
        if required != Some(true) {
            return Ok(());
        }
        let user = own
            .and_then(|own| own.run_as_user)
            .or(pod.and_then(|pod| pod.run_as_user));
        let refused = |reason: &str| {
            Err(Error::Image {
                name: spec.image.clone().unwrap_or_default(),
                reason: reason.into(),
            })
        };
        match user.or(image.uid.as_ref().map(|uid| uid.value)) {
            Some(0) => refused("container has runAsNonRoot and image will run as root"),
            Some(_) => Ok(()),
            None if image.username.is_empty() => {
                refused("container has runAsNonRoot and image will run as root")
            }
            None => refused("container has runAsNonRoot and image has a user that is not a number"),
        }
    }

    fn make_volumes(&self, sources: &Sources, ips: &[IpAddr]) -> Result<BTreeMap<String, PathBuf>> {
        let volumes = self.spec.volumes.iter().flatten();
        volumes
            .map(|volume| {
                let directory = self.make_volume(volume, sources, ips)?;
                Ok((volume.name.clone(), directory))
            })
            .collect()
    }

    /// Makes one volume or brings it up to date.
    pub(super) fn make_volume(
        &self,
        volume: &Volume,
        sources: &Sources,
        ips: &[IpAddr],
    ) -> Result<PathBuf> {
        let context = self.spec.security_context.as_ref();
        let group = context.and_then(|context| context.fs_group);
        let group = group.and_then(|group| u32::try_from(group).ok());
        let failed = |message| Error::Volume {
            name: volume.name.clone(),
            message,
        };
        let planned = volumes::volume(volume, &self.spec, &self.facts(ips), sources)
            .map_err(|error| failed(error.to_string()))?;
        volume_files::make(&self.node.layout, self.uid(), &volume.name, &planned, group)
            .map_err(|error| failed(error.to_string()))
    }

    fn mounts(
        &self,
        spec: &Container,
        directories: &BTreeMap<String, PathBuf>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Vec<cri::Mount>> {
        let mut mounts = Vec::new();
        for (index, mount) in spec.volume_mounts.iter().flatten().enumerate() {
            let missing = || Error::Failed {
                program: mount.name.clone(),
                message: "the pod has no such volume".into(),
            };
            let volume = directories.get(&mount.name).ok_or_else(missing)?;
            let expanded = mount
                .sub_path_expr
                .as_deref()
                .map(|path| portcullis_pod::environment::expand(path, environment));
            let part = mount
                .sub_path
                .clone()
                .or(expanded)
                .filter(|path| !path.is_empty());
            let host = match part {
                // A subPath of files that are swapped as a whole points at today's, as upstream's does.
                Some(path) => {
                    let target = self.node.layout.sub_path(self.uid(), &spec.name, index);
                    sub_path::mount_at(volume, &path, &target)?;
                    target
                }
                None => volume.clone(),
            };
            let kept = self.spec.volumes.iter().flatten();
            let kept = kept.filter(|volume| volume.name == mount.name);
            let read_only = mount.read_only == Some(true) || kept.into_iter().any(is_read_only);
            let mut made = configuration::mount(&mount.mount_path, host, read_only);
            made.propagation = configuration::propagation(mount);
            mounts.push(made);
        }
        Ok(mounts)
    }

    /// The file behind `terminationMessagePath`, and the log directory.
    fn prepare_files(&self, name: &str, attempt: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let message = self
            .node
            .layout
            .termination_message(self.uid(), name, attempt);
        let logs = self.node.layout.pod_logs(&self.pod).join(name);
        for directory in message.parent().into_iter().chain([logs.as_path()]) {
            std::fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        std::fs::write(&message, "").map_err(Error::file(&message))?;
        // The container's user is not known here and must be able to write.
        std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666))
            .map_err(Error::file(&message))
    }

    fn write_hosts(&self, ips: &[IpAddr]) -> Result<()> {
        let text = portcullis_pod::files::hosts_file(
            &self.pod,
            &self.spec,
            ips,
            &self.node.cluster_domain,
        );
        let path = self.node.layout.pod(self.uid()).join("hosts");
        std::fs::write(&path, text).map_err(Error::file(&path))
    }

    fn facts<'a>(&'a self, ips: &'a [IpAddr]) -> Facts<'a> {
        let on_host = self.spec.host_network == Some(true);
        Facts {
            pod: &self.pod,
            node_name: &self.node.name,
            host_ips: &self.node.host_ips,
            pod_ips: if on_host { &self.node.host_ips } else { ips },
            allocatable_cpu: self.node.capacity.cpu(),
            allocatable_memory: self.node.capacity.memory(),
        }
    }
}

/// A postStart hook that never ends would hold the container in its start for ever.
const HOOK_LIMIT: Duration = Duration::from_secs(120);
