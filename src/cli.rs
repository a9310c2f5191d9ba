//! The command line: names and defaults that scripts and tests rely on.

use std::{net::IpAddr, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_agent::dns::Range;
use portcullis_daemon::ObjectKey;

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
    Controller(Box<ControllerArgs>),
    /// The data plane: serves what a controller publishes; holds no API credentials
    Proxy(ProxyArgs),
    /// The Kubernetes API server on the embedded store
    Apiserver(ApiserverArgs),
    /// The controllers behind Deployments, ReplicaSets, EndpointSlices, Namespaces and ownership
    ControllerManager(ControllerManagerArgs),
    /// The scheduler: gives every pod a node
    Scheduler(ClientArgs),
    /// The cluster's DNS server: names of Services and pods, other names from other resolvers
    Dns(DnsArgs),
    /// The echo server of the examples: answers with what it was asked
    Echo(EchoArgs),
    /// Holds a pod's namespaces open
    Pause,
    /// Container images: build one of this binary, load one into a running cluster
    #[command(subcommand)]
    Image(ImageCommand),
    /// Asks a URL and fails unless it is answered as expected: a check from inside a cluster, without a shell
    Ask(AskArgs),
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
    /// Port of the cluster's DNS server, behind its Service; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    pub dns_port: u16,
    /// Names the resolvers that the cluster's DNS server asks for all other names
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Proxy workers [default: one per core]
    #[arg(long, value_parser = workers)]
    pub workers: Option<usize>,
    /// Addresses of pods; the node gets the first /24
    #[arg(long, default_value = "10.42.0.0/16")]
    pub pod_cidr: String,
    /// Addresses of Services
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cidr: String,
    /// Ports that Services of type NodePort and LoadBalancer get on the node
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: RangeInclusive<u16>,
    /// Name of the node [default: the host's name]
    #[arg(long, value_parser = node_name)]
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
    /// Run no ingress, where one is installed into the cluster instead
    #[arg(long, conflicts_with = "demo")]
    pub no_ingress: bool,
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
    /// Secret of the proxies' certificates, NAMESPACE/NAME, made and renewed, instead of a directory. Beside it
    /// NAME-controller holds the controllers' own
    #[arg(long, value_parser = object_key, conflicts_with = "pki_dir")]
    pub mtls_secret: Option<ObjectKey>,
    /// Service by which proxies reach controllers, NAMESPACE/NAME, for the names in their certificate
    #[arg(long, value_parser = object_key, requires = "mtls_secret")]
    pub mtls_service: Option<ObjectKey>,
    /// `spec.controller` of the IngressClasses that are ours
    #[arg(long, default_value = "portcullis.dev/ingress")]
    pub controller_class: String,
    /// Value of the legacy annotation `kubernetes.io/ingress.class` that is ours
    #[arg(long, default_value = "portcullis")]
    pub ingress_class: String,
    /// Serve Ingresses that name no class
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub watch_ingress_without_class: bool,
    /// Take an IngressClass named as --ingress-class for ours whatever its controller, and even unseen
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub ingress_class_by_name: bool,
    /// Let no Ingress claim every host
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub disable_catch_all: bool,
    /// Service that answers for unknown hosts and paths, NAMESPACE/NAME
    #[arg(long, value_parser = object_key)]
    pub default_backend_service: Option<ObjectKey>,
    /// Secret whose certificate is shown where an Ingress has none, NAMESPACE/NAME
    #[arg(long, value_parser = object_key)]
    pub default_ssl_certificate: Option<ObjectKey>,
    /// What annotations begin with
    #[arg(long, default_value = "nginx.ingress.kubernetes.io")]
    pub annotations_prefix: String,
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
    /// Port that clients use for plain HTTP, where a Service maps it [default: --http-port]
    #[arg(long)]
    pub public_http_port: Option<u16>,
    /// Port that clients use for HTTPS, which redirects name, where a Service maps it [default: --https-port]
    #[arg(long)]
    pub public_https_port: Option<u16>,
    /// Namespaces whose Secrets may be read, comma-separated [default: all that are watched]
    #[arg(long, value_delimiter = ',')]
    pub secret_namespace: Vec<String>,
    /// Addresses to write into Ingress status, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub publish_status_address: Vec<String>,
    /// Service whose addresses are written into Ingress status, NAMESPACE/NAME
    #[arg(long, value_parser = object_key)]
    pub publish_service: Option<ObjectKey>,
    /// Labels of the proxies' Pods in this controller's namespace: with neither of the above, the addresses of their
    /// nodes are written
    #[arg(long)]
    pub proxy_selector: Option<String>,
    /// Write the nodes' internal addresses even where they have external ones
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub report_node_internal_ip_address: bool,
    /// Write Ingress status
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub update_status: bool,
    /// Empty the statuses when the last controller leaves
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub update_status_on_shutdown: bool,
    /// Port of /healthz, /readyz and /metrics; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub healthz_port: u16,
    /// Address of that port; `::` is every address, IPv4 and IPv6
    #[arg(long, default_value = "127.0.0.1")]
    pub healthz_host: IpAddr,
    /// Name of this controller's Pod, by whose labels the last of several is told
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Write statuses and Events without asking other controllers: for one that is alone
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub disable_leader_election: bool,
    /// Name of the Lease that elects the writer of statuses
    #[arg(long, default_value = "ingress-controller-leader")]
    pub election_id: String,
    /// Namespace of that Lease [default: this Pod's, or that of the kubeconfig]
    #[arg(long, env = "POD_NAMESPACE")]
    pub election_namespace: Option<String>,
    /// Time without renewal after which another controller takes over
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub election_ttl: Duration,
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
    #[arg(long, value_parser = workers)]
    pub workers: Option<usize>,
    /// Port of /healthz, /readyz and /metrics; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub admin_port: u16,
    /// Address of that port; `::` is every address, IPv4 and IPv6
    #[arg(long, default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
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
    /// Ports that Services of type NodePort and LoadBalancer get on every node
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: RangeInclusive<u16>,
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
pub struct DnsArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Addresses to answer at, over UDP and TCP, comma-separated. Whoever reaches them may ask for any name: give those
    /// that pods alone reach
    #[arg(long, default_value = "127.0.0.1:53", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// Domain of the cluster's names
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Ranges of Services' and pods' addresses, comma-separated: reverse names in them are asked of nobody else
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10.42.0.0/16,10.43.0.0/16"
    )]
    pub reverse_range: Vec<Range>,
    /// Address of the Service in front of this server, which is then no resolver to ask
    #[arg(long, default_value = "10.43.0.10")]
    pub service_ip: Option<IpAddr>,
    /// Names the resolvers that are asked for all other names; read again when it changes
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Port of /healthz, /readyz and /metrics, on loopback; 0 picks a free one
    #[arg(long, default_value_t = 10254)]
    pub admin_port: u16,
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

