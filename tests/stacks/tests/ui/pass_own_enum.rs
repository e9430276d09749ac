// An error type of one's own takes a few lines, and no `ErrorLayer`.
use portcullis::{
    CarryRejection, CircuitBreakerConfig, CircuitBreakerLayer, ConfigError, Rejection,
};
use tower::{Service, ServiceBuilder};

#[derive(Debug)]
enum AppError {
    Refused(Rejection),
    Io(#[expect(dead_code, reason = "there for whoever prints it")] std::io::Error),
}

impl From<Rejection> for AppError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl CarryRejection for AppError {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Io(_) => None,
        }
    }
}

async fn fetch(_: u32) -> Result<String, std::io::Error> {
    Ok("fetched".into())
}

fn stack() -> Result<impl Service<u32, Response = String, Error = AppError>, ConfigError> {
    Ok(ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
        .map_err(AppError::Io)
        .service_fn(fetch))
}

pub(crate) fn main() {
    let _ = stack().expect("a valid config");
}
