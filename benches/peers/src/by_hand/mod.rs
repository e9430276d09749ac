//! The least that each policy's work takes: written by hand for one configuration, without anything that
//! this one does not need. No deadline is looked at, nothing is classified, told, explained or changed live,
//! and a panic or an overflow goes wrong. What a policy costs beyond this is what it can do.

mod layer;
mod table;
mod work;

use std::time::Duration;

use tower_service::Service;

use self::{
    layer::ByHand,
    table::Table,
    work::{
        Bulkhead, CountBreaker, Counted, Limit, Pending, Quanta, Retry, Std, Time, TimeBreaker,
        Timeout, Work,
    },
};
use crate::{
    Batch, HAND, Subject,
    http::{AsRequest, Page},
    keys::{Walk, strings},
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, answer, calls, layer, tasks, walked},
};

/// All of them, each in the panel of its work.
pub fn subjects() -> Vec<Subject> {
    use Panel::{
        Bulkhead as BulkheadPanel, CallErrors, KeyedMany, KeyedStrings, KeyedThousand, LayerCount,
        LayerTime, LimitAdmitted, LimitHttp, LimitLayer, LimitRefused, Open, Retry as RetryPanel,
        Stack, StackRuntime, TimeoutPending, TimeoutReady,
    };
    let hand = |name, panel, what, make| Subject::new(name, HAND, panel, what, make);
    let exchange = "std's clock, one compare-and-swap";
    let exchange_quanta = "quanta's clock, one compare-and-swap";
    let table = "std's clock; 16 tables, each under a mutex";
    let table_quanta = "quanta's clock; 16 tables, each under a mutex";
    vec![
        hand("hand-layer-count", LayerCount, "two loads, an `Arc`", || {
            layered(ByHand::<_, CountBreaker>::over(AtOnce))
        }),
        hand(
            "hand-layer-time",
            LayerTime,
            "two loads, an `Arc`, std's clock, one compare-and-swap",
            || layered(ByHand::<_, TimeBreaker>::over(AtOnce)),
        ),
        hand("hand-errors", CallErrors, "one compare-and-swap", || {
            let work = Counted::default();
            calls(Errors::OnePercent, move |request| {
                work.before();
                answer(request)
            })
        }),
        hand("hand-open", Open, "std's clock, one load", refused::<Std>),
        hand("hand-open-quanta", Open, "quanta's clock, one load", refused::<Quanta>),
        hand("hand-limit", LimitAdmitted, exchange, asked::<Limit<Std>>),
        hand("hand-limit-quanta", LimitAdmitted, exchange_quanta, asked::<Limit<Quanta>>),
        hand("hand-limit-refused", LimitRefused, "std's clock, one load", refused::<Std>),
        hand(
            "hand-limit-refused-quanta",
            LimitRefused,
            "quanta's clock, one load",
            refused::<Quanta>,
        ),
        hand("hand-limit-layer", LimitLayer, exchange, || {
            layered(ByHand::<_, Limit<Std>>::over(AtOnce))
        }),
        hand("hand-limit-http", LimitHttp, exchange, || {
            layered(AsRequest::new(ByHand::<_, Limit<Std>>::over(Page)))
        }),
        hand("hand-limit-http-quanta", LimitHttp, exchange_quanta, || {
            layered(AsRequest::new(ByHand::<_, Limit<Quanta>>::over(Page)))
        }),
        hand("hand-1k", KeyedThousand, table, || numbers::<Std>(1_000)),
        hand("hand-1k-quanta", KeyedThousand, table_quanta, || numbers::<Quanta>(1_000)),
        hand("hand-strings", KeyedStrings, table, names::<Std>),
        hand("hand-strings-quanta", KeyedStrings, table_quanta, names::<Quanta>),
        hand("hand-100k", KeyedMany, table, || numbers::<Std>(100_000)),
        hand("hand-100k-quanta", KeyedMany, table_quanta, || numbers::<Quanta>(100_000)),
        hand("hand-timeout-ready", TimeoutReady, "std's clock at the call", || {
            layered(ByHand::<_, Timeout>::over(AtOnce))
        }),
        hand(
            "hand-timeout-pending",
            TimeoutPending,
            "std's clock at the call, tokio's timer when the service is not ready at once",
            || layered(Pending(AfterYield)),
        ),
        hand("hand-bulkhead", BulkheadPanel, "an `Arc`, two exchanges", || {
            layered(ByHand::<_, Bulkhead>::over(AtOnce))
        }),
        hand("hand-retry", RetryPanel, "an `Arc`, one exchange, a copy of the request", || {
            layered(ByHand::<_, Retry>::over(AtOnce))
        }),
        hand(
            "hand-stack",
            Stack,
            "the same five, over one another: std's clock, time window",
            || layered(five::<Std, TimeBreaker, _>(AtOnce)),
        ),
        hand(
            "hand-stack-fast",
            Stack,
            "the same five, over one another: quanta's clock, for timers std's; count window",
            || layered(five::<Quanta, CountBreaker, _>(AtOnce)),
        ),
        hand(
            "hand-stack-runtime",
            StackRuntime,
            "the same five, over one another: quanta's clock, tokio's timer; count window",
            || tasks(five_pending::<Quanta, CountBreaker, _>(AfterYield)),
        ),
    ]
}

/// Longer than any run.
const HOUR: Duration = Duration::from_secs(3600);

fn layered<S>(service: S) -> Batch
where
    S: Service<u64> + Clone + Send + Sync + 'static,
{
    layer(Errors::Never, service)
}

/// What a policy does before a call, without a layer.
fn asked<W: Work>() -> Batch {
    let work = W::default();
    calls(Errors::Never, move |request| work.before().then(|| answer(request)))
}

fn refused<T: Time>() -> Batch {
    let limit = Limit::<T>::used_up();
    calls(Errors::Never, move |_| limit.wait())
}

fn numbers<T: Time>(keys: u64) -> Batch {
    let table = Table::<u64, T>::of(0..keys);
    walked(Walk::over(keys), move |key| table.take(&key))
}

fn names<T: Time>() -> Batch {
    let names = strings(1_000);
    let table = Table::<String, T>::of(names.iter().cloned());
    walked(Walk::over(1_000), move |key| table.take(&names[key as usize]))
}

/// Limiter, bulkhead and retry, over whatever makes an attempt.
type Outer<S, T> = ByHand<ByHand<ByHand<S, Retry>, Bulkhead>, Limit<T>>;
/// Breaker and timeout.
type Attempt<S, B> = ByHand<ByHand<S, Timeout>, B>;
/// The same, with a timer.
type TimedAttempt<S, B> = ByHand<Pending<S>, B>;

fn five<T: Time, B: Work, S>(inner: S) -> Outer<Attempt<S, B>, T> {
    outer(ByHand::over(ByHand::over(inner)))
}

fn five_pending<T: Time, B: Work, S>(inner: S) -> Outer<TimedAttempt<S, B>, T> {
    outer(ByHand::over(Pending(inner)))
}

fn outer<T: Time, S>(attempt: S) -> Outer<S, T> {
    ByHand::over(ByHand::over(ByHand::over(attempt)))
}
