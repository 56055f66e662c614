//! What a start with `recover=prefix` does can be cut off at each step and repeated, and nothing that is lost is gone.

use hardtack_storage::disk::Disk;
use hardtack_storage::engine::LoadError;
use hardtack_storage::log::{RecoverMode, SyncPolicy};
use hardtack_storage::testing::SimDisk;

use crate::rows::{
    change, closed_in_parts, files, frames, keys_from_the_first, log_dir, open_roomy, read, roomy,
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
