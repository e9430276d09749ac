//! The one word of a bulkhead: how many calls are in flight, whether others wait, and the limit.
//!
//! The limit shares the word with the count, so that taking a slot and lowering the limit cannot miss
//! each other.

/// The most calls that can be in flight at once: 31 bits count them.
const MOST: u64 = (1 << 31) - 1;
/// Set while somebody waits: a slot that is freed is theirs.
pub(super) const WAITING: u64 = 1 << 31;

/// Nobody in flight, under this limit.
pub(super) fn idle(limit: usize) -> u64 {
    u64::try_from(limit).map_or(MOST, |limit| limit.min(MOST)) << 32
}

/// The same calls under another limit.
pub(super) fn under(word: u64, limit: usize) -> u64 {
    word & u64::from(u32::MAX) | idle(limit)
}

pub(super) fn in_flight(word: u64) -> u64 {
    word & MOST
}

/// Whether there is a free slot, whoever it is for.
pub(super) fn has_slot(word: u64) -> bool {
    in_flight(word) < word >> 32
}

/// Whether there is a free slot and nobody waits for it. One comparison: while somebody waits, the lower
/// half is greater than any limit.
#[inline(always)]
pub(super) fn admits(word: u64) -> bool {
    (word as u32) < (word >> 32) as u32
}

/// Whether giving a slot back under this word takes more than giving it back: somebody waits, or there
/// is none to give back.
#[inline(always)]
pub(super) fn needs_care(word: u64) -> bool {
    word as u32 as i32 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_word_keep_apart() {
        for limit in [1, 2, 1 << 20, usize::MAX] {
            let word = idle(limit);
            assert!(admits(word) && has_slot(word) && needs_care(word));
            assert!(!needs_care(word + 1));
            assert!(!admits(word | WAITING) && has_slot(word | WAITING));
            assert!(needs_care((word + 1) | WAITING));
            assert_eq!(in_flight((word + 5) | WAITING), 5);
            let full = word + (word >> 32);
            assert!(!admits(full) && !has_slot(full) && !needs_care(full));
            assert_eq!(in_flight(under(full, 1)), word >> 32);
            assert!(!admits(under(full, 1)));
        }
        assert_eq!(idle(usize::MAX) >> 32, MOST);
    }
}
