//! What the hand would find, for whoever only asks.

use super::{LOOKS, LOOKS_FOR_ROOM, Part};

impl<K> Part<K> {
    /// Whether a new key would find room, which may be made for it; if not, when a bucket is first full
    /// that it would look at. In units, and changes nothing.
    pub(in super::super) fn foresee_room(&self, now: u64) -> Result<(), Option<u64>> {
        let places = self.table.num_buckets();
        let (mut hand, mut in_this_turn) = (self.hand, self.in_this_turn);
        let mut none_before = self.none_before;
        let mut first_full = u64::MAX;
        // As the hand would: it tidies, and then makes room.
        for (then, looks) in [(now.saturating_sub(self.idle), LOOKS), (now, LOOKS_FOR_ROOM)] {
            first_full = u64::MAX;
            for _ in 0..looks.min(places) {
                if then < none_before {
                    first_full = none_before;
                    break;
                }
                if let Some((_, full_at)) = self.table.get_bucket(hand) {
                    if *full_at <= then {
                        return Ok(());
                    }
                    in_this_turn = in_this_turn.min(*full_at);
                    first_full = first_full.min(*full_at);
                }
                hand += 1;
                if hand >= places {
                    hand = 0;
                    none_before = std::mem::replace(&mut in_this_turn, u64::MAX);
                }
            }
        }
        Err(Some(first_full).filter(|time| *time < u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::{hash::BuildHasher, time::Duration};

    use foldhash::quality::RandomState;

    use super::{
        super::{Garbage, Rate, Swept},
        *,
    };

    /// Whether a new key would find room is foreseen as it comes, and so is the time of the first full one.
    #[test]
    fn room_is_found_where_it_was_foreseen() {
        let hasher = RandomState::default();
        let rate = Rate::new(1, Duration::from_secs(1), 5).unwrap();
        let (mut found, mut missed) = (0, 0);
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut part: Part<u64> = Part::new(rate, 200);
            let mut nanos = 0;
            for key in 0..2_000 {
                // Now and then for so long that the hand tidies.
                nanos += random.u64(..if key % 20 == 0 { 12_000_000_000 } else { 40_000_000 });
                let now = part.now(nanos);
                let mut garbage = Garbage::new();
                let foreseen = part.foresee_room(now);
                let tidied = part.tidy(now, &mut garbage).dropped;
                let Swept { dropped, first_full, .. } = match tidied {
                    0 => part.make_room(now, &mut garbage),
                    dropped => Swept { dropped, turned: false, first_full: 0 },
                };
                match foreseen {
                    Ok(()) => found += u32::from(dropped > 0),
                    Err(first) => assert_eq!((dropped, first.unwrap_or(u64::MAX)), (0, first_full)),
                }
                missed += u32::from(foreseen.is_ok() && dropped == 0);
                let full_at = now + random.u64(1..6) * rate.interval;
                if part.has_room() {
                    let hash = hasher.hash_one(key);
                    if part.is_dense() {
                        part.lay_out(now, &hasher, &mut garbage);
                    }
                    part.insert(hash, key, full_at, &hasher);
                }
            }
        }
        assert!(found > 1_000 && missed == 0, "{found} found, {missed} missed");
    }
}
