//! Private metadata: bincode records in an envelope. The only file that knows how bincode is used.
//!
//! ```text
//! magic "HTMETA\r\n" | kind u16 | version u16 | payload bytes u32 | crc32 u32 of kind..payload bytes and payload | payload
//! ```
//!
//! All numbers are little-endian. The envelope is checked before a byte of the payload is decoded, the decoder has a
//! limit, and nothing may follow the record. A released record type is never edited: a new version gets a new type.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};

const MAGIC: &[u8; 8] = b"HTMETA\r\n";
const ENVELOPE_BYTES: usize = 20;

/// The longest record that is written or read.
pub(super) const META_BYTES_MAX: u64 = 16 << 20;

const CODEC: Configuration<LittleEndian, Fixint, Limit<{ META_BYTES_MAX as usize }>> =
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit();

/// A record kept in an envelope.
pub(super) trait MetaRecord: Encode + Decode<()> {
    const KIND: u16;
    const VERSION: u16;
}

/// Where the frames of a sealed segment stand: `<segment>.idx`. Rebuilt from the segment when absent or wrong.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SegmentIndex {
    pub start: u64,
    pub end: u64,
    /// Length of the segment's file.
    pub bytes: u64,
    /// In ascending order.
    pub entries: Vec<IndexEntry>,
}

/// One frame's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct IndexEntry {
    pub lsn: u64,
    /// Wall clock in milliseconds when the frame was formed.
    pub ts: i64,
    /// Of its header line, in the file.
    pub position: u64,
}

impl MetaRecord for SegmentIndex {
    const KIND: u16 = 1;
    const VERSION: u16 = 1;
}

/// `None` if the record is too long to be kept.
pub(super) fn encode<T: MetaRecord>(record: &T) -> Option<Vec<u8>> {
    let payload = bincode::encode_to_vec(record, CODEC).ok()?;
    if payload.len() as u64 > META_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + payload.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&T::KIND.to_le_bytes());
    out.extend_from_slice(&T::VERSION.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(&out[8..16], &payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&payload);
    Some(out)
}

/// `None` if the bytes are not a sound record of this kind and version.
pub(super) fn decode<T: MetaRecord>(bytes: &[u8]) -> Option<T> {
    let (envelope, payload) = bytes.split_at_checked(ENVELOPE_BYTES)?;
    let u16_at = |at: usize| u16::from_le_bytes([envelope[at], envelope[at + 1]]);
    let u32_at =
        |at: usize| u32::from_le_bytes(envelope[at..at + 4].try_into().expect("four bytes"));
    let sound = envelope[..8] == MAGIC[..]
        && u16_at(8) == T::KIND
        && u16_at(10) == T::VERSION
        && u32_at(12) as usize == payload.len()
        && u32_at(16) == checksum(&envelope[8..16], payload);
    if !sound {
        return None;
    }
    let (record, used) = bincode::decode_from_slice(payload, CODEC).ok()?;
    (used == payload.len()).then_some(record)
}

fn checksum(fields: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fields);
    crc.update(payload);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentIndex {
        let entries = vec![
            IndexEntry {
                lsn: 5,
                ts: 6,
                position: 7,
            },
            IndexEntry {
                lsn: 50,
                ts: 60,
                position: 70,
            },
        ];
        SegmentIndex {
            start: 5,
            end: 100,
            bytes: 1000,
            entries,
        }
    }

    #[test]
    fn bytes_of_version_1_are_fixed() {
        let bytes = encode(&sample()).unwrap();
        assert_eq!(&bytes[..16], b"HTMETA\r\n\x01\0\x01\0\x50\0\0\0");
        let numbers: Vec<u64> = bytes[20..]
            .chunks(8)
            .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(numbers, [5, 100, 1000, 2, 5, 6, 7, 50, 60, 70]);
        assert_eq!(decode::<SegmentIndex>(&bytes), Some(sample()));
    }

    #[test]
    fn damaged_and_cut_records_are_refused() {
        let good = encode(&sample()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(decode::<SegmentIndex>(&bad), None, "byte {at}");
            assert_eq!(decode::<SegmentIndex>(&good[..at]), None, "cut at {at}");
        }
        assert_eq!(decode::<SegmentIndex>(&[&good[..], b"x"].concat()), None);
    }
}
