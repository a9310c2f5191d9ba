//! When what a running pod's volumes show is brought up to date.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Volume;
use std::time::Duration;

/// Whether a volume shows objects, fields or tokens that change while the pod runs.
pub fn is_live(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// How long between two looks at a pod's sources: 45 to 60 s, by its uid, so that pods started together drift apart.
/// Upstream's bound is its sync period of a minute and its cache's age.
pub fn period(uid: &str) -> Duration {
    let spread = uid.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    Duration::from_millis(45_000 + u64::from(spread % 15_000))
}

/// When a token is due for renewal: at 80 % of its life, and never older than a day (as upstream).
pub fn renew_at(issued_at: Timestamp, expires_at: Timestamp) -> Timestamp {
    let life = expires_at.duration_since(issued_at);
    let wait = (life / 5 * 4).clamp(SignedDuration::ZERO, LONGEST_TOKEN_AGE);
    issued_at.checked_add(wait).unwrap_or(expires_at)
}

const LONGEST_TOKEN_AGE: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        let renewed_after = |life: i64| {
            let expires_at = Timestamp::from_second(life).unwrap();
            renew_at(Timestamp::UNIX_EPOCH, expires_at).as_second()
        };
        assert_eq!(renewed_after(600), 480);
        assert_eq!(renewed_after(3600), 2880);
        assert_eq!(renewed_after(365 * 86400), 86400);
        assert_eq!(renewed_after(-5), 0);
    }

    proptest! {
        #[test]
        fn a_period_stays_within_upstreams_bound(uid in ".*") {
            prop_assert!((45..60).contains(&period(&uid).as_secs()));
        }
    }
}
