//! The hash slot of a key.
//!
//! A slot is CRC-16/XMODEM (polynomial 0x1021, initial value 0, not reflected) modulo 16384, taken over the key's
//! hash tag: the bytes between the first `{` and the first `}` after it, if there are any bytes between them;
//! otherwise over the whole key. Source: the Redis Cluster specification.
//!
//! The sum is computed eight bytes at a time ("slicing by 8"): `TABLES[k][b]` is the sum of byte `b` followed by
//! `k` zero bytes, so eight independent look-ups replace a chain of eight dependent ones.

/// How many slots a database has.
pub const SLOTS: u16 = 16384;

const POLYNOMIAL: u16 = 0x1021;

static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 != 0 {
                (sum << 1) ^ POLYNOMIAL
            } else {
                sum << 1
            };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = (shorter << 8) ^ tables[0][(shorter >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// CRC-16/XMODEM of `bytes`.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut sum = 0u16;
    let (blocks, rest) = bytes.as_chunks::<8>();
    for block in blocks {
        let [high, low] = sum.to_be_bytes();
        sum = TABLES[7][usize::from(block[0] ^ high)]
            ^ TABLES[6][usize::from(block[1] ^ low)]
            ^ TABLES[5][usize::from(block[2])]
            ^ TABLES[4][usize::from(block[3])]
            ^ TABLES[3][usize::from(block[4])]
            ^ TABLES[2][usize::from(block[5])]
            ^ TABLES[1][usize::from(block[6])]
            ^ TABLES[0][usize::from(block[7])];
    }
    for &byte in rest {
        let [high, low] = sum.to_be_bytes();
        sum = (u16::from(low) << 8) ^ TABLES[0][usize::from(byte ^ high)];
    }
    sum
}

/// The hash slot of `key`, below [`SLOTS`].
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS - 1)
}

/// The part of `key` that decides its slot.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        None | Some(0) => key,
        Some(len) => &after[..len],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_agrees_with_the_crc_crate_at_every_length() {
        let oracle = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);
        let bytes: Vec<u8> = (0..300u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                assert_eq!(
                    crc16(&bytes[from..to]),
                    oracle.checksum(&bytes[from..to]),
                    "{from}..{to}"
                );
            }
        }
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn tag_decides_the_slot() {
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") & 0x3fff);
        assert_eq!(slot(b"a}b{c}"), slot(b"c"));
        assert_eq!(slot(b"open{tag"), crc16(b"open{tag") & 0x3fff);
        assert_eq!(slot(b""), 0);
    }
}
