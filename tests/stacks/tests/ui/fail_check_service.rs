// Forgotten: `.layer(ErrorLayer::new())`, with the line that makes the compiler say so.
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ConfigError};
use tower::{Service, ServiceBuilder};

fn stack<S>(client: S) -> Result<(), ConfigError>
where
    S: Service<u32, Response = u32, Error = std::io::Error>,
{
    let _ = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
        .check_service::<S, u32, u32, std::io::Error>()
        .service(client);
    Ok(())
}

fn main() {
    let _ = stack(tower::service_fn(|n: u32| async move { Ok(n) }));
}
