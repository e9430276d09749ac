//! What is said of a refusal: the default, unless somebody says otherwise.

use std::sync::Arc;

use crate::error::Rejection;

type Of<T> = dyn Fn(&Rejection) -> T + Send + Sync;

/// A function of a refusal. A default one costs nothing to clone, which happens with every call.
pub(crate) struct Hook<T> {
    set: Option<Arc<Of<T>>>,
    default: fn(&Rejection) -> T,
}

impl<T: 'static> Hook<T> {
    pub(crate) const fn new(default: fn(&Rejection) -> T) -> Self {
        Self { set: None, default }
    }

    pub(crate) fn of(&self, rejection: &Rejection) -> T {
        match &self.set {
            Some(set) => set(rejection),
            None => (self.default)(rejection),
        }
    }

    pub(crate) fn set(&mut self, of: impl Fn(&Rejection) -> T + Send + Sync + 'static) {
        self.set = Some(Arc::new(of));
    }

    /// Says `then` where `is` holds, and elsewhere what it said before.
    pub(crate) fn set_where(
        &mut self,
        is: impl Fn(&Rejection) -> bool + Send + Sync + 'static,
        then: T,
    ) where
        T: Copy + Send + Sync,
    {
        let before = self.clone();
        self.set(move |rejection| if is(rejection) { then } else { before.of(rejection) });
    }
}

impl<T> Clone for Hook<T> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone(), default: self.default }
    }
}
