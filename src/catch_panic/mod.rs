//! Catch panic: a service that panics is an error of the stack, and its neighbours go on.
//!
//! ```
//! use portcullis::{CatchPanicConfig, CatchPanicLayer, Error, ErrorLayer, Reason};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(CatchPanicLayer::new(CatchPanicConfig::new("plugin"))?)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|n: u32| async move { Ok::<_, std::io::Error>(100 / n) }));
//!
//! let Err(Error::Rejected(caught)) = service.ready().await.unwrap().call(0).await else {
//!     panic!("it divides by zero");
//! };
//! assert_eq!(caught.reason(), Reason::Panicked);
//! println!("{caught}");     // plugin: the service panicked
//! assert_eq!(service.ready().await.unwrap().call(4).await.unwrap(), 25);
//! # Ok(())
//! # }
//! ```
//!
//! With the text of each panic, for a log or an error tracker:
//!
//! ```
//! use portcullis::{CatchPanicConfig, CatchPanicLayer, catch_panic};
//!
//! let layer = CatchPanicLayer::new(CatchPanicConfig::new("plugin"))?
//!     .on_panic(|payload| eprintln!("{}", catch_panic::message(payload).unwrap_or("?")));
//! # let _ = layer;
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it as a [layer](CatchPanicLayer), or by its handle around a closure ([`PanicGuard::call`]) or any
//! future ([`PanicGuard::run`]).
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`name`](CatchPanicConfig::name) | `"catch_panic"` | in every rejection, event and metric |
//! | [`on_panic`](PanicGuard::on_panic) | none | sees what a panic threw |
//!
//! # Semantics
//!
//! 1. **In `call` and in a poll of the future**, a panic becomes
//!    [`Reason::Panicked`](crate::Reason::Panicked) with [`attempted`](crate::Rejection::attempted): the
//!    service may have done its work.
//! 2. **In `poll_ready`**, it becomes the error of `poll_ready`, with the same reason. There was no request
//!    yet; `attempted` follows from the reason all the same, and errs on the side of care.
//! 3. **A future that panicked is never polled again.** It is dropped at once, before the error is
//!    returned; if its drop panics too, that ends here as well. A future that has answered is dropped at
//!    once, too, and its answer stays if that panics.
//! 4. **What was thrown** is shown to the hook and dropped. Neither a hook that panics nor a payload whose
//!    drop does gets any further.
//! 5. **The panic hook has run by then**: what `std::panic::set_hook` set, by default the message on
//!    standard error, comes before the unwinding that is caught here.
//!
//! A panic while a *caller* drops a response is the caller's: there is nobody left to give an error to. Nor
//! are panics caught that unwind past this layer from above it.
//!
//! It needs `panic = "unwind"`, the default. Under `panic = "abort"` the process ends before anything can
//! be caught, and no library can change that.
//!
//! # Why the service may be used again
//!
//! The layer asserts unwind safety for whatever service it is put around, as tokio does for every task. What
//! a panic may have left half done is then the service's own: a future that panicked is gone; a service
//! whose `call` or `poll_ready` panicked is called again like any of its clones. A `std` mutex that was held
//! is poisoned and says so; other shared state must bear that a call ended anywhere, as it must when a
//! future is dropped. Where it cannot, make the service anew on an error, or let the panic go on.
//!
//! # Where it stands
//!
//! A breaker *below* sees the panic itself, one *above* sees the error: to both it is a failure. Below a
//! retry, a panicked call is one that may be tried again, and the classifier says so. On a server it keeps a
//! connection alive that one handler's bug would have ended. It belongs right above the error layer, so that
//! everything further out sees an error: see [ordering](crate::docs::ordering).
//!
//! # Commands
//!
//! [`shadow`](PanicGuard::shadow) counts and reports each panic and lets it go on;
//! [`disable`](PanicGuard::disable) lets it go on and says nothing; [`enable`](PanicGuard::enable) is back
//! to work; [`reset`](PanicGuard::reset) counts from zero. A command holds from the next panic on, also of
//! calls that have begun.
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Rejected`](crate::Event::Rejected) | a panic becomes an error, which `tracing` gets at ERROR |
//! | [`WouldReject`](crate::Event::WouldReject) | in shadow, a panic goes on |
//!
//! The text of a panic is in neither: it may hold anything.
//!
//! # Readiness
//!
//! `poll_ready` is the service's own, and a panic in it is caught, too.
//!
//! # Cancellation and clones
//!
//! Dropping the response future drops the service's future; nothing else
//! is held. Clones of a layer, and all services made by them, share one guard: see
//! [sharing](crate::docs::sharing).
//!
//! # Memory and cost
//!
//! No allocation and no clock: [`Options::clock`](crate::Options::clock) changes nothing here. A call that does not panic costs a reference to the guard, and about a
//! nanosecond where that is [leaked](PanicGuard::leak).
//!
//! | what | bytes |
//! |---|---:|
//! | a guard | 120 |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | a response future, besides the service's own | 36 |

mod core;
mod future;
mod handle;
mod layer;

use std::any::Any;

#[cfg(doc)]
use crate::policy::catch_panic::CatchPanicConfig;

pub use self::{
    handle::{PanicGuard, Run},
    layer::{CatchPanic, CatchPanicLayer, ResponseFuture},
};

/// What a panic says: the text of `panic!`, `assert!`, `unwrap` and their like; `None` for another value,
/// as [`panic_any`](std::panic::panic_any) throws it.
///
/// ```
/// use std::panic::catch_unwind;
/// use portcullis::catch_panic::message;
///
/// let thrown = catch_unwind(|| panic!("{} too many", 1)).unwrap_err();
/// assert_eq!(message(&*thrown), Some("1 too many"));
/// ```
pub fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<String>().map(String::as_str),
    }
}
