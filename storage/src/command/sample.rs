//! Choosing elements of a collection at random: HRANDFIELD, SRANDMEMBER and their like.

use std::collections::HashSet;
use std::hash::Hash;

use rand::{Rng, RngExt};

use super::{CommandError, Reply};
use crate::text::integer;

/// Most elements chosen with repetition: the client alone decides about the reply's length.
const REPEATED_MAX: usize = 1 << 27;
/// A reply of more bytes than this is given up.
const REPLY_BYTES_MAX: usize = 4 << 30;
/// If less than one element in so many is wanted, elements are drawn until enough different ones have come up;
/// otherwise all of them are looked at once.
const SPARSE: usize = 3;

/// How many elements are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many different ones, or all if there are fewer.
    Different(usize),
    /// So many, each chosen among all.
    Any(usize),
}

/// Parses a count, negative for elements that may repeat.
pub(super) fn parse_count(arg: &[u8]) -> Result<i64, CommandError> {
    match integer::parse_i64(arg).ok_or(CommandError::NotInteger)? {
        i64::MIN => Err(CommandError::err(format!(
            "value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        count => Ok(count),
    }
}

impl Wanted {
    /// What a count means; `in_pairs` if each element comes with a second one.
    pub fn new(count: i64, in_pairs: bool) -> Result<Wanted, CommandError> {
        let number = count.unsigned_abs();
        if in_pairs && number > i64::MAX as u64 / 2 {
            return Err(CommandError::OutOfRange);
        }
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(if count < 0 {
            Wanted::Any(number)
        } else {
            Wanted::Different(number)
        })
    }

    /// How many elements that makes if there are `len`.
    ///
    /// # Errors
    /// If they are more than a reply can hold.
    pub fn of(self, len: usize) -> Result<usize, CommandError> {
        match self {
            Wanted::Different(count) => Ok(count.min(len)),
            Wanted::Any(_) if len == 0 => Ok(0),
            Wanted::Any(count) if count > REPEATED_MAX => Err(CommandError::OutOfRange),
            Wanted::Any(count) => Ok(count),
        }
    }
}

/// Gives `count` different ones of `len` elements to `take`, every choice with the same probability. `all` are the
/// elements, and `any` draws one of them.
pub(super) fn different<T: Copy + Eq + Hash, R: Rng>(
    rng: &mut R,
    len: usize,
    count: usize,
    all: impl Iterator<Item = T>,
    mut any: impl FnMut(&mut R) -> Option<T>,
    mut take: impl FnMut(T) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    if count.saturating_mul(SPARSE) > len {
        // Each element is taken with the probability that so many are still needed among those that are left.
        let mut needed = count;
        for (at, element) in all.enumerate() {
            if needed > 0 && rng.random_range(0..len.saturating_sub(at).max(1)) < needed {
                take(element)?;
                needed -= 1;
            }
        }
        return Ok(());
    }
    let mut taken = HashSet::with_capacity(count);
    while taken.len() < count {
        let Some(element) = any(rng) else {
            return Ok(());
        };
        if taken.insert(element) {
            take(element)?;
        }
    }
    Ok(())
}

/// Fails if the reply has become too long.
pub(super) fn check_reply_len(reply: &Reply) -> Result<(), CommandError> {
    if reply.bytes().len() > REPLY_BYTES_MAX {
        return Err(CommandError::OutOfRange);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn every_element_is_chosen_equally_often() {
        let mut rng = SmallRng::seed_from_u64(7);
        for count in [1, 5, 30, 59, 99] {
            let mut chosen = [0u32; 100];
            for _ in 0..2000 {
                let mut got = HashSet::new();
                different(
                    &mut rng,
                    100,
                    count,
                    0..100usize,
                    |rng| Some(rng.random_range(0..100)),
                    |element| {
                        got.insert(element);
                        chosen[element] += 1;
                        Ok(())
                    },
                )
                .unwrap();
                assert_eq!(got.len(), count);
            }
            // A binomial distribution with 2000 tries: six standard deviations.
            let p = count as f64 / 100.0;
            let slack = 6.0 * (2000.0 * p * (1.0 - p)).sqrt();
            for times in chosen {
                assert!(
                    (f64::from(times) - 2000.0 * p).abs() < slack,
                    "{count}: {times}"
                );
            }
        }
    }

    #[test]
    fn counts_that_make_no_sense_are_refused() {
        assert_eq!(Wanted::new(-3, true), Ok(Wanted::Any(3)));
        assert_eq!(
            Wanted::new(i64::MAX, false).and_then(|wanted| wanted.of(7)),
            Ok(7)
        );
        assert_eq!(Wanted::new(i64::MAX, true), Err(CommandError::OutOfRange));
        let far_too_many = Wanted::new(-i64::MAX, false).unwrap();
        assert_eq!(far_too_many.of(0), Ok(0));
        assert_eq!(far_too_many.of(1), Err(CommandError::OutOfRange));
        assert!(parse_count(b"-9223372036854775808").is_err());
        assert_eq!(parse_count(b"x"), Err(CommandError::NotInteger));
    }
}
