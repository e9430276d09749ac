//! Keys and closures whose own code panics or does what it should not.

use std::{
    borrow::Borrow,
    cell::Cell,
    future::ready,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use portcullis::{AtCap, Error, KeyedRateLimitLayer, Keys, Options, RateLimiters};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{MS, config, support::panic_of};

thread_local! {
    /// Which of a key's own functions panics on this thread, and after how many calls of it.
    static PANIC_IN: Cell<(&'static str, u32)> = const { Cell::new(("", 0)) };
}

fn may_panic(place: &'static str) {
    PANIC_IN.with(|next| match next.get() {
        (panics, 0) if panics == place => {
            next.set(("", 0));
            panic!("in {place}");
        }
        (panics, left) if panics == place => next.set((panics, left - 1)),
        _ => {}
    });
}

#[derive(Debug)]
struct Touchy(u32);

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        may_panic("hash");
        self.0.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        may_panic("eq");
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        may_panic("clone");
        Self(self.0)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            may_panic("drop");
        }
    }
}

fn touchy(keys: impl Into<Keys>) -> RateLimiters<Touchy> {
    RateLimiters::new(config(), keys, Options::new()).expect("a valid config")
}

fn remaining(limiters: &RateLimiters<Touchy>, keys: u32) -> Vec<u64> {
    (0..keys).map(|key| limiters.remaining(&Touchy(key))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_keys_own_code_takes_and_loses_nothing() {
    for place in ["hash", "eq", "clone"] {
        let limiters = touchy(5);
        for key in 0..3 {
            limiters.try_acquire(&Touchy(key)).expect("full");
        }
        // Comparing needs a key that is known, copying one that is not.
        let key = if place == "clone" { 4 } else { 1 };
        PANIC_IN.set((place, 0));
        assert_eq!(panic_of(|| limiters.try_acquire(&Touchy(key))), format!("in {place}"));
        assert_eq!((limiters.len(), remaining(&limiters, 4)), (3, vec![1, 1, 1, 2]), "{place}");
        // All five places are still there.
        for key in 3..5 {
            limiters.try_acquire(&Touchy(key)).expect("there is room");
        }
        assert_eq!((limiters.len(), remaining(&limiters, 5)), (5, vec![1; 5]), "{place}");
    }
}

/// The table hashes all its keys when it is laid out anew. Whichever of them panics, all are kept.
#[tokio::test(start_paused = true)]
async fn a_panic_while_the_table_grows_loses_nothing() {
    for after in 0..40 {
        let limiters = touchy(200);
        let mut panicked = 0;
        for key in 0..100 {
            PANIC_IN.set(("hash", 1 + after));
            let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                limiters.try_acquire(&Touchy(key))
            }));
            PANIC_IN.set(("", 0));
            if taken.is_err() {
                panicked += 1;
                limiters.try_acquire(&Touchy(key)).expect("full, and there is room");
            }
        }
        assert_eq!((limiters.len(), remaining(&limiters, 100)), (100, vec![1; 100]));
        assert!(panicked > 0 || after > 10, "no panic after {after} hashes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_key_that_goes_loses_nothing_but_the_call() {
    let limiters = touchy(2);
    for key in 0..2 {
        limiters.try_acquire(&Touchy(key)).expect("full");
    }
    advance(100 * MS).await;
    let third = Touchy(3);
    PANIC_IN.set(("drop", 0));
    assert_eq!(panic_of(|| limiters.try_acquire(&third)), "in drop");
    assert!(limiters.len() <= 2);
    for key in 4..6 {
        limiters.try_acquire(&Touchy(key)).expect("there is room");
    }
    assert_eq!(limiters.len(), 2);
}

/// A key that looks at its table when it goes.
#[derive(Clone)]
struct Nosy(u32, Arc<OnceLock<RateLimiters<Self>>>, Arc<AtomicUsize>);

impl Hash for Nosy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Nosy {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Nosy {}

impl Borrow<u32> for Nosy {
    fn borrow(&self) -> &u32 {
        &self.0
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(table) = self.1.get() {
            table.remaining(&self.0);
            self.2.fetch_add(table.len(), SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_dropped_outside_the_lock() {
    let (table, seen) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let limiters = RateLimiters::new(config(), 2, Options::new()).expect("a valid config");
    assert!(table.set(limiters.clone()).is_ok());
    let ask = |key| limiters.try_acquire(&Nosy(key, Arc::clone(&table), Arc::clone(&seen)));
    for key in 0..2 {
        ask(key).expect("full");
    }
    advance(100 * MS).await;
    // One goes for another, one is removed, one shrunk away, and the rest reset: none deadlocks.
    ask(2).expect("there is room");
    assert!(limiters.remove(&2));
    ask(3).expect("there is room");
    advance(100 * MS).await;
    limiters.shrink();
    ask(4).expect("there is room");
    limiters.reset();
    assert!(limiters.is_empty() && seen.load(SeqCst) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_closure_takes_nothing_and_the_next_call_works() {
    let key = |ask: &(u32, u64)| {
        assert_ne!(ask.0, 13, "in key");
        ask.0
    };
    let cost = |ask: &(u32, u64)| {
        assert_ne!(ask.1, 13, "in cost");
        ask.1
    };
    let keys = Keys::at_most(1).or(AtCap::Refuse);
    let layer = KeyedRateLimitLayer::new(config(), keys, key).expect("a valid config").cost(cost);
    let mut service = layer.layer(service_fn(|_: (u32, u64)| ready(Ok::<_, Error<()>>(()))));
    for (ask, place) in [((13, 1), "in key"), ((1, 13), "in cost")] {
        service.ready().await.expect("ready");
        let text = panic_of(|| drop(service.call(ask)));
        assert!(text.contains(place), "{text}");
        assert!(layer.limiters().is_empty());
    }
    assert_eq!(service.ready().await.unwrap().call((1, 2)).await, Ok(()));
    assert_eq!(layer.limiters().remaining(&1), 0);
}