#[derive(Subcommand, Clone)]
pub enum ImageCommand {
    /// Write this binary and the libraries it needs as an OCI archive
    Build(ImageBuildArgs),
    /// Import an OCI or Docker archive into the cluster that `portcullis up` runs here
    Load(ImageLoadArgs),
}

#[derive(Args, Clone)]
pub struct ImageBuildArgs {
    /// File to write
    #[arg(short, long)]
    pub output: PathBuf,
    /// Name and tag of the image
    #[arg(long, default_value = concat!("portcullis.dev/portcullis:", env!("CARGO_PKG_VERSION")))]
    pub name: String,
    /// How layers are stored: compressed to be given away, or as they are, which is faster
    #[arg(long, value_enum, default_value_t = Compression::Gzip)]
    pub compression: Compression,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Compression {
    Gzip,
    None,
}

#[derive(Args, Clone)]
pub struct ImageLoadArgs {
    /// Archive to import, compressed with gzip or not
    pub file: PathBuf,
    /// Data directory of the cluster
    #[arg(long, default_value = "/var/lib/portcullis")]
    pub data_dir: PathBuf,
}

#[derive(Args, Clone)]
pub struct AskArgs {
    /// `http://HOST[:PORT]/PATH`
    pub url: String,
    /// Status that the answer has to have
    #[arg(long, default_value_t = 200)]
    pub status: u16,
    /// Value of the Host header [default: that of the URL]
    #[arg(long)]
    pub host: Option<String>,
    /// Seconds in which it is asked again and again until the answer is as expected
    #[arg(long, default_value_t = 30)]
    pub deadline_seconds: u64,
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

impl From<Compression> for portcullis_agent::Compression {
    fn from(choice: Compression) -> Self {
        match choice {
            Compression::Gzip => Self::Gzip,
            Compression::None => Self::None,
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

fn object_key(text: &str) -> Result<ObjectKey, String> {
    ObjectKey::parse(text).ok_or_else(|| "not of the form NAMESPACE/NAME".to_owned())
}

/// As Go writes it: `30s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration: 30s, 1m30s, 500ms");
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|one: char| one.is_ascii_digit())
                .len();
        let (number, after) = rest.split_at(digits);
        let number: u32 = number.parse().map_err(|_| refused())?;
        let letters = after.len()
            - after
                .trim_start_matches(|one: char| one.is_alphabetic())
                .len();
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(refused()),
        };
        sum += unit * number;
        rest = after;
    }
    match sum.is_zero() {
        true => Err(refused()),
        false => Ok(sum),
    }
}

/// `FIRST-LAST`, or `FIRST+COUNT` as upstream's flag also takes it.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let range = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => text.split_once('+').and_then(|(first, more)| {
            let first = number(first)?;
            Some((first, first.checked_add(number(more)?)?))
        }),
    };
    match range {
        Some((first, last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("a range such as 30000-32767 is wanted".to_owned()),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_WORKERS) => Ok(count),
        _ => Err(format!("a number from 1 to {MAX_WORKERS} is wanted")),
    }
}

