// Above tower's own layers the error is boxed already, and carries a refusal as it is.
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ConfigError};
use tower::{BoxError, Service, ServiceBuilder};

fn stack() -> Result<impl Service<u32, Response = u32, Error = BoxError>, ConfigError> {
    Ok(ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
        .timeout(std::time::Duration::from_secs(1))
        .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) }))
}

pub(crate) fn main() {
    let _ = stack().expect("a valid config");
}
