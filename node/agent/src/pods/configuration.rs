//! A pod's spec as the runtime wants it.

use crate::cri::generated as cri;
use crate::cri::labels;
use crate::node::Node;
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portcullis_pod::environment::expand;
use portcullis_pod::{files, resources};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The sandbox: its names, its namespaces, its resolver, its cgroup.
pub(crate) fn sandbox(
    node: &Node,
    pod: &Pod,
    spec: &PodSpec,
    attempt: u32,
) -> cri::PodSandboxConfig {
    let resolver = files::resolver(
        pod,
        spec,
        &node.resolver,
        &node.cluster_dns,
        &node.cluster_domain,
    );
    let on_host = spec.host_network == Some(true);
    let context = spec.security_context.clone().unwrap_or_default();
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            namespace: text(&pod.metadata.namespace),
            attempt,
        }),
        // A host-network pod has the host's name; naming it otherwise needs a UTS namespace it does not have.
        hostname: if on_host {
            String::new()
        } else {
            files::hostname(pod)
        },
        log_directory: node.layout.pod_logs(pod).display().to_string(),
        dns_config: Some(cri::DnsConfig {
            servers: resolver.servers,
            searches: resolver.searches,
            options: resolver.options,
        }),
        port_mappings: if on_host {
            Vec::new()
        } else {
            port_mappings(spec)
        },
        labels: pod_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup(node, pod),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(spec)),
                supplemental_groups: context.supplemental_groups.unwrap_or_default(),
                ..Default::default()
            }),
            sysctls: context
                .sysctls
                .into_iter()
                .flatten()
                .map(|sysctl| (sysctl.name, sysctl.value))
                .collect(),
            overhead: None,
            resources: None,
        }),
        windows: None,
    }
}

/// The cgroup all of a pod's containers live under.
pub(crate) fn cgroup(node: &Node, pod: &Pod) -> String {
    let uid = text(&pod.metadata.uid);
    let root = node.layout.cgroup();
    match resources::qos_class(pod) {
        "Guaranteed" => format!("{root}/pod{uid}"),
        "Burstable" => format!("{root}/burstable/pod{uid}"),
        _ => format!("{root}/besteffort/pod{uid}"),
    }
}

/// What one run of a container needs besides its spec.
pub(crate) struct Run<'a> {
    pub attempt: u32,
    pub streak: u32,
    /// What its image resolved to.
    pub image: &'a str,
    pub environment: BTreeMap<String, String>,
    /// Host paths of the pod's volumes, by volume name.
    pub mounts: Vec<cri::Mount>,
}

pub(crate) fn container(
    node: &Node,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    run: Run,
) -> cri::ContainerConfig {
    let uid = text(&pod.metadata.uid);
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words
            .iter()
            .flatten()
            .map(|word| expand(word, &run.environment))
            .collect()
    };
    let own = own_mounts(node, &uid, spec, container, &run);
    let mut labels = pod_labels(pod);
    labels.insert(labels::CONTAINER_NAME.into(), container.name.clone());
    let grace = spec
        .termination_grace_period_seconds
        .unwrap_or(30)
        .to_string();
    let annotations = [
        (labels::STREAK.to_owned(), run.streak.to_string()),
        (labels::GRACE.to_owned(), grace),
    ];
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: run.attempt,
        }),
        image: Some(cri::ImageSpec {
            image: run.image.to_owned(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: run
            .environment
            .into_iter()
            .map(|(key, value)| cri::KeyValue {
                key,
                value: value.into_bytes(),
            })
            .collect(),
        mounts: run.mounts.into_iter().chain(own).collect(),
        labels,
        annotations: annotations.into(),
        log_path: format!("{}/{}.log", container.name, run.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(limits(node, pod, container)),
            security_context: Some(security(spec, container)),
        }),
        ..Default::default()
    }
}

