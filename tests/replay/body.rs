//! One body and its attempts, one after the other.

use std::{pin::Pin, task::Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use portcullis::http::{
    ReplayBody,
    replay::{ReplayBodyError, ReplayBodyLayer},
};

use crate::{
    source::{Sent, Step, data, drain, next, open, poll, refusal, text, trailers, whole},
    support::{Caller, panic_of},
};

fn body(steps: impl IntoIterator<Item = Step>) -> ReplayBody<crate::source::Source> {
    ReplayBody::new(whole(steps).0)
}

#[test]
fn every_attempt_sends_the_same_and_the_body_is_read_once() {
    let (source, hand) = whole([data("hello, "), data("world")]);
    let mut first = ReplayBody::new(source);
    let mut second = first.replay().unwrap();
    assert_eq!(hand.polls(), 0, "nothing is read ahead");
    assert_eq!(drain(&mut first), text("hello, world"));
    assert_eq!(hand.polls(), 3);
    drop(first);
    let mut third = second.replay().unwrap();
    assert!(second.take_over());
    assert_eq!(drain(&mut second), text("hello, world"));
    assert!(third.take_over());
    assert_eq!(drain(&mut third), text("hello, world"));
    assert_eq!(hand.polls(), 3);
    assert!(hand.is_dropped(), "a body that has ended is of no more use");
}

/// A server answers while the upload runs. The attempt before gets an error, is woken to get it, and reads
/// nothing any more.
#[test]
fn an_early_response_moves_the_upload_to_the_next_attempt() {
    let (source, hand) = open([data("one "), data("two ")]);
    let first = ReplayBody::new(source);
    let mut second = first.replay().unwrap();
    let caller = Caller::new();
    let mut uploading = Box::pin(first);
    let mut frame = || {
        let future = std::future::poll_fn(|_| Poll::Ready(()));
        drop(future);
        let mut frame = Box::pin(uploading.frame());
        caller.poll(&mut frame)
    };
    assert!(frame().is_ready());
    assert!(frame().is_ready());
    assert!(frame().is_pending());
    assert!(second.take_over());
    assert_eq!(caller.wakeups(), 1);
    assert_eq!(caller.wakers(), 1, "the body's own, which nobody has replaced yet");
    hand.push(data("three "));
    assert_eq!(refusal(&mut uploading), ReplayBodyError::Detached);
    assert_eq!(hand.frames(), 2);
    hand.push(Step::End);
    assert_eq!(drain(&mut second), text("one two three "));
}

/// As above, without a retry that says so: the first poll of the next attempt takes over.
#[test]
fn the_first_poll_takes_over_as_well() {
    let (source, hand) = open([data("one ")]);
    let first = ReplayBody::new(source);
    let mut second = first.replay().unwrap();
    let caller = Caller::new();
    let mut uploading = Box::pin(first);
    assert!(caller.poll(&mut Box::pin(uploading.frame())).is_ready());
    assert!(caller.poll(&mut Box::pin(uploading.frame())).is_pending());
    assert_eq!(next(&mut second), "one ");
    assert_eq!(caller.wakeups(), 1);
    // Now there is nobody who would be woken in its place.
    hand.push(data("two "));
    assert_eq!(next(&mut second), "two ");
    assert_eq!(refusal(&mut uploading), ReplayBodyError::Detached);
}

/// The next attempt has to be woken by the body in place of the one before.
#[test]
fn whoever_owns_the_body_is_woken_by_it() {
    let (source, hand) = open([]);
    let mut first = Box::pin(ReplayBody::new(source));
    let mut second = Box::pin(first.replay().unwrap());
    let (before, after) = (Caller::new(), Caller::new());
    assert!(before.poll(&mut Box::pin(first.frame())).is_pending());
    assert!(after.poll(&mut Box::pin(second.frame())).is_pending());
    assert_eq!((before.wakeups(), after.wakeups()), (1, 0));
    hand.push(data("late"));
    assert_eq!((before.wakeups(), after.wakeups()), (1, 1));
    assert_eq!(next(&mut second), "late");
}

/// An attempt may fail before any of the body has come in; what comes then comes once.
#[test]
fn a_first_frame_that_comes_after_a_retry_is_sent_once() {
    for polled in [false, true] {
        let (source, hand) = open([]);
        let mut first = ReplayBody::new(source);
        let mut second = first.replay().unwrap();
        if polled {
            assert!(poll(&mut first).is_pending());
        }
        drop(first);
        let mut third = second.replay().unwrap();
        assert!(poll(&mut second).is_pending());
        hand.push(data("late"));
        assert_eq!(next(&mut second), "late");
        assert!(poll(&mut second).is_pending());
        hand.push(Step::End);
        assert!(matches!(poll(&mut second), Poll::Ready(None)));
        assert_eq!(drain(&mut third), text("late"));
        assert_eq!(hand.frames(), 1);
    }
}

#[test]
fn trailers_are_kept() {
    for early in [0, 1, 2] {
        let (source, hand) = whole([data("sum"), Step::Trailers(trailers("42"))]);
        let mut first = ReplayBody::new(source);
        let mut second = first.replay().unwrap();
        let mut third = second.replay().unwrap();
        (0..early).for_each(|_| assert!(poll(&mut first).is_ready()));
        let with_trailers = Sent { trailers: Some(trailers("42")), ..text("sum") };
        assert!(!second.is_end_stream());
        assert_eq!(drain(&mut second), with_trailers);
        assert_eq!(drain(&mut third), with_trailers);
        assert_eq!(hand.frames(), 2);
    }
    // Nothing but trailers is not nothing.
    let (source, _) = whole([Step::Trailers(trailers("0"))]);
    let mut first = ReplayBody::new(source);
    let mut second = first.replay().unwrap();
    drain(&mut first);
    assert!(first.is_end_stream());
    assert_eq!((second.is_end_stream(), second.size_hint().exact()), (false, None));
    assert_eq!(drain(&mut second).trailers, Some(trailers("0")));
}

#[test]
fn the_cap_counts_bytes_exactly() {
    for (cap, again) in [(9, false), (10, true), (11, true), (0, false)] {
        let (source, hand) = whole([data("12345"), data(""), data("67890")]);
        let mut first = ReplayBody::with_cap(source, cap);
        assert_eq!(first.cap(), cap);
        let mut second = first.replay().unwrap();
        assert_eq!(drain(&mut first), text("1234567890"), "it is sent all the same");
        assert_eq!(second.take_over(), again, "{cap}");
        assert_eq!(second.replay().is_some(), again, "{cap}");
        if again {
            assert_eq!(drain(&mut second), text("1234567890"));
        } else {
            assert_eq!(second.size_hint().upper(), None);
            assert_eq!(refusal(&mut second), ReplayBodyError::NotKept);
        }
        assert_eq!(hand.frames(), 3);
    }
}

/// Taking over does not succeed, and does not stop the upload either.
#[test]
fn over_the_cap_the_upload_goes_on() {
    let (source, hand) = open([data("123")]);
    let mut first = ReplayBody::with_cap(source, 2);
    let mut second = first.replay().unwrap();
    assert_eq!(next(&mut first), "123");
    assert!(!second.take_over());
    assert_eq!(refusal(&mut second), ReplayBodyError::NotKept);
    hand.push(data("456"));
    hand.push(Step::End);
    assert_eq!(drain(&mut first), text("456"));
}

/// While an attempt is within the cap, the one after it sends what was sent, and the rest however long that is.
#[test]
fn a_later_attempt_may_go_over_the_cap() {
    let (source, _) = whole([data("123"), data("456"), data("789")]);
    let mut first = ReplayBody::with_cap(source, 6);
    let mut second = first.replay().unwrap();
    let mut third = second.replay().unwrap();
    assert_eq!(next(&mut first), "123");
    assert!(second.take_over());
    assert_eq!(drain(&mut second), text("123456789"));
    assert!(!third.take_over());
    assert_eq!(refusal(&mut third), ReplayBodyError::NotKept);
}

#[test]
fn many_small_and_empty_frames_are_the_same_bytes() {
    let steps = |at| if at % 3 == 0 { data("") } else { data("ab") };
    let mut first = body((0..3_000).map(steps));
    let mut second = first.replay().unwrap();
    let mut third = second.replay().unwrap();
    let sent = drain(&mut first);
    assert_eq!(sent.data, b"ab".repeat(2_000));
    assert_eq!(drain(&mut second), sent);
    assert_eq!(drain(&mut third), sent);
    // An attempt that begins in between.
    let (source, _) = whole((0..3_000).map(steps));
    let mut first = ReplayBody::new(source);
    let mut second = first.replay().unwrap();
    (0..1_000).for_each(|_| assert!(poll(&mut first).is_ready()));
    assert_eq!(drain(&mut second), sent);
}

#[test]
fn a_body_that_says_it_is_too_long_is_not_replayed() {
    for (lower, upper, replays) in [
        (65_536, Some(65_536), true),
        (65_537, Some(65_537), false),
        (65_537, None, false),
        (u64::MAX, None, false),
        (0, Some(u64::MAX), true),
        (0, None, true),
    ] {
        let (source, hand) = whole([data("x")]);
        let mut first = ReplayBody::new(source.hinting(lower, upper));
        assert_eq!(first.replay().is_some(), replays, "{lower} {upper:?}");
        assert_eq!(drain(&mut first).data, b"x");
        assert_eq!(hand.frames(), 1);
    }
}

#[test]
fn a_body_that_has_nothing_is_replayed_without_it() {
    let mut first = ReplayBody::with_cap(Full::<Bytes>::default(), 0);
    let mut second = first.replay().unwrap();
    let mut third = second.replay().unwrap();
    for body in [&mut first, &mut second, &mut third] {
        assert!(body.take_over());
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(matches!(poll(body), Poll::Ready(None)));
    }
    // One that does not say so, or gives an empty frame.
    for steps in [vec![], vec![data("")]] {
        let mut first = body(steps);
        let mut second = first.replay().unwrap();
        assert_eq!(drain(&mut first), text(""));
        assert_eq!(drain(&mut second), text(""));
    }
    assert!(ReplayBody::new(Empty::<Bytes>::new()).is_end_stream());
}

#[test]
fn each_attempt_says_how_much_is_left_for_it() {
    let (source, _) = whole([data("12345"), data("678")]);
    let mut first = ReplayBody::new(source.hinting(8, Some(8)).saying_end());
    let mut second = first.replay().unwrap();
    let hint = |body: &ReplayBody<_>| body.size_hint().exact();
    assert_eq!((hint(&first), hint(&second)), (Some(8), Some(8)));
    next(&mut first);
    assert_eq!((hint(&first), hint(&second)), (Some(3), Some(8)));
    next(&mut first);
    assert_eq!((hint(&first), hint(&second)), (Some(0), Some(8)));
    assert!(first.is_end_stream(), "without being asked for an end");
    drop(first);
    assert!(!second.is_end_stream());
    next(&mut second);
    assert_eq!(hint(&second), Some(3));
    next(&mut second);
    assert!(second.is_end_stream());
    assert_eq!(hint(&second), Some(0));

    // Known now, and not told: with a content-length HTTP/1 sends no trailers.
    let (source, _) = whole([data("12345"), Step::Trailers(trailers("42"))]);
    let mut first = ReplayBody::new(source);
    let second = first.replay().unwrap();
    drain(&mut first);
    assert_eq!((second.size_hint().lower(), hint(&second)), (5, None));

    // Bounds that are no more than that, and one that no number can tell.
    let (source, _) = whole([data("12345"), data("678")]);
    let mut first = ReplayBody::new(source.hinting(6, Some(u64::MAX)));
    let second = first.replay().unwrap();
    next(&mut first);
    let hint = second.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (6, Some(u64::MAX)));
}

