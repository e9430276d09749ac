//! Bytes as numbers and choices. When they are used up, all are zero.

use std::time::Duration;

pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn are_left(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    /// One of `n`.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Of up to 64 bits, and of any length with about the same chance.
    pub(super) fn number(&mut self) -> u64 {
        let length = self.pick(9);
        (0..length).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Small as a rule.
    pub(super) fn small(&mut self) -> u32 {
        match self.byte() {
            255 => self.number() as u32,
            small => u32::from(small) % 16,
        }
    }

    /// In `0.0..=1.0`, and now and then anything else.
    pub(super) fn share(&mut self) -> f64 {
        match self.byte() {
            255 => f64::from_bits(self.number()),
            parts => f64::from(parts) / 254.0,
        }
    }

    pub(super) fn span(&mut self) -> Duration {
        match self.byte() {
            255 => Duration::MAX,
            254 => Duration::new(self.number(), self.small() % 1_000_000_000),
            few if few < 128 => Duration::from_millis(few.into()),
            _ => Duration::from_nanos(self.number()),
        }
    }

    pub(super) fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| read(self))
    }
}
