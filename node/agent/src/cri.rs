//! The container runtime interface (CRI v1), called with and answered in the planner's values.

use crate::error::{Error, Result};
use generated::image_service_client::ImageServiceClient;
use generated::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Upstream's protocol, generated; see the xtask `proto-cri`.
#[allow(clippy::all, clippy::pedantic, dead_code, missing_docs)]
pub(crate) mod generated {
    include!("../generated/runtime.v1.rs");
}

/// A connection to the runtime. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
    /// Whose sandboxes and containers are seen: the runtime may serve other nodes as well.
    owner: String,
}

impl Cri {
    /// Connects to `unix:///path` (or a bare path), seeing everybody's pods: see [`Cri::owned_by`].
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let path = endpoint
            .strip_prefix("unix://")
            .unwrap_or(endpoint)
            .to_owned();
        let failed = |source| Error::Connect {
            endpoint: endpoint.to_owned(),
            source,
        };
        // The URI names nobody: the connector decides where to go.
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let channel = Endpoint::from_static("http://runtime")
            .connect_with_connector(connector)
            .await
            .map_err(failed)?;
        Ok(Cri {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(LARGEST_ANSWER),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(LARGEST_ANSWER),
            channel,
            owner: String::new(),
        })
    }

    /// The same connection, marking what it makes as this node's and seeing nothing else.
    pub(crate) fn owned_by(&self, owner: String) -> Self {
        Cri {
            owner,
            ..self.clone()
        }
    }

    /// For the runtime's other services (events).
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Runtime name and version, such as `containerd` and `1.6.20`.
    pub(crate) async fn version(&mut self) -> Result<(String, String)> {
        let request = generated::VersionRequest {
            version: "v1".into(),
        };
        let answer = self
            .runtime
            .version(request)
            .await
            .map_err(Error::runtime("say its version"))?
            .into_inner();
        Ok((answer.runtime_name, answer.runtime_version))
    }

    /// What keeps the runtime from running pods, or `None` when it can.
    pub(crate) async fn unready(&self) -> Result<Option<String>> {
        let request = generated::StatusRequest { verbose: false };
        let answer = self
            .runtime
            .clone()
            .status(request)
            .await
            .map_err(Error::runtime("tell its status"))?;
        let conditions = answer
            .into_inner()
            .status
            .map(|status| status.conditions)
            .unwrap_or_default();
        Ok(conditions
            .into_iter()
            .find(|condition| !condition.status)
            .map(|condition| condition.message))
    }

    /// The id of an image, if the runtime has it.
    pub(crate) async fn image_id(&self, name: &str) -> Result<Option<String>> {
        Ok(self.image(name).await?.map(|image| image.id))
    }

    pub(crate) async fn image(&self, name: &str) -> Result<Option<generated::Image>> {
        let request = generated::ImageStatusRequest {
            image: Some(image_spec(name)),
            verbose: false,
        };
        let answer = self
            .images
            .clone()
            .image_status(request)
            .await
            .map_err(Error::runtime("look an image up"))?;
        Ok(answer.into_inner().image)
    }

    pub(crate) async fn images(&self) -> Result<Vec<generated::Image>> {
        let request = generated::ListImagesRequest { filter: None };
        let answer = self
            .images
            .clone()
            .list_images(request)
            .await
            .map_err(Error::runtime("list images"))?;
        Ok(answer.into_inner().images)
    }

    pub(crate) async fn pull(
        &self,
        name: &str,
        auth: Option<generated::AuthConfig>,
        sandbox: generated::PodSandboxConfig,
    ) -> Result<()> {
        let request = generated::PullImageRequest {
            image: Some(image_spec(name)),
            auth,
            sandbox_config: Some(sandbox),
        };
        self.images
            .clone()
            .pull_image(limited(request, PULL_LIMIT))
            .await
            .map_err(Error::runtime("pull the image"))?;
        Ok(())
    }

    /// This node's sandboxes of one pod, or of all.
    pub(crate) async fn sandboxes(&self, uid: Option<&str>) -> Result<Vec<generated::PodSandbox>> {
        let filter = generated::PodSandboxFilter {
            label_selector: self.selector(uid),
            ..Default::default()
        };
        let request = generated::ListPodSandboxRequest {
            filter: Some(filter),
        };
        let answer = self
            .runtime
            .clone()
            .list_pod_sandbox(request)
            .await
            .map_err(Error::runtime("list sandboxes"))?;
        let mut items = answer.into_inner().items;
        items.sort_by_key(|item| std::cmp::Reverse(item.created_at));
        Ok(items)
    }

    /// `None` when there is no such sandbox.
    pub(crate) async fn sandbox_status(
        &self,
        id: &str,
    ) -> Result<Option<generated::PodSandboxStatus>> {
        let request = generated::PodSandboxStatusRequest {
            pod_sandbox_id: id.into(),
            verbose: false,
        };
        match self.runtime.clone().pod_sandbox_status(request).await {
            Ok(answer) => Ok(answer.into_inner().status),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(Error::runtime("tell a sandbox's state")(status)),
        }
    }

    pub(crate) async fn run_sandbox(
        &self,
        mut config: generated::PodSandboxConfig,
    ) -> Result<String> {
        self.mark(&mut config.labels);
        let request = generated::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let answer = self
            .runtime
            .clone()
            .run_pod_sandbox(limited(request, START_LIMIT))
            .await;
        Ok(answer
            .map_err(Error::runtime("start the pod's sandbox"))?
            .into_inner()
            .pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = generated::StopPodSandboxRequest {
            pod_sandbox_id: id.into(),
        };
        gone_is_fine(
            self.runtime
                .clone()
                .stop_pod_sandbox(limited(request, START_LIMIT))
                .await,
            "stop the pod's sandbox",
        )
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = generated::RemovePodSandboxRequest {
            pod_sandbox_id: id.into(),
        };
        gone_is_fine(
            self.runtime
                .clone()
                .remove_pod_sandbox(limited(request, START_LIMIT))
                .await,
            "remove the pod's sandbox",
        )
    }

    /// This node's containers of one pod, or of all, newest first.
    pub(crate) async fn containers(&self, uid: Option<&str>) -> Result<Vec<generated::Container>> {
        let filter = generated::ContainerFilter {
            label_selector: self.selector(uid),
            ..Default::default()
        };
        let request = generated::ListContainersRequest {
            filter: Some(filter),
        };
        let answer = self
            .runtime
            .clone()
            .list_containers(request)
            .await
            .map_err(Error::runtime("list containers"))?;
        let mut containers = answer.into_inner().containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        Ok(containers)
    }

    /// `None` when there is no such container.
    pub(crate) async fn container_status(
        &self,
        id: &str,
    ) -> Result<Option<generated::ContainerStatus>> {
        let request = generated::ContainerStatusRequest {
            container_id: id.into(),
            verbose: false,
        };
        match self.runtime.clone().container_status(request).await {
            Ok(answer) => Ok(answer.into_inner().status),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(Error::runtime("tell a container's state")(status)),
        }
    }

    pub(crate) async fn create_container(
        &self,
        sandbox: &str,
        mut config: generated::ContainerConfig,
        sandbox_config: generated::PodSandboxConfig,
    ) -> Result<String> {
        self.mark(&mut config.labels);
        let request = generated::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self
            .runtime
            .clone()
            .create_container(limited(request, START_LIMIT))
            .await;
        Ok(answer
            .map_err(Error::runtime("create the container"))?
            .into_inner()
            .container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let request = generated::StartContainerRequest {
            container_id: id.into(),
        };
        let answer = self
            .runtime
            .clone()
            .start_container(limited(request, START_LIMIT))
            .await;
        answer
            .map_err(Error::runtime("start the container"))
            .map(drop)
    }

    /// Returns once it has ended: asked to at once, made to after `grace`.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = generated::StopContainerRequest {
            container_id: id.into(),
            timeout,
        };
        let request = limited(request, grace.saturating_add(START_LIMIT));
        gone_is_fine(
            self.runtime.clone().stop_container(request).await,
            "stop the container",
        )
    }

    /// Has the runtime write to a new file where the container's log is: the one that was there has another name now.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = generated::ReopenContainerLogRequest {
            container_id: id.into(),
        };
        let answer = self.runtime.clone().reopen_container_log(request).await;
        answer
            .map_err(Error::runtime("reopen the container's log"))
            .map(drop)
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<()> {
        let request = generated::RemoveContainerRequest {
            container_id: id.into(),
        };
        gone_is_fine(
            self.runtime.clone().remove_container(request).await,
            "remove the container",
        )
    }

    /// Runs a command inside; its exit code.
    pub(crate) async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<i32> {
        let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = generated::ExecSyncRequest {
            container_id: id.into(),
            cmd: command.to_vec(),
            timeout: seconds,
        };
        let request = limited(request, timeout.saturating_add(EXEC_SLACK));
        let answer = self
            .runtime
            .clone()
            .exec_sync(request)
            .await
            .map_err(Error::runtime("run a command in the container"))?;
        Ok(answer.into_inner().exit_code)
    }
}

