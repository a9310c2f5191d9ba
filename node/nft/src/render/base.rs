//! The hooks: every new connection meets these chains.

use super::{BIT, Family, Network, chain_block};

pub(super) fn chains(network: &Network, text: &mut String) {
    let mut dispatch = Vec::new();
    let mut refusals = Vec::new();
    let mut masquerade = Vec::new();
    for family in Family::BOTH {
        let (n, header, loopback) = (family.number(), family.header(), family.loopback());
        let local =
            format!("fib daddr type local {header} daddr != {loopback} meta l4proto . th dport");
        dispatch.push(format!(
            "{header} daddr . meta l4proto . th dport vmap @services{n}"
        ));
        dispatch.push(format!("{local} vmap @node_ports{n}"));
        refusals.push(format!(
            "ct state new {header} daddr . meta l4proto . th dport vmap @unserved{n}"
        ));
        refusals.push(format!("ct state new {local} vmap @unserved_node_ports{n}"));
        // A pod that reaches itself through a Service would see its own address as the peer and drop it.
        masquerade.push(format!(
            "{header} saddr . {header} daddr @hairpin{n} masquerade"
        ));
    }
    masquerade.push(format!(
        "meta mark & {BIT} == {BIT} meta mark set meta mark ^ {BIT} masquerade"
    ));
    for pods in &network.cluster_pods {
        let header = Family::of(pods.first()).header();
        masquerade.push(format!(
            "{header} saddr {pods} {header} daddr != {pods} masquerade"
        ));
    }
    chain_block(text, "dispatch", &dispatch);
    chain_block(
        text,
        "refuse",
        &[
            "meta l4proto tcp reject with tcp reset".into(),
            "reject with icmpx port-unreachable".into(),
        ],
    );
    chain_block(text, "refusals", &refusals);
    for (name, hook) in [
        ("prerouting", "prerouting priority dstnat"),
        ("output", "output priority -100"),
    ] {
        chain_block(
            text,
            name,
            &[
                format!("type nat hook {hook}; policy accept;"),
                "jump dispatch".into(),
            ],
        );
    }
    masquerade.insert(
        0,
        "type nat hook postrouting priority srcnat; policy accept;".into(),
    );
    chain_block(text, "postrouting", &masquerade);
    for hook in ["input", "forward", "output"] {
        let head = format!("type filter hook {hook} priority filter; policy accept;");
        chain_block(
            text,
            &format!("filter_{hook}"),
            &[head, "jump refusals".into()],
        );
    }
}
