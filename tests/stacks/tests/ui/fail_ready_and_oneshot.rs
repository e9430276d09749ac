// Forgotten: `.layer(ErrorLayer::new())`, and the next thing is a method. The compiler hides the cause
// while it looks for the method; `check_service` brings it out, see fail_check_service.rs.
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ConfigError};
use tower::{ServiceBuilder, ServiceExt};

async fn call() -> Result<(), ConfigError> {
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
        .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) });
    let _ = service.ready().await;
    let _ = service.oneshot(1).await;
    Ok(())
}

fn main() {
    drop(call());
}