impl Cri {
    fn mark(&self, labels: &mut BTreeMap<String, String>) {
        labels.insert(labels::OWNER.to_owned(), self.owner.clone());
    }

    /// This node's things, of one pod or of all.
    fn selector(&self, uid: Option<&str>) -> BTreeMap<String, String> {
        let mut selector: BTreeMap<_, _> = uid
            .map(|uid| (labels::POD_UID.to_owned(), uid.to_owned()))
            .into_iter()
            .collect();
        if !self.owner.is_empty() {
            self.mark(&mut selector);
        }
        selector
    }
}

fn image_spec(name: &str) -> generated::ImageSpec {
    generated::ImageSpec {
        image: name.into(),
        ..Default::default()
    }
}

fn limited<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit.min(LONGEST_CALL));
    request
}

fn gone_is_fine<T>(
    answer: Result<tonic::Response<T>, tonic::Status>,
    action: &'static str,
) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(Error::runtime(action)(status)),
    }
}

/// Labels and annotations by which every CRI client recognises pods, and some of our own.
pub(crate) mod labels {
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Crashes in a row before this run.
    pub(crate) const STREAK: &str = "portcullis.dev/crashes-in-a-row";
    /// The node that made it, by its data directory: two nodes may share a runtime, and even a name.
    pub(crate) const OWNER: &str = "portcullis.dev/node";
    /// The pod's `terminationGracePeriodSeconds`.
    pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// Bytes of one answer: a list of some thousand containers.
const LARGEST_ANSWER: usize = 64 << 20;
/// Making, starting or removing one thing; upstream's runtime request timeout is two minutes.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Some gigabytes over a slow line; a registry that has stopped answering holds the pod no longer than this.
const PULL_LIMIT: Duration = Duration::from_secs(15 * 60);
const EXEC_SLACK: Duration = Duration::from_secs(5);
/// gRPC deadlines are eight digits: a year in seconds fits.
const LONGEST_CALL: Duration = Duration::from_secs(366 * 86400);
