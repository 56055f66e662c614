//! Eviction, in engines that believe each key to take a TiB.

use std::cell::RefCell;

use super::super::tests::Client;
use super::super::{Engine, Options};
use super::*;

/// What a key counts for. So large that what other tests of the process allocate makes no difference.
const KEY_BYTES: u64 = 1 << 40;

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

fn memory_used() -> u64 {
    ENGINE.with_borrow(|engine| {
        engine.as_ref().map_or(0, |engine| {
            let keys: usize = (0..engine.databases()).map(|db| engine.len(db)).sum();
            keys as u64 * KEY_BYTES + engine.fixed_bytes().total()
        })
    })
}

fn keys(engine: &Engine) -> usize {
    (0..engine.databases()).map(|db| engine.len(db)).sum()
}

/// An engine whose memory this thread's tests see, and a client.
fn engine(options: Options, settings: Settings) -> (Engine, Client) {
    let options = Options {
        memory_used,
        ..options
    };
    let engine = Engine::open(options, settings).unwrap();
    ENGINE.set(Some(engine.clone()));
    let client = Client::of(&engine);
    (engine, client)
}

fn in_memory(settings: Settings) -> (Engine, Client) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        appendonly: false,
        ..Options::new(dir.path())
    };
    engine(options, settings)
}

/// Memory for this many keys and no more.
fn room_for(keys: u64, policy: EvictionPolicy) -> Settings {
    Settings {
        maxmemory: keys * KEY_BYTES + KEY_BYTES / 2,
        maxmemory_policy: policy,
        ..Settings::default()
    }
}

const EVICTING: [EvictionPolicy; 7] = [
    EvictionPolicy::AllKeysLru,
    EvictionPolicy::AllKeysLfu,
    EvictionPolicy::AllKeysRandom,
    EvictionPolicy::VolatileLru,
    EvictionPolicy::VolatileLfu,
    EvictionPolicy::VolatileRandom,
    EvictionPolicy::VolatileTtl,
];

#[test]
fn limit_holds_under_every_policy_and_only_what_may_go_goes() {
    for policy in EVICTING {
        let (engine, mut client) = in_memory(room_for(100, policy));
        for n in 0..50 {
            client.line(&format!("set stays{n} x"));
        }
        for n in 0..300 {
            client.select(n % 3);
            assert_eq!(client.line(&format!("set goes{n} x ex 1000")), "+OK\r\n");
            // The last one makes room only for the next.
            assert!(keys(&engine) <= 101, "{policy:?}");
        }
        let evicted = engine.stats().evicted_keys.get();
        assert_eq!(evicted as usize, 350 - keys(&engine), "{policy:?}");
        if policy.is_volatile() {
            client.select(0);
            for n in 0..50 {
                assert_eq!(client.line(&format!("exists stays{n}")), ":1\r\n");
            }
        }
    }
}

#[test]
fn nothing_is_evicted_without_a_limit() {
    for policy in EVICTING {
        let settings = Settings {
            maxmemory: 0,
            ..room_for(0, policy)
        };
        let (engine, mut client) = in_memory(settings);
        for n in 0..100 {
            client.line(&format!("set k{n} x ex 1000"));
        }
        assert_eq!((keys(&engine), engine.stats().evicted_keys.get()), (100, 0));
    }
}

#[test]
fn writes_are_refused_when_nothing_may_go() {
    let policies = [
        EvictionPolicy::NoEviction,
        EvictionPolicy::VolatileLru,
        EvictionPolicy::VolatileRandom,
    ];
    for policy in policies {
        let (engine, mut client) = in_memory(room_for(10, policy));
        for n in 0..11 {
            assert_eq!(client.line(&format!("set k{n} x")), "+OK\r\n", "{policy:?}");
        }
        assert!(client.line("set k11 x").starts_with("-OOM "), "{policy:?}");
        assert_eq!(client.line("get k3"), "$1\r\nx\r\n");
        assert_eq!(keys(&engine), 11);
        // What frees memory is allowed, and then writes are again.
        assert_eq!(client.line("del k3"), ":1\r\n");
        assert_eq!(client.line("set k3 y"), "+OK\r\n");
    }
}

#[test]
fn evictions_are_in_the_log() {
    for (lazy, command) in [(false, "DEL"), (true, "UNLINK")] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            lazyfree_eviction: lazy,
            ..room_for(20, EvictionPolicy::AllKeysRandom)
        };
        let (engine, mut client) = engine(Options::new(dir.path()), settings);
        for n in 0..200 {
            client.line(&format!("set key{n} {n}"));
        }
        let (digest, evicted) = (client.digest(), engine.stats().evicted_keys.get());
        drop(client);
        ENGINE.set(None);
        engine.close(Duration::ZERO, &|| false, || ());
        drop(engine);
        let log: Vec<u8> = std::fs::read_dir(dir.path().join("appendonlydir"))
            .unwrap()
            .filter_map(|file| std::fs::read(file.unwrap().path()).ok())
            .flatten()
            .collect();
        let logged = String::from_utf8_lossy(&log)
            .matches(&format!("\r\n{command}\r\n"))
            .count();
        assert_eq!(logged as u64, evicted);
        assert!(evicted > 150);
        let engine = Engine::open(Options::new(dir.path()), Settings::default()).unwrap();
        assert_eq!(Client::of(&engine).digest(), digest);
    }
}

