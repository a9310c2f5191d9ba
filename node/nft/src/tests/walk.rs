//! A naive interpreter for exactly the rules that the renderer writes; it panics on any other.

use crate::{Cidr, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The first packet of a connection.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
    pub place: Place,
    pub to_this_node: bool,
    pub from_this_node: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Comes in over a link.
    Arriving,
    /// Sent by the node itself.
    Host,
}

/// What became of it; `masked` when it leaves with the node's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Passed {
        masked: bool,
    },
    Sent {
        to: SocketAddr,
        masked: bool,
    },
    Refused,
    /// No answer at all.
    Dropped,
}

#[derive(Default)]
pub struct Rules {
    /// Maps and sets: element → verdict (empty for sets).
    maps: BTreeMap<String, BTreeMap<String, String>>,
    chains: BTreeMap<String, Vec<String>>,
}

/// A packet on its way.
#[derive(Clone)]
struct Way {
    packet: Packet,
    mark: u32,
    targets: Vec<SocketAddr>,
    refused: bool,
    dropped: bool,
    masked: bool,
}

impl Way {
    fn is_decided(&self) -> bool {
        self.refused || self.dropped || self.masked || !self.targets.is_empty()
    }
}

/// Where evaluation goes on after a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// With the next rule.
    On,
    /// Behind the jump that led into this chain: a `goto` does not come back.
    Left,
}

