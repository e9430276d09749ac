//! Looking at a stack while it is built.

use super::{amplification::Amplification, numbers, order, report::Report, words::with_number};
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
/// Every number is taken as it is configured when the stack is built; modes are not looked at.
///
/// # What it cannot see
///
/// It reads the layers as one row, in the order in which they are put in front of something:
///
/// - A service that is built inside but stands beside the stack, such as the one that a fallback calls, is
///   built before, or by a `check` of its own inside this one, which hears of it alone.
/// - A router puts its layers in front of each of its routes, once or per connection. Check them in front of
///   anything else, which need not even be a service:
///
/// ```
/// use portcullis::stack;
/// use tower::Layer;
///
/// let server = stack::server("api").build()?;
/// let (_, report) = stack::check(|| server.layer(()));
/// assert!(report.is_sound(), "{report}");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// - What a fallback answers and what it passes, which errors a retry repeats, and what layers of other
///   crates do.
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
        layers: parts.iter().map(with_number).collect(),
        findings,
        amplification: Amplification::of(parts),
    }
}
