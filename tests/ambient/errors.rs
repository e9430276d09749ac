//! Errors: what they say, what is inside of them, and how a refusal is found again.

use std::{convert::Infallible, error::Error as StdError, fmt, io, time::Duration};

use portcullis::{
    BoxError, CarryRejection, Classify, ConfigError, DefaultClassifier, Error, Outcome, Reason,
    Rejection, intern,
};

use super::SECOND;

/// Each reason: its word, what a refusal says, whether the service may have seen the request, and
/// whether coming back is in vain.
const REASONS: [(Reason, &str, &str, bool, bool); 12] = [
    (Reason::CircuitOpen, "circuit_open", "the circuit is open", false, false),
    (Reason::ForcedOpen, "forced_open", "the circuit was forced open by an operator", false, false),
    (
        Reason::ProbeLimit,
        "probe_limit",
        "the circuit is half-open and its probes are all in use",
        false,
        false,
    ),
    (
        Reason::Recovering,
        "recovering",
        "the circuit is recovering and admits only a share of calls",
        false,
        false,
    ),
    (Reason::RateLimited, "rate_limited", "the rate limit is used up", false, false),
    (
        Reason::OverBurst,
        "over_burst",
        "the request costs more than the limiter's burst and can never pass",
        false,
        true,
    ),
    (Reason::KeysFull, "keys_full", "the policy holds as many keys as it may", false, false),
    (Reason::BulkheadFull, "bulkhead_full", "the bulkhead and its queue are full", false, false),
    (Reason::QueueTimeout, "queue_timeout", "the wait in the queue took too long", false, false),
    (
        Reason::DeadlineTooShort,
        "deadline_too_short",
        "too little time is left before the deadline",
        false,
        false,
    ),
    (Reason::Timeout, "timeout", "the service did not answer in time", true, false),
    (Reason::Panicked, "panicked", "the service panicked", true, false),
];

#[test]
fn every_reason_has_a_word_a_sentence_and_a_meaning() {
    for (reason, word, sentence, attempted, permanent) in REASONS {
        assert_eq!((reason.as_str(), reason.to_string().as_str()), (word, word));
        assert_eq!((reason.attempted(), reason.is_permanent()), (attempted, permanent), "{reason}");
        let rejection = Rejection::new(reason, "stock");
        assert_eq!(rejection.to_string(), format!("stock: {sentence}"));
        assert_eq!((rejection.reason(), rejection.policy()), (reason, "stock"));
        assert_eq!((rejection.retry_after(), rejection.attempted()), (None, attempted));
        // A refusal that never reached the service is no failure of it.
        let outcome = if attempted { Outcome::Failure } else { Outcome::Ignored };
        let result = Err::<(), Error<io::Error>>(rejection.into());
        assert_eq!(DefaultClassifier.classify(&result), outcome, "{reason}");
        let result = Err::<(), Rejection>(rejection.with_attempted());
        assert_eq!(DefaultClassifier.classify(&result), Outcome::Failure, "{reason}, attempted");
    }
    let words: std::collections::BTreeSet<&str> = REASONS.iter().map(|row| row.1).collect();
    assert_eq!(words.len(), REASONS.len(), "told apart");
}

#[test]
fn a_rejection_says_when_to_come_back() {
    let rejection = Rejection::new(Reason::RateLimited, "api");
    for (after, text) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_nanos(1), "1ms"),
        (Duration::from_millis(250), "250ms"),
        (Duration::from_millis(1_250), "1.3s"),
        (3_600 * SECOND, "3600s"),
        (Duration::MAX, "18446744073709551615.999999999s"),
    ] {
        let told = rejection.with_retry_after(after);
        assert_eq!(told.retry_after(), Some(after));
        assert_eq!(told.to_string(), format!("api: the rate limit is used up; retry after {text}"));
        assert_eq!((told.reason(), told.policy()), (rejection.reason(), "api"));
    }
    let marked = rejection.with_attempted();
    assert!(marked.attempted() && !rejection.attempted());
    assert_ne!(marked, rejection);
    assert!(rejection.source().is_none());
}

/// The texts of an error and of all that is below it.
fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut below = error.source();
    while let Some(error) = below {
        texts.push(error.to_string());
        below = error.source();
    }
    texts
}

#[test]
fn the_flat_error_passes_through_what_is_inside() {
    let refused: Error<io::Error> = Rejection::new(Reason::CircuitOpen, "db").into();
    assert_eq!(chain(&refused), ["db: the circuit is open"; 2]);
    assert!(refused.is_rejected());
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
    assert!(refused.source().is_some_and(|source| source.is::<Rejection>()));
    assert!(refused.into_inner().is_none());

    let failed = Error::Inner(Wrapped("read", Some(fmt::Error.into())));
    assert_eq!(chain(&failed), ["read", "read", &fmt::Error.to_string()]);
    assert!(!failed.is_rejected() && failed.rejection().is_none());
    assert!(failed.source().is_some_and(|source| source.is::<Wrapped>()), "found after boxing");
    assert_eq!(failed.into_inner().map(|error| error.0), Some("read"));
    // Any `E` will do where nothing is asked of it.
    assert_eq!(Error::Inner([1, 2]).into_inner(), Some([1, 2]));
}