#[test]
fn a_body_that_fails_is_not_replayed() {
    let mut first = body([data("half"), Step::Fail]);
    let mut second = first.replay().unwrap();
    assert_eq!(next(&mut first), "half");
    let Poll::Ready(Some(Err(error))) = poll(&mut first) else { panic!("it fails") };
    assert_eq!(error.to_string(), "the body fails");
    assert!(!second.take_over());
    assert!(second.replay().is_none() && first.replay().is_none());
    assert_eq!(refusal(&mut second), ReplayBodyError::NotKept);
    assert_eq!(refusal(&mut first), ReplayBodyError::NotKept, "that was not the end");
}

#[test]
fn a_body_that_panics_is_asked_no_more() {
    let mut first = body([data("half"), Step::Panic, data("more")]);
    let mut second = first.replay().unwrap();
    assert_eq!(next(&mut first), "half");
    assert_eq!(panic_of(|| poll(&mut first)), "the body panics");
    assert!(!second.take_over());
    assert_eq!(refusal(&mut second), ReplayBodyError::NotKept);
    assert_eq!(refusal(&mut first), ReplayBodyError::NotKept);
}

#[test]
fn an_attempt_that_has_sent_something_without_a_successor_has_none() {
    let mut first = body([data("one"), data("two")]);
    next(&mut first);
    assert!(first.replay().is_none());
    assert!(!first.take_over());
    // Nor has one that was the last for a while.
    let mut first = body([data("one"), data("two")]);
    drop(first.replay());
    next(&mut first);
    assert!(first.replay().is_none());
    assert_eq!(drain(&mut first), text("two"));
    // What the only one left has replayed is gone as well.
    let mut first = body([data("one"), data("two")]);
    let mut second = first.replay().unwrap();
    drain(&mut first);
    drop(first);
    assert_eq!(second.size_hint().exact(), Some(6));
    assert_eq!(next(&mut second), "one");
    assert_eq!(second.size_hint().exact(), Some(3));
    assert!(second.replay().is_none());
    assert_eq!(drain(&mut second), text("two"));
}

