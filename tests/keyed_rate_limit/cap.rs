//! What happens at the bound.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use portcullis::{AtCap, Event, Keys, Options, RateLimiters, Reason};
use tokio::time::advance;

use crate::{ADMITTED, MS, SECOND, UNTRACKED, config, limiters, observed, refused};

#[tokio::test(start_paused = true)]
async fn further_keys_share_one_bucket_by_default() {
    let (limiters, told) = observed(2);
    for key in [1, 2] {
        limiters.try_acquire(&key).expect("full");
    }
    told.take();
    // One client's burst for all of them, and one client's rate.
    limiters.try_acquire(&3).expect("the shared bucket is full");
    limiters.try_acquire(&4).expect("one is left");
    assert_eq!(told.take(), [UNTRACKED, ADMITTED, UNTRACKED, ADMITTED]);
    let rejection = limiters.try_acquire(&5).expect_err("shared and empty");
    assert_eq!(told.take(), [Event::Rejected(rejection)]);
    refused(Err(rejection), Reason::RateLimited, Some(100 * MS));
    // A key that is known does not notice.
    limiters.try_acquire(&1).expect("one is left of its own");
    assert_eq!((limiters.len(), limiters.remaining(&1), limiters.remaining(&5)), (2, 0, 0));
    assert_eq!(limiters.reset_after(&5), Some(200 * MS));
    let seen = limiters.snapshot();
    assert_eq!((seen.keys, seen.max_keys, seen.untracked, seen.refused), (2, 2, 2, 1));
    assert_eq!((seen.shared.remaining, seen.shared.reset_after), (0, Some(200 * MS)));
}

