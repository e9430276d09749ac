//! What of a body has been read, for the attempts to come.

use std::mem;

use bytes::{Bytes, BytesMut};

/// Frames shorter than this are put together, so that a body of many small ones takes no more room than
/// its bytes; longer ones are kept as they are.
const SMALL: usize = 1_024;

/// Data frames up to a cap. Empty ones are left out: they say nothing.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The usual body has one frame, which needs no list.
    first: Bytes,
    more: Vec<Bytes>,
    /// Small frames that have come since the last of `more`.
    small: BytesMut,
    len: usize,
}

impl Kept {
    /// Keeps a frame, unless all together would be longer than `cap`.
    pub(super) fn push(&mut self, data: &Bytes, cap: usize) -> bool {
        match self.len.checked_add(data.len()) {
            Some(len) if len <= cap => self.len = len,
            _ => return false,
        }
        if data.is_empty() {
        } else if self.first.is_empty() {
            self.first = data.clone();
        } else if data.len() < SMALL {
            self.small.extend_from_slice(data);
        } else {
            self.seal();
            self.more.push(data.clone());
        }
        true
    }

    /// Makes a frame of what has been put together. Until then it is not to be read.
    pub(super) fn seal(&mut self) {
        if !self.small.is_empty() {
            self.more.push(self.small.split().freeze());
        }
    }

    /// The frame at this place.
    pub(super) fn get(&self, at: usize) -> Option<&Bytes> {
        match at.checked_sub(1) {
            None => Some(&self.first).filter(|first| !first.is_empty()),
            Some(at) => self.more.get(at),
        }
    }

    /// The frame at this place, which nobody will ask for again.
    pub(super) fn take(&mut self, at: usize) -> Option<Bytes> {
        match at.checked_sub(1) {
            None => Some(mem::take(&mut self.first)).filter(|first| !first.is_empty()),
            Some(at) => self.more.get_mut(at).map(mem::take),
        }
    }

    /// How many bytes there are from this place on.
    pub(super) fn len_from(&self, at: usize) -> u64 {
        let frames = (at..).map_while(|at| self.get(at));
        let frames: usize = frames.map(Bytes::len).sum();
        (frames + self.small.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(kept: &mut Kept) -> Vec<Bytes> {
        kept.seal();
        (0..).map_while(|at| kept.get(at)).cloned().collect()
    }

    #[test]
    fn small_frames_are_put_together_and_long_ones_are_not_copied() {
        let mut kept = Kept::default();
        let long = Bytes::from(vec![7; SMALL]);
        for data in [&Bytes::from_static(b"a"), &Bytes::new(), &Bytes::from_static(b"b"), &long] {
            assert!(kept.push(data, usize::MAX));
        }
        for _ in 0..3 {
            assert!(kept.push(&Bytes::from_static(b"c"), usize::MAX));
        }
        assert_eq!(kept.len_from(0), 2 + SMALL as u64 + 3);
        assert_eq!(kept.len_from(2), SMALL as u64 + 3);
        let frames = frames(&mut kept);
        let lengths: Vec<_> = frames.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [1, 1, SMALL, 3]);
        assert_eq!(frames[2].as_ptr(), long.as_ptr());
        assert_eq!(kept.len_from(3), 3);
        assert_eq!(kept.len_from(9), 0);
    }

    #[test]
    fn the_cap_is_a_number_of_bytes() {
        let mut kept = Kept::default();
        assert!(kept.push(&Bytes::from_static(b"abc"), 4));
        assert!(!kept.push(&Bytes::from_static(b"de"), 4));
        assert!(kept.push(&Bytes::from_static(b"d"), 4));
        assert!(kept.push(&Bytes::new(), 4));
        assert!(!kept.push(&Bytes::from_static(b"e"), 4));
        assert_eq!(frames(&mut kept).concat(), b"abcd");
        assert!(Kept::default().push(&Bytes::new(), 0));
        assert!(!Kept::default().push(&Bytes::from_static(b"a"), 0));
    }
}
