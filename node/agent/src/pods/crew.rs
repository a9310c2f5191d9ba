//! Tasks by the uid of the pod they work for; also of one that panicked it is known whose it was.

use std::collections::HashMap;
use std::time::Duration;
use tokio::task::{Id, JoinSet};

#[derive(Default)]
pub(super) struct Crew {
    tasks: JoinSet<()>,
    uids: HashMap<Id, String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its work is done.
    Done(String),
    Panicked(String),
}

impl Crew {
    /// Starts a task after a pause.
    pub(super) fn spawn(
        &mut self,
        uid: String,
        pause: Duration,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            work.await;
        });
        self.uids.insert(task.id(), uid);
    }

    /// Waits for the next to leave; `None` when there is nobody.
    pub(super) async fn next(&mut self) -> Option<Left> {
        let (id, panicked) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), true),
        };
        let uid = self.uids.remove(&id).expect("every task was entered");
        Some(if panicked {
            Left::Panicked(uid)
        } else {
            Left::Done(uid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_leaves_is_named_also_after_a_panic() {
        let mut crew = Crew::default();
        let later = Duration::from_millis(20);
        crew.spawn("calm".into(), later, async {});
        crew.spawn("hasty".into(), Duration::ZERO, async { panic!("wanted") });
        assert_eq!(crew.next().await, Some(Left::Panicked("hasty".into())));
        assert_eq!(crew.next().await, Some(Left::Done("calm".into())));
        assert_eq!(crew.next().await, None);
    }
}