#[tokio::test(start_paused = true)]
async fn further_keys_are_refused_where_that_is_asked_for() {
    let (limiters, told) = observed(Keys::at_most(2).or(AtCap::Refuse));
    limiters.try_acquire_n(&1, 2).expect("full");
    advance(30 * MS).await;
    limiters.try_acquire(&2).expect("full");
    told.take();
    let rejection = limiters.try_acquire(&3).expect_err("no room");
    // The second is full first, 100 ms after it was used.
    refused(Err(rejection), Reason::KeysFull, Some(100 * MS));
    assert_eq!(told.take(), [Event::Rejected(rejection)]);
    assert_eq!(
        rejection.to_string(),
        "clients: the policy holds as many keys as it may; retry after 100ms"
    );
    // Neither a refusal nor a call for nothing takes anything.
    limiters.try_acquire_n(&3, 0).expect("nothing");
    refused(limiters.try_acquire_n(&3, 3), Reason::OverBurst, None);
    assert_eq!((limiters.remaining(&3), limiters.reset_after(&3)), (0, None));
    advance(99 * MS).await;
    refused(limiters.try_acquire(&3), Reason::KeysFull, Some(MS));
    advance(MS).await;
    limiters.try_acquire(&3).expect("as was said");
    assert_eq!((limiters.len(), limiters.remaining(&2), limiters.remaining(&1)), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn further_keys_are_admitted_where_that_is_asked_for() {
    let (limiters, told) = observed(Keys::at_most(1).or(AtCap::Admit));
    limiters.try_acquire(&1).expect("full");
    told.take();
    for key in 2..100 {
        limiters.try_acquire_n(&key, 2).expect("untracked");
        assert_eq!(told.take(), [UNTRACKED, ADMITTED]);
    }
    refused(limiters.try_acquire_n(&2, 3), Reason::OverBurst, None);
    assert_eq!((limiters.len(), limiters.remaining(&1), limiters.remaining(&7)), (1, 1, 2));
    assert_eq!(limiters.snapshot().untracked, 98);
}

#[tokio::test(start_paused = true)]
async fn a_full_bucket_makes_room_and_nobody_is_told() {
    for max_keys in [1, 2, 300] {
        let (limiters, told) = observed(max_keys);
        let mut key = 0;
        for _ in 0..20 {
            for _ in 0..max_keys {
                key += 1;
                limiters.try_acquire(&key).expect("there is room");
            }
            assert_eq!(limiters.len(), max_keys);
            // In a table of several parts, the one of a new key may happen to have none that is full:
            // every other is there, and full within a token's time.
            advance(100 * MS).await;
            if max_keys > 2 {
                limiters.shrink();
                assert!(limiters.is_empty());
            }
        }
        assert!(told.take().iter().all(|event| *event == ADMITTED), "lossless and silent");
        assert_eq!(limiters.snapshot().untracked, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_not_full_is_never_dropped() {
    for max_keys in [8, 300] {
        let limiters = limiters(max_keys);
        for key in 0..max_keys as u32 {
            limiters.try_acquire_n(&key, 2).expect("full");
        }
        // They lack a nanosecond of being full while a flood comes by.
        advance(200 * MS - Duration::from_nanos(1)).await;
        for key in 1_000..100_000 {
            let _ = limiters.try_acquire(&key);
        }
        assert_eq!(limiters.len(), max_keys);
        for key in 0..max_keys as u32 {
            assert_eq!(limiters.remaining(&key), 1, "key {key} of {max_keys}");
        }
        limiters.shrink();
        assert_eq!(limiters.len(), max_keys);
        advance(Duration::from_nanos(1)).await;
        limiters.shrink();
        assert!(limiters.is_empty());
    }
}

/// While there is room a client that comes back within seconds finds its key, though its bucket was full.
#[tokio::test(start_paused = true)]
async fn a_full_bucket_stays_for_a_while_where_there_is_room() {
    let limiters = limiters(100_000);
    for key in 0..1_000 {
        limiters.try_acquire(&key).expect("full");
    }
    advance(SECOND).await;
    for key in 1_000..2_000 {
        limiters.try_acquire(&key).expect("full");
    }
    assert_eq!(limiters.len(), 2_000);
    // One that stays away is dropped as others come.
    advance(20 * SECOND).await;
    for key in 10_000..40_000 {
        limiters.try_acquire(&key).expect("full");
    }
    assert!((30_000..30_500).contains(&limiters.len()), "{} keys", limiters.len());
}

#[tokio::test(start_paused = true)]
async fn the_bound_is_exact_however_keys_fall() {
    for max_keys in [1, 2, 15, 255, 256, 300, 1_000, 5_000] {
        let limiters = limiters(Keys::at_most(max_keys).or(AtCap::Refuse));
        for key in 0..max_keys as u32 {
            assert_eq!(limiters.try_acquire(&key), Ok(()), "key {key} of {max_keys}");
        }
        for key in 0..1_000 {
            assert!(limiters.try_acquire(&(1_000_000 + key)).is_err());
        }
        assert_eq!(limiters.len(), max_keys);
        assert!((0..max_keys as u32).all(|key| limiters.remaining(&key) == 1));
    }
}

/// The memory of a table, as it says itself, is that of its busiest hour and not of its traffic; it comes
/// back as keys come, or at once.
#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_comes_back() {
    let limiters = limiters(20_000);
    let mut most = 0;
    for round in 0..30_u32 {
        for key in 0..20_000 {
            let _ = limiters.try_acquire(&(round * 7_919 + key));
        }
        advance(150 * MS).await;
        most = most.max(limiters.snapshot().bytes);
    }
    // 16 parts of 2048 places; a place is a key, a time and a byte.
    assert_eq!(most, 16 * (2_048 * 17 + 16));
    // Fifty new keys a second, each of which is kept for ten.
    for key in 0..40_000_u32 {
        advance(20 * MS).await;
        limiters.try_acquire(&(1_000_000 + key)).expect("full");
    }
    assert!(limiters.snapshot().bytes < most / 8, "{} bytes", limiters.snapshot().bytes);
    limiters.shrink();
    assert!(limiters.snapshot().bytes < most / 64, "{} bytes", limiters.snapshot().bytes);
    limiters.reset();
    assert_eq!((limiters.snapshot().bytes, limiters.len()), (0, 0));
}

/// Keys whose hashes are all the same, which no random seed parts: they fill one part of the table, and the
/// memory of the others is not theirs.
#[tokio::test(start_paused = true)]
async fn keys_that_all_fall_into_one_part_get_no_more_than_that_part() {
    #[derive(Clone, PartialEq, Eq)]
    struct Same(u32);
    impl Hash for Same {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }
    let limiters = RateLimiters::new(config(), 1_000, Options::new()).expect("a valid config");
    let mut own = 0;
    for key in 0..200 {
        own += u32::from(limiters.try_acquire(&Same(key)).is_ok());
    }
    // 63 of a thousand keys, five times the root of that and five more; and the shared bucket's burst.
    assert_eq!((own, limiters.len()), (103 + 2, 103));
    assert_eq!(limiters.snapshot().bytes, 128 * 17 + 16);
    assert_eq!((limiters.remaining(&Same(1)), limiters.remaining(&Same(199))), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_rate_makes_room_where_it_fills_buckets() {
    let slow = || config().name("clients").burst(1_000);
    let keys = Keys::at_most(1).or(AtCap::Refuse);
    let limiters = RateLimiters::new(slow(), keys, Options::new()).expect("a valid config");
    limiters.try_acquire_n(&1_u32, 1_000).expect("full");
    refused(limiters.try_acquire(&2), Reason::KeysFull, Some(100 * SECOND));
    limiters.reconfigure(config()).expect("valid");
    refused(limiters.try_acquire(&2), Reason::KeysFull, Some(200 * MS));
    advance(200 * MS).await;
    assert_eq!(limiters.try_acquire(&2), Ok(()));
}

/// How long a full bucket stays goes by the rate in force.
#[tokio::test(start_paused = true)]
async fn a_change_of_rate_changes_how_long_a_full_bucket_stays() {
    let slow = config().burst(1_000_000);
    let limiters = RateLimiters::new(slow, 100_000, Options::new()).expect("a valid config");
    limiters.reconfigure(config()).expect("valid");
    for key in 0..1_000_u32 {
        limiters.try_acquire(&key).expect("full");
    }
    advance(20 * SECOND).await;
    for key in 10_000..40_000 {
        limiters.try_acquire(&key).expect("full");
    }
    assert!((30_000..30_500).contains(&limiters.len()), "{} keys", limiters.len());
}

/// Whoever removes its keys itself leaves no large table behind either.
#[tokio::test(start_paused = true)]
async fn a_table_whose_keys_are_removed_gives_its_memory_back() {
    let limiters = limiters(20_000);
    for key in 0..20_000 {
        limiters.try_acquire(&key).expect("there is room");
    }
    let most = limiters.snapshot().bytes;
    for key in 0..20_000 {
        assert!(limiters.remove(&key));
    }
    assert_eq!((limiters.len(), limiters.snapshot().bytes), (0, most));
    advance(20 * SECOND).await;
    for key in 0..100_000 {
        limiters.try_acquire(&key).expect("full");
        assert!(limiters.remove(&key));
    }
    assert!(limiters.snapshot().bytes < most / 64, "{} bytes", limiters.snapshot().bytes);
}
