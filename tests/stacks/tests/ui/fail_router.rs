// Forgotten in an axum router: both the `ErrorLayer` and whoever answers for a refusal.
use axum::{Router, routing::get};
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ConfigError};

fn app() -> Result<Router, ConfigError> {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("handlers"))?;
    Ok(Router::new().route("/", get(async || "fine")).layer(breaker))
}

fn main() {
    let _ = app();
}
