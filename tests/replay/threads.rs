//! Attempts on several threads at once.

use std::{sync::Mutex, task::Poll, thread};

use portcullis::http::ReplayBody;

use crate::source::{data, drain, poll, text, whole};

/// One attempt uploads as fast as it can while the next takes over, somewhere in between.
#[test]
fn the_next_attempt_takes_over_from_one_that_runs() {
    for round in 0..200 {
        let (source, hand) = whole((0..100).map(|_| data("0123456789")));
        let mut first = ReplayBody::new(source);
        let mut second = first.replay().unwrap();
        let got = Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    match poll(&mut first) {
                        Poll::Ready(Some(Ok(frame))) => {
                            got.lock().unwrap().extend_from_slice(frame.data_ref().unwrap());
                        }
                        Poll::Ready(_) => break,
                        Poll::Pending => unreachable!("everything is there"),
                    }
                }
            });
            if round % 2 == 0 {
                assert!(second.take_over());
            }
            assert_eq!(drain(&mut second), text(&"0123456789".repeat(100)));
        });
        let got = got.into_inner().unwrap();
        assert_eq!(got, "0123456789".repeat(got.len() / 10).into_bytes());
        assert_eq!(hand.frames(), 100);
    }
}
