//! Configuration for the standard CNI plugins, which the runtime calls.
//!
//! `ptp` rather than `bridge`: every packet between two pods then passes the host's routing, so the connection tracking
//! behind Services sees both directions without `br_netfilter`, a Service that leads back to its caller works, and no
//! link outlives the pods.

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::programs::Programs;
use portcullis_nft::Cidr;
use serde_json::json;

/// Writes the one network configuration of this node.
pub(crate) fn configure(layout: &Layout, programs: &Programs, pod_cidrs: &[Cidr]) -> Result<()> {
    let ranges: Vec<_> = pod_cidrs
        .iter()
        .map(|cidr| json!([{"subnet": cidr.to_string()}]))
        .collect();
    let routes: Vec<_> = pod_cidrs
        .iter()
        .map(|cidr| json!({"dst": if cidr.is_ipv6() { "::/0" } else { "0.0.0.0/0" }}))
        .collect();
    let mut plugins = vec![json!({
        "type": "ptp",
        // Our ruleset masquerades, in one place and with one rule.
        "ipMasq": false,
        "ipam": {"type": "host-local", "dataDir": layout.cni_addresses(), "ranges": ranges, "routes": routes},
    })];
    if programs.iptables.is_some() && programs.cni_plugins.join("portmap").exists() {
        plugins
            .push(json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}));
    }
    let list = json!({"cniVersion": "1.0.0", "name": NETWORK, "plugins": plugins});
    let directory = layout.cni_configuration();
    std::fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    let file = directory.join("10-portcullis.conflist");
    std::fs::write(&file, list.to_string()).map_err(Error::file(&file))
}

const NETWORK: &str = "portcullis";