/// A DNS-1123 subdomain, as the API asks of a Node's name.
fn node_name(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter()
            .all(|end| end.is_some_and(|byte| is_inner(*byte)))
            && bytes.iter().all(|byte| is_inner(*byte) || *byte == b'-')
    };
    match text.len() <= 253 && text.split('.').all(is_label) {
        true => Ok(text.to_owned()),
        false => Err("lower case letters, digits, - and . are wanted".to_owned()),
    }
}

/// More threads than any machine has cores.
const MAX_WORKERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = |text| duration(text).ok();
        assert_eq!(read("30s"), Some(Duration::from_secs(30)));
        assert_eq!(read("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(read("1500ms"), Some(Duration::from_millis(1500)));
        for bad in ["", "30", "s", "0s", "-1s", "1.5s", "3d", "99999999999s"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn flags_are_taken_as_ingress_nginx_takes_them() {
        let controller = |more: &[&str]| {
            let all = ["portcullis", "controller"].into_iter();
            let cli = Cli::try_parse_from(all.chain(more.iter().copied())).ok()?;
            match cli.command {
                Command::Controller(args) => Some(*args),
                _ => None,
            }
        };
        let internal = |more: &[&str]| Some(controller(more)?.report_node_internal_ip_address);
        assert_eq!(internal(&[]), Some(false));
        let flag = "--report-node-internal-ip-address";
        assert_eq!(internal(&[flag]), Some(true));
        assert_eq!(internal(&[&format!("{flag}=false")]), Some(false));
        let service = controller(&["--publish-service=edge/proxies"]).unwrap();
        let key = ObjectKey::new("edge", "proxies");
        assert_eq!(service.publish_service, Some(key));
        assert!(controller(&["--publish-service=proxies"]).is_none());
        assert!(controller(&["--mtls-secret=a/b", "--pki-dir=c"]).is_none());
    }

    #[test]
    fn port_ranges_are_read_both_ways() {
        assert_eq!(port_range("30000-32767"), Ok(30_000..=32_767));
        assert_eq!(port_range("30000+2767"), Ok(30_000..=32_767));
        for bad in ["", "30000", "0-9", "9-8", "65535+1", "1-65536"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }
}
