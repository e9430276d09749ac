// A classifier names the response; everything else is inferred, above any error.
use portcullis::{
    CircuitBreakerConfig, CircuitBreakerLayer, ConfigError, Error, ErrorLayer, Outcome,
};
use tower::{BoxError, Service, ServiceBuilder};

fn outcome(status: u16) -> Outcome {
    if status >= 500 { Outcome::Failure } else { Outcome::Success }
}

fn lifted() -> Result<impl Service<(), Response = u16, Error = Error<std::io::Error>>, ConfigError>
{
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?;
    Ok(ServiceBuilder::new()
        .layer(breaker.classify(|result: &Result<u16, _>| match result {
            Ok(status) => outcome(*status),
            Err(_) => Outcome::Failure,
        }))
        .layer(ErrorLayer::new())
        .service_fn(|(): ()| async { Ok::<_, std::io::Error>(200) }))
}

fn boxed() -> Result<impl Service<(), Response = u16, Error = BoxError>, ConfigError> {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?;
    Ok(ServiceBuilder::new()
        .layer(breaker.classify(|result: &Result<u16, BoxError>| {
            result.as_ref().map_or(Outcome::Failure, |status| outcome(*status))
        }))
        .service_fn(|(): ()| async { Ok::<_, BoxError>(200) }))
}

pub(crate) fn main() {
    let _ = (lifted().expect("a valid config"), boxed().expect("a valid config"));
}