/// What is mounted although no pod asks for it: the termination message and, unless it has its own, `/etc/hosts`.
fn own_mounts(
    node: &Node,
    uid: &str,
    spec: &PodSpec,
    container: &Container,
    run: &Run,
) -> Vec<cri::Mount> {
    let layout = &node.layout;
    let message = layout.termination_message(uid, &container.name, run.attempt);
    let message_path = container
        .termination_message_path
        .as_deref()
        .unwrap_or("/dev/termination-log");
    let mut mounts = vec![mount(message_path, message, false)];
    let mut taken = run.mounts.iter().map(|mount| &mount.container_path);
    if spec.host_network != Some(true) && !taken.any(|path| path == "/etc/hosts") {
        let hosts = layout.pod(uid).join("hosts");
        mounts.push(mount("/etc/hosts", hosts, false));
    }
    mounts
}

pub(crate) fn mount(inside: &str, host: PathBuf, read_only: bool) -> cri::Mount {
    cri::Mount {
        container_path: inside.to_owned(),
        host_path: host.display().to_string(),
        readonly: read_only,
        ..Default::default()
    }
}

pub(crate) fn propagation(mount: &VolumeMount) -> i32 {
    let mode = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    mode.into()
}

fn limits(node: &Node, pod: &Pod, container: &Container) -> cri::LinuxContainerResources {
    let limits = resources::limits(pod, container, node.capacity.memory_bytes);
    cri::LinuxContainerResources {
        cpu_period: limits.cpu_period_us,
        cpu_quota: limits.cpu_quota_us,
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory_limit_bytes,
        oom_score_adj: limits.oom_score_adj,
        ..Default::default()
    }
}

/// The container's own context over the pod's.
fn security(spec: &PodSpec, container: &Container) -> cri::LinuxContainerSecurityContext {
    let pod: PodSecurityContext = spec.security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let number = |value| cri::Int64Value { value };
    let capabilities = own.capabilities.unwrap_or_default();
    let mut groups = pod.supplemental_groups.unwrap_or_default();
    groups.extend(pod.fs_group);
    let seccomp = own
        .seccomp_profile
        .or(pod.seccomp_profile)
        .as_ref()
        .map(seccomp);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |paths: &[&str]| {
        if unmasked {
            Vec::new()
        } else {
            paths.iter().map(ToString::to_string).collect()
        }
    };
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: own.run_as_user.or(pod.run_as_user).map(number),
        run_as_group: own.run_as_group.or(pod.run_as_group).map(number),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp,
        ..Default::default()
    }
}

fn seccomp(profile: &SeccompProfile) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile.localhost_profile.clone().unwrap_or_default();
    cri::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref,
    }
}

fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let of = |host: Option<bool>, own: cri::NamespaceMode| {
        if host == Some(true) {
            cri::NamespaceMode::Node
        } else {
            own
        }
    };
    let shared = spec.share_process_namespace == Some(true);
    let process = if shared {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: of(spec.host_network, cri::NamespaceMode::Pod).into(),
        pid: of(spec.host_pid, process).into(),
        ipc: of(spec.host_ipc, cri::NamespaceMode::Pod).into(),
        ..Default::default()
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten());
    let mapped = ports.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp,
            Some("SCTP") => cri::Protocol::Sctp,
            _ => cri::Protocol::Tcp,
        };
        Some(cri::PortMapping {
            protocol: protocol.into(),
            container_port: port.container_port,
            host_port: port.host_port.filter(|port| *port > 0)?,
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
    });
    mapped.collect()
}

fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.insert(labels::POD_NAME.into(), text(&pod.metadata.name));
    labels.insert(labels::POD_NAMESPACE.into(), text(&pod.metadata.namespace));
    labels.insert(labels::POD_UID.into(), text(&pod.metadata.uid));
    labels
}

/// A probe's or hook's port, by number or by the name of a container port.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(
                || name.parse().ok(),
                |port| u16::try_from(port.container_port).ok(),
            )
        }
    }
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

/// The runtime's defaults, which the CRI wants spelt out.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
