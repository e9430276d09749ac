//! What every handle, layer and service of one panic guard shares, and where a panic ends.

use std::{
    any::Any,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use crate::{
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers},
    options::Options,
    policy::{
        Mode,
        catch_panic::{CatchPanicConfig, Live},
    },
    sync::{self, reference::Ref},
};

/// Keeps a guard alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Keeps it alive for a call of a layer.
pub(super) type CallRef = sync::reference::CallRef<Core>;
/// The handle, and references for calls.
pub(super) type References = sync::reference::References<super::PanicGuard, Core>;

/// What a panic throws.
type Payload = Box<dyn Any + Send>;
/// Is told of it.
type Hook = Arc<dyn Fn(&(dyn Any + Send)) + Send + Sync>;

pub(super) struct Core {
    pub(super) name: &'static str,
    /// Shared with handles and layers that have another hook.
    pub(super) live: Arc<Live>,
    observers: Observers,
    hook: Option<Hook>,
}

impl Core {
    /// A guard of a valid configuration.
    pub(super) fn new(config: &CatchPanicConfig, Options { observers, .. }: Options) -> Self {
        Self { name: config.name, live: Arc::new(Live::new(config)), observers, hook: None }
    }

    /// The same guard with another hook.
    pub(super) fn with_hook(&self, hook: Hook) -> Self {
        Self {
            name: self.name,
            live: Arc::clone(&self.live),
            observers: self.observers.clone(),
            hook: Some(hook),
        }
    }

    /// Runs the inner service's own code; a panic that leaves it becomes an error.
    #[inline]
    pub(super) fn attempt<R>(&self, run: impl FnOnce() -> R) -> Result<R, Rejection> {
        // The service is shared with whoever calls next and is used again after a panic, as every runtime
        // does; see the module's documentation.
        catch_unwind(AssertUnwindSafe(run)).map_err(|payload| self.catch(payload))
    }

    /// Lets go of something of the inner service, the call's answer being known already.
    #[inline]
    pub(super) fn release(&self, release: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(release)) {
            self.stop(payload, || {});
        }
    }

    #[cold]
    fn catch(&self, payload: Payload) -> Rejection {
        let rejection = Rejection::new(Reason::Panicked, self.name);
        self.stop(payload, || self.observers.tell(|| Event::Rejected(rejection)));
        rejection
    }

    /// Ends a panic and tells of it, or lets it go on.
    #[cold]
    fn stop(&self, payload: Payload, told: impl FnOnce()) {
        let mode = self.live.take();
        if mode == Mode::Disabled {
            resume_unwind(payload);
        }
        if let Some(hook) = &self.hook {
            contained(|| hook(&*payload));
        }
        if mode == Mode::Shadow {
            self.observers.tell(|| Event::WouldReject {
                policy: self.name,
                kind: PolicyKind::CatchPanic,
                reason: Reason::Panicked,
            });
            resume_unwind(payload);
        }
        contained(|| drop(payload));
        told();
    }
}

/// Runs code that may panic again, as a hook or the drop of what was thrown may, and ends that here.
fn contained(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // It may go on like this, and one of them has to be the last.
        mem::forget(payload);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("name", &self.name).finish_non_exhaustive()
    }
}
