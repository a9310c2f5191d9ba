//! RollingUpdate: up by the surge, down by what the minimum of available pods allows.

use super::Rollout;
use super::revision::NewSet;

/// Whether a stage changed something; later stages then wait for its effect.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    Moved,
    Still,
}

impl Rollout<'_> {
    pub(super) fn roll(&mut self) {
        if self.ensure_new() == NewSet::Collided {
            return;
        }
        if self.scale_new() == Step::Moved || self.shrink_old() == Step::Moved {
            return;
        }
        if self.is_recorded_complete() {
            self.clean_up_history();
        }
    }

    /// The size the new set may have now.
    pub(super) fn new_replicas(&self) -> i32 {
        let desired = self.budget.desired;
        let current = self.new.map_or(0, |index| self.sets[index].replicas());
        if self
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            == Some("Recreate")
        {
            return desired;
        }
        let room = self.budget.maximum() - self.total_replicas();
        if room <= 0 {
            current
        } else {
            current + room.min(desired - current)
        }
    }

    pub(super) fn scale_new(&mut self) -> Step {
        let Some(index) = self.new else {
            return Step::Still;
        };
        if self.sets[index].observed.is_none() {
            return Step::Moved;
        }
        let current = self.sets[index].replicas();
        let target = match current.cmp(&self.budget.desired) {
            std::cmp::Ordering::Equal => return Step::Still,
            std::cmp::Ordering::Greater => self.budget.desired,
            std::cmp::Ordering::Less => self.new_replicas(),
        };
        if self.scale(index, target) {
            Step::Moved
        } else {
            Step::Still
        }
    }

    fn shrink_old(&mut self) -> Step {
        let old_pods: i32 = self
            .old()
            .into_iter()
            .map(|index| self.sets[index].replicas())
            .sum();
        if old_pods == 0 {
            return Step::Still;
        }
        let minimum = self.budget.minimum_available();
        let new_unavailable = self.new.map_or(0, |index| {
            let set = &self.sets[index];
            set.replicas() - set.available()
        });
        let spare = self.total_replicas() - minimum - new_unavailable;
        if spare <= 0 {
            return Step::Still;
        }
        let cleaned = self.shrink_unhealthy(spare);
        let healthy = self.shrink_available(minimum);
        if cleaned + healthy > 0 {
            Step::Moved
        } else {
            Step::Still
        }
    }

    /// Pods that serve nobody go first: they only block the rollout.
    fn shrink_unhealthy(&mut self, spare: i32) -> i32 {
        let mut removed = 0;
        for index in self.old() {
            let set = &self.sets[index];
            let unhealthy = (set.replicas() - set.available()).max(0);
            let step = unhealthy.min(spare - removed);
            if step > 0 {
                let target = set.replicas() - step;
                self.scale(index, target);
                removed += step;
            }
        }
        removed
    }

    fn shrink_available(&mut self, minimum: i32) -> i32 {
        // A set that was just shrunk still reports the pods it is about to lose: they must not be counted on.
        let lasting: i32 = self
            .sets
            .iter()
            .map(|set| set.available().min(set.replicas()))
            .sum();
        let mut spare = lasting - minimum;
        let mut removed = 0;
        for index in self.old() {
            let step = self.sets[index].replicas().min(spare);
            if step > 0 {
                let target = self.sets[index].replicas() - step;
                self.scale(index, target);
                spare -= step;
                removed += step;
            }
        }
        removed
    }
}