#[test]
fn least_useful_keys_go_first() {
    let policies = [
        EvictionPolicy::AllKeysLru,
        EvictionPolicy::AllKeysLfu,
        EvictionPolicy::VolatileTtl,
    ];
    for policy in policies {
        let (engine, mut client) = in_memory(Settings {
            maxmemory: 0,
            maxmemory_samples: 10,
            ..room_for(100, policy)
        });
        for n in 0..200 {
            let (name, ttl) = match n % 2 {
                0 => ("poor", 1000),
                _ => ("good", 100_000),
            };
            client.line(&format!("set {name}{n} x ex {ttl}"));
            if name == "poor" {
                let key = format!("{name}{n}");
                let gate = engine.shared().keyspace.enter();
                let key = engine.shared().keyspace.key(key.as_bytes());
                let slot = gate.lock(0, key.slot);
                let record = slot.get(&key).unwrap();
                let now = UnixMillis::now();
                match policy {
                    EvictionPolicy::AllKeysLfu => engine.settings().set_frequency(record, 0, now),
                    _ => engine.settings().set_idle(record, 5000, now),
                }
            }
        }
        engine.set_settings(Settings {
            maxmemory_samples: 10,
            eviction_tenacity: 100,
            ..room_for(150, policy)
        });
        client.line("exists good1");
        assert_eq!(keys(&engine), 150);
        let good = (0..200)
            .filter(|n| n % 2 == 1 && client.line(&format!("exists good{n}")) == ":1\r\n")
            .count();
        assert!(good >= 98, "{policy:?}: {good} of 100 useful keys are left");
    }
}

#[test]
fn one_command_evicts_for_as_long_as_it_may_and_runs() {
    let (engine, mut client) = in_memory(Settings {
        maxmemory: 0,
        ..room_for(0, EvictionPolicy::AllKeysRandom)
    });
    for n in 0..500 {
        client.line(&format!("set k{n} x"));
    }
    engine.set_settings(Settings {
        eviction_tenacity: 0,
        ..room_for(10, EvictionPolicy::AllKeysRandom)
    });
    assert_eq!(client.line("set another x"), "+OK\r\n");
    assert_eq!(keys(&engine), 500 - EVICTIONS_PER_LOOK + 1);
    // What the housekeeping thread does.
    let mut worker = engine.worker();
    while worker.turn().evict_some(Duration::ZERO) {}
    assert_eq!(keys(&engine), 10);
}

/// CLIENT PAUSE: neither commands nor the housekeeping thread evict, and nothing is refused for want of memory.
#[test]
fn nothing_is_evicted_while_the_data_must_not_change_by_itself() {
    let (engine, mut client) = in_memory(Settings {
        keep_due: true,
        ..room_for(10, EvictionPolicy::AllKeysRandom)
    });
    for n in 0..20 {
        assert_eq!(client.line(&format!("set k{n} x")), "+OK\r\n");
    }
    let mut worker = engine.worker();
    assert!(!worker.turn().evict_some(Duration::from_secs(1)));
    assert_eq!(keys(&engine), 20);
    engine.set_settings(room_for(10, EvictionPolicy::AllKeysRandom));
    while worker.turn().evict_some(Duration::from_secs(1)) {}
    assert_eq!(keys(&engine), 10);
}

#[test]
fn sample_of_a_slot_with_many_keys_and_few_that_expire_looks_at_a_few() {
    let (engine, mut client) = in_memory(Settings {
        maxmemory: 0,
        ..room_for(0, EvictionPolicy::VolatileLru)
    });
    for n in 0..20_000 {
        client.line(&format!("set {{slot}}stays{n} x"));
    }
    for n in 0..3 {
        client.line(&format!("set {{slot}}goes{n} x ex 1000"));
    }
    let gate = engine.shared().keyspace.enter();
    let slot = gate.lock(0, engine.shared().keyspace.key(b"{slot}").slot);
    let mut rng = rand::rng();
    let mut found = std::collections::BTreeSet::new();
    while found.len() < 3 {
        let mut buckets = 100;
        let name = volatile_record(&slot, &mut buckets, &mut rng, |record| {
            record.key().to_vec()
        });
        assert!(
            buckets == 0 || name.is_some(),
            "it gives up when it has looked at them"
        );
        found.extend(name);
    }
    assert!(found.iter().all(|name| name.starts_with(b"{slot}goes")));
    // A slot of few keys is looked at from end to end.
    drop(slot);
    drop(gate);
    client.line("flushdb");
    client.line("mset {slot}a x {slot}b x {slot}c x");
    client.line("set {slot}d x ex 1000");
    let gate = engine.shared().keyspace.enter();
    let slot = gate.lock(0, engine.shared().keyspace.key(b"{slot}").slot);
    for _ in 0..100 {
        let name = volatile_record(&slot, &mut 10, &mut rng, |record| record.key().to_vec());
        assert_eq!(name.as_deref(), Some(&b"{slot}d"[..]));
    }
}
