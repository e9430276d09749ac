//! The calls in flight in the order of their start, for probe leases and for calls that hang.
//!
//! A linked list in a slab: inserting, removing and asking for the oldest are O(1); counting those
//! older than a limit is O(1) amortised, since each call crosses the limit once. It allocates only
//! when more calls are in flight than ever before.

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Node {
    start: u64,
    previous: u32,
    next: u32,
    old: bool,
    taken: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    nodes: Vec<Node>,
    /// The first free slot; free slots are chained by `next`.
    free: u32,
    oldest: u32,
    newest: u32,
    len: u32,
    /// The oldest call that is not yet counted as old.
    boundary: u32,
    old: u32,
}

impl InFlight {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            len: 0,
            boundary: NONE,
            old: 0,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// When the oldest call started.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.nodes.get(self.oldest as usize).map(|node| node.start)
    }

    /// Adds a call and gives its slot. A start before the newest one's is taken as equal to that.
    pub(crate) fn insert(&mut self, start: u64) -> u32 {
        let start = self.nodes.get(self.newest as usize).map_or(start, |n| n.start.max(start));
        let node = Node { start, previous: self.newest, next: NONE, old: false, taken: true };
        let slot = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let slot = self.free;
            self.free = std::mem::replace(&mut self.nodes[slot as usize], node).next;
            slot
        };
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.nodes[newest as usize].next = slot,
        }
        self.newest = slot;
        if self.boundary == NONE {
            self.boundary = slot;
        }
        self.len += 1;
        slot
    }

    /// Removes the call in a slot that [`insert`](Self::insert) gave since the last clearing. Any other
    /// slot, as a permit of another breaker may name, is none.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(slot as usize).filter(|node| node.taken) else {
            return;
        };
        node.taken = false;
        let Node { previous, next, old, .. } = *node;
        match previous {
            NONE => self.oldest = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        if self.boundary == slot {
            self.boundary = next;
        }
        self.old -= u32::from(old);
        self.nodes[slot as usize].next = self.free;
        self.free = slot;
        self.len -= 1;
    }

    /// How many calls started strictly more than `limit` before `now`.
    pub(crate) fn older_than(&mut self, limit: u64, now: u64) -> u32 {
        while let Some(node) = self.nodes.get_mut(self.boundary as usize) {
            if now.saturating_sub(node.start) <= limit {
                break;
            }
            node.old = true;
            self.old += 1;
            self.boundary = node.next;
        }
        self.old
    }

    /// Counts afresh what is old, after the limit has changed.
    pub(crate) fn forget_ages(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.old = false);
        self.old = 0;
        self.boundary = self.oldest;
    }

    pub(crate) fn clear(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.clear();
        *self = Self { nodes, ..Self::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_list() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut list: Vec<(u32, u64)> = Vec::new();
        let mut in_flight = InFlight::new();
        let mut now = 0;
        for _ in 0..20_000 {
            now += random.u64(0..5);
            match random.u8(0..10) {
                0..4 => list.push((in_flight.insert(now), now)),
                4..8 if !list.is_empty() => {
                    let (slot, _) = list.remove(random.usize(0..list.len()));
                    in_flight.remove(slot);
                }
                8 if random.u8(0..100) == 0 => {
                    in_flight.clear();
                    list.clear();
                }
                _ => {}
            }
            let old = list.iter().filter(|(_, start)| now - start > 20).count();
            assert_eq!(in_flight.older_than(20, now) as usize, old);
            assert_eq!(in_flight.len() as usize, list.len());
            assert_eq!(in_flight.oldest(), list.first().map(|(_, start)| *start));
        }
    }
}
