//! The range that Service addresses come from.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network with a prefix from 12 to 28, such as 10.43.0.0/16")]
pub struct CidrError(String);

impl Cidr {
    /// Number of addresses, with the network's own and the broadcast address.
    pub fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The address so many after the network's own.
    pub fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network + offset)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.network
    }

    fn mask(self) -> u32 {
        !(self.size() - 1)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let bad = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        // Larger ones are refused as upstream does; smaller ones hold no useful number of Services.
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|p| (12..=28).contains(p))
            .ok_or_else(bad)?;
        let cidr = Self {
            network: u32::from(address),
            prefix,
        };
        if u32::from(address) & cidr.mask() == cidr.network {
            Ok(cidr)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        let cidr: Cidr = "10.43.0.0/16".parse().expect("parses");
        assert_eq!(
            (cidr.nth(1), cidr.size()),
            (Ipv4Addr::new(10, 43, 0, 1), 65_536)
        );
        assert!(
            cidr.contains(Ipv4Addr::new(10, 43, 255, 1))
                && !cidr.contains(Ipv4Addr::new(10, 44, 0, 1))
        );
        for text in [
            "10.43.0.1/16",
            "10.43.0.0",
            "10.43.0.0/33",
            "fd00::/108",
            "10.0.0.0/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
