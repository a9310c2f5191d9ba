//! The ranges of addresses whose reverse names are ours.

use crate::name::ReverseName;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses, such as `10.43.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

/// Text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses such as 10.43.0.0/16")]
pub struct BadRange(String);

impl Range {
    /// The name of the reverse zone that holds `name`, if the range covers all that is below it. A range between two
    /// labels' boundaries has as many zones as it covers at the next one.
    pub(crate) fn apex_above(&self, name: &ReverseName) -> Option<ReverseName> {
        let ip = name.first_address();
        let covers = name.bits() >= self.bits && self.contains(ip);
        covers.then(|| ReverseName::parent(ip, self.bits))
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv6() == self.first.is_ipv6() && cut(ip, self.bits) == self.first
    }
}

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(text.to_owned());
        let (ip, bits) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().map_err(|_| bad())?;
        if bits > if ip.is_ipv6() { 128 } else { 32 } {
            return Err(bad());
        }
        Ok(Range {
            first: cut(ip, bits),
            bits,
        })
    }
}

fn cut(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}
