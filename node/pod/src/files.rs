//! `/etc/hosts` and `resolv.conf` of a pod.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::net::IpAddr;

/// `spec.hostname`, or the pod's name cut to what a hostname may be.
pub fn hostname(pod: &Pod) -> String {
    let stated = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.hostname.clone())
        .filter(|name| !name.is_empty());
    let mut name = stated
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    name.truncate(LONGEST_HOSTNAME);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The managed hosts file. Its first line is what tools recognise it by.
pub fn hosts_file(pod: &Pod, spec: &PodSpec, ips: &[IpAddr], cluster_domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let host = hostname(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let subdomain = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty());
    for ip in ips {
        match subdomain {
            Some(subdomain) => {
                text +=
                    &format!("{ip}\t{host}.{subdomain}.{namespace}.svc.{cluster_domain}\t{host}\n");
            }
            None => text += &format!("{ip}\t{host}\n"),
        }
    }
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
    }
    for alias in aliases {
        text += &format!(
            "{}\t{}\n",
            alias.ip,
            alias
                .hostnames
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join("\t")
        );
    }
    text
}

/// A parsed `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads the node's own file; unknown lines are left out.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let list = match words.next() {
                Some("nameserver") => &mut resolver.servers,
                Some("search") => {
                    resolver.searches.clear();
                    &mut resolver.searches
                }
                Some("options") => &mut resolver.options,
                _ => continue,
            };
            list.extend(words.map(str::to_owned));
        }
        resolver
    }
}

/// The resolver a pod's `dnsPolicy` and `dnsConfig` ask for. Without a cluster DNS, ClusterFirst falls back to the node's.
pub fn resolver(
    pod: &Pod,
    spec: &PodSpec,
    node: &Resolver,
    cluster_dns: &[IpAddr],
    cluster_domain: &str,
) -> Resolver {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let on_host = spec.host_network == Some(true);
    let mut resolver = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Resolver::default(),
        "ClusterFirst" if !on_host && !cluster_dns.is_empty() => {
            cluster(namespace, node, cluster_dns, cluster_domain)
        }
        "ClusterFirstWithHostNet" if !cluster_dns.is_empty() => {
            cluster(namespace, node, cluster_dns, cluster_domain)
        }
        _ => node.clone(),
    };
    if let Some(config) = &spec.dns_config {
        append(
            &mut resolver.servers,
            config.nameservers.iter().flatten().cloned(),
        );
        append(
            &mut resolver.searches,
            config.searches.iter().flatten().cloned(),
        );
        for option in config.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or("");
            resolver
                .options
                .retain(|old| old.split(':').next() != Some(name));
            resolver.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            });
        }
    }
    resolver.servers.truncate(MOST_SERVERS);
    resolver.searches.truncate(MOST_SEARCHES);
    resolver
}

fn cluster(namespace: &str, node: &Resolver, cluster_dns: &[IpAddr], domain: &str) -> Resolver {
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.to_owned(),
    ];
    append(&mut searches, node.searches.iter().cloned());
    Resolver {
        servers: cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".into()],
    }
}

fn append(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for entry in more {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
}

/// Linux's limit for a hostname label, glibc's for nameservers, upstream's for search domains.
const LONGEST_HOSTNAME: usize = 63;
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
