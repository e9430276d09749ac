//! What operators see and change.

use std::time::Duration;

use portcullis::{
    AtCap, Cause, Command, Event, KeyedRateLimitLayer, Keys, Options, PolicyKind, PolicySnapshot,
    RateLimitConfig, RateLimiters, Reason, Registry,
};
use tokio::time::advance;

use crate::{ADMITTED, MS, SECOND, config, limiters, observed, refused};

#[tokio::test(start_paused = true)]
async fn a_key_and_the_table_are_explained() {
    let limiters = limiters(2);
    assert_eq!(
        limiters.explain().to_string(),
        "clients is enforcing and admits calls: 0 of 2 keys in use"
    );
    limiters.try_acquire(&1).expect("full");
    assert_eq!(
        limiters.explain_key(&1).to_string(),
        "clients is enforcing and admits calls: 1 of 2 tokens left"
    );
    limiters.try_acquire(&1).expect("one is left");
    let why = limiters.explain_key(&1);
    assert_eq!((why.cause, why.until), (Cause::Tokens { available: 0, burst: 2 }, Some(100 * MS)));
    assert_eq!(
        why.to_string(),
        "clients is enforcing and refuses calls: 0 of 2 tokens left; this changes in 100ms"
    );
    advance(why.until.expect("known")).await;
    assert!(limiters.explain_key(&1).admits && limiters.try_acquire(&1).is_ok());
    // At the bound the table is what the shared bucket is.
    limiters.try_acquire(&2).expect("full");
    assert_eq!(limiters.explain().cause, Cause::Tokens { available: 2, burst: 2 });
    limiters.try_acquire_n(&3, 2).expect("shared");
    let why = limiters.explain();
    assert_eq!((why.admits, why.until), (false, Some(100 * MS)));
    assert_eq!(limiters.explain_key(&3), why);
    assert!(limiters.explain_key(&2).admits);
}

#[tokio::test(start_paused = true)]
async fn the_bound_is_explained_where_nothing_is_shared() {
    for (at_cap, admits) in [(AtCap::Refuse, false), (AtCap::Admit, true)] {
        let limiters = limiters(Keys::at_most(1).or(at_cap));
        limiters.try_acquire(&1).expect("full");
        let why = limiters.explain();
        assert_eq!(
            (why.admits, why.would_admit, why.cause),
            (admits, admits, Cause::Keys { observed: 1, limit: 1 })
        );
        assert_eq!(limiters.explain_key(&2).admits, admits);
        assert_eq!(limiters.try_acquire(&2).is_ok(), admits);
    }
}

