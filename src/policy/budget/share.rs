//! A share of calls: the ledger, and a way to count calls that costs next to nothing.
//!
//! Calls are counted in one stripe of memory per thread. A stripe's calls are entered in the ledger in
//! batches: the first call of a batch reads the clock, and those that follow, up to a number that takes
//! about one slot of time to come together, are taken to have come when it did. So no call counts for
//! longer than it may, and where calls come steadily none for more than about two hundredths less. When
//! calls suddenly become rare, those of one unfinished batch per stripe count for less time; there are at
//! most 64 in each.

use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::ledger::{Ledger, Terms};
use crate::{
    policy::{Now, nanos},
    sync::{
        AtomicU64, Mutex, MutexGuard, Ordering,
        thread_slot::{OWNED, SHARED, thread_slot},
    },
};

/// The most calls that are taken to have come at one time.
const LARGEST_BATCH: u64 = 64;

#[derive(Debug)]
pub(super) struct Share {
    origin: Instant,
    stripes: Box<[CachePadded<Stripe>]>,
    books: Mutex<Box<Books>>,
}

/// One thread's calls, or those of all threads without a slot.
#[derive(Debug)]
struct Stripe {
    calls: AtomicU64,
    /// From this many on, the next call begins a batch. Written under the lock.
    until: AtomicU64,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    batches: [Batch; OWNED + 1],
    /// Tells retries from before a reset or another time to live.
    epoch: u64,
}

/// The calls of a stripe that are yet to be entered.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    /// How many calls of the stripe have been.
    entered: u64,
    /// The slot in which it began: none of its calls came earlier.
    slot: u64,
    /// How many may follow its first.
    size: u64,
}

/// A retry that was allowed: which, so that it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    slot: u64,
    epoch: u64,
}

impl Share {
    pub(super) fn new(terms: Terms, origin: Instant) -> Self {
        let stripe = || Stripe { calls: AtomicU64::new(0), until: AtomicU64::new(0) };
        Self {
            origin,
            stripes: (0..OWNED + 1).map(|_| CachePadded::new(stripe())).collect(),
            books: Mutex::new(Box::new(Books {
                ledger: Ledger::new(terms),
                batches: [Batch::default(); OWNED + 1],
                epoch: 0,
            })),
        }
    }

    /// Counts a call, at a time that is asked for only if the call begins a batch.
    #[inline(always)]
    pub(super) fn count(&self, now: impl Now) {
        let own = thread_slot();
        let stripe = &self.stripes[own];
        let before = if own == SHARED {
            stripe.calls.fetch_add(1, Ordering::Relaxed)
        } else {
            // Only this thread writes here, so that nothing comes between the load and the store.
            let before = stripe.calls.load(Ordering::Relaxed);
            stripe.calls.store(before + 1, Ordering::Relaxed);
            before
        };
        if before >= stripe.until.load(Ordering::Relaxed) {
            self.begin_batch(own, before, now.now());
        }
    }

    #[cold]
    fn begin_batch(&self, own: usize, before: u64, now: Instant) {
        let mut books = self.open(now);
        let Books { ledger, batches, .. } = &mut **books;
        let (stripe, batch) = (&self.stripes[own], &mut batches[own]);
        if before < stripe.until.load(Ordering::Relaxed) {
            // Another thread of the same stripe has begun one meanwhile.
            return;
        }
        let calls = enter(stripe, batch, ledger, 1);
        batch.size = match ledger.slot() - batch.slot {
            0 => (batch.size * 2).clamp(1, LARGEST_BATCH),
            1 => batch.size,
            // Too slow for a batch: the next call reads the clock, too.
            _ => 0,
        };
        batch.slot = ledger.slot();
        stripe.until.store(calls + batch.size, Ordering::Relaxed);
    }

    /// Counts a call at exactly this time.
    pub(super) fn record(&self, now: Instant) {
        let ledger = &mut self.open(now).ledger;
        let slot = ledger.slot();
        ledger.enter(1, slot);
    }

    pub(super) fn take(&self, now: Instant) -> Option<Taken> {
        let mut books = self.open(now);
        let since = self.since(now);
        // What calls have added is of interest only where the rest is not enough.
        let slot = books.ledger.take(since).or_else(|| {
            self.enter_all(&mut books);
            books.ledger.take(since)
        })?;
        Some(Taken { slot, epoch: books.epoch })
    }

    pub(super) fn give_back(&self, Taken { slot, epoch }: Taken) {
        let mut books = self.books.lock();
        if epoch == books.epoch {
            books.ledger.give_back(slot);
        }
    }

    /// Tokens left in parts, and the calls and retries that count.
    pub(super) fn read(&self, now: Instant) -> (i128, u64, u64) {
        let mut books = self.open(now);
        self.enter_all(&mut books);
        (books.ledger.tokens(), books.ledger.called(), books.ledger.retried())
    }

    pub(super) fn reconfigure(&self, terms: Terms, now: Instant) {
        let mut books = self.open(now);
        self.enter_all(&mut books);
        books.ledger.rewrite(terms, self.since(now));
        books.restart();
    }

    /// Forgets every call and every retry.
    pub(super) fn reset(&self, terms: Terms, now: Instant) {
        let mut books = self.open(now);
        self.enter_all(&mut books);
        books.ledger = Ledger::new(terms);
        books.ledger.advance(self.since(now));
        books.restart();
    }

    /// The books at this time, or a later one that somebody else has seen.
    fn open(&self, now: Instant) -> MutexGuard<'_, Box<Books>> {
        let since = self.since(now);
        let mut books = self.books.lock();
        books.ledger.advance(since);
        books
    }

    fn since(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }

    /// Enters what all stripes have counted.
    fn enter_all(&self, books: &mut Books) {
        let Books { ledger, batches, .. } = books;
        for (stripe, batch) in self.stripes.iter().zip(batches) {
            let calls = enter(stripe, batch, ledger, 0);
            if batch.slot < ledger.slot() {
                // The batch has lasted a slot: the next call begins another. Calls that came meanwhile
                // came no earlier than now.
                batch.slot = ledger.slot();
                stripe.until.store(calls, Ordering::Relaxed);
            }
        }
    }
}

impl Books {
    /// Other slots than before: retries from before are not found any more, batches begin here.
    fn restart(&mut self) {
        self.epoch += 1;
        for batch in &mut self.batches {
            (batch.slot, batch.size) = (self.ledger.slot(), 0);
        }
    }
}

/// Enters what a stripe has counted: all but the last `present` calls as of the batch's beginning, those
/// as of now. Gives the stripe's count.
fn enter(stripe: &Stripe, batch: &mut Batch, ledger: &mut Ledger, present: u64) -> u64 {
    let calls = stripe.calls.load(Ordering::Relaxed);
    let pending = calls - batch.entered;
    let present = present.min(pending);
    ledger.enter(pending - present, batch.slot);
    let slot = ledger.slot();
    ledger.enter(present, slot);
    batch.entered = calls;
    calls
}
