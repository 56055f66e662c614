//! A fault befalls each call of a run: no acknowledged write is lost, reads go on, and the log is whole again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hardtack_storage::log::{LogStatus, SyncPolicy};
use hardtack_storage::testing::{CallKind, EDQUOT, EIO, EMFILE, ENOSPC, EROFS, Fault};

use crate::power::{check_opens, check_run, number, replay, seeds};
use crate::rows::every_moment;
use crate::run::{Book, Run};
use crate::store::new_disk;

/// Commands before, while and after the fault may be there.
const COMMANDS: usize = 12;

/// The faults, by what is said of them in a failure.
fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("EIO once", Fault::errno(EIO)),
        ("EIO for ever", Fault::errno(EIO).forever()),
        (
            "ENOSPC on writes for ever",
            Fault::errno(ENOSPC).on(CallKind::Write).forever(),
        ),
        (
            "EDQUOT on writes, once",
            Fault::errno(EDQUOT).on(CallKind::Write),
        ),
        ("EROFS for ever", Fault::errno(EROFS).forever()),
        ("EIO on a sync, once", Fault::errno(EIO).on(CallKind::Sync)),
        (
            "EIO on syncs, for ever",
            Fault::errno(EIO).on(CallKind::Sync).forever(),
        ),
        (
            "EIO on a rename, once",
            Fault::errno(EIO).on(CallKind::Rename),
        ),
        (
            "EIO on a sync of a directory",
            Fault::errno(EIO).on(CallKind::SyncDir),
        ),
        (
            "EIO on syncs of directories",
            Fault::errno(EIO).on(CallKind::SyncDir).forever(),
        ),
        (
            "EMFILE on the next file",
            Fault::errno(EMFILE).on(CallKind::Create).times(2),
        ),
        ("a short write", Fault::short_write(7)),
    ]
}

/// One run with a fault at its n-th call. True if the fault came.
fn run_with(fault: &Fault, at: u64, policy: SyncPolicy, seed: u64) -> Result<bool, String> {
    let disk = new_disk(seed);
    disk.inject(fault.clone().skip(at));
    // A start may fail, and succeeds when the disk works.
    let mut run = match Run::try_begin(&disk, policy, seed, Book::default()) {
        Ok(run) => run,
        Err(_) => {
            disk.clear_faults();
            Run::begin(&disk, policy, seed, Book::default())
        }
    };
    let mut refused = false;
    for n in 0..COMMANDS {
        if run.store().refusal().is_some() {
            refused = true;
        }
        match n {
            3 => drop(run.transaction()),
            5 => drop(run.rewrite()),
            7 => drop(run.save()),
            9 => run.rotate(),
            _ => drop(run.command()),
        }
        let read = run.store().line("exists s0").text();
        if !read.starts_with(':') {
            return Err(format!("a read is answered {read:?}"));
        }
        let failed = run.store().log().status() != LogStatus::Ok;
        let refusal = run.store().refusal();
        let misconf = refusal
            .as_ref()
            .is_some_and(|text| text.starts_with("MISCONF"));
        if failed != misconf {
            return Err(format!("failed: {failed}, but a write is told {refusal:?}"));
        }
    }
    let came = disk.faulted() > 0;
    if refused && !came {
        return Err("writes are refused although nothing failed".into());
    }
    disk.clear_faults();
    // What housekeeping does: it tries again until it succeeds.
    if run.store().log().status() != LogStatus::Ok && !run.rewrite() {
        return Err("the log is not healed although the disk works".into());
    }
    for _ in 0..4 {
        if !run.command() {
            return Err("a write is not acknowledged although the disk works".into());
        }
    }
    if !run.rewrite() {
        return Err("the log is not compacted although the disk works".into());
    }
    run.command();
    check_run(&run, seed, 13, true)?;
    run.restart();
    Ok(came)
}

fn every_call(test: &str, policy: SyncPolicy) {
    for seed in seeds(1) {
        for (which, (name, fault)) in faults().iter().enumerate() {
            // Each fault at other calls of the run, or all at all.
            let stride = number("HARDTACK_CRASH_STRIDE").unwrap_or(7);
            let mut at = (seed + which as u64) % stride;
            loop {
                match run_with(fault, at, policy, seed) {
                    Ok(true) => at += stride,
                    Ok(false) => break,
                    Err(error) => panic!(
                        "seed {seed}, {name}, at call {at}: {error}\n    HARDTACK_CRASH_STRIDE={stride} {}",
                        replay(test, seed)
                    ),
                }
            }
        }
    }
}

#[test]
fn fault_at_each_call_under_always() {
    every_call("fault_at_each_call_under_always", SyncPolicy::Always);
}

#[test]
fn fault_at_each_call_under_everysec() {
    every_call("fault_at_each_call_under_everysec", SyncPolicy::EverySec);
}

/// The names that a manifest may have are not used for anything else.
///
/// A healing has given base and segment their names, and replaced the manifest; then the sync of the directory fails. Which
/// manifest is on the disk nobody knows, and the sync of the next healing's base settles it: it is the new one, perhaps.
/// If that base, which stands for another LSN by now, had the first one's name, the power would have to stay on until the
/// next manifest is there.
#[test]
fn fault_22_numbers_of_files_are_not_used_twice_after_a_failed_switch() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySec] {
        let disk = new_disk(22);
        let mut run = Run::begin(&disk, policy, 22, Book::default());
        for _ in 0..6 {
            assert!(run.command());
        }
        disk.inject(Fault::errno(EIO).on(CallKind::Write).named("segment"));
        let lost = run.store().line("set not acknowledged");
        assert!(!run.store().acknowledge(lost.lsn));
        run.note_data();
        let (failing, armed) = (disk.clone(), AtomicBool::new(true));
        disk.set_hook(Some(Arc::new(move |call| {
            let is_manifest = call.path.to_string_lossy().ends_with(".manifest");
            if call.kind == CallKind::Rename && is_manifest && armed.swap(false, Ordering::SeqCst) {
                failing.inject(Fault::errno(EIO).on(CallKind::SyncDir));
            }
        })));
        assert!(
            !run.rewrite(),
            "the healing fails when its manifest has its name"
        );
        assert_ne!(run.store().log().status(), LogStatus::Ok);
        // What happens in memory meanwhile, such as expiry, moves the stream on.
        run.store().line("set between healings");
        run.note_data();
        run.store().take_turns(&disk);
        assert!(run.rewrite(), "healed");
        assert!(run.command());
        every_moment(&run, |tape, expected| {
            for seed in 0..4 {
                if let Err(error) = check_opens(&tape.crash(seed), expected) {
                    panic!("{policy:?}, step {}, seed {seed}: {error}", tape.position());
                }
            }
        });
        run.restart();
    }
}
