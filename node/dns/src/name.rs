//! Names: their one spelling, and those of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lower case, without the final dot.
pub(crate) fn canonical(name: &str) -> String {
    let mut name = name.strip_suffix('.').unwrap_or(name).to_owned();
    name.make_ascii_lowercase();
    name
}

/// What stands before `.domain`; empty for the domain itself, `None` when the name is not in it. Both canonical.
pub(crate) fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let front = name.strip_suffix(domain)?;
    match front.strip_suffix('.') {
        // That dot is inside a label.
        Some(front) if front.ends_with('\\') => None,
        Some(front) => Some(front),
        None => front.is_empty().then_some(""),
    }
}

/// An endpoint's own label where it has no hostname: its address with dashes, as the cluster DNS servers in use do.
pub(crate) fn address_label(ip: IpAddr) -> String {
    let mut label = ip.to_string().replace(['.', ':'], "-");
    // A label neither begins nor ends with a dash (RFC 952), an IPv6 address may with a colon.
    if label.starts_with('-') {
        label.insert(0, '0');
    }
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

/// The address behind such a label.
pub(crate) fn labelled_address(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok();
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok();
    v4().map(IpAddr::V4).or_else(|| v6().map(IpAddr::V6))
}

/// A name below `in-addr.arpa` or `ip6.arpa`: the first octets or nibbles of addresses (RFC 1035 section 3.5, RFC 3596
/// section 2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReverseName {
    /// Octets of IPv4, nibbles of IPv6, in the order of the address.
    digits: Vec<u8>,
    is_ipv6: bool,
}

impl ReverseName {
    /// Of a canonical name; `None` when it says no address.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (front, is_ipv6) = match name.strip_suffix(V4_SUFFIX) {
            Some(front) => (front, false),
            None => (name.strip_suffix(V6_SUFFIX)?, true),
        };
        let front = front.strip_suffix('.')?;
        let digit = |text: &str| match is_ipv6 {
            false => text.parse().ok().filter(|n: &u8| n.to_string() == text),
            true => u8::from_str_radix(text, 16)
                .ok()
                .filter(|_| text.len() == 1),
        };
        let digits: Vec<u8> = front.rsplit('.').map(digit).collect::<Option<_>>()?;
        (digits.len() <= longest(is_ipv6)).then_some(ReverseName { digits, is_ipv6 })
    }

    fn whole(ip: IpAddr) -> Self {
        let digits = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => {
                let nibbles = ip.octets().into_iter();
                nibbles.flat_map(|byte| [byte >> 4, byte & 15]).collect()
            }
        };
        ReverseName {
            digits,
            is_ipv6: ip.is_ipv6(),
        }
    }

    /// The name of the addresses that share the first so many bits with this one.
    pub(crate) fn parent(ip: IpAddr, bits: u8) -> Self {
        let mut name = Self::whole(ip);
        let bits_per_digit = if name.is_ipv6 { 4 } else { 8 };
        name.digits
            .truncate(usize::from(bits).div_ceil(bits_per_digit));
        name
    }

    /// `None` while the name says only the beginning of addresses.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        (self.digits.len() == longest(self.is_ipv6)).then(|| self.first_address())
    }

    /// The first address whose name is below this one, or is it.
    pub(crate) fn first_address(&self) -> IpAddr {
        let digit = |at: usize| self.digits.get(at).copied().unwrap_or(0);
        match self.is_ipv6 {
            false => Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(digit)).into(),
            true => {
                let byte = |at: usize| digit(2 * at) << 4 | digit(2 * at + 1);
                Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(byte)).into()
            }
        }
    }

    /// How many bits of an address it says.
    pub(crate) fn bits(&self) -> u8 {
        let bits = self.digits.len() * if self.is_ipv6 { 4 } else { 8 };
        u8::try_from(bits).expect("an address has at most 128 bits")
    }
}

impl std::fmt::Display for ReverseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for digit in self.digits.iter().rev() {
            match self.is_ipv6 {
                false => write!(f, "{digit}.")?,
                true => write!(f, "{digit:x}.")?,
            }
        }
        f.write_str(if self.is_ipv6 { V6_SUFFIX } else { V4_SUFFIX })
    }
}

fn longest(is_ipv6: bool) -> usize {
    if is_ipv6 { 32 } else { 4 }
}

const V4_SUFFIX: &str = "in-addr.arpa";
const V6_SUFFIX: &str = "ip6.arpa";
