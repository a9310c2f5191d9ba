//! Quantities, and what requests and limits mean to the kernel.

use k8s_openapi::api::core::v1::{Container, Pod};

/// Thousandths of a unit (of a core, of a byte).
pub type Milli = i128;

/// What a container gets from its cgroup. Zero leaves a value to the runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    pub cpu_shares: i64,
    pub cpu_quota_us: i64,
    pub cpu_period_us: i64,
    pub memory_limit_bytes: i64,
    pub oom_score_adj: i64,
}

/// Parses a Kubernetes quantity (`250m`, `1.5Gi`, `2e3`); `None` when it is none.
pub fn milli(quantity: &str) -> Option<Milli> {
    let quantity = quantity.trim();
    let split = quantity
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(split);
    let (scale, exponent): (Milli, i32) = match suffix {
        "n" => (1, -6),
        "u" => (1, -3),
        "m" => (1, 0),
        "" => (1, 3),
        "k" => (1, 6),
        "M" => (1, 9),
        "G" => (1, 12),
        "T" => (1, 15),
        "P" => (1, 18),
        "Ki" => (1 << 10, 3),
        "Mi" => (1 << 20, 3),
        "Gi" => (1 << 30, 3),
        "Ti" => (1 << 40, 3),
        "Pi" => (1 << 50, 3),
        _ => (
            1,
            suffix
                .strip_prefix(['e', 'E'])?
                .parse::<i32>()
                .ok()
                .filter(|e| e.abs() <= 18)?
                + 3,
        ),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > LONGEST_FRACTION
        || whole.len() > LONGEST_WHOLE
        || whole.len() + fraction.len() == 0
    {
        return None;
    }
    let digits: Milli = format!("{whole}{fraction}").parse().ok()?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()?;
    let value = digits.checked_mul(scale)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    // Upstream rounds towards the larger amount.
    if exponent >= 0 {
        value.checked_mul(power)
    } else {
        Some(value.div_euclid(power) + i128::from(value.rem_euclid(power) > 0))
    }
}

/// One container's cgroup values (upstream's formulas; CFS period 100 ms).
pub fn limits(pod: &Pod, container: &Container, node_memory_bytes: i64) -> CgroupLimits {
    let limit = |name| quantity(container, Side::Limits, name);
    let request = |name| quantity(container, Side::Requests, name);
    let cpu_request = request("cpu").or_else(|| limit("cpu")).unwrap_or(0);
    let shares = (cpu_request * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES);
    let cpu = limit("cpu").filter(|cpu| *cpu > 0);
    let memory = limit("memory")
        .filter(|memory| *memory > 0)
        .map(|memory| memory / 1000);
    CgroupLimits {
        cpu_shares: int(shares),
        cpu_quota_us: cpu.map_or(0, |cpu| {
            int((cpu * i128::from(PERIOD_US) / 1000).max(MIN_QUOTA_US))
        }),
        cpu_period_us: if cpu.is_some() { PERIOD_US } else { 0 },
        memory_limit_bytes: memory.map_or(0, int),
        oom_score_adj: oom_score(
            pod,
            request("memory").map_or(0, |memory| int(memory / 1000)),
            node_memory_bytes,
        ),
    }
}

/// `status.qosClass` as the API sets it, or what it would set.
pub fn qos_class(pod: &Pod) -> &'static str {
    let containers = || {
        pod.spec.iter().flat_map(|spec| {
            spec.init_containers
                .iter()
                .flatten()
                .chain(&spec.containers)
        })
    };
    let stated = |container: &Container| {
        let sides = [Side::Limits, Side::Requests];
        sides.into_iter().any(|side| {
            ["cpu", "memory"]
                .iter()
                .any(|name| quantity(container, side, name).is_some())
        })
    };
    if !containers().any(stated) {
        return "BestEffort";
    }
    let full = |container: &Container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = quantity(container, Side::Limits, name);
            limit.is_some() && quantity(container, Side::Requests, name).or(limit) == limit
        })
    };
    if containers().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[derive(Clone, Copy)]
enum Side {
    Limits,
    Requests,
}

fn quantity(container: &Container, side: Side, name: &str) -> Option<Milli> {
    let needs = container.resources.as_ref()?;
    let map = match side {
        Side::Limits => needs.limits.as_ref()?,
        Side::Requests => needs.requests.as_ref()?,
    };
    milli(&map.get(name)?.0)
}

fn oom_score(pod: &Pod, memory_request_bytes: i64, node_memory_bytes: i64) -> i64 {
    match qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let share =
                i128::from(memory_request_bytes) * 1000 / i128::from(node_memory_bytes.max(1));
            (1000 - int(share)).clamp(3, 999)
        }
    }
}

fn int(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The kernel's bounds for `cpu.shares`, upstream's for the CFS quota.
const MIN_SHARES: i128 = 2;
const MAX_SHARES: i128 = 262_144;
const PERIOD_US: i64 = 100_000;
const MIN_QUOTA_US: i128 = 1000;
/// Digits that keep the arithmetic inside `i128`.
const LONGEST_WHOLE: usize = 18;
const LONGEST_FRACTION: usize = 9;
