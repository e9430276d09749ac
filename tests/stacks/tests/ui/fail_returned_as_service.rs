// Forgotten: `.layer(ErrorLayer::new())`, where the stack is returned as `impl Service`.
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ConfigError};
use tower::{Service, ServiceBuilder};

fn stack() -> Result<impl Service<u32, Response = u32>, ConfigError> {
    Ok(ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
        .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) }))
}

fn main() {
    let _ = stack();
}
