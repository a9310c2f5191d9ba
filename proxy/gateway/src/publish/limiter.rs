//! Exact request limits with nginx's arithmetic (`limit_req`, `nodelay`), shared by all cores, bounded in memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use foldhash::fast::FixedState;
use portcullis_route::spec::RateLimit;

/// The buckets of one limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Thousandths of a request that drain per second.
    rate_milli: u64,
    /// Thousandths of a request that a bucket holds above the rate.
    burst_milli: u64,
    shards: Box<[Mutex<Shard>]>,
}

/// Two generations: when the young one is full the old one is dropped, so a key that keeps coming is never forgotten.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<IpAddr, Bucket, FixedState>,
    old: HashMap<IpAddr, Bucket, FixedState>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    excess_milli: u64,
    last_ms: u64,
}

impl Limiter {
    pub fn new(spec: &RateLimit) -> Self {
        let rate_milli = u64::from(spec.requests) * 1000 / u64::from(spec.interval_seconds.max(1));
        Self {
            rate_milli: rate_milli.max(1),
            burst_milli: u64::from(spec.burst) * 1000,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts a request of `client` at `now_ms`; false refuses it, and a refused request costs the client nothing.
    pub fn allow(&self, client: IpAddr, now_ms: u64) -> bool {
        let shard = &self.shards[shard_of(client)];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let excess_milli = match shard.bucket(client) {
            None => 0,
            Some(bucket) => {
                let elapsed_ms = now_ms.saturating_sub(bucket.last_ms);
                let drained = self.rate_milli.saturating_mul(elapsed_ms) / 1000;
                (bucket.excess_milli + 1000).saturating_sub(drained)
            }
        };
        if excess_milli > self.burst_milli {
            return false;
        }
        shard.store(
            client,
            Bucket {
                excess_milli,
                last_ms: now_ms,
            },
        );
        true
    }
}

impl Shard {
    fn bucket(&self, client: IpAddr) -> Option<Bucket> {
        self.young
            .get(&client)
            .or_else(|| self.old.get(&client))
            .copied()
    }

    fn store(&mut self, client: IpAddr, bucket: Bucket) {
        if self.young.len() >= MAX_KEYS_PER_GENERATION && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, bucket);
    }
}

fn shard_of(client: IpAddr) -> usize {
    let last = match client {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[7] ^ v6.octets()[15],
    };
    usize::from(last) % SHARDS
}

const SHARDS: usize = 16;

/// Keys of a shard's generation: about 80,000 clients per limit, what nginx keeps in the 5 MB that ingress-nginx gives it.
const MAX_KEYS_PER_GENERATION: usize = 2_500;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_route::spec::LimitKey;

    fn limiter(requests: u32, interval_seconds: u32, burst: u32) -> Limiter {
        Limiter::new(&RateLimit {
            name: "l".into(),
            key: LimitKey::ClientIp,
            requests,
            interval_seconds,
            burst,
            status: 503,
            exempt: Vec::new(),
        })
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn lets_the_burst_through_and_then_the_rate() {
        let limiter = limiter(10, 1, 4);
        let at_once = (0..10).filter(|_| limiter.allow(CLIENT, 1000)).count();
        assert_eq!(at_once, 5);
        assert!(!limiter.allow(CLIENT, 1099));
        assert!(limiter.allow(CLIENT, 1100));
        assert!(!limiter.allow(CLIENT, 1100));
    }

    #[test]
    fn counts_each_client_apart() {
        let limiter = limiter(1, 60, 0);
        assert!(limiter.allow(CLIENT, 0));
        assert!(!limiter.allow(CLIENT, 0));
        assert!(limiter.allow("::1".parse().unwrap(), 0));
    }

    #[test]
    fn keeps_a_bounded_number_of_clients() {
        let limiter = limiter(1, 60, 0);
        for n in 0..200_000u32 {
            limiter.allow(IpAddr::V4(n.into()), 0);
        }
        let kept: usize = limiter
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(kept <= SHARDS * 2 * MAX_KEYS_PER_GENERATION);
    }
}
