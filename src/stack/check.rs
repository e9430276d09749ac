//! Looking at a stack while it is built.

use super::{amplification::Amplification, numbers, order, report::Report};
use crate::plan::{self, Part};

/// Builds a stack and says what is wrong with it: an order that breaks a promise, numbers that fight,
/// and how many calls one call may become at worst.
///
/// Everything that `build` puts in front of a service is looked at, from the outermost layer to the
/// innermost: our own layers note themselves in their `layer()`, and layers of other crates are passed
/// over. The service built is given back, so that a program can check the very stack that it uses, where
/// it starts; a check costs nothing afterwards.
///
/// ```
/// use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer, stack};
/// use tower::{ServiceBuilder, service_fn};
///
/// # async fn fetch(_: u32) -> Result<u32, std::io::Error> { Ok(1) }
/// let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("search"))?;
/// let (service, report) = stack::check(|| {
///     ServiceBuilder::new().layer(breaker).layer(ErrorLayer::new()).service(service_fn(fetch))
/// });
/// assert!(report.is_sound(), "{report}");
/// # drop(service);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// A layer that makes its service later, such as one per connection, is seen when it does.
pub fn check<S>(build: impl FnOnce() -> S) -> (S, Report) {
    let (service, mut parts) = plan::record(build);
    // Layers are applied from the inside out; people read from the outside in.
    parts.reverse();
    (service, report(&parts))
}

fn report(parts: &[Part]) -> Report {
    let mut findings = order::findings(parts);
    findings.extend(numbers::findings(parts));
    // The gravest first; otherwise as the rules come.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Report {
        layers: parts.iter().map(Part::to_string).collect(),
        findings,
        amplification: Amplification::of(parts),
    }
}
