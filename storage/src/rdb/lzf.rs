//! LZF, the compression of strings inside an RDB.
//!
//! A compressed string is a sequence of literal runs and back references:
//!
//! ```text
//! 000LLLLL <L+1 literal bytes>          a run of 1 to 32 bytes
//! LLLooooo oooooooo                     copy L+2 bytes (L = 1..6) from o+1 bytes back
//! 111ooooo LLLLLLLL oooooooo            copy L+9 bytes (up to 264) from o+1 bytes back
//! ```
//!
//! A copy may overlap its own output: offset 1 repeats one byte. Neither length is stored; the container knows both.

/// Back references reach this far back.
const OFFSET_MAX: usize = 1 << 13;
/// The longest copy: seven in the control byte, 255 in the next, and 2.
const COPY_MAX: usize = 264;
const LITERALS_MAX: usize = 32;
const HASH_BITS: u32 = 14;

/// The longest output that `compressed` bytes can stand for: three bytes make at most one longest copy.
pub fn expanded_max(compressed: usize) -> usize {
    compressed.saturating_mul(COPY_MAX) / 3 + COPY_MAX
}

/// A compressor, which is a table of recent positions that is reused from call to call.
///
/// Positions are stored relative to a base that grows with every call, so nothing has to be cleared in between.
pub struct Compressor {
    table: Box<[u32]>,
    base: u32,
}

impl Compressor {
    /// Allocates the table (64 KiB).
    pub fn new() -> Compressor {
        // Position 0 of the first call is stored as 1; zero stands for "none".
        Compressor {
            table: vec![0; 1 << HASH_BITS].into_boxed_slice(),
            base: 1,
        }
    }

    /// Appends `input` compressed to `out` if that takes at most `len_max` bytes; else leaves `out` as it was.
    ///
    /// Returns the number of bytes appended.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>, len_max: usize) -> Option<usize> {
        let start = out.len();
        let mut emit = Emit {
            out,
            start,
            len_max,
        };
        let fits = self.compress_into(input, &mut emit);
        if !fits {
            out.truncate(start);
            return None;
        }
        Some(out.len() - start)
    }

    fn compress_into(&mut self, input: &[u8], emit: &mut Emit<'_>) -> bool {
        let Ok(len) = u32::try_from(input.len()) else {
            return false;
        };
        if len < 4 {
            return false;
        }
        if self.base.checked_add(len).is_none() {
            self.table.fill(0);
            self.base = 1;
            if self.base.checked_add(len).is_none() {
                return false;
            }
        }
        let base = self.base;
        self.base += len;

        let mut literals = 0;
        let mut at = 0;
        while at + 3 <= input.len() {
            let slot = hash(input, at);
            let earlier = self.table[slot]
                .checked_sub(base)
                .map(|position| position as usize);
            self.table[slot] = base + at as u32;
            let copied = match earlier {
                Some(earlier) if at - earlier <= OFFSET_MAX => common_len(input, earlier, at),
                _ => 0,
            };
            if copied < 3 {
                at += 1;
                // Give up early on what does not compress, instead of at its end.
                if at - literals == LITERALS_MAX {
                    if !emit.literals(&input[literals..at]) {
                        return false;
                    }
                    literals = at;
                }
                continue;
            }
            let earlier = earlier.expect("a copy has a source");
            if !emit.literals(&input[literals..at]) || !emit.copy(copied, at - earlier - 1) {
                return false;
            }
            // Two more positions inside the copy keep runs findable, without the price of hashing all of it.
            let end = at + copied;
            for position in end - 2..end {
                if position + 3 <= input.len() {
                    let slot = hash(input, position);
                    self.table[slot] = base + position as u32;
                }
            }
            at = end;
            literals = end;
        }
        input[literals..]
            .chunks(LITERALS_MAX)
            .all(|run| emit.literals(run))
    }
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor::new()
    }
}

