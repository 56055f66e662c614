//! The tests test something: where a sync is lost that the engine relies on, they notice, and say what is broken.

use hardtack_storage::log::SyncPolicy;
use hardtack_storage::testing::{CallKind, Fault};

use crate::power::check_run;
use crate::run::{Book, Run};
use crate::store::new_disk;

/// Runs on disks that lose syncs, until somebody notices; what is said then.
///
/// `from_the_start`: while the log is made, too.
fn noticed(policy: SyncPolicy, lost: &Fault, from_the_start: bool) -> Option<String> {
    (1..8).find_map(|seed| {
        let disk = new_disk(seed);
        let lost = lost.clone().forever();
        if from_the_start {
            disk.inject(lost.clone());
        }
        let mut run = Run::begin(&disk, policy, seed, Book::default());
        disk.inject(lost);
        for n in 0..12 {
            match n {
                2 if policy != SyncPolicy::Always => run.sync(),
                4 => drop(run.rewrite()),
                6 => run.rotate(),
                9 => drop(run.save()),
                _ => drop(run.command()),
            }
        }
        check_run(&run, seed, 1, false).err()
    })
}

fn sync_of(name: &str) -> Fault {
    Fault::lost_sync().on(CallKind::Sync).named(name)
}

fn sync_of_dir(name: &str) -> Fault {
    Fault::lost_sync().on(CallKind::SyncDir).named(name)
}

#[test]
fn lost_syncs_are_noticed() {
    use SyncPolicy::{Always, EverySec};
    // What a SAVE writes to.
    let save = format!("temp-{}", std::process::id());
    for (what, policy, lost, said) in [
        (
            "frames, before the answer",
            Always,
            sync_of("segment"),
            "was promised",
        ),
        (
            "frames, each second",
            EverySec,
            sync_of("segment"),
            "was promised",
        ),
        (
            "the new base",
            Always,
            sync_of("temp-base"),
            "does not open",
        ),
        (
            "the new manifest",
            Always,
            sync_of("manifest"),
            "does not open",
        ),
        (
            "names in the log's directory",
            Always,
            sync_of_dir("appendonlydir"),
            "",
        ),
        (
            "the log's directory itself",
            Always,
            sync_of_dir("data"),
            "was promised",
        ),
        ("the RDB file", Always, sync_of(&save), "the RDB file"),
    ] {
        match noticed(policy, &lost, what.ends_with("itself")) {
            Some(error) => {
                println!("{what}: {error}");
                assert!(error.contains(said), "{what}: {error}");
            }
            None => panic!("nobody noticed that a sync was lost: {what}"),
        }
    }
}