/// An error with another one below it.
#[derive(Debug)]
struct Wrapped(&'static str, Option<BoxError>);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_ref().map(|error| &**error as &(dyn StdError + 'static))
    }
}

#[test]
fn a_refusal_is_found_at_any_depth() {
    let refusal = Rejection::new(Reason::BulkheadFull, "pool").with_retry_after(SECOND);
    let mut error: BoxError = refusal.into();
    for depth in 0..20 {
        assert_eq!(Rejection::find(&*error), Some(&refusal), "{depth} deep");
        assert_eq!(error.rejection(), Some(&refusal), "{depth} deep");
        let result = Err::<Infallible, BoxError>(error);
        assert_eq!(DefaultClassifier.classify(&result), Outcome::Ignored, "{depth} deep");
        let Err(below) = result;
        error = match depth % 3 {
            0 => Wrapped("outer", Some(below)).into(),
            1 => io::Error::other(Wrapped("io", Some(below))).into(),
            _ => Error::Inner(Wrapped("lifted", Some(below))).into(),
        };
    }
    // The outermost of several is the answer.
    let attempted = Rejection::new(Reason::Timeout, "outer");
    let outer: Error<Wrapped> = attempted.into();
    assert_eq!(Rejection::find(&outer), Some(&attempted));
    for other in ["plain".into(), Wrapped("alone", None).into(), BoxError::from(fmt::Error)] {
        assert!(Rejection::find(&*other).is_none());
        assert_eq!(DefaultClassifier.classify(&Err::<(), BoxError>(other)), Outcome::Failure);
    }
}

/// A service's own error type, which is the error of the whole stack.
#[derive(Debug)]
enum Shop {
    Refused { by: Rejection, order: Option<u32> },
    OutOfStock,
}

impl From<Rejection> for Shop {
    fn from(by: Rejection) -> Self {
        Self::Refused { by, order: None }
    }
}

impl CarryRejection for Shop {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused { by, .. } => Some(by),
            Self::OutOfStock => None,
        }
    }
}

#[test]
fn an_error_of_ones_own_carries_a_refusal_as_it_likes() {
    let config = portcullis::CircuitBreakerConfig::new("shop").consecutive_failures(1);
    let circuit = portcullis::Circuit::new(config).expect("a valid config");
    let ignored = circuit.call(|| {
        let by = Rejection::new(Reason::RateLimited, "below");
        Err::<(), _>(Shop::Refused { by, order: Some(7) })
    });
    assert!(matches!(ignored, Err(Shop::Refused { order: Some(7), .. })), "passed through");
    assert_eq!(circuit.snapshot().calls, 0, "a refusal from below says nothing");
    assert!(matches!(circuit.call(|| Err::<(), _>(Shop::OutOfStock)), Err(Shop::OutOfStock)));
    match circuit.call(|| Ok::<(), Shop>(())) {
        Err(Shop::Refused { by, order: None }) => {
            assert_eq!((by.reason(), by.policy()), (Reason::CircuitOpen, "shop"));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    // A bare refusal is an error type as well.
    assert_eq!(
        circuit.call(|| Ok::<(), Rejection>(())).map_err(|by| by.reason()),
        Err(Reason::CircuitOpen)
    );
}

#[test]
fn a_config_error_names_field_value_and_need() {
    let error = ConfigError::new("sleep.jitter", 1.5, "must be a share in 0.0..=1.0");
    assert_eq!(error.to_string(), "`sleep.jitter` = 1.5: must be a share in 0.0..=1.0");
    assert_eq!((error.field(), error.value()), ("sleep.jitter", "1.5"));
    assert_eq!((error.why(), error.source().is_none()), ("must be a share in 0.0..=1.0", true));
    let owned = ConfigError::new("name", "x", String::from("is taken"));
    assert_eq!(owned, ConfigError::new("name", 'x', "is taken"));
    let boxed: BoxError = owned.into();
    assert!(boxed.is::<ConfigError>() && boxed.rejection().is_none());
}

#[test]
fn a_name_is_interned_once_whoever_asks() {
    let names = ["payments", "search", "", "naïve ☂"];
    let first: Vec<&'static str> = names.iter().map(|name| intern(&String::from(*name))).collect();
    assert_eq!(first, names);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                names.map(|name| intern(&String::from(name)).as_ptr() as usize).to_vec()
            })
        })
        .collect();
    for thread in threads {
        let same: Vec<usize> = first.iter().map(|name| name.as_ptr() as usize).collect();
        assert_eq!(thread.join().expect("no panic"), same);
    }
    // A part of a longer name is a name of its own.
    assert_ne!(intern("payments-eu"), intern("payments"));
    let config = portcullis::CircuitBreakerConfig::new(intern(&format!("shard-{}", 7)));
    assert_eq!(portcullis::Circuit::new(config).expect("valid").name(), "shard-7");
}