/// Full buckets make room for whoever comes, and that is what is said.
#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_new_key_at_the_bound_comes_true() {
    for at_cap in [AtCap::Refuse, AtCap::ShareOverflow] {
        for most in [1, 5, 100] {
            let limiters = limiters(Keys::at_most(most).or(at_cap));
            let mut key = 0;
            for step in 0..600 {
                key += 1;
                let (all, one) = (limiters.explain(), limiters.explain_key(&key));
                let level = limiters.level(&key);
                let refusal = limiters.try_acquire_n(&key, u64::from(1 + key % 2)).err();
                if refusal.is_none_or(|refusal| refusal.reason() == Reason::KeysFull) {
                    assert_eq!(one.admits, refusal.is_none(), "{most} {at_cap:?} {step}");
                    assert_eq!(all.admits, refusal.is_none(), "{most} {at_cap:?} {step}");
                }
                if let Some(refusal) = refusal.filter(|r| r.reason() == Reason::KeysFull) {
                    assert_eq!(level.next_after, refusal.retry_after());
                    assert_eq!(one.until, refusal.retry_after());
                }
                advance(u32::from(step % 3 == 0) * MS * (key % 40)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_shadow_everything_is_decided_and_nothing_refused() {
    let (limiters, told) = observed(Keys::at_most(1).or(AtCap::Refuse));
    limiters.shadow();
    let would =
        |reason| Event::WouldReject { policy: "clients", kind: PolicyKind::RateLimit, reason };
    limiters.try_acquire_n(&1, 2).expect("full");
    assert_eq!(told.take(), [ADMITTED]);
    for _ in 0..3 {
        limiters.try_acquire(&1).expect("in shadow");
        assert_eq!(told.take(), [would(Reason::RateLimited), ADMITTED]);
    }
    limiters.try_acquire_n(&1, 9).expect("in shadow");
    limiters.try_acquire(&2).expect("in shadow");
    assert_eq!(
        told.take(),
        [would(Reason::OverBurst), ADMITTED, would(Reason::KeysFull), ADMITTED]
    );
    // What would have been refused took nothing.
    assert_eq!((limiters.reset_after(&1), limiters.snapshot().refused), (Some(200 * MS), 0));
    let why = limiters.explain_key(&1);
    assert_eq!((why.state, why.shadow, why.admits, why.would_admit), ("shadow", true, true, false));
    limiters.enable();
    refused(limiters.try_acquire(&1), Reason::RateLimited, Some(100 * MS));
    assert_eq!(limiters.snapshot().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn disabled_it_counts_nothing_and_reset_forgets_every_key() {
    let (limiters, told) = observed(1);
    limiters.try_acquire_n(&1, 2).expect("full");
    limiters.try_acquire_n(&2, 2).expect("shared");
    told.take();
    limiters.disable();
    for key in 1..100 {
        limiters.try_acquire_n(&key, u64::MAX).expect("disabled");
    }
    assert_eq!((told.take(), limiters.len()), (vec![], 1));
    let why = limiters.explain();
    assert_eq!((why.state, why.cause), ("disabled", Cause::Command(Command::Disable)));
    assert!(why.admits && limiters.explain_key(&1).would_admit);
    limiters.enable();
    assert_eq!((limiters.remaining(&1), limiters.remaining(&2)), (0, 0));
    limiters.reset();
    assert_eq!(
        (limiters.len(), limiters.remaining(&1), limiters.snapshot().shared.remaining),
        (0, 2, 2)
    );
    limiters.try_acquire_n(&2, 2).expect("there is room");
    limiters.try_acquire_n(&1, 2).expect("the shared bucket is full again");
}

#[tokio::test(start_paused = true)]
async fn a_registry_lists_and_commands_them() {
    let registry = Registry::new();
    let limiters = limiters(4);
    registry.add(&limiters).expect("the first of its name");
    assert_eq!(registry.names(), [("clients", PolicyKind::RateLimit)]);
    limiters.try_acquire(&1).expect("full");
    let [(_, PolicySnapshot::KeyedRateLimit(seen))] = registry.snapshot()[..] else {
        panic!("one table of limiters")
    };
    assert_eq!((seen.keys, seen), (1, limiters.snapshot()));
    assert_eq!(registry.explain(), [limiters.explain()]);
    registry.command("clients", Command::Shadow).expect("known");
    assert_eq!(limiters.mode(), portcullis::Mode::Shadow);
    registry.command("clients", Command::Reset).expect("known");
    assert!(limiters.is_empty());
    let unknown = registry.command("clients", Command::Open).expect_err("for circuits");
    assert_eq!(unknown.field(), "command");
    let back: RateLimiters<u32> = registry.get("clients").expect("registered");
    back.enable();
    assert_eq!(limiters.mode(), portcullis::Mode::Enforce);
    assert!(registry.get::<RateLimiters<String>>("clients").is_none());
    assert_eq!(format!("{limiters:?}"), "RateLimiters { name: \"clients\", len: 0 }");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_rate_keeps_every_keys_tokens() {
    for max_keys in [10, 2_000] {
        let limiters = limiters(max_keys);
        limiters.reconfigure(config().burst(10)).expect("valid");
        limiters.try_acquire_n(&1, 7).expect("full");
        limiters.try_acquire_n(&2, 10).expect("full");
        limiters.reconfigure(RateLimitConfig::per_second("clients", 1).burst(4)).expect("valid");
        let remaining = || [1, 2, 3].map(|key| limiters.remaining(&key));
        assert_eq!(remaining(), [3, 0, 4]);
        refused(limiters.try_acquire(&2), Reason::RateLimited, Some(SECOND));
        // More than the new burst is gone; what is full stays full; the rest keeps what it has.
        limiters.reconfigure(config().burst(20)).expect("valid");
        assert_eq!(remaining(), [3, 0, 20]);
        refused(limiters.try_acquire_n(&1, 4), Reason::RateLimited, Some(100 * MS));
        advance(100 * MS).await;
        assert_eq!(remaining(), [4, 1, 20]);
        assert_eq!(limiters.config(), config().burst(20));
    }
}

/// Whether a full bucket has been dropped cannot be seen: it is as one that is new, through any change.
#[tokio::test(start_paused = true)]
async fn a_full_bucket_that_is_still_kept_is_as_one_that_is_gone() {
    let limiters = limiters(10);
    limiters.try_acquire(&1).expect("full");
    advance(100 * MS).await;
    limiters.reconfigure(config().burst(50)).expect("valid");
    assert_eq!((limiters.len(), limiters.remaining(&1), limiters.remaining(&2)), (1, 50, 50));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_rate_reaches_the_shared_bucket() {
    let limiters = limiters(1);
    limiters.try_acquire(&1).expect("full");
    limiters.try_acquire_n(&2, 2).expect("shared");
    limiters.reconfigure(RateLimitConfig::per_second("clients", 1).burst(2)).expect("valid");
    refused(limiters.try_acquire(&3), Reason::RateLimited, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_work_changes_nothing() {
    let limiters = limiters(10);
    limiters.try_acquire(&1).expect("full");
    let refused = limiters.reconfigure(RateLimitConfig::new("clients", 1, Duration::ZERO));
    assert_eq!(refused.expect_err("no period").field(), "per");
    let refused = limiters.reconfigure(config().name("tenants")).expect_err("another name");
    assert_eq!(
        refused.to_string(),
        "`name` = tenants: these limiters keep their name, which is `clients`"
    );
    assert_eq!((limiters.config(), limiters.remaining(&1)), (config(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_number_of_keys_that_cannot_work_is_named() {
    const MOST: usize = 1 << 24;
    for (max_keys, value) in
        [(0, "0"), (MOST + 1, "16777217"), (usize::MAX, "18446744073709551615")]
    {
        let direct = RateLimiters::<u32>::new(config(), max_keys, Options::new()).unwrap_err();
        let layer = KeyedRateLimitLayer::new(config(), max_keys, |key: &u32| *key).unwrap_err();
        for error in [direct, layer] {
            assert_eq!((error.field(), error.value()), ("max_keys", value));
            assert_eq!(error.why(), "must be in 1..=16777216");
        }
    }
    for max_keys in [1, MOST] {
        let limiters = RateLimiters::<u32>::new(config(), max_keys, Options::new()).expect("valid");
        assert_eq!(limiters.keys(), Keys::at_most(max_keys));
        assert_eq!(limiters.snapshot().bytes, 0, "nothing is taken beforehand");
    }
}

#[tokio::test(start_paused = true)]
async fn extreme_numbers_admit_refuse_or_are_named() {
    let numbers = [0, 1, 2, 1_000, 1 << 20, (1 << 20) + 1, 1 << 57, u64::MAX - 1, u64::MAX];
    let times = [Duration::ZERO, Duration::from_nanos(1), SECOND, Duration::MAX];
    for permits in numbers {
        for per in times {
            for burst in numbers {
                let config = RateLimitConfig::new("clients", permits, per).burst(burst);
                let Ok(limiters) = RateLimiters::new(config.clone(), 2, Options::new()) else {
                    assert!(config.validate().is_err());
                    continue;
                };
                for n in numbers {
                    for key in 0..4_u32 {
                        let fits = n <= burst;
                        let verdict = limiters.try_acquire_n(&key, n);
                        assert!(fits || verdict.is_err_and(|r| r.reason() == Reason::OverBurst));
                    }
                    advance(MS).await;
                    limiters.level(&0);
                    limiters.explain();
                }
                limiters.reconfigure(config.burst(1)).expect("less is valid");
                assert!(limiters.remaining(&0) <= 1);
                limiters.shrink();
            }
        }
    }
}
