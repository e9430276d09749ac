//! Many threads at once: never over the limit, nothing lost, everybody comes to an end.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use portcullis::{Bulkhead, Error, ErrorLayer, QueuedBulkheadLayer, Reason};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    bench::{Gauges, config},
    support::on_threads,
};

const THREADS: u32 = 8;
const LIMIT: usize = 3;

#[derive(Debug, Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
    times: AtomicUsize,
}

impl Inside {
    fn enter(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        self.times.fetch_add(1, SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, SeqCst);
    }
}

#[test]
fn never_more_than_the_limit_are_in() {
    let gauges = Gauges::default();
    let slots = Bulkhead::with(config(LIMIT), gauges.options()).unwrap();
    let inside = Inside::default();
    on_threads(THREADS, |_| {
        for _ in 0..20_000 {
            let _ = slots.call(|| {
                inside.enter();
                std::hint::spin_loop();
                inside.leave();
                Ok::<_, Error<()>>(())
            });
        }
    });
    let most = inside.most.load(SeqCst);
    assert!(most <= LIMIT, "{most} were in");
    let refused = u64::from(THREADS) * 20_000 - inside.times.load(SeqCst) as u64;
    assert_eq!((slots.in_flight(), slots.snapshot().rejected), (0, refused));
    assert_eq!(gauges.read(), (0, 0));
}

/// Every call waits for its turn, some give up, and the limit changes all the while.
#[test]
fn everybody_who_waits_comes_to_an_end() {
    let gauges = Gauges::default();
    let config = config(LIMIT).queue(1_000_000).max_wait(Duration::MAX);
    let slots = Bulkhead::with(config, gauges.options()).unwrap();
    let inside = Inside::default();
    let dropped = AtomicUsize::new(0);
    on_threads(THREADS, |thread| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut random = fastrand::Rng::with_seed(thread.into());
        runtime.block_on(async {
            for _ in 0..3_000 {
                let acquire = slots.acquire();
                match random.u8(0..10) {
                    0 => {
                        drop(acquire);
                        dropped.fetch_add(1, SeqCst);
                    }
                    // Polled once, and dropped unless it was there at once.
                    1 => {
                        let mut acquire = std::pin::pin!(acquire);
                        let polled = std::future::poll_fn(|cx| {
                            std::task::Poll::Ready(acquire.as_mut().poll(cx).is_ready())
                        });
                        polled.await;
                        dropped.fetch_add(1, SeqCst);
                    }
                    _ => {
                        let permit = acquire.await.unwrap();
                        inside.enter();
                        inside.leave();
                        drop(permit);
                    }
                }
                if random.u8(0..50) == 0 {
                    slots.resize(random.usize(1..=LIMIT)).unwrap();
                }
            }
        });
    });
    let most = inside.most.load(SeqCst);
    assert!(most <= LIMIT, "{most} were in");
    assert_eq!(inside.times.load(SeqCst) + dropped.load(SeqCst), 3_000 * THREADS as usize);
    assert_eq!((slots.in_flight(), slots.queued(), gauges.read()), (0, 0, (0, 0)));
}

/// The same through the layer, in one runtime of several threads.
#[test]
fn a_runtime_of_several_threads_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS as usize)
        .enable_time()
        .build()
        .unwrap();
    let config = config(LIMIT).queue(64).max_wait(Duration::MAX);
    let gauges = Gauges::default();
    let layer = QueuedBulkheadLayer::with(config, gauges.options()).unwrap();
    let inside: &'static Inside = Box::leak(Box::default());
    let inner = service_fn(move |yields: u32| async move {
        inside.enter();
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        inside.leave();
        Ok::<_, std::io::Error>(())
    });
    let service = layer.layer(ErrorLayer::new().layer(inner));
    let ended = runtime.block_on(async {
        let calls = (0..4_000).map(|n| tokio::spawn(service.clone().oneshot(n % 7)));
        let mut ended = 0_usize;
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap() {
                Ok(()) => ended += 1,
                Err(Error::Rejected(refusal)) => {
                    assert!(matches!(refusal.reason(), Reason::BulkheadFull | Reason::QueueTimeout))
                }
                Err(error) => panic!("{error}"),
            }
        }
        ended
    });
    let most = inside.most.load(SeqCst);
    assert!(most <= LIMIT, "{most} were in");
    assert!(ended > 0);
    assert_eq!(inside.times.load(SeqCst), ended);
    let slots = layer.bulkhead();
    assert_eq!((slots.in_flight(), slots.queued(), gauges.read()), (0, 0, (0, 0)));
}
