//! The one place that reads the clock.

use jiff::Timestamp;

/// Now, in whole seconds: what the API stores. Finer times would make every status look changed once it is read back.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
