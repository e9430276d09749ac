//! What bodies cost: nothing where there is no second attempt.

use allocation_counter::measure;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Empty, Full};
use portcullis::{
    http::{ReplayBody, ReplayRequest},
    retry::Replay,
};

use crate::source::poll;

#[track_caller]
fn counts(expected: u64, run: impl FnOnce()) {
    assert_eq!(measure(run).count_total, expected);
}

#[test]
fn a_body_without_another_attempt_costs_nothing() {
    counts(0, || {
        let mut body = ReplayBody::new(Full::<Bytes>::from("only once"));
        assert!(poll(&mut body).is_ready());
        assert!(poll(&mut body).is_ready());
    });
    // One that may not be sent again, or is known to be too long, is asked and no more.
    let post = Request::post("/").body(ReplayBody::new(Full::<Bytes>::from("x"))).unwrap();
    let long = ReplayBody::with_cap(Full::<Bytes>::from("x"), 0);
    let long = Request::put("/").header("x-id", "7").body(long).unwrap();
    counts(0, || {
        let replay = ReplayRequest::new();
        assert!(replay.clone().replay(&post).is_none());
        assert!(replay.replay(&long).is_none());
    });
}

#[test]
fn a_body_that_has_nothing_is_replayed_for_nothing() {
    let mut request = Request::new(ReplayBody::new(Empty::<Bytes>::new()));
    *request.method_mut() = Method::GET;
    counts(0, || {
        let replay = ReplayRequest::new();
        let mut again = replay.replay(&request).unwrap();
        assert!(replay.take_over(&again));
        assert!(poll(again.body_mut()).is_ready());
    });
}

/// One for what the attempts share; the frame is kept where its other holder has it.
#[test]
fn a_body_of_one_frame_is_kept_with_one_allocation() {
    let data = Bytes::from_static(b"once, and once more");
    counts(1, || {
        let mut first = ReplayBody::new(Full::new(data));
        let mut second = first.replay().unwrap();
        let mut third = second.replay().unwrap();
        for body in [&mut first, &mut second, &mut third] {
            assert!(poll(body).is_ready());
            assert!(poll(body).is_ready());
        }
    });
}
