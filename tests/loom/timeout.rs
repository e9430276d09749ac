//! A timeout whose numbers change while a call begins.

use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::thread;
use portcullis::{Error, TimeLimit, TimeoutConfig};

/// Two configurations that each let every call start: halves of both together would refuse one, since a
/// millisecond is less than an hour.
#[test]
fn a_change_refuses_nobody_by_halves() {
    let hour = Duration::from_secs(3600);
    let small = || TimeoutConfig::new("model", Duration::from_millis(1));
    let large = move || TimeoutConfig::new("model", 2 * hour).min_remaining(hour);
    for grows in [true, false] {
        loom::model(move || {
            let (before, after) = if grows { (small(), large()) } else { (large(), small()) };
            let limit = TimeLimit::new(before).unwrap();
            let other = limit.clone();
            let change = thread::spawn(move || other.reconfigure(after).unwrap());
            let call = pin!(limit.run(ready(Ok::<_, Error<Infallible>>(()))));
            let answer = call.poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(answer, Poll::Ready(Ok(())));
            change.join().unwrap();
            assert_eq!(limit.snapshot().refused, 0);
        });
    }
}
