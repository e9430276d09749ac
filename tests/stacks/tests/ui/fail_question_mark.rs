// Forgotten: the `?` after a layer whose configuration can be wrong.
use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer};
use tower::{Service, ServiceBuilder};

fn stack() -> impl Service<u32, Response = u32> {
    ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")))
        .layer(ErrorLayer::new())
        .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) })
}

fn main() {
    let _ = stack();
}