fn hash(input: &[u8], at: usize) -> usize {
    let three =
        u32::from(input[at]) << 16 | u32::from(input[at + 1]) << 8 | u32::from(input[at + 2]);
    (three.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes at `at` repeat those at `earlier`, up to [`COPY_MAX`].
fn common_len(input: &[u8], earlier: usize, at: usize) -> usize {
    let limit = COPY_MAX.min(input.len() - at);
    let (source, target) = (&input[earlier..earlier + limit], &input[at..at + limit]);
    source
        .iter()
        .zip(target)
        .take_while(|(a, b)| a == b)
        .count()
}

struct Emit<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    len_max: usize,
}

impl Emit<'_> {
    fn has_room(&self, len: usize) -> bool {
        self.out.len() - self.start + len <= self.len_max
    }

    fn literals(&mut self, run: &[u8]) -> bool {
        if run.is_empty() {
            return true;
        }
        if !self.has_room(run.len() + 1) {
            return false;
        }
        self.out.push((run.len() - 1) as u8);
        self.out.extend_from_slice(run);
        true
    }

    fn copy(&mut self, len: usize, offset: usize) -> bool {
        if !self.has_room(3) {
            return false;
        }
        let (len, high) = (len - 2, (offset >> 8) as u8);
        if len < 7 {
            self.out.push((len as u8) << 5 | high);
        } else {
            self.out.push(7 << 5 | high);
            self.out.push((len - 7) as u8);
        }
        self.out.push(offset as u8);
        true
    }
}

/// Outputs that are stated to be longer than this are only made room for when the input is known to stand for them.
const BELIEVED_MAX: usize = 1 << 20;

/// Appends to `out` the `expanded` bytes that `input` stands for.
///
/// Returns false, with `out` as it was, if `input` is malformed or stands for more or fewer bytes. What `expanded` says
/// is not believed: no more than [`BELIEVED_MAX`] bytes are allocated that are not filled.
#[must_use]
pub fn decompress(input: &[u8], expanded: usize, out: &mut Vec<u8>) -> bool {
    if expanded > expanded_max(input.len())
        || (expanded > BELIEVED_MAX && expanded_len(input) != Some(expanded))
    {
        return false;
    }
    let start = out.len();
    if out.try_reserve(expanded).is_err() {
        return false;
    }
    out.resize(start + expanded, 0);
    let done = decompress_into(input, &mut out[start..]).is_some();
    if !done {
        out.truncate(start);
    }
    done
}

/// What one control byte, with those behind it, asks for.
enum Step<'i> {
    /// These bytes.
    Literals(&'i [u8]),
    /// So many bytes from so far back.
    Copy { len: usize, back: usize },
}

/// Takes the next step off `input`, which is not empty; `None` if it is cut off.
#[inline]
fn next_step<'i>(input: &mut &'i [u8]) -> Option<Step<'i>> {
    let (&control, mut rest) = input.split_first()?;
    if control < 32 {
        let (run, rest) = rest.split_at_checked(usize::from(control) + 1)?;
        *input = rest;
        return Some(Step::Literals(run));
    }
    let mut len = usize::from(control >> 5) + 2;
    if len == 9 {
        let (&more, after) = rest.split_first()?;
        len += usize::from(more);
        rest = after;
    }
    let (&low, after) = rest.split_first()?;
    *input = after;
    let back = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
    Some(Step::Copy { len, back })
}

/// How many bytes `input` stands for; `None` if it is malformed.
fn expanded_len(mut input: &[u8]) -> Option<usize> {
    let mut filled = 0usize;
    while !input.is_empty() {
        filled += match next_step(&mut input)? {
            Step::Literals(run) => run.len(),
            Step::Copy { back, .. } if back > filled => return None,
            Step::Copy { len, .. } => len,
        };
    }
    Some(filled)
}

