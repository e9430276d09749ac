// Forgotten without Tower: `.map_err(portcullis::Error::Inner)` inside the future.
use portcullis::{Circuit, CircuitBreakerConfig, ConfigError};

async fn call() -> Result<(), ConfigError> {
    let circuit = Circuit::new(CircuitBreakerConfig::new("db"))?;
    let _ = circuit.run(async { Ok::<_, std::io::Error>(1) }).await;
    Ok(())
}

fn main() {
    drop(call());
}
