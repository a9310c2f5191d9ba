//! The command line: names and defaults that scripts and tests rely on.

use std::{net::IpAddr, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kubernetes ingress controller and L7 proxy, with its own control plane and node.
#[derive(Parser)]
#[command(name = "portcullis", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// A whole cluster: API server, controllers, scheduler, node, and the ingress in front
    Up(UpArgs),
    /// The ingress controller: watches the Kubernetes API, publishes to proxies
    Controller(ControllerArgs),
    /// The data plane: serves what a controller publishes; holds no API credentials
    Proxy(ProxyArgs),
    /// The Kubernetes API server on the embedded store
    Apiserver(ApiserverArgs),
    /// The controllers behind Deployments, ReplicaSets, EndpointSlices, Namespaces and ownership
    ControllerManager(ControllerManagerArgs),
    /// The scheduler: gives every pod a node
    Scheduler(ClientArgs),
    /// The echo server of the examples: answers with what it was asked
    Echo(EchoArgs),
    /// Holds a pod's namespaces open
    Pause,
    /// The version, as text or JSON
    Version(VersionArgs),
    /// Shell completion on stdout
    Completion {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Clone)]
pub struct UpArgs {
    /// Where everything that outlives the process is kept
    #[arg(long, default_value = "/var/lib/portcullis")]
    pub data_dir: PathBuf,
    /// Where to write the administrator's kubeconfig [default: DATA_DIR/kubeconfig]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Address that the API server and the ingress listen on; `::` is every address, IPv4 and IPv6
    #[arg(long, default_value = "::")]
    pub bind_address: IpAddr,
    /// Address that pods reach the API server at [default: the bind address, or this machine's where that is every one]
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Port of the Kubernetes API; 0 picks a free one
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Port of the ingress for plain HTTP; 0 picks a free one
    #[arg(long, default_value_t = 80)]
    pub http_port: u16,
    /// Port of the ingress for HTTPS; 0 picks a free one
    #[arg(long, default_value_t = 443)]
    pub https_port: u16,
    /// Port of /healthz, /readyz and /metrics, on loopback; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub admin_port: u16,
    /// Port of the node's own server (logs); 0 picks a free one
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Proxy workers [default: one per core]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Addresses of pods; the node gets the first /24
    #[arg(long, default_value = "10.42.0.0/16")]
    pub pod_cidr: String,
    /// Addresses of Services
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cidr: String,
    /// Name of the node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// A CRI socket to use instead of a private containerd
    #[arg(long)]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Where the access log goes: a file (`/dev/stderr` is one), or `off`
    #[arg(long, default_value = "off")]
    pub access_log: String,
    /// What becomes of an Ingress with an annotation that would change what is served, and that is not supported
    #[arg(long, value_enum, default_value_t = Unsupported::Deny)]
    pub unsupported: Unsupported,
    /// Run no pods (needs no root)
    #[arg(long)]
    pub no_node: bool,
    /// Apply the example application too, and print the curl line that reaches it
    #[arg(long)]
    pub demo: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Unsupported {
    /// Its routes answer 503
    Deny,
    /// It is served without what the annotation asks for
    Serve,
}

/// How a component reaches the Kubernetes API.
#[derive(Args, Clone)]
pub struct ClientArgs {
    /// Kubeconfig [default: KUBECONFIG, then in-cluster]
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub struct ControllerManagerArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Certificates that pods check the API server with, PEM: published in every namespace as `kube-root-ca.crt`
    /// [default: nothing is published]
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub struct ControllerArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Address that proxies dial, over mutual TLS
    #[arg(long, default_value = "[::]:15010")]
    pub listen: SocketAddr,
    /// Directory of the controller's and the proxies' certificates; made when missing
    #[arg(long, default_value = "/etc/portcullis/pki")]
    pub pki_dir: PathBuf,
    /// `spec.controller` of the IngressClasses that are ours
    #[arg(long, default_value = "portcullis.dev/ingress")]
    pub controller_class: String,
    /// Value of the legacy annotation `kubernetes.io/ingress.class` that is ours
    #[arg(long, default_value = "portcullis")]
    pub ingress_class: String,
    /// Serve Ingresses that name no class
    #[arg(long)]
    pub watch_ingress_without_class: bool,
    /// What becomes of an Ingress with an annotation that would change what is served, and that is not supported
    #[arg(long, value_enum, default_value_t = Unsupported::Deny)]
    pub unsupported: Unsupported,
    /// Namespaces to watch, comma-separated [default: all]
    #[arg(long, value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    /// Port that proxies serve plain HTTP on
    #[arg(long, default_value_t = 80)]
    pub http_port: u16,
    /// Port that proxies serve HTTPS on
    #[arg(long, default_value_t = 443)]
    pub https_port: u16,
    /// Addresses to write into Ingress status, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub publish_status_address: Vec<String>,
    /// Write Ingress status
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub update_status: bool,
    /// Empty the statuses when the last controller leaves
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub update_status_on_shutdown: bool,
    /// Port of /healthz, /readyz and /metrics, on loopback; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub healthz_port: u16,
    /// Name of this controller's Pod, by whose labels the last of several is told
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Write statuses and Events without asking other controllers: for one that is alone
    #[arg(long)]
    pub disable_leader_election: bool,
    /// Name of the Lease that elects the writer of statuses
    #[arg(long, default_value = "ingress-controller-leader")]
    pub election_id: String,
    /// Namespace of that Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub election_namespace: String,
}

#[derive(Args, Clone)]
pub struct ProxyArgs {
    /// Where the controller listens, HOST:PORT
    #[arg(long)]
    pub controller: String,
    /// Directory with `ca.crt`, `tls.crt` and `tls.key` for dialling the controller
    #[arg(long, default_value = "/etc/portcullis/pki/proxy")]
    pub pki_dir: PathBuf,
    /// Directory on memory for the last published set, to start from without a controller
    #[arg(long, default_value = "/run/portcullis")]
    pub state_dir: PathBuf,
    /// Workers [default: one per core]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Port of /healthz, /readyz and /metrics, on loopback; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub admin_port: u16,
    /// Where the access log goes: a file, `-` for stdout, or `off`
    #[arg(long, default_value = "-")]
    pub access_log: String,
    /// Seconds that requests in flight get after SIGTERM
    #[arg(long, default_value_t = 240)]
    pub drain_seconds: u64,
}

#[derive(Args, Clone)]
pub struct ApiserverArgs {
    /// Where objects, certificates and the kubeconfig are kept
    #[arg(long, default_value = "/var/lib/portcullis")]
    pub data_dir: PathBuf,
    /// Where to write the administrator's kubeconfig [default: DATA_DIR/kubeconfig]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "::")]
    pub bind_address: IpAddr,
    /// Address that pods reach it at [default: the bind address, or this machine's where that is every one]
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Port; 0 picks a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Addresses of Services
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cluster_ip_range: String,
    /// Who decides what a request may do
    #[arg(long, value_enum, default_value_t = AuthorizationMode::Rbac)]
    pub authorization_mode: AuthorizationMode,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum AuthorizationMode {
    /// Roles and bindings
    #[value(name = "RBAC")]
    Rbac,
    /// Everybody with an identity may do everything
    #[value(name = "AlwaysAllow")]
    AlwaysAllow,
}

#[derive(Args, Clone)]
pub struct EchoArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
    #[arg(long, env = "HOSTNAME", hide = true)]
    pub hostname: Option<String>,
}

#[derive(Args, Clone)]
pub struct VersionArgs {
    /// `json` for a machine to read
    #[arg(short, long)]
    pub output: Option<String>,
}

impl From<AuthorizationMode> for portcullis_apiserver::AuthorizationMode {
    fn from(choice: AuthorizationMode) -> Self {
        match choice {
            AuthorizationMode::Rbac => Self::Rbac,
            AuthorizationMode::AlwaysAllow => Self::AlwaysAllow,
        }
    }
}

impl From<Unsupported> for portcullis_daemon::Unsupported {
    fn from(choice: Unsupported) -> Self {
        match choice {
            Unsupported::Deny => Self::Deny,
            Unsupported::Serve => Self::Serve,
        }
    }
}