fn decompress_into(mut input: &[u8], out: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while !input.is_empty() {
        let (len, back) = match next_step(&mut input)? {
            Step::Literals(run) => {
                let end = filled + run.len();
                out.get_mut(filled..end)?.copy_from_slice(run);
                filled = end;
                continue;
            }
            Step::Copy { len, back } => (len, back),
        };
        let from = filled.checked_sub(back)?;
        let end = filled + len;
        if end > out.len() {
            return None;
        }
        // An overlapping copy repeats what it has just written: each round has `filled - from` fresh bytes to give.
        while filled < end {
            let step = (filled - from).min(end - filled);
            out.copy_within(from..from + step, filled);
            filled += step;
        }
    }
    (filled == out.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compress(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Compressor::new()
            .compress(input, &mut out, input.len().saturating_sub(1))
            .map(|_| out)
    }

    #[test]
    fn golden_bytes() {
        // One literal, then the same byte 30 times from one byte back, in the three-byte form (7 + 21 + 2).
        assert_eq!(compress(&[b'a'; 31]).unwrap(), [0, b'a', 0xe0, 21, 0]);
        let mut out = Vec::new();
        assert!(decompress(&[0, b'a', 0xe0, 21, 0], 31, &mut out));
        assert_eq!(out, [b'a'; 31]);
    }

    #[test]
    fn a_stated_length_is_not_believed() {
        // Bytes that stand for far more than they are: a literal, then the longest copies.
        let mut input = vec![0, b'a'];
        (0..20_000).for_each(|_| input.extend([0xe0, 255, 0]));
        let len = 1 + 20_000 * COPY_MAX;
        assert_eq!(expanded_len(&input), Some(len));
        let mut out = Vec::new();
        for stated in [len - 1, len + 1, expanded_max(input.len())] {
            assert!(!decompress(&input, stated, &mut out));
            assert_eq!(out.capacity(), 0, "nothing is allocated for {stated} bytes");
        }
        assert!(decompress(&input, len, &mut out));
        assert!(out.len() == len && out.iter().all(|byte| *byte == b'a'));
        // A copy from before the beginning, and one that is cut off.
        assert_eq!(expanded_len(&[0x20, 0]), None);
        assert_eq!(expanded_len(&input[..input.len() - 1]), None);
    }

    #[test]
    fn incompressible_leaves_output_alone() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = b"before".to_vec();
        assert_eq!(
            Compressor::new().compress(&bytes, &mut out, bytes.len() - 4),
            None
        );
        assert_eq!(out, b"before");
    }

    #[test]
    fn table_reused_between_inputs_never_refers_to_the_older_one() {
        let mut compressor = Compressor::new();
        for round in 0..200u8 {
            let input: Vec<u8> = (0..300u32).map(|i| (i % 50) as u8 ^ round).collect();
            let mut out = Vec::new();
            compressor.compress(&input, &mut out, input.len()).unwrap();
            let mut back = Vec::new();
            assert!(decompress(&out, input.len(), &mut back));
            assert_eq!(back, input);
        }
    }

    #[test]
    fn table_survives_exhausted_base() {
        let mut compressor = Compressor::new();
        compressor.base = u32::MAX - 50;
        for _ in 0..3 {
            let mut out = Vec::new();
            assert!(compressor.compress(&[b'x'; 40], &mut out, 39).is_some());
        }
    }

    #[test]
    fn wrong_length_or_reference_is_refused() {
        let mut out = Vec::new();
        for (input, expanded) in [
            (&[0, b'a'][..], 2),                // stands for less
            (&[1, b'a', b'b'], 1),              // stands for more
            (&[1, b'a'], 2),                    // literals cut short
            (&[0, b'a', 0x20], 4),              // reference cut short
            (&[0, b'a', 0xe0], 10),             // long reference cut short
            (&[0, b'a', 0x20, 1], 4),           // reference before the beginning
            (&[0x20, 0], 3),                    // reference with nothing there
            (&[0, b'a', 0xe0, 21, 0], 1 << 40), // a length that no input could justify
        ] {
            assert!(!decompress(input, expanded, &mut out), "{input:?}");
            assert!(out.is_empty());
        }
        assert!(decompress(&[], 0, &mut out));
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            (any::<u8>(), 1..400usize).prop_map(|(byte, times)| vec![byte; times]),
            prop::collection::vec(0u8..3, 0..300),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn agrees_with_oracle(input in texts()) {
            if let Some(packed) = compress(&input) {
                let mut back = Vec::new();
                prop_assert!(decompress(&packed, input.len(), &mut back));
                prop_assert_eq!(&back, &input);
                prop_assert_eq!(lzf::decompress(&packed, input.len()).unwrap(), input.clone());
            }
            if let Ok(packed) = lzf::compress(&input) {
                let mut back = Vec::new();
                prop_assert!(decompress(&packed, input.len(), &mut back));
                prop_assert_eq!(back, input);
            }
        }

        #[test]
        fn foreign_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..200), expanded in 0..5000usize) {
            let mut out = Vec::new();
            let done = decompress(&input, expanded, &mut out);
            prop_assert_eq!(out.len(), if done { expanded } else { 0 });
        }
    }
}
