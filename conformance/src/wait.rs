//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// Asks `condition` until it is `Ok`; returns how long that took.
///
/// # Panics
/// With the last error when `deadline` passes first.
#[track_caller]
pub fn eventually(deadline: Duration, condition: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    eventually_some(deadline, condition);
    start.elapsed()
}

/// Asks `look` until it is `Ok` and returns what it found.
///
/// # Panics
/// With the last error when `deadline` passes first.
#[track_caller]
pub fn eventually_some<T>(deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) if start.elapsed() >= deadline => {
                panic!("not within {deadline:?}: {reason}")
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Between two looks: short against every promise that is measured, long against the cost of a curl.
const POLL: Duration = Duration::from_millis(20);
