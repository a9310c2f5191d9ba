//! Scaling without rolling: a paused Deployment, or one whose size changed in the middle of a rollout.

use std::cmp::Reverse;

use super::{DESIRED_REPLICAS, MAX_REPLICAS, Rollout};

impl Rollout<'_> {
    /// Whether some active set was last sized for another number of replicas.
    pub(super) fn is_scaling(&self) -> bool {
        self.sets
            .iter()
            .filter(|set| set.replicas() > 0)
            .any(|set| {
                let sized_for = set
                    .annotation(DESIRED_REPLICAS)
                    .and_then(|text| text.parse::<i32>().ok());
                sized_for.is_some_and(|replicas| replicas != self.budget.desired)
            })
    }

    /// Spreads the Deployment's size over the sets there are.
    pub(super) fn scale_as_is(&mut self) {
        let active: Vec<usize> = (0..self.sets.len())
            .filter(|index| self.sets[*index].replicas() > 0)
            .collect();
        if let Some(only) = self.only_or_latest(&active) {
            if self.sets[only].replicas() != self.budget.desired {
                self.scale(only, self.budget.desired);
            }
        } else if self.is_saturated() {
            for index in self.old() {
                if self.sets[index].replicas() > 0 {
                    self.scale(index, 0);
                }
            }
        } else if !active.is_empty() {
            self.scale_proportionally(active);
        }
    }

    fn only_or_latest(&self, active: &[usize]) -> Option<usize> {
        match active {
            [] => self.new.or_else(|| self.sets.len().checked_sub(1)),
            [only] => Some(*only),
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        let Some(set) = self.new.map(|index| &self.sets[index]) else {
            return false;
        };
        let sized_for = set
            .annotation(DESIRED_REPLICAS)
            .and_then(|text| text.parse::<i32>().ok());
        let desired = self.budget.desired;
        sized_for == Some(desired) && set.replicas() == desired && set.available() == desired
    }

    /// Larger sets take more of the change, so a bad rollout never takes over by scaling; the rest goes to the largest.
    fn scale_proportionally(&mut self, mut active: Vec<usize>) {
        if self
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            == Some("Recreate")
        {
            return;
        }
        let allowed = if self.budget.desired > 0 {
            self.budget.maximum()
        } else {
            0
        };
        let to_add = allowed - self.total_replicas();
        if to_add >= 0 {
            active.sort_by_key(|index| (Reverse(self.sets[*index].replicas()), Reverse(*index)));
        } else {
            active.sort_by_key(|index| (Reverse(self.sets[*index].replicas()), *index));
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(active.len());
        for index in &active {
            let share = self.share(*index, to_add, added);
            added += share;
            sizes.push(self.sets[*index].replicas() + share);
        }
        sizes[0] = (sizes[0] + to_add - added).max(0);
        for (index, size) in active.into_iter().zip(sizes) {
            self.scale(index, size);
        }
    }

    fn share(&self, index: usize, to_add: i32, added: i32) -> i32 {
        let fraction = self.fraction(index);
        let left = to_add - added;
        match to_add {
            0 => 0,
            1.. => fraction.min(left).max(0),
            _ => fraction.max(left).min(0),
        }
    }

    fn fraction(&self, index: usize) -> i32 {
        let set = &self.sets[index];
        let replicas = set.replicas();
        if self.budget.desired == 0 {
            return -replicas;
        }
        let before = set
            .annotation(MAX_REPLICAS)
            .and_then(|text| text.parse::<i32>().ok())
            .filter(|max| *max > 0);
        let status = self
            .deployment
            .status
            .as_ref()
            .and_then(|status| status.replicas)
            .filter(|count| *count > 0);
        let before = f64::from(before.or(status).unwrap_or_else(|| self.budget.maximum()));
        let size = f64::from(replicas) * f64::from(self.budget.maximum()) / before;
        size.round() as i32 - replicas
    }
}