impl Rules {
    pub fn parse(text: &str) -> Self {
        let mut rules = Rules::default();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["map" | "set", name, "{"] => {
                    let body = lines.by_ref().take_while(|line| *line != "}");
                    let mut elements = BTreeMap::new();
                    let mut inside = false;
                    for line in body {
                        match line {
                            "elements = {" => inside = true,
                            line if inside => {
                                let (key, verdict) = line
                                    .trim_end_matches(',')
                                    .split_once(" : ")
                                    .unwrap_or((line.trim_end_matches(','), ""));
                                assert!(
                                    elements
                                        .insert(key.to_owned(), verdict.to_owned())
                                        .is_none(),
                                    "nft refuses duplicates: {key}"
                                );
                            }
                            line => assert!(line.starts_with("type "), "{line}"),
                        }
                    }
                    if inside {
                        assert_eq!(lines.next(), Some("}"), "the block's own end");
                    }
                    rules.maps.insert((*name).to_owned(), elements);
                }
                ["chain", name, "{"] => {
                    let body: Vec<_> = lines
                        .by_ref()
                        .take_while(|line| *line != "}")
                        .map(str::to_owned)
                        .collect();
                    assert!(
                        rules.chains.insert((*name).to_owned(), body).is_none(),
                        "two chains {name}"
                    );
                }
                _ => {}
            }
        }
        rules
    }

    /// Every possible fate, one per choice the rules leave to chance.
    pub fn walk(&self, packet: &Packet) -> Vec<Fate> {
        let mut way = Way {
            packet: packet.clone(),
            mark: 0,
            targets: Vec::new(),
            refused: false,
            dropped: false,
            masked: false,
        };
        self.chain(
            if packet.place == Place::Host {
                "output"
            } else {
                "prerouting"
            },
            &mut way,
        );
        if way.dropped {
            return vec![Fate::Dropped];
        }
        let targets = std::mem::take(&mut way.targets);
        if targets.is_empty() {
            return vec![self.leave(way, None)];
        }
        let targets: BTreeSet<_> = targets.into_iter().collect();
        targets
            .into_iter()
            .map(|target| self.leave(way.clone(), Some(target)))
            .collect()
    }

    fn leave(&self, mut way: Way, target: Option<SocketAddr>) -> Fate {
        if let Some(target) = target {
            way.packet.to = target.ip();
            way.packet.port = target.port();
            way.packet.to_this_node = false;
        }
        let filter = match (way.packet.place, way.packet.to_this_node) {
            (Place::Host, _) => "filter_output",
            (Place::Arriving, true) => "filter_input",
            (Place::Arriving, false) => "filter_forward",
        };
        self.chain(filter, &mut way);
        if way.dropped {
            return Fate::Dropped;
        }
        if way.refused {
            return Fate::Refused;
        }
        if !way.packet.to_this_node {
            self.chain("postrouting", &mut way);
        }
        let masked = way.masked;
        target.map_or(Fate::Passed { masked }, |to| Fate::Sent { to, masked })
    }

    fn chain(&self, name: &str, way: &mut Way) {
        for rule in &self.chains[name] {
            if way.is_decided() || self.rule(rule, way) == Flow::Left {
                return;
            }
        }
    }

    /// Matches from the left until one fails or a statement decides.
    fn rule(&self, rule: &str, way: &mut Way) -> Flow {
        let mut rest = rule.trim_start_matches("ct state new ");
        loop {
            let header = if way.packet.to.is_ipv6() {
                "ip6 "
            } else {
                "ip "
            };
            if rest.is_empty() || rest.starts_with("type ") {
                return Flow::On;
            } else if let Some(chain) = rest.strip_prefix("jump ") {
                self.chain(chain, way);
                return Flow::On;
            } else if rest == "drop" || rest.starts_with("goto ") {
                return self.decide(rest, way);
            } else if let Some(after) = rest.strip_prefix("fib saddr type local ") {
                if !way.packet.from_this_node {
                    return Flow::On;
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix("fib daddr type local ") {
                if !way.packet.to_this_node {
                    return Flow::On;
                }
                rest = after;
            } else if let Some(map) = rest.strip_prefix("meta l4proto . th dport vmap @") {
                return self.verdict(
                    map,
                    &format!("{} . {}", way.packet.protocol.name(), way.packet.port),
                    way,
                );
            } else if let Some(after) = rest.strip_prefix("meta l4proto ") {
                let (protocol, after) = after.split_once(' ').unwrap();
                if protocol != way.packet.protocol.name() {
                    return Flow::On;
                }
                rest = after;
            } else if rest.starts_with("reject") {
                way.refused = true;
                return Flow::On;
            } else if rest == "meta mark set meta mark | 0x4000" {
                way.mark |= 0x4000;
                return Flow::On;
            } else if let Some(after) = rest.strip_prefix("meta mark & 0x4000 == 0x4000 ") {
                if way.mark & 0x4000 == 0 {
                    return Flow::On;
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix("meta mark set meta mark ^ 0x4000 ") {
                way.mark ^= 0x4000;
                rest = after;
            } else if rest == "masquerade" {
                way.masked = true;
                return Flow::On;
            } else if let Some(after) = rest.strip_prefix("dnat ") {
                way.targets = targets(after.strip_prefix(header).unwrap());
                return Flow::On;
            } else if rest.starts_with("ip ") || rest.starts_with("ip6 ") {
                let Some(after) = rest.strip_prefix(header) else {
                    return Flow::On;
                };
                match self.address(after, way) {
                    Ok(after) => rest = after,
                    Err(flow) => return flow,
                }
            } else {
                panic!("a rule this interpreter does not know: {rest:?} in {rule:?}");
            }
        }
    }

    /// An address match after its header's name; what follows it, if it matched and did not decide.
    fn address<'a>(&self, rule: &'a str, way: &mut Way) -> Result<&'a str, Flow> {
        let packet = way.packet.clone();
        if let Some(map) = rule.strip_prefix("daddr . meta l4proto . th dport vmap @") {
            return Err(self.verdict(
                map,
                &format!(
                    "{} . {} . {}",
                    packet.to,
                    packet.protocol.name(),
                    packet.port
                ),
                way,
            ));
        }
        for (pair, header) in [("saddr . ip daddr @", "4"), ("saddr . ip6 daddr @", "6")] {
            if let Some(rest) = rule.strip_prefix(pair) {
                let (set, rest) = rest.split_once(' ').unwrap();
                assert!(set.ends_with(header));
                return self.maps[set]
                    .contains_key(&format!("{} . {}", packet.from, packet.to))
                    .then_some(rest)
                    .ok_or(Flow::On);
            }
        }
        let (field, rest) = rule.split_once(' ').unwrap();
        let address = if field == "saddr" {
            packet.from
        } else {
            packet.to
        };
        let (negated, rest) = rest
            .strip_prefix("!= ")
            .map_or((false, rest), |rest| (true, rest));
        let (ranges, rest) = match rest.strip_prefix("{ ") {
            Some(rest) => rest.split_once(" } ").unwrap(),
            None => rest.split_once(' ').unwrap(),
        };
        let inside = ranges.split(", ").any(|range| match range.parse::<Cidr>() {
            Ok(range) => range.contains(address),
            Err(_) => range.parse::<IpAddr>().unwrap() == address,
        });
        (inside != negated).then_some(rest).ok_or(Flow::On)
    }

    fn verdict(&self, map: &str, key: &str, way: &mut Way) -> Flow {
        match self.maps[map].get(key) {
            Some(verdict) => self.decide(verdict, way),
            None => Flow::On,
        }
    }

    fn decide(&self, verdict: &str, way: &mut Way) -> Flow {
        match verdict.strip_prefix("goto ") {
            Some(chain) => self.chain(chain, way),
            None if verdict == "drop" => way.dropped = true,
            None => panic!("a verdict this interpreter does not know: {verdict:?}"),
        }
        Flow::Left
    }
}

/// `to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : … }`, all of which can happen.
fn targets(rule: &str) -> Vec<SocketAddr> {
    let (choice, elements) = rule
        .strip_prefix("to ")
        .unwrap()
        .split_once(" map { ")
        .unwrap();
    let elements: Vec<_> = elements.strip_suffix(" }").unwrap().split(", ").collect();
    let modulus = choice
        .split("mod ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert_eq!(
        modulus,
        elements.len().to_string(),
        "every value has an element"
    );
    let target = |(index, element): (usize, &&str)| {
        let (number, target) = element.split_once(" : ").unwrap();
        assert_eq!(number, index.to_string());
        let (ip, port) = target.split_once(" . ").unwrap();
        SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
    };
    elements.iter().enumerate().map(target).collect()
}
