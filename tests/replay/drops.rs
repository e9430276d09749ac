//! Attempts dropped in every order, at every point.

use std::sync::Arc;

use bytes::Bytes;

use crate::source::{Step, data, drain, next, poll, text, whole};
use portcullis::http::ReplayBody;

/// Three attempts, of which each may be gone before the last is sent, after so many frames.
#[test]
fn attempts_are_dropped_in_every_order() {
    for order in [[0, 1], [1, 0]] {
        for first_reads in 0..=3 {
            for second_reads in 0..=3 {
                let (source, hand) = whole([data("one "), data("two "), data("three")]);
                let mut first = Some(ReplayBody::new(source));
                let mut second = first.as_ref().and_then(ReplayBody::replay);
                let mut third = second.as_ref().and_then(ReplayBody::replay).unwrap();
                (0..first_reads).for_each(|_| assert!(poll(first.as_mut().unwrap()).is_ready()));
                (0..second_reads).for_each(|_| assert!(poll(second.as_mut().unwrap()).is_ready()));
                for which in order {
                    match which {
                        0 => drop(first.take()),
                        _ => drop(second.take()),
                    }
                }
                // It goes at its own end, or with whoever could read it.
                assert!(!hand.is_dropped() || first_reads.max(second_reads) == 3);
                assert_eq!(drain(&mut third), text("one two three"));
                assert_eq!(hand.frames(), 3);
                drop(third);
                assert!(hand.is_dropped());
            }
        }
    }
}

/// An attempt that is made and never sent, such as one that a policy below refuses.
#[test]
fn an_attempt_that_was_not_sent_does_not_matter() {
    let (source, hand) = whole([data("one "), data("two")]);
    let mut first = ReplayBody::new(source);
    let second = first.replay().unwrap();
    let mut third = second.replay().unwrap();
    next(&mut first);
    assert!(second.take_over());
    drop(second);
    assert!(third.take_over());
    assert!(third.take_over(), "and again, where no service was ready for it");
    assert_eq!(drain(&mut third), text("one two"));
    assert_eq!(hand.frames(), 2);
}

/// Nothing is left behind, whoever is the last.
#[test]
fn the_body_goes_with_the_last_attempt() {
    for keep_first in [true, false] {
        let (source, hand) = whole([data("one")]);
        let first = ReplayBody::new(source);
        let second = first.replay().unwrap();
        let (goes, stays) = if keep_first { (second, first) } else { (first, second) };
        drop(goes);
        assert!(!hand.is_dropped());
        drop(stays);
        assert!(hand.is_dropped());
    }
}

/// Data that tells when nobody has it any more.
struct Held {
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        b"held"
    }
}

#[test]
fn nothing_is_kept_that_nobody_can_ask_for() {
    let held = Arc::new(());
    let steps = || (0..2).map(|_| Step::Data(Bytes::from_owner(Held { _alive: held.clone() })));
    let alive = || Arc::strong_count(&held) - 1;
    // While there is another attempt it is kept.
    let mut first = ReplayBody::new(whole(steps()).0);
    let mut second = first.replay().unwrap();
    assert_eq!(alive(), 2);
    drop(next(&mut first));
    assert_eq!(alive(), 2);
    // The last one gives up what it has sent.
    drop(first);
    drop(next(&mut second));
    assert_eq!(alive(), 1);
    drop(next(&mut second));
    assert_eq!(alive(), 0);
    // Without another attempt from here on, neither what was kept nor what comes.
    let mut first = ReplayBody::new(whole(steps()).0);
    let second = first.replay().unwrap();
    drop(next(&mut first));
    drop(second);
    assert_eq!(alive(), 2);
    drop(next(&mut first));
    assert_eq!(alive(), 0);
    // Over the cap, likewise.
    let mut first = ReplayBody::with_cap(whole(steps()).0, 7);
    let _second = first.replay().unwrap();
    drop(next(&mut first));
    assert_eq!(alive(), 2);
    drop(next(&mut first));
    assert_eq!(alive(), 0);
}
