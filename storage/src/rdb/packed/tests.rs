//! Golden containers, and what happens to damaged ones.

use super::*;

fn collect<T>(items: Result<impl Iterator<Item = Result<T, Flaw>>, Flaw>) -> Result<Vec<T>, Flaw> {
    items?.collect()
}

/// Strings of the lengths at which the encoding changes, and integers at theirs.
fn listpack(entries: &[(&[u8], usize)], count: u16) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&count.to_le_bytes());
    for &(entry, back_len) in entries {
        bytes.extend_from_slice(entry);
        let groups: Vec<u8> = match back_len {
            0..=127 => vec![back_len as u8],
            128..=16_382 => vec![(back_len >> 7) as u8, back_len as u8 | 0x80],
            _ => vec![
                (back_len >> 14) as u8,
                (back_len >> 7) as u8 | 0x80,
                back_len as u8 | 0x80,
            ],
        };
        bytes.extend_from_slice(&groups);
    }
    bytes.push(0xff);
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

#[test]
fn listpack_of_every_encoding() {
    let long: Vec<u8> = vec![b'x'; 5000];
    let longest: Vec<u8> = vec![b'y'; 20_000];
    let with_prefix = |prefix: &[u8], bytes: &[u8]| [prefix, bytes].concat();
    let entries: Vec<(Vec<u8>, Element<'_>)> = vec![
        (vec![0x7f], Element::Int(127)),
        (with_prefix(&[0x83], b"abc"), Element::Bytes(b"abc")),
        (vec![0x80], Element::Bytes(b"")),
        (vec![0xcf, 0xff], Element::Int(4095)),
        (vec![0xd0, 0x00], Element::Int(-4096)),
        (vec![0xdf, 0xff], Element::Int(-1)),
        (
            with_prefix(&[0xe0, 64], &long[..64]),
            Element::Bytes(&long[..64]),
        ),
        (
            with_prefix(&[0xe1, 0x2c], &long[..300]),
            Element::Bytes(&long[..300]),
        ),
        (
            with_prefix(&[0xf0, 0x88, 0x13, 0, 0], &long),
            Element::Bytes(&long),
        ),
        (
            with_prefix(&[0xf0, 0x20, 0x4e, 0, 0], &longest),
            Element::Bytes(&longest),
        ),
        (vec![0xf1, 0x00, 0x80], Element::Int(-32_768)),
        (vec![0xf2, 0xff, 0xff, 0x7f], Element::Int(8_388_607)),
        (vec![0xf2, 0x00, 0x00, 0x80], Element::Int(-8_388_608)),
        (vec![0xf3, 0, 0, 0, 0x80], Element::Int(i32::MIN.into())),
        (
            vec![0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80],
            Element::Int(i64::MIN),
        ),
    ];
    let raw: Vec<(&[u8], usize)> = entries
        .iter()
        .map(|(bytes, _)| (&bytes[..], bytes.len()))
        .collect();
    let expected: Vec<_> = entries.iter().map(|(_, element)| *element).collect();
    for count in [entries.len() as u16, u16::MAX] {
        assert_eq!(
            collect(Listpack::new(&listpack(&raw, count))).unwrap(),
            expected
        );
    }
    assert!(collect(Listpack::new(&listpack(&raw, 3))).is_err());
    assert_eq!(collect(Listpack::new(&listpack(&[], 0))).unwrap(), []);
}

#[test]
fn listpack_back_length_must_match() {
    // At this border the longer form is the right one.
    let entry = [&[0xf0, 0xfa, 0x3f, 0, 0][..], &[b'z'; 16_378]].concat();
    assert_eq!(entry.len(), 16_383);
    assert_eq!(
        collect(Listpack::new(&listpack(&[(&entry, 16_383)], 1)))
            .unwrap()
            .len(),
        1
    );
    assert!(collect(Listpack::new(&listpack(&[(&[0x81, b'a'], 3)], 1))).is_err());
    assert!(collect(Listpack::new(&listpack(&[(&[0xf5], 1)], 1))).is_err());
}

