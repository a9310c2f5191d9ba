//! Recreate: everything old is gone before anything new starts.

use super::Rollout;
use super::revision::NewSet;
use super::rolling::Step;
use crate::{owner, pod};

impl Rollout<'_> {
    pub(super) fn recreate(&mut self) {
        let mut shrunk = false;
        for index in self.old() {
            shrunk |= self.sets[index].replicas() > 0 && self.scale(index, 0);
        }
        if shrunk
            || self.old_pods_run()
            || self.ensure_new() == NewSet::Collided
            || self.scale_new() == Step::Moved
        {
            return;
        }
        if self.is_recorded_complete() {
            self.clean_up_history();
        }
    }

    /// A pod that still terminates may still hold its volume or port, so it counts.
    fn old_pods_run(&self) -> bool {
        let old = self.old();
        self.observed
            .pods
            .iter()
            .filter(|candidate| !pod::is_terminal(candidate))
            .any(|candidate| {
                old.iter().any(|index| {
                    owner::is_controlled_by(
                        &candidate.metadata,
                        &self.sets[*index].desired.metadata,
                    )
                })
            })
    }
}
