//! Scores: among nodes that fit, prefer the emptier, the balanced, the wanted.

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::NodeState;
use crate::footprint::{CPU, Footprint, MEMORY};
use crate::{affinity, taint};

const MAX: i64 = 100;
/// Upstream's default weights.
const TAINT_WEIGHT: i64 = 3;
const AFFINITY_WEIGHT: i64 = 2;

/// The total score of each node, in the order given.
pub(crate) fn scores(pod: &Pod, footprint: &Footprint, fitting: &[&NodeState]) -> Vec<i64> {
    let reluctance: Vec<i64> = fitting
        .iter()
        .map(|state| taint::reluctance(pod, &state.node))
        .collect();
    let preference: Vec<i64> = fitting
        .iter()
        .map(|state| affinity::preference(pod, &state.node))
        .collect();
    let most_reluctant = reluctance.iter().copied().max().unwrap_or(0);
    let most_preferred = preference.iter().copied().max().unwrap_or(0);
    let score = |(index, state): (usize, &&NodeState)| {
        let willing = MAX - scaled(reluctance[index], most_reluctant);
        let wanted = scaled(preference[index], most_preferred);
        let usage = Usage::after(footprint, state);
        usage.least_allocated()
            + usage.balanced()
            + TAINT_WEIGHT * willing
            + AFFINITY_WEIGHT * wanted
    };
    fitting.iter().enumerate().map(score).collect()
}

/// `value` as a share of `most`, 0 to 100.
fn scaled(value: i64, most: i64) -> i64 {
    if most == 0 { 0 } else { value * MAX / most }
}

struct Share {
    requested: i64,
    allocatable: i64,
}

impl Share {
    /// 100 for an empty node, 0 for a full one.
    fn free(&self) -> i64 {
        if self.allocatable <= 0 || self.requested > self.allocatable {
            return 0;
        }
        let free = i128::from(self.allocatable - self.requested) * i128::from(MAX)
            / i128::from(self.allocatable);
        i64::try_from(free).unwrap_or(0)
    }

    /// Parts per thousand in use.
    fn used(&self) -> i64 {
        if self.allocatable <= 0 {
            return 0;
        }
        let used = i128::from(self.requested) * 1_000 / i128::from(self.allocatable);
        i64::try_from(used.min(1_000)).unwrap_or(1_000)
    }
}

/// The node's load with the pod on it.
struct Usage {
    cpu: Share,
    memory: Share,
}

impl Usage {
    fn after(footprint: &Footprint, state: &NodeState) -> Self {
        let cpu = Share {
            requested: state.scored_cpu_milli + footprint.scored_cpu_milli,
            allocatable: state.allocatable.amount(CPU),
        };
        let memory = Share {
            requested: state.scored_memory + footprint.scored_memory,
            allocatable: state.allocatable.amount(MEMORY),
        };
        Self { cpu, memory }
    }

    fn least_allocated(&self) -> i64 {
        (self.cpu.free() + self.memory.free()) / 2
    }

    /// For two resources the standard deviation is half their distance.
    fn balanced(&self) -> i64 {
        MAX - (self.cpu.used() - self.memory.used()).abs() * MAX / 2_000
    }
}
