//! Wakers of callers that wait for the inner service while the policy may begin to refuse.

use std::{fmt, sync::Arc, task::Waker};

use crate::{event::guarded, sync::Mutex};

/// The wakers of one policy. Only callers that the inner service keeps waiting come here.
#[derive(Clone, Default)]
pub(crate) struct Parking(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A caller's place; given back when dropped.
pub(crate) struct Berth {
    parking: Parking,
    place: usize,
}

impl Parking {
    /// Leaves `waker` in the caller's own place.
    pub(crate) fn moor(&self, berth: &mut Option<Berth>, waker: &Waker) {
        let mut places = self.0.lock();
        let place = match berth {
            Some(berth) => berth.place,
            None => {
                let place = places.free.pop().unwrap_or_else(|| {
                    places.wakers.push(None);
                    places.wakers.len() - 1
                });
                *berth = Some(Berth { parking: self.clone(), place });
                place
            }
        };
        let left = &mut places.wakers[place];
        if !left.as_ref().is_some_and(|left| left.will_wake(waker)) {
            let old = left.replace(waker.clone());
            // A task that goes with its last waker may take another caller's berth along: not under
            // the lock.
            drop(places);
            drop(old);
        }
    }

    /// Wakes everybody, outside the lock. One whose waker panics keeps nobody else from being woken.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> = self.0.lock().wakers.iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(|waker| guarded(|| waker.wake()));
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let mut places = self.parking.0.lock();
        let waker = places.wakers[self.place].take();
        places.free.push(self.place);
        // A waker may run code when it goes: not under the lock.
        drop(places);
        drop(waker);
    }
}

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parking")
    }
}

impl fmt::Debug for Berth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Berth").field("place", &self.place).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_left_is_taken_again() {
        let parking = Parking::default();
        for _ in 0..10 {
            let mut berths = [None, None];
            berths.iter_mut().for_each(|berth| parking.moor(berth, Waker::noop()));
        }
        assert_eq!(parking.0.lock().wakers.len(), 2);
    }
}
