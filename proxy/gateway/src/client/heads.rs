//! Sizes of the request heads that were read and are not served yet, in order.
//!
//! One head at a time is the plain path and takes two relaxed atomics; only pipelined heads reach the lock, which is a
//! connection's own.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// Filled by the adapter as heads complete, emptied as their requests begin. As long as what one read holds.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Bytes of the next head; 0 is none.
    next: AtomicU64,
    /// Length of `rest`.
    waiting: AtomicUsize,
    rest: Mutex<VecDeque<u64>>,
}

impl Heads {
    /// A head of so many bytes is complete.
    pub fn push(&self, bytes: u64) {
        if self.next.load(Relaxed) == 0 {
            self.next.store(bytes, Relaxed);
            return;
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.push_back(bytes);
        self.waiting.store(rest.len(), Relaxed);
    }

    /// Bytes of the head whose request begins.
    pub fn pop(&self) -> u64 {
        let mut following = 0;
        if self.waiting.load(Relaxed) > 0 {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            following = rest.pop_front().unwrap_or(0);
            self.waiting.store(rest.len(), Relaxed);
        }
        let bytes = self.next.load(Relaxed);
        self.next.store(following, Relaxed);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_gets_its_own_size() {
        let heads = Heads::default();
        for round in 1..4 {
            let sizes: Vec<u64> = (1..=round).map(|n| n * 10).collect();
            sizes.iter().for_each(|size| heads.push(*size));
            let popped: Vec<u64> = sizes.iter().map(|_| heads.pop()).collect();
            assert_eq!(popped, sizes);
            assert_eq!(heads.pop(), 0);
        }
        heads.push(1);
        heads.push(2);
        assert_eq!(heads.pop(), 1);
        heads.push(3);
        assert_eq!((heads.pop(), heads.pop()), (2, 3));
    }
}
