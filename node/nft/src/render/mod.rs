//! The table's text.
//!
//! One table for both families, replaced as a whole in one transaction: a reader of it never meets half a Service, and
//! connections already translated keep their entries in the kernel. A packet costs one map lookup however many Services
//! there are.

mod base;
mod chains;
mod table;

use crate::cidr::Cidr;
use crate::service::ServicePort;
use std::fmt::Write;
use std::net::IpAddr;
use table::Table;

/// What the rules need to know of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub table: String,
    /// All pods of the cluster.
    pub cluster_pods: Vec<Cidr>,
}

/// A script for `nft -f -` that puts the table in place of whatever it was.
pub fn render(network: &Network, ports: &[ServicePort]) -> String {
    let table = Table::of(ports);
    let mut text = format!(
        "add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n",
        network.table
    );
    for family in Family::BOTH {
        table.maps(family, &mut text);
    }
    chains::of_services(&table, network, &mut text);
    base::chains(network, &mut text);
    text + "}\n"
}

/// A script that takes the table away, whether or not it is there.
pub fn removal(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// The header's name in rules.
    fn header(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Family::V4 => "127.0.0.0/8",
            Family::V6 => "::1",
        }
    }
}

fn block(
    text: &mut String,
    what: &str,
    name: &str,
    kind: &str,
    elements: impl Iterator<Item = String>,
) {
    let elements: Vec<_> = elements.collect();
    let _ = write!(text, "  {what} {name} {{\n    type {kind}\n");
    if !elements.is_empty() {
        let _ = write!(
            text,
            "    elements = {{\n      {}\n    }}\n",
            elements.join(",\n      ")
        );
    }
    text.push_str("  }\n");
}

fn chain_block(text: &mut String, name: &str, rules: &[String]) {
    let _ = write!(
        text,
        "  chain {name} {{\n    {}\n  }}\n",
        rules.join("\n    ")
    );
}

/// The bit that upstream uses for the same purpose.
const BIT: &str = "0x4000";
const MARK: &str = "meta mark set meta mark | 0x4000";
