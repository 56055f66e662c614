//! What a start with `recover=prefix` does can be cut off at each step and repeated, and nothing that is lost is gone.

use hardtack_storage::disk::Disk;
use hardtack_storage::engine::LoadError;
use hardtack_storage::log::{RecoverMode, SyncPolicy};
use hardtack_storage::testing::SimDisk;

use crate::rows::{
    change, closed_copy, closed_in_parts, files, frames, keys_from_the_first, log_dir, open_roomy,
    read, refused, roomy,
};
use crate::store::Store;

fn accept(disk: &SimDisk) -> Result<Store, LoadError> {
    let mut options = roomy(disk, SyncPolicy::Always);
    options.log.recover = RecoverMode::Prefix;
    Store::open_with(disk, options)
}

#[test]
fn accepted_loss_is_kept_aside_whatever_step_the_power_goes_at() {
    let found = closed_in_parts();
    let segments = files(&found, "incr.aof");
    change(&found, &segments[0], |bytes| {
        let at = frames(bytes)[2];
        bytes[at + 100] ^= 1;
    });
    let later = read(&found, &segments[1]);
    found.record();
    let mut store = accept(&found).unwrap();
    let keys = keys_from_the_first(&mut store, 9);
    assert!((1..5).contains(&keys), "{keys}");
    store.close();
    let mut tape = found.tape().unwrap();
    loop {
        for seed in 0..16 {
            let step = format!("step {}, seed {seed}", tape.position());
            let again = tape.crash(seed);
            let mut store = accept(&again).unwrap_or_else(|error| panic!("{step}: {error}"));
            assert_eq!(keys_from_the_first(&mut store, 9), keys, "{step}");
            let names = again.list(&log_dir()).unwrap();
            let mut aside = names.iter().filter(|name| name.contains(".torn-"));
            assert!(
                aside.any(|name| read(&again, &log_dir().join(name)) == later),
                "{step}: the later segment is gone: {names:?}"
            );
        }
        if !tape.forward() {
            break;
        }
    }
    // Once is enough.
    let mut store = open_roomy(&found.kill(), SyncPolicy::Always);
    assert_eq!(keys_from_the_first(&mut store, 9), keys);
}

/// A start that accepts a loss is cut off at each step, and repeated in the same way; then it needs no more to be told.
#[test]
fn fault_13_accepted_loss_can_be_cut_off_at_each_step() {
    let whole = closed_in_parts();
    let first = files(&whole, "incr.aof")[0].clone();
    // The header line, the birth frame, the second record.
    for damaged in [6, 100, 400] {
        let disk = closed_copy(&whole);
        change(&disk, &first, |bytes| bytes[damaged] ^= 1);
        refused(&disk, &first);
        let accepting =
            |disk: &SimDisk| accept(disk).map(|mut store| keys_from_the_first(&mut store, 9));
        disk.record();
        let kept = accepting(&disk).unwrap();
        assert!((1..9).contains(&kept), "byte {damaged}: {kept}");
        let mut tape = disk.tape().expect("it was recorded");
        loop {
            for seed in 0..3 {
                let words = format!("byte {damaged}, step {}, seed {seed}", tape.position());
                let found = tape.crash(seed);
                match accepting(&found) {
                    Ok(there) => assert_eq!(there, kept, "{words}"),
                    Err(error) => panic!("{words}: {error}"),
                }
                let mut again = open_roomy(&found, SyncPolicy::Always);
                assert_eq!(keys_from_the_first(&mut again, 9), kept, "{words}");
            }
            if !tape.forward() {
                break;
            }
        }
    }
}
