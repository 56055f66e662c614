//! Writer against reader, and both against damage.

use std::io::BufReader;

use proptest::prelude::*;

use crate::value::Limits;
use crate::{DbIndex, UnixMillis};

use super::model::{Collected, Model, load, load_with, metas, values};
use super::*;

type Entries = Vec<(DbIndex, Vec<u8>, Model, Meta)>;

/// Writes entries in their order, with a database mark where it changes.
fn write(entries: &Entries, checksum: bool, compress: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), checksum, compress);
    let mut selected = None;
    for (db, key, value, meta) in entries {
        if selected != Some(*db) {
            writer.select_db(*db, 1, 0).unwrap();
            selected = Some(*db);
        }
        value
            .with_value(&Limits::default(), |value| writer.entry(key, value, meta))
            .unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.bytes, written.sink.len() as u64);
    written.sink
}

fn sample() -> Entries {
    let meta = Meta {
        expire: Some(UnixMillis(1_700_000_000_123)),
        access: Some(Access::IdleSeconds(77)),
    };
    let none = Meta::default();
    vec![
        (0, b"plain".to_vec(), Model::string("value"), none),
        (0, b"int".to_vec(), Model::string("-12345"), meta),
        (
            0,
            b"lzf".to_vec(),
            Model::String(b"abcabc".repeat(20)),
            none,
        ),
        (0, b"list".to_vec(), Model::list(&["a", "1", "70000"]), none),
        (3, b"set".to_vec(), Model::set(&["a", "b"]), none),
        (
            3,
            b"ints".to_vec(),
            Model::set(&["1", "-2", "300000"]),
            none,
        ),
        (
            3,
            b"hash".to_vec(),
            Model::hash(&[("f", "v"), ("g", "12")]),
            none,
        ),
        (
            3,
            b"zset".to_vec(),
            Model::zset(&[("m", 1.5), ("n", f64::NEG_INFINITY)]),
            none,
        ),
    ]
}

#[test]
fn written_file_byte_by_byte() {
    let entries = vec![(
        0,
        b"k".to_vec(),
        Model::string("300"),
        Meta::expiring(Some(UnixMillis(1))),
    )];
    let bytes = write(&entries, true, true);
    let contents = b"REDIS0010\xfe\x00\xfb\x01\x00\xfc\x01\0\0\0\0\0\0\0\x00\x01k\xc1\x2c\x01\xff";
    let (start, checksum) = bytes.split_at(contents.len());
    assert_eq!(start, contents);
    assert_eq!(checksum, crc64(contents).to_le_bytes());
}

#[test]
fn file_info_comes_back_as_redis_names_it() {
    let mut writer = Writer::new(Vec::new(), true, true);
    let id = "0123456789012345678901234567890123456789";
    let replication = Some(ReplicationInfo {
        stream_db: -1,
        id,
        offset: 5_000_000_000,
    });
    let created = UnixMillis(1_700_000_000_999);
    let info = FileInfo {
        redis_version: "7.0.15",
        created,
        used_memory: 1 << 33,
        replication,
        aof_base: true,
    };
    writer.file_info(&info).unwrap();
    writer.function(b"#!lua name=x\n").unwrap();
    let (collected, _) = load(&writer.finish().unwrap().sink).unwrap();
    let aux: Vec<_> = collected
        .aux
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    let expected = [
        ("redis-ver", "7.0.15"),
        ("redis-bits", "64"),
        ("ctime", "1700000000"),
        ("used-mem", "8589934592"),
        ("repl-stream-db", "-1"),
        ("repl-id", id),
        ("repl-offset", "5000000000"),
        ("aof-base", "1"),
    ];
    assert_eq!(aux, expected);
    assert_eq!(collected.functions, [b"#!lua name=x\n"]);
}

