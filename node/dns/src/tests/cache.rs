//! The cache beside a list that is searched from end to end.

use crate::{Cache, Capacity};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

proptest! {
    #[test]
    fn it_holds_nothing_that_was_not_put_nothing_too_old_and_never_too_much(
        steps in proptest::collection::vec((any::<bool>(), 0u8..20, 0usize..60, 0u64..5, 0u64..3), 0..200)
    ) {
        let capacity = Capacity { entries: 8, bytes: 100 };
        let mut cache = Cache::new(capacity);
        let mut last: HashMap<u8, (usize, Duration, Duration)> = HashMap::new();
        let mut now = Duration::ZERO;
        for (at, (puts, key, bytes, time, passes)) in steps.into_iter().enumerate() {
            now += Duration::from_secs(passes);
            if puts {
                let time = Duration::from_secs(time);
                cache.put(key, at, bytes, time, now);
                last.insert(key, (at, now, now + time));
            } else if let Some(kept) = cache.get(&key, now) {
                let (value, put, expires) = last[&key];
                prop_assert_eq!(kept.value, value);
                prop_assert_eq!(kept.age, now - put);
                prop_assert!(expires > now);
            }
            prop_assert!(cache.len() <= capacity.entries);
        }
    }

    #[test]
    fn what_is_asked_for_stays(others in proptest::collection::vec(1u8..200, 0..300)) {
        let mut cache = Cache::new(Capacity { entries: 10, bytes: 1000 });
        let now = Duration::ZERO;
        cache.put(0, 0, 1, Duration::from_secs(9), now);
        for other in others {
            cache.put(other, other, 1, Duration::from_secs(9), now);
            prop_assert_eq!(cache.get(&0, now).map(|kept| kept.value), Some(0));
        }
    }
}

#[test]
fn weight_counts() {
    let mut cache = Cache::new(Capacity {
        entries: 100,
        bytes: 100,
    });
    let now = Duration::ZERO;
    for key in 0..20 {
        cache.put(key, key, 30, Duration::from_secs(9), now);
    }
    assert!(cache.len() <= 3, "{}", cache.len());
    cache.put(99, 99, 51, Duration::from_secs(9), now);
    assert!(cache.get(&99, now).is_none(), "larger than a generation");
}
