//! Those that wait, in the order in which they came.
//!
//! A linked list in a slab, so that coming, leaving and being let in cost the same however many wait,
//! and a heap of the times at which somebody must have gone. It allocates only when more wait than ever
//! before.

use std::{cmp::Reverse, collections::BinaryHeap, iter, time::Instant};

use super::{LetIn, QueueOrder, Ticket};
use crate::error::Reason;

/// No place.
const NONE: u32 = u32::MAX;
/// A heap of fewer entries is not worth tidying.
const TIDY_ABOVE: usize = 32;

/// When somebody is due, its place, and the place's generation; the earliest first.
type Due = Reverse<(Instant, u32, u32)>;

/// What has become of one that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nobody's place.
    Free,
    Waiting,
    /// Let in, and holds a slot.
    In,
    /// Let through without a slot, by a command.
    Passed,
    /// Its time is over.
    Out(Reason),
}

#[derive(Debug)]
pub(super) struct Place<T> {
    generation: u32,
    pub(super) stand: Stand,
    since: Instant,
    /// When it has waited for as long as it may; `None` is never.
    wait_ends: Option<Instant>,
    /// When its answer stops being useful.
    pub(super) deadline: Option<Instant>,
    /// What its owner keeps here; gone once it was let in.
    kept: Option<T>,
    previous: u32,
    /// The next one in the list, or the next free place.
    next: u32,
}

impl<T> Place<T> {
    fn due(&self) -> Option<Instant> {
        match (self.wait_ends, self.deadline) {
            (Some(wait_ends), Some(deadline)) => Some(wait_ends.min(deadline)),
            (wait_ends, deadline) => wait_ends.or(deadline),
        }
    }

    /// Why it must go when it is due.
    fn why(&self) -> Reason {
        match (self.wait_ends, self.deadline) {
            (None, Some(_)) => Reason::DeadlineTooShort,
            (Some(wait_ends), Some(deadline)) if deadline <= wait_ends => Reason::DeadlineTooShort,
            _ => Reason::QueueTimeout,
        }
    }
}

#[derive(Debug)]
pub(super) struct Line<T> {
    places: Vec<Place<T>>,
    free: u32,
    oldest: u32,
    newest: u32,
    len: u32,
    /// Entries of those that went earlier stay until they come up or are tidied away.
    due: BinaryHeap<Due>,
}