#[test]
fn large_values_and_encoded_buffers_pass_through_the_buffer() {
    let mut encoder = Encoder::new(false);
    let mut writer = Writer::new(Vec::new(), true, false);
    let big: Vec<u8> = (0..300_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for i in 0..5000 {
        let mut entry = Vec::new();
        let value = if i % 1000 == 0 { &big[..] } else { b"small" };
        encoder.entry(
            &mut entry,
            format!("key:{i}").as_bytes(),
            ValueRef::String(value),
            &Meta::default(),
        );
        writer.encoded(&entry).unwrap();
        writer
            .entry(
                format!("other:{i}").as_bytes(),
                ValueRef::Int(i << 20),
                &Meta::default(),
            )
            .unwrap();
    }
    let position = writer.position();
    let written = writer.finish().unwrap();
    assert_eq!(written.bytes, position + 9);
    assert_eq!(written.sink.len() as u64, written.bytes);
    let (collected, loaded) = load(&written.sink).unwrap();
    assert_eq!((loaded.keys, loaded.checksum), (10_000, Checksum::Verified));
    assert_eq!(collected.get("key:1000"), &Model::String(big));
    assert_eq!(
        collected.get("other:4999"),
        &Model::string(&(4999i64 << 20).to_string())
    );
}

#[test]
fn without_checksum_is_loaded_unchecked() {
    let bytes = write(&sample(), false, true);
    assert!(bytes.ends_with(&[0; 8]));
    let (collected, loaded) = load(&bytes).unwrap();
    assert_eq!(loaded.checksum, Checksum::Absent);
    assert_eq!(collected.entries, sample());
}

#[test]
fn stream_is_left_right_behind_the_rdb() {
    let mut bytes = write(&sample(), true, true);
    let len = bytes.len();
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    for capacity in [1, 2, 7, 64, 4096] {
        let mut reader = BufReader::with_capacity(capacity, &bytes[..]);
        let mut collected = Collected::default();
        let options = LoadOptions {
            limits: &Limits::default(),
            verify_checksum: true,
        };
        let loaded = load_stream(&mut reader, &options, &mut collected).unwrap();
        assert_eq!(
            (loaded.bytes, loaded.checksum),
            (len as u64, Checksum::Verified)
        );
        assert_eq!(collected.entries, sample());
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
        assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
    }
}

#[test]
fn slice_may_go_on_after_the_rdb() {
    let mut bytes = write(&sample(), true, true);
    let len = bytes.len() as u64;
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let (collected, loaded) = load(&bytes).unwrap();
    assert_eq!((loaded.bytes, loaded.checksum), (len, Checksum::Verified));
    assert_eq!(collected.entries, sample());
}

#[test]
fn cut_at_every_byte_yields_nothing() {
    let bytes = write(&sample(), true, true);
    for len in 0..bytes.len() {
        let mut collected = Collected::default();
        let options = LoadOptions {
            limits: &Limits::default(),
            verify_checksum: true,
        };
        let error = load_slice(&bytes[..len], &options, &mut collected).unwrap_err();
        assert!(
            matches!(error, RdbError::Truncated { offset, .. } if offset == len as u64),
            "{len}: {error}"
        );
        assert_eq!(collected, Collected::default());
        // A stream sees contents before its end, and must still come to an error.
        load_stream(&mut &bytes[..len], &options, &mut collected).unwrap_err();
    }
}

#[test]
fn flip_of_any_bit_yields_nothing() {
    let mut bytes = write(&sample(), true, true);
    let options = LoadOptions {
        limits: &Limits::default(),
        verify_checksum: true,
    };
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let mut collected = Collected::default();
            let error = load_slice(&bytes, &options, &mut collected);
            // Only version digits may change without any harm but to the checksum.
            assert!(error.is_err(), "byte {at} bit {bit}");
            assert_eq!(collected, Collected::default(), "byte {at} bit {bit}");
            load_stream(&mut &bytes[..], &options, &mut Collected::default()).unwrap_err();
            let _ = load_with(&bytes, &Limits::default(), false);
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn wrong_checksum_is_named_with_place_and_values() {
    let mut bytes = write(&sample(), true, true);
    let end = bytes.len() - 8;
    bytes[end] ^= 1;
    match load(&bytes).unwrap_err() {
        RdbError::Checksum {
            offset,
            expected,
            found,
        } => {
            assert_eq!((offset, expected ^ 1), (end as u64, found));
        }
        error => panic!("{error}"),
    }
    assert!(load(&bytes).unwrap_err().to_string().contains("CRC error"));
    assert_eq!(
        load_with(&bytes, &Limits::default(), false)
            .unwrap()
            .1
            .checksum,
        Checksum::Ignored
    );
}

#[test]
fn wrong_header_is_refused_by_name() {
    assert!(matches!(
        load(b"*1\r\n$4\r\nPING\r\n").unwrap_err(),
        RdbError::NotRdb { .. }
    ));
    assert!(matches!(
        load(b"REDIS00x1\xff").unwrap_err(),
        RdbError::NotRdb { .. }
    ));
    assert!(matches!(
        load(b"REDIS0000\xff").unwrap_err(),
        RdbError::Version { found: 0 }
    ));
    assert!(matches!(
        load(b"REDIS9999\xff").unwrap_err(),
        RdbError::Version { found: 9999 }
    ));
}

#[test]
fn refusal_ends_the_load_with_its_reason() {
    struct Full;
    impl LoadTarget for Full {
        fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
            if db == 3 {
                Err(Refused("only 2 databases".into()))
            } else {
                Ok(())
            }
        }
        fn function(&mut self, _: &[u8]) -> Result<(), Refused> {
            Ok(())
        }
        fn string(&mut self, _: &[u8], _: &[u8], _: &Meta) -> Result<(), Refused> {
            Ok(())
        }
        fn object(&mut self, _: &[u8], _: crate::value::Object, _: &Meta) -> Result<(), Refused> {
            Ok(())
        }
    }
    let bytes = write(&sample(), true, true);
    let options = LoadOptions {
        limits: &Limits::default(),
        verify_checksum: true,
    };
    match load_slice(&bytes, &options, &mut Full).unwrap_err() {
        RdbError::Refused { offset, reason } => {
            assert_eq!(bytes[offset as usize..][..2], [0xfe, 3]);
            assert_eq!(reason, "only 2 databases");
        }
        error => panic!("{error}"),
    }
}

#[test]
fn dump_byte_by_byte() {
    // What redis-server 7.0.15 answers to SET k 10, DUMP k.
    let payload = b"\x00\xc0\x0a\x0a\x00n\x9fWE\x0e\xaec\xbb";
    assert_eq!(dump(ValueRef::String(b"10")), payload);
    let restored = restore(&dump(ValueRef::Int(10)), &Limits::default(), true).unwrap();
    assert_eq!(Model::of_restored(restored), Model::string("10"));
}

#[test]
fn restore_refuses_wrong_footer() {
    let good = dump(ValueRef::String(b"value"));
    let refused = |payload: &[u8], verify| {
        let error = restore(payload, &Limits::default(), verify)
            .err()
            .expect("refused");
        error.to_string()
    };
    const FOOTER: &str = "DUMP payload version or checksum are wrong";
    for len in 0..good.len() {
        assert_eq!(refused(&good[..len], true), FOOTER);
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(refused(&bad, true), FOOTER);
    }
    let mut newer = good.clone();
    let version_at = newer.len() - 10;
    newer[version_at] = 200;
    assert_eq!(refused(&newer, false), FOOTER);
    // A length of nearly 2^64, and a value with bytes behind it.
    assert_eq!(
        refused(
            b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xf7\x0a\0\0\0\0\0\0\0\0\0",
            false
        ),
        "Bad data format"
    );
    assert_eq!(
        refused(b"\x00\x01a!\x0a\0\0\0\0\0\0\0\0\0", false),
        "Bad data format"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_read(
        entries in prop::collection::vec((0..3u16, prop::collection::vec(any::<u8>(), 0..40), values(), metas()), 0..20),
        checksum: bool,
        compress: bool,
        capacity in 1..300usize,
    ) {
        let mut entries = entries;
        entries.sort_by_key(|entry| entry.0);
        let bytes = write(&entries, checksum, compress);
        let (collected, loaded) = load(&bytes).unwrap();
        prop_assert_eq!(&collected.entries, &entries);
        prop_assert_eq!(loaded.keys, entries.len() as u64);
        prop_assert_eq!(loaded.bytes, bytes.len() as u64);

        let mut streamed = Collected::default();
        let options = LoadOptions { limits: &Limits::default(), verify_checksum: true };
        let mut reader = BufReader::with_capacity(capacity, &bytes[..]);
        prop_assert_eq!(load_stream(&mut reader, &options, &mut streamed).unwrap(), loaded);
        prop_assert_eq!(&streamed, &collected);

        let mut split = Collected::default();
        prop_assert_eq!(split_slice(&bytes, true, &mut split).unwrap(), loaded);
        prop_assert_eq!(&split, &collected);
    }

    #[test]
    fn what_is_dumped_is_restored(value in values()) {
        let payload = value.with_value(&Limits::default(), dump);
        let restored = restore(&payload, &Limits::default(), true).unwrap();
        prop_assert_eq!(Model::of_restored(restored), value);
    }
}
