//! Lists that only grow, read without a lock.

use std::{hash::BuildHasher, sync::OnceLock};

use foldhash::fast::FixedState;

/// What belongs to each of a few keys, made when a key first comes. Looking takes no lock and allocates
/// nothing.
#[derive(Debug)]
pub(super) struct Chain<K, T> {
    first: OnceLock<(K, T)>,
    rest: OnceLock<Box<Self>>,
}

impl<K, T> Default for Chain<K, T> {
    fn default() -> Self {
        Self { first: OnceLock::new(), rest: OnceLock::new() }
    }
}

impl<K: Copy + PartialEq, T> Chain<K, T> {
    /// What belongs to the key. Whoever else asks for it meanwhile waits until it is made.
    #[inline]
    pub(super) fn get(&self, key: K, make: impl Fn() -> T) -> &T {
        let mut here = self;
        loop {
            let (known, value) = here.first.get_or_init(|| (key, make()));
            if *known == key {
                return value;
            }
            here = here.rest.get_or_init(Box::default);
        }
    }
}

impl<K, T> Drop for Chain<K, T> {
    /// One after the other: a long list must not need as deep a stack.
    fn drop(&mut self) {
        let mut rest = self.rest.take();
        while let Some(mut next) = rest {
            rest = next.rest.take();
        }
    }
}

/// The same for policies, by name. A name is the program's own and there are few of them.
#[derive(Debug)]
pub(super) struct Names<T>([Chain<&'static str, Box<T>>; PLACES]);

const PLACES: usize = 16;

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Chain::default()))
    }
}

impl<T> Names<T> {
    #[inline]
    pub(super) fn get(&self, name: &'static str, make: impl Fn() -> T) -> &T {
        let place = FixedState::default().hash_one(name) as usize % PLACES;
        self.0[place].get(name, || Box::new(make()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_key_is_made_once_and_found_again() {
        let chain = Chain::default();
        let made = Cell::new(0);
        for _ in 0..3 {
            for key in 0..40 {
                let value = chain.get(key, || {
                    made.set(made.get() + 1);
                    key * 10
                });
                assert_eq!(*value, key * 10);
            }
        }
        assert_eq!(made.get(), 40);
    }

    #[test]
    fn a_name_is_one_wherever_its_text_lies() {
        let names = Names::default();
        let elsewhere: &'static str = String::from("db").leak();
        assert!(!std::ptr::eq(elsewhere, "db"));
        assert_eq!(names.get("db", || 1), names.get(elsewhere, || 2));
        for name in (0..1_000).map(|number| &*number.to_string().leak()) {
            assert_eq!(names.get(name, || name.len()), &name.len());
        }
        assert_eq!(names.get("db", || 3), &1);
    }

    #[test]
    fn a_maker_that_panics_leaves_the_place_free() {
        let chain = Chain::default();
        let panics = || chain.get(1, || panic!("not now"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(chain.get(1, || 7), &7);
    }

    #[test]
    fn threads_that_come_together_make_one() {
        let chain = Chain::<u32, usize>::default();
        let makers = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..50 {
                        chain
                            .get(key, || makers.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                    }
                });
            }
        });
        assert_eq!(makers.into_inner(), 50);
    }

    #[test]
    fn a_long_list_goes_without_a_deep_stack() {
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        let run = || {
            let chain = Chain::default();
            let mut here = &chain;
            for key in 0..100_000 {
                here.first.get_or_init(|| (key, ()));
                here = here.rest.get_or_init(Box::default);
            }
        };
        thread.spawn(run).expect("a thread").join().expect("no overflow");
    }
}
