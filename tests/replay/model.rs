//! Any body, cut anywhere, any number of times, beside a reference that is too simple to be wrong.

use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use portcullis::http::{ReplayBody, replay::ReplayBodyError};
use proptest::{collection::vec, prelude::*};

use crate::source::{Hand, Source, Step, poll, refusal, trailers, whole};

/// A body and what is done with it.
#[derive(Clone, Debug)]
struct Case {
    /// Lengths of frames; none where the body waits.
    frames: Vec<Option<usize>>,
    has_trailers: bool,
    fails: bool,
    hints: bool,
    cap: usize,
    attempts: Vec<Cut>,
}

/// How one attempt ends.
#[derive(Clone, Copy, Debug)]
struct Cut {
    polls: usize,
    /// Whether the next takes over by name, or by its first poll.
    by_name: bool,
    /// Whether it is dropped before the next takes over, or lives on.
    dropped: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let length = prop_oneof![4 => 0..8_usize, 1 => 1_000..1_100_usize];
    let frames = vec(prop::option::weighted(0.8, length), 0..12);
    let cut = (0..16_usize, any::<bool>(), any::<bool>());
    let cut = cut.prop_map(|(polls, by_name, dropped)| Cut { polls, by_name, dropped });
    let cap = prop_oneof![0..40_usize, 900..3_000_usize, Just(usize::MAX)];
    (frames, any::<bool>(), prop::bool::weighted(0.1), any::<bool>(), cap, vec(cut, 1..6)).prop_map(
        |(frames, has_trailers, fails, hints, cap, attempts)| Case {
            frames,
            has_trailers,
            fails,
            hints,
            cap,
            attempts,
        },
    )
}

/// The whole of what the body gives.
struct Original {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

fn make(case: &Case) -> (Source, Hand, Original) {
    let mut data = Vec::new();
    let mut steps = Vec::new();
    for frame in &case.frames {
        steps.push(match frame {
            None => Step::Wait,
            Some(length) => {
                let from = data.len();
                data.extend((from..from + length).map(|at| at as u8));
                Step::Data(Bytes::copy_from_slice(&data[from..]))
            }
        });
    }
    let trailers = case.has_trailers.then(|| trailers("sum"));
    steps.extend(trailers.clone().map(Step::Trailers));
    if case.fails && trailers.is_none() {
        steps.push(Step::Fail);
    }
    let (source, hand) = whole(steps);
    let size = data.len() as u64;
    let source = if case.hints { source.hinting(size, Some(size)) } else { source };
    (source, hand, Original { data, trailers })
}

/// How far an attempt came.
#[derive(Default)]
struct Got {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    failed: bool,
}

fn run(case: &Case) -> Result<(), TestCaseError> {
    let (source, hand, original) = make(case);
    let mut body = ReplayBody::with_cap(source, case.cap);
    // What the reference knows: how many bytes were read of the body, and whether it failed.
    let mut furthest = 0;
    let mut failed = false;
    let mut alive = Vec::new();
    for (nth, cut) in case.attempts.iter().enumerate() {
        let is_last = nth + 1 == case.attempts.len();
        let next = if is_last { None } else { body.replay() };
        let known_too_long = case.hints && original.data.len() > case.cap;
        prop_assert!(is_last || next.is_some() != (known_too_long && nth == 0));
        if case.hints {
            prop_assert_eq!(body.size_hint().exact(), Some(original.data.len() as u64));
        }
        let mut got = Got::default();
        // The last one may take as long as it likes.
        for _ in 0..if is_last { 1_000 } else { cut.polls } {
            if case.hints {
                let left = original.data.len() - got.data.len();
                prop_assert_eq!(body.size_hint().exact(), Some(left as u64));
            }
            match poll(&mut body) {
                Poll::Pending => {}
                Poll::Ready(None) => got.ended = true,
                Poll::Ready(Some(Err(_))) => {
                    got.failed = true;
                    break;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => got.data.extend_from_slice(&data),
                    Err(frame) => got.trailers = frame.into_trailers().ok(),
                },
            }
        }
        prop_assert!(original.data.starts_with(&got.data), "attempt {} got {:?}", nth, got.data);
        furthest = furthest.max(got.data.len());
        failed |= got.failed;
        if got.trailers.is_some() || got.ended {
            prop_assert_eq!(&got.data, &original.data);
            prop_assert_eq!(&got.trailers, &original.trailers);
        }
        prop_assert_eq!(got.ended || body.is_end_stream(), body.is_end_stream());
        if is_last {
            prop_assert!(got.ended || got.failed);
        }
        let Some(mut next) = next else { break };
        if cut.dropped {
            drop(body);
        } else {
            alive.push((body, got.ended || got.trailers.is_some()));
        }
        let allowed = furthest <= case.cap && !failed;
        if cut.by_name || !allowed {
            prop_assert_eq!(next.take_over(), allowed);
        }
        if !allowed {
            prop_assert_eq!(refusal(&mut next), ReplayBodyError::NotKept);
            break;
        }
        if !cut.by_name {
            // Not a frame more than was asked for.
            let before = hand.frames();
            prop_assert!(next.size_hint().lower() >= furthest as u64);
            prop_assert_eq!(hand.frames(), before);
        }
        if cut.by_name {
            for (old, ended) in &mut alive {
                if *ended {
                    prop_assert!(matches!(poll(old), Poll::Ready(None)));
                } else {
                    prop_assert_eq!(refusal(old), ReplayBodyError::Detached);
                }
            }
        }
        body = next;
    }
    let frames = case.frames.iter().flatten().count() + usize::from(case.has_trailers);
    prop_assert!(hand.frames() <= frames);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_attempt_sees_the_original(case in cases()) {
        run(&case)?;
    }
}
