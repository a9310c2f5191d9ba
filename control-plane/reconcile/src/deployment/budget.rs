//! How many pods a rollout may add and take away.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// `maxSurge` and `maxUnavailable` in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub desired: i32,
    pub surge: i32,
    pub unavailable: i32,
}

impl Budget {
    pub fn of(spec: &DeploymentSpec) -> Self {
        let desired = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self {
                desired,
                surge: 0,
                unavailable: 0,
            };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = resolve(
            rolling.and_then(|rolling| rolling.max_surge.as_ref()),
            desired,
            Rounding::Up,
        );
        let unavailable = resolve(
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
            desired,
            Rounding::Down,
        );
        // Both zero would never move; validation refuses the literal case, rounding down of a percentage does not.
        let unavailable = if surge == 0 && unavailable == 0 {
            1
        } else {
            unavailable
        };
        Self {
            desired,
            surge,
            unavailable: unavailable.min(desired),
        }
    }

    /// The most pods there may be, old and new together.
    pub fn maximum(self) -> i32 {
        self.desired.saturating_add(self.surge)
    }

    /// The fewest pods that must stay available.
    pub fn minimum_available(self) -> i32 {
        self.desired - self.unavailable
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A count, or a percentage of `total`; 25 % where unset, as the API defaults.
fn resolve(value: Option<&IntOrString>, total: i32, rounding: Rounding) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(count)) => return (*count).max(0),
        Some(IntOrString::String(text)) => text
            .strip_suffix('%')
            .and_then(|digits| digits.parse::<i64>().ok()),
        None => Some(25),
    };
    let scaled = i64::from(total) * percent.unwrap_or(0).max(0);
    let pods = match rounding {
        Rounding::Up => (scaled + 99) / 100,
        Rounding::Down => scaled / 100,
    };
    i32::try_from(pods).unwrap_or(i32::MAX)
}
