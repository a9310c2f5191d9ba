//! Address ranges in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// A range of addresses; the address is the range's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    first: IpAddr,
    length: u8,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no address range such as 10.42.0.0/16")]
pub struct BadCidr(String);

impl Cidr {
    pub fn is_ipv6(&self) -> bool {
        self.first.is_ipv6()
    }

    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Exactly this address.
    pub fn of(ip: IpAddr) -> Self {
        Cidr {
            first: ip,
            length: if ip.is_ipv6() { 128 } else { 32 },
        }
    }

    /// Every address of its family.
    pub fn is_everything(&self) -> bool {
        self.length == 0
    }

    /// Every address of `other` is in this range.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.length <= other.length && self.contains(other.first)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv6() == self.is_ipv6() && network(ip, self.length) == self.first
    }

    /// The two have an address in common.
    pub fn overlaps(&self, other: Cidr) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// The `offset`th address after the first, if the range has it.
    pub fn nth(&self, offset: u32) -> Option<IpAddr> {
        let ip = match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().checked_add(offset)?))
            }
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(
                first.to_bits().checked_add(offset.into())?,
            )),
        };
        self.contains(ip).then_some(ip)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr(text.to_owned());
        let (ip, length) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let length: u8 = length.parse().map_err(|_| bad())?;
        if length > if ip.is_ipv6() { 128 } else { 32 } {
            return Err(bad());
        }
        Ok(Cidr {
            first: network(ip, length),
            length,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

fn network(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}