#[test]
fn ziplist_of_every_encoding() {
    let long = vec![b'x'; 300];
    let entries: Vec<(Vec<u8>, Element<'_>)> = vec![
        (vec![0x01, b'a'], Element::Bytes(b"a")),
        ([&[0x41, 0x2c][..], &long].concat(), Element::Bytes(&long)),
        (
            [&[0x80, 0, 0, 1, 0x2c][..], &long].concat(),
            Element::Bytes(&long),
        ),
        (vec![0xc0, 0xff, 0x7f], Element::Int(32_767)),
        (vec![0xd0, 0, 0, 0, 0x80], Element::Int(i32::MIN.into())),
        (
            vec![0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            Element::Int(i64::MAX),
        ),
        (vec![0xf0, 0, 0, 0x80], Element::Int(-8_388_608)),
        (vec![0xfe, 0x80], Element::Int(-128)),
        (vec![0xf1], Element::Int(0)),
        (vec![0xfd], Element::Int(12)),
    ];
    let expected: Vec<_> = entries.iter().map(|(_, element)| *element).collect();
    let build = |count: u16| {
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&count.to_le_bytes());
        let (mut previous, mut tail) = (0, 10);
        for (entry, _) in &entries {
            tail = bytes.len();
            match previous {
                0..=253 => bytes.push(previous as u8),
                _ => bytes
                    .extend_from_slice(&[&[0xfe][..], &(previous as u32).to_le_bytes()].concat()),
            }
            bytes.extend_from_slice(entry);
            previous = bytes.len() - tail;
        }
        bytes.push(0xff);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        bytes
    };
    for count in [entries.len() as u16, u16::MAX] {
        assert_eq!(collect(Ziplist::new(&build(count))).unwrap(), expected);
    }
    let good = build(entries.len() as u16);
    for (at, name) in [
        (0, "length"),
        (4, "tail"),
        (8, "count"),
        (10, "first previous length"),
        (13, "previous length"),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(collect(Ziplist::new(&bad)).is_err(), "{name}");
    }
    assert!(collect(Ziplist::new(b"\x0d\0\0\0\x0a\0\0\0\x01\0\0\xff\xff")).is_err());
}

#[test]
fn intset_of_every_width() {
    assert_eq!(
        collect(Intset::new(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0")).unwrap(),
        [-1, 5]
    );
    assert_eq!(
        collect(Intset::new(b"\x04\0\0\0\x01\0\0\0\0\0\0\x80")).unwrap(),
        [i64::from(i32::MIN)]
    );
    assert_eq!(
        collect(Intset::new(b"\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x80")).unwrap(),
        [i64::MIN]
    );
    for bad in [
        &b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0"[..], // twice
        b"\x02\0\0\0\x02\0\0\0\x05\0\xff\xff",    // out of order
        b"\x02\0\0\0\x03\0\0\0\xff\xff\x05\0",    // count
        b"\x02\0\0\0\x01\0\0\0\xff\xff\x05\0",    // count
        b"\x03\0\0\0\x01\0\0\0\xff\xff\x05",      // width
        b"\x02\0\0\0\0\0\0\0",                    // empty
        b"\x08\0\0\0\xff\xff\xff\xff",            // a count that nothing justifies
        b"\x02\0\0",
        b"",
    ] {
        assert!(collect(Intset::new(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn zipmap_with_unused_bytes_and_long_values() {
    let long = vec![b'v'; 300];
    let bytes = [
        &b"\x02\x01k\x03\x02valXX\x02kk\xfe\x2c\x01\0\0\x00"[..],
        &long,
        b"\xff",
    ]
    .concat();
    let pairs = collect(Zipmap::new(&bytes)).unwrap();
    assert_eq!(pairs, [(&b"k"[..], &b"val"[..]), (b"kk", &long)]);
    let mut unknown = bytes.clone();
    unknown[0] = 0xfe;
    assert_eq!(collect(Zipmap::new(&unknown)).unwrap(), pairs);
    for (bad, name) in [
        (&b"\x01\xff"[..], "count without entries"),
        (b"\x00\xff", "empty"),
        (b"\x02\x01k\x01\x00v\xff", "count"),
        (b"\x01\x01k\x01\x01v\xff", "unused bytes past the end"),
        (b"\x01\x01k\x02\x00v\xff", "value past the end"),
        (b"\x01\x01k\xff", "no value"),
        (
            b"\x01\xfe\x01\0\0\0k\x01\x00v\xff",
            "long form of a short length",
        ),
        (b"\x01\x01k\x01\x00v\xff\xff", "end before the end"),
        (b"\x01", "too short"),
    ] {
        assert!(collect(Zipmap::new(bad)).is_err(), "{name}");
    }
}
