//! Calls under a timeout, and those whose panics would be caught.

use std::pin::Pin;

use portcullis::{
    CatchPanicConfig, CatchPanicLayer, PanicGuard, TimeLimit, TimeoutConfig, clock, deadline,
};

use super::*;

/// A service that waits for as many polls; it is polled without being woken.
#[derive(Clone)]
struct Waits(u32);

impl Service<bool> for Waits {
    type Response = ();
    type Error = Error<()>;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: bool) -> Waiting {
        Waiting(self.0)
    }
}

struct Waiting(u32);

impl Future for Waiting {
    type Output = Result<(), Error<()>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Readies, calls and polls until the answer is there.
fn finish<S: Service<bool>>(service: &mut S) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut call = pin!(service.call(true));
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(&mut cx) {
            return result;
        }
    }
}

#[test]
fn a_timeout_allocates_nothing_whatever_becomes_of_the_call() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let hour = Duration::from_secs(3_600);
    let told = Options::new().observer(|_: &Event| {});
    for options in [Options::new(), told] {
        let limit = TimeLimit::with(TimeoutConfig::new("counted", hour), options).unwrap();
        let layer = limit.layer().limit_from(|well: &bool| well.then_some(Duration::from_secs(60)));
        let mut service = layer.layer(ErrorLayer::new().layer(Answers));
        assert_none(1_000, || ask(&mut service, true).unwrap());
        assert_none(1_000, || assert!(ask(&mut service, false).is_err()));
        // With a timer.
        let mut waits = limit.layer().layer(Waits(3));
        assert_none(1_000, || finish(&mut waits).unwrap());
        // Cut: past the deadline when it is polled again.
        let at_once = limit.layer().limit_from(|_: &bool| Some(Duration::from_nanos(1)));
        let mut hangs = at_once.layer(Waits(u32::MAX));
        assert_none(100, || {
            let Err(Error::Rejected(cut)) = finish(&mut hangs) else { panic!("it never answers") };
            assert_eq!(cut.reason(), Reason::Timeout);
        });
        let past = clock::tokio_now();
        assert_none(1_000, || {
            let refused = deadline::enter(past, || ask(&mut service, true));
            let Err(Error::Rejected(refused)) = refused else { panic!("there is no time left") };
            assert_eq!(refused.reason(), Reason::DeadlineTooShort);
        });
        limit.shadow();
        assert_none(1_000, || finish(&mut waits).unwrap());
        assert_none(1_000, || deadline::enter(past, || ask(&mut service, true)).unwrap());
    }
    let leaked = TimeLimit::new(TimeoutConfig::new("counted", hour)).unwrap().leak();
    let mut leaked = leaked.layer().layer(Waits(3));
    assert_none(1_000, || finish(&mut leaked).unwrap());
}

#[test]
fn a_call_that_does_not_panic_allocates_nothing() {
    let layer = CatchPanicLayer::new(CatchPanicConfig::new("counted")).unwrap();
    let mut service = layer.layer(ErrorLayer::new().layer(Answers));
    assert_none(1_000, || ask(&mut service, true).unwrap());
    assert_none(1_000, || assert!(ask(&mut service, false).is_err()));
    let mut waits = layer.layer(Waits(3));
    assert_none(1_000, || finish(&mut waits).unwrap());
    assert_none(1_000, || layer.panic_guard().call(|| Ok::<_, Error<()>>(())).unwrap());
}

/// As the documentation states it.
#[test]
fn memory_of_a_handle_a_layer_and_a_call_is_bounded() {
    fn bytes<T>(make: impl Fn() -> T) -> i64 {
        let mut kept = None;
        let counted = measure(|| kept = Some(make()));
        drop(kept);
        counted.bytes_current
    }
    let limit = || TimeLimit::new(TimeoutConfig::new("counted", Duration::MAX)).unwrap();
    let guard = || PanicGuard::new(CatchPanicConfig::new("counted")).unwrap();
    let (limits, guards) = (bytes(limit), bytes(guard));
    assert!(limits <= 192 && guards <= 192, "{limits} {guards}");
    let (limit, guard) = (limit(), guard());
    let layers = (bytes(|| limit.layer()), bytes(|| guard.layer()));
    assert!(layers.0 <= 2_300 && layers.1 <= 2_300, "{layers:?}");
    let (inner, timed, caught) = (
        size_of::<Waiting>(),
        size_of_val(&limit.run(Waiting(0))),
        size_of_val(&guard.run(Waiting(0))),
    );
    let more = (timed - inner, caught - inner);
    assert!(more.0 <= 208 && more.1 <= 64, "{more:?}");
}
