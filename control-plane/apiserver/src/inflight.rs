//! How many requests are worked on at once.

use std::sync::Arc;

use portcullis_resource::error::ApiError;
use portcullis_resource::request::Verb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits as upstream's without priority and fairness: reads and writes apart, watches free once they run.
pub(crate) struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl InFlight {
    pub(crate) fn new(reads: usize, writes: usize) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(reads)),
            writes: Arc::new(Semaphore::new(writes)),
        }
    }

    /// A place to be held until the request is answered.
    ///
    /// # Errors
    /// 429 when all are taken.
    pub(crate) fn enter(&self, verb: Verb) -> Result<OwnedSemaphorePermit, ApiError> {
        let semaphore = if verb.is_mutating() {
            &self.writes
        } else {
            &self.reads
        };
        semaphore
            .clone()
            .try_acquire_owned()
            .map_err(|_| ApiError::TooManyRequests {
                message: "Too many requests, please try again later.".to_owned(),
                retry_after_s: 1,
                causes: Vec::new(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_limited_apart() {
        let places = InFlight::new(1, 1);
        let read = places.enter(Verb::Get).expect("is free");
        assert_eq!(places.enter(Verb::List).expect_err("is full").code(), 429);
        drop(places.enter(Verb::Create).expect("is free"));
        drop(read);
        drop(places.enter(Verb::Watch).expect("is free again"));
    }
}