impl<T> Line<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            len: 0,
            due: BinaryHeap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many wait whose time is not over.
    pub(super) fn waiting_at(&self, now: Instant) -> usize {
        let place = |number: u32| self.places.get(number as usize);
        let all = iter::successors(place(self.oldest), |waits| place(waits.next));
        all.filter(|waits| waits.due().is_none_or(|due| due > now)).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is no place left that a number could name.
    pub(super) fn is_out_of_numbers(&self) -> bool {
        self.free == NONE && self.places.len() >= NONE as usize
    }

    /// Adds one behind all others.
    pub(super) fn push(
        &mut self,
        since: Instant,
        wait_ends: Option<Instant>,
        deadline: Option<Instant>,
        kept: T,
    ) -> Ticket {
        let place = if self.free == NONE {
            self.places.push(Place {
                generation: 0,
                stand: Stand::Free,
                since,
                wait_ends: None,
                deadline: None,
                kept: None,
                previous: NONE,
                next: NONE,
            });
            (self.places.len() - 1) as u32
        } else {
            self.free
        };
        let taken = &mut self.places[place as usize];
        self.free = taken.next;
        *taken = Place {
            generation: taken.generation,
            stand: Stand::Waiting,
            since,
            wait_ends,
            deadline,
            kept: Some(kept),
            previous: self.newest,
            next: NONE,
        };
        let ticket = Ticket { place, generation: taken.generation, until: taken.due() };
        match self.newest {
            NONE => self.oldest = place,
            newest => self.places[newest as usize].next = place,
        }
        self.newest = place;
        self.len += 1;
        self.remember_due(&ticket);
        ticket
    }

    fn remember_due(&mut self, ticket: &Ticket) {
        let Some(due) = ticket.until else { return };
        if self.due.len() > TIDY_ABOVE + 2 * self.len() {
            let places = &self.places;
            self.due.retain(|entry| waits(places, entry));
        }
        self.due.push(Reverse((due, ticket.place, ticket.generation)));
    }

    /// Takes everybody out whose time is over, and says how many that are.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let mut gone = 0;
        while let Some(entry) = self.due.peek().copied().filter(|Reverse((due, ..))| *due <= now) {
            self.due.pop();
            if waits(&self.places, &entry) {
                let Reverse((_, place, _)) = entry;
                let why = self.places[place as usize].why();
                self.unlink(place, Stand::Out(why));
                gone += 1;
            }
        }
        gone
    }

    /// Lets the next one in, if anybody waits.
    pub(super) fn next(&mut self, order: QueueOrder, now: Instant) -> Option<LetIn<T>> {
        let first = match order {
            QueueOrder::Fifo => self.oldest,
            QueueOrder::Lifo => self.newest,
        };
        self.take_out(first, Stand::In, now)
    }

    /// Lets the next one through without a slot, if anybody waits.
    pub(super) fn pass(&mut self, now: Instant) -> Option<LetIn<T>> {
        self.take_out(self.oldest, Stand::Passed, now)
    }

    fn take_out(&mut self, place: u32, stand: Stand, now: Instant) -> Option<LetIn<T>> {
        if place == NONE {
            return None;
        }
        self.unlink(place, stand);
        let place = &mut self.places[place as usize];
        let waited = now.saturating_duration_since(place.since);
        place.kept.take().map(|kept| LetIn { kept, waited, slot: stand == Stand::In })
    }

    fn unlink(&mut self, place: u32, stand: Stand) {
        let gone = &mut self.places[place as usize];
        gone.stand = stand;
        let (previous, next) = (gone.previous, gone.next);
        match previous {
            NONE => self.oldest = next,
            previous => self.places[previous as usize].next = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.places[next as usize].previous = previous,
        }
        self.len -= 1;
    }

    /// The place of a ticket; none if it is another bulkhead's.
    pub(super) fn find(&mut self, ticket: &Ticket) -> Option<&mut Place<T>> {
        let place = self.places.get_mut(ticket.place as usize)?;
        (place.generation == ticket.generation && place.stand != Stand::Free).then_some(place)
    }

    /// Sees to it that a ticket that still waits goes at `deadline` at the latest, and keeps `kept`
    /// with it in exchange for what was kept.
    pub(super) fn renew(
        &mut self,
        ticket: &mut Ticket,
        deadline: Option<Instant>,
        kept: Option<&mut T>,
    ) {
        let Some(place) = self.find(ticket) else { return };
        if let (Some(old), Some(new)) = (&mut place.kept, kept) {
            std::mem::swap(old, new);
        }
        let Some(deadline) = deadline else { return };
        if place.deadline.is_none_or(|known| deadline < known) {
            place.deadline = Some(deadline);
            let due = place.due();
            if place.stand == Stand::Waiting && due != ticket.until {
                ticket.until = due;
                self.remember_due(ticket);
            }
        }
    }

    /// Ends a ticket: how it stood, and what its owner kept with it. One that waited waits no longer.
    pub(super) fn end(&mut self, ticket: &Ticket) -> (Stand, Option<T>) {
        let Some(place) = self.find(ticket) else { return (Stand::Free, None) };
        let (stand, kept) = (place.stand, place.kept.take());
        if stand == Stand::Waiting {
            self.unlink(ticket.place, Stand::Free);
        }
        let free = self.free;
        let place = &mut self.places[ticket.place as usize];
        place.stand = Stand::Free;
        place.generation = place.generation.wrapping_add(1);
        place.next = free;
        self.free = ticket.place;
        (stand, kept)
    }
}

/// Whether an entry of the heap is that of somebody who still waits. A deadline that has shrunk leaves the
/// entry of a later time behind, which comes up when its waiter is gone.
fn waits<T>(places: &[Place<T>], Reverse((_, place, generation)): &Due) -> bool {
    let place = &places[*place as usize];
    place.generation == *generation && place.stand == Stand::Waiting
}