/// A buffer of another type is copied, once.
#[test]
fn data_of_any_type_is_replayed() {
    let frames = ["one ", "two"]
        .map(|text| Ok::<_, portcullis::BoxError>(Frame::data(text.as_bytes().chain(&b"!"[..]))));
    let mut first = ReplayBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    let mut second = first.replay().unwrap();
    for body in [&mut first, &mut second] {
        let mut all = Vec::new();
        while let Poll::Ready(Some(frame)) = poll(body) {
            all.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
        assert_eq!(all, b"one !two!");
    }
}

#[test]
fn bodies_go_wherever_bodies_go() {
    fn fits<B: Body<Data = Bytes> + Send + Sync + Unpin + 'static>(body: B) -> bool
    where
        B::Error: Into<portcullis::BoxError>,
    {
        body.is_end_stream()
    }
    type Unsync = http_body_util::combinators::UnsyncBoxBody<Bytes, portcullis::BoxError>;
    let unsync: Unsync = Full::from("x").map_err(Into::into).boxed_unsync();
    assert!(!fits(ReplayBody::new(unsync)), "`Sync` without its help");
    // One that cannot be moved goes in a box.
    let stream = futures_util::stream::once(async {
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x")))
    });
    assert!(!fits(ReplayBody::new(Pin::from(Box::new(StreamBody::new(stream))))));
    assert_eq!(
        format!("{:?}", ReplayBody::new(Full::<Bytes>::from("secret"))),
        "ReplayBody { cap: 65536, at: Kept(0) }"
    );
    assert_eq!(format!("{:?}", ReplayBodyLayer::default()), "ReplayBodyLayer { cap: 65536 }");
}
