//! What no event says, read from the policies.

use portcullis::{
    Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit, Command, ConfigError, Explanation,
    LastGood, LastGoodConfig, Managed, Options, PanicGuard, PolicyKind, PolicySnapshot,
    RateLimitConfig, RateLimiter, RateLimiters, Registry, RetryConfig, RetryPolicy, TimeLimit,
    TimeoutConfig,
};
use tokio::time::advance;

use crate::{SECOND, book::Book, circuit_config};

#[tokio::test(start_paused = true)]
async fn a_sample_of_a_registry_sets_what_no_event_says() {
    let book = Book::default();
    let observer = book.observer();
    let registry = Registry::new();
    let circuit = Circuit::new(circuit_config().consecutive_failures(9)).unwrap();
    let bulkhead = Bulkhead::new(BulkheadConfig::new("pool", 7)).unwrap();
    let limit = || RateLimitConfig::per_second("api", 1).burst(5);
    let limiter = RateLimiter::new(limit()).unwrap();
    let clients: RateLimiters<u32> =
        RateLimiters::new(limit().name("clients"), 2, Options::new()).unwrap();
    let kept: LastGood<u32, u32> = LastGood::new(LastGoodConfig::new("stock", SECOND)).unwrap();
    let retry = RetryPolicy::new(RetryConfig::new("db")).unwrap();
    registry.add(&circuit).unwrap();
    registry.add(&bulkhead).unwrap();
    registry.add(&limiter).unwrap();
    registry.add(&clients).unwrap();
    registry.add(&kept).unwrap();
    registry.add(&retry).unwrap();
    registry.add(&TimeLimit::new(TimeoutConfig::new("db", SECOND)).unwrap()).unwrap();
    registry.add(&PanicGuard::new(CatchPanicConfig::new("db")).unwrap()).unwrap();

    circuit.try_acquire().unwrap().success();
    circuit.try_acquire().unwrap().success();
    circuit.try_acquire().unwrap().failure();
    let slow = circuit.try_acquire().unwrap();
    advance(2 * SECOND).await;
    slow.success();
    limiter.try_acquire_n(3).unwrap();
    for key in 0..2 {
        clients.try_acquire(&key).unwrap();
    }
    kept.put(1, 1);
    observer.sample(&registry);
    let sampled = [
        ("breaker.failure_rate{name=db}", 0.25),
        ("breaker.slow_call_rate{name=db}", 0.25),
        ("breaker.state{name=db,state=closed}", 1.0),
        ("breaker.window_calls{name=db}", 4.0),
        ("bulkhead.limit{name=pool}", 7.0),
        ("fallback.keys{name=stock}", 1.0),
        ("limiter.keys{name=clients}", 2.0),
        ("limiter.tokens{name=api}", 2.0),
        ("retry.budget_tokens{name=db}", retry.snapshot().budget.unwrap().tokens),
    ];
    let found = book.counted();
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(found, sampled);

    // Another time, other numbers; and a full bucket goes for a new key.
    bulkhead.resize(3).unwrap();
    circuit.force_open();
    advance(60 * SECOND).await;
    clients.try_acquire(&2).unwrap();
    observer.sample(&registry);
    assert_eq!(book.get("bulkhead.limit{name=pool}"), Some(3.0));
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), Some(0.0));
    assert_eq!(book.get("breaker.state{name=db,state=forced_open}"), Some(1.0));
    assert_eq!(book.get("breaker.failure_rate{name=db}"), Some(0.0), "the window is empty");
    assert_eq!(book.get("breaker.window_calls{name=db}"), Some(0.0));
    let gone = book.get("limiter.evictions{name=clients}").unwrap();
    assert!((1.0..=2.0).contains(&gone), "{gone}");
    assert_eq!(gone, clients.snapshot().forgotten as f64);
    assert_eq!(book.get("limiter.tokens{name=api}"), Some(5.0));
}

#[test]
fn what_events_keep_is_left_alone_by_a_sample() {
    let book = Book::default();
    let observer = book.observer();
    let options = Options::new().observer(observer.clone());
    let bulkhead = Bulkhead::with(BulkheadConfig::new("pool", 7), options).unwrap();
    let slot = bulkhead.try_acquire().unwrap();
    observer.sample_policy(&bulkhead);
    assert_eq!(book.get("bulkhead.in_flight{name=pool}"), Some(1.0));
    drop(slot);
    assert_eq!(book.get("bulkhead.in_flight{name=pool}"), Some(0.0));
}

/// A circuit that changes, and tells so, while its snapshot is on the way.
#[derive(Debug)]
struct Late(Circuit);

impl Managed for Late {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn kind(&self) -> PolicyKind {
        PolicyKind::CircuitBreaker
    }

    fn snapshot(&self) -> PolicySnapshot {
        let old = self.0.snapshot();
        self.0.force_open();
        PolicySnapshot::CircuitBreaker(old)
    }

    fn explain(&self) -> Explanation {
        self.0.explain()
    }

    fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.0.command(command);
        Ok(())
    }
}

#[test]
fn a_sample_that_is_overtaken_by_a_change_does_not_undo_it() {
    let book = Book::default();
    let observer = book.observer();
    let options = Options::new().observer(observer.clone());
    let late = Late(Circuit::with(circuit_config(), options).unwrap());
    observer.sample_policy(&late);
    assert_eq!(book.get("breaker.state{name=db,state=forced_open}"), Some(1.0));
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), Some(0.0));
}

/// The same name again, as after a configuration was loaded anew: its numbers begin anew as well.
#[test]
fn a_circuit_made_anew_under_its_name_is_shown_as_it_is() {
    let book = Book::default();
    let observer = book.observer();
    let options = || Options::new().observer(observer.clone());
    let old = Circuit::with(circuit_config(), options()).unwrap();
    for _ in 0..5 {
        old.force_open();
        old.close();
    }
    old.force_open();
    drop(old);
    let new = Circuit::with(circuit_config(), options()).unwrap();
    observer.sample_policy(&new);
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), Some(1.0));
    assert_eq!(book.get("breaker.state{name=db,state=forced_open}"), Some(0.0));
    new.open();
    assert_eq!(book.get("breaker.state{name=db,state=open}"), Some(1.0));
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), Some(0.0));
}
