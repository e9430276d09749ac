//! The tests, as they would stand in the shop's own repository.
//!
//! There, each begins with `#[tokio::test(start_paused = true)]`: tokio's clock then stands still, goes on
//! by `advance`, and jumps to the next timer whenever everybody waits. The library reads that clock.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU8, AtomicU32, Ordering::SeqCst},
};

use portcullis::{Command, Error, Event, Options, Reason, Rejection, State};
use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt, service_fn};

use crate::shop::{AT_ONCE, ATTEMPT, Guards, PATIENCE, StockError, Unreachable, page};

/// A warehouse that does what a test says.
#[derive(Clone, Default)]
struct Warehouse {
    mood: Arc<AtomicU8>,
    asked: Arc<AtomicU32>,
}

const WELL: u8 = 0;
const DOWN: u8 = 1;
const SILENT: u8 = 2;

impl Warehouse {
    fn is(&self, mood: u8) {
        self.mood.store(mood, SeqCst);
    }

    /// How many requests came through to it.
    fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }

    fn service(
        &self,
    ) -> impl Service<u32, Response = u64, Error = Unreachable, Future: Send> + Clone + use<> {
        let warehouse = self.clone();
        service_fn(move |_item: u32| {
            warehouse.asked.fetch_add(1, SeqCst);
            let mood = warehouse.mood.load(SeqCst);
            async move {
                match mood {
                    WELL => Ok(42),
                    DOWN => Err(Unreachable),
                    _ => std::future::pending().await,
                }
            }
        })
    }
}

/// The refusal that a call got, or a test that fails here.
#[track_caller]
fn refused(answer: Result<u64, StockError>) -> Rejection {
    match answer {
        Err(Error::Rejected(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn an_outage_opens_the_circuit_and_its_end_closes_it() {
    let (guards, warehouse) = (Guards::new(&Options::new()).unwrap(), Warehouse::default());
    let stock = guards.around(warehouse.service());

    warehouse.is(DOWN);
    for item in 0..4 {
        assert!(stock.clone().oneshot(item).await.is_err());
    }
    assert_eq!(guards.circuit.state(), State::Open);
    assert_eq!(warehouse.asked(), 10, "the tenth failure opens the circuit, in the fourth call");

    // From here on nobody waits and nobody asks.
    let before = Instant::now();
    let refusal = refused(stock.clone().oneshot(7).await);
    assert_eq!(refusal.reason(), Reason::CircuitOpen);
    assert_eq!((before.elapsed().as_nanos(), warehouse.asked()), (0, 10));

    // The wait has jitter. The refusal says how long it is, so that a test need not know.
    warehouse.is(WELL);
    advance(refusal.retry_after().unwrap()).await;
    for _probe in 0..3 {
        assert_eq!(stock.clone().oneshot(7).await, Ok(42));
    }
    assert_eq!(guards.circuit.state(), State::Closed);
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn a_customer_never_waits_longer_than_their_patience() {
    let (guards, warehouse) = (Guards::new(&Options::new()).unwrap(), Warehouse::default());
    let stock = guards.around(warehouse.service());

    // It answers nothing at all. Whoever waits for it does so in virtual time: this test takes none.
    warehouse.is(SILENT);
    let begun = Instant::now();
    let refusal = refused(stock.clone().oneshot(7).await);
    assert_eq!(refusal.reason(), Reason::Timeout);
    assert!(refusal.attempted(), "the warehouse may have seen the request");
    assert!(warehouse.asked() > 1, "it was asked again");
    assert!(begun.elapsed() > ATTEMPT, "after more than one attempt");
    assert!(begun.elapsed() <= PATIENCE, "but it was over when the customer's patience was");
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn a_full_bulkhead_refuses_without_asking() {
    let (guards, warehouse) = (Guards::new(&Options::new()).unwrap(), Warehouse::default());
    let stock = guards.around(warehouse.service());

    // Permits taken by hand fill it: no call has to hang for that.
    let busy: Vec<_> = (0..AT_ONCE).map(|_| guards.bulkhead.try_acquire().unwrap()).collect();
    let refusal = refused(stock.clone().oneshot(7).await);
    assert_eq!((refusal.reason(), refusal.attempted()), (Reason::BulkheadFull, false));
    assert_eq!(warehouse.asked(), 0);

    drop(busy);
    assert_eq!(stock.clone().oneshot(7).await, Ok(42));
    assert_eq!(guards.bulkhead.in_flight(), 0, "a call that has ended holds no place");
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn a_page_says_so_when_the_warehouse_is_switched_off() {
    let (guards, warehouse) = (Guards::new(&Options::new()).unwrap(), Warehouse::default());
    let stock = guards.around(warehouse.service());
    assert_eq!(page(stock.clone(), 7).await, "42 in stock");

    // As an operator does it, by name; among the policies of that name only a circuit knows the command.
    guards.registry.command("stock", Command::ForceOpen).unwrap();
    assert_eq!(page(stock.clone(), 7).await, "stock unknown");

    // Any state can be had without a fault to inject.
    guards.circuit.open_for(PATIENCE);
    assert_eq!(page(stock.clone(), 7).await, "stock unknown, look again in 3 s");
    guards.circuit.half_open();
    assert_eq!(page(stock.clone(), 7).await, "42 in stock");
    assert_eq!(guards.circuit.state(), State::HalfOpen, "two more probes would close it");
    assert_eq!(warehouse.asked(), 2);
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn an_observer_hears_the_whole_story() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let options = Options::new().observer(move |event: &Event| {
        ear.lock().unwrap_or_else(PoisonError::into_inner).push(*event);
    });
    let (guards, warehouse) = (Guards::new(&options).unwrap(), Warehouse::default());
    let stock = guards.around(warehouse.service());

    warehouse.is(DOWN);
    for item in 0..5 {
        assert!(stock.clone().oneshot(item).await.is_err());
    }

    let heard = heard.lock().unwrap();
    let count = |which: fn(&Event) -> bool| heard.iter().filter(|event| which(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Settled { .. })), 10, "ten requests went out");
    assert_eq!(count(|event| matches!(event, Event::Transition { .. })), 1);
    assert_eq!(
        count(|event| matches!(event, Event::Rejected(refusal)
            if refusal.reason() == Reason::CircuitOpen)),
        2,
        "the second attempt of the fourth call, and the fifth call",
    );
    // Events print as sentences, and compare as values.
    let opened = heard.iter().find(|event| matches!(event, Event::Transition { .. })).unwrap();
    let says = opened.to_string();
    assert!(says.starts_with("stock: closed -> open: 100 % of calls failed"), "{says}");
}
