//! A simulated disk for crash tests: of an engine in your own program, or of anything else that reaches its files
//! through [`Disk`](crate::disk::Disk).
//!
//! # A crash test
//!
//! Run something on a [`SimDisk`], note what it promised and when, cut the power, and look whether the promise was kept.
//! The disk's tape has every moment of the run, so one run is enough for all of them:
//!
//! ```
//! use std::sync::Arc;
//!
//! use hardtack_storage::engine::{Engine, Options, Session, Settings};
//! use hardtack_storage::log::SyncPolicy;
//! use hardtack_storage::testing::SimDisk;
//!
//! let on = |disk: &SimDisk| {
//!     let mut options = Options {
//!         disk: Arc::new(disk.clone()),
//!         databases: 1,
//!         ..Options::new("/data")
//!     };
//!     options.log.policy = SyncPolicy::Always;
//!     options
//! };
//! let disk = SimDisk::new(1).with_dir("/data");
//! disk.record();
//! let engine = Engine::open(on(&disk), Settings::default())?;
//! let log = engine.log().expect("the log is on");
//! // How many steps the disk had taken when a write was acknowledged.
//! let mut acked_at = Vec::new();
//! for n in 0..3 {
//!     let value = n.to_string();
//!     let args: [&[u8]; 3] = [b"rpush", b"list", value.as_bytes()];
//!     let (_, outcome) = engine.execute(&mut Session::new(), &args);
//!     // What a server does before it answers under `always`.
//!     log.wait_durable(outcome.lsn)?;
//!     acked_at.push(disk.recorded());
//! }
//!
//! let mut tape = disk.tape().expect("it was recorded");
//! loop {
//!     let acked = acked_at.iter().filter(|&&at| at <= tape.position()).count();
//!     for seed in 0..2 {
//!         // The power goes here; this is the disk that is found.
//!         let found = tape.crash(seed);
//!         let engine = Engine::open(on(&found), Settings::default())?;
//!         let (reply, _) = engine.execute(&mut Session::new(), &[b"llen", b"list"]);
//!         let length: usize = String::from_utf8_lossy(&reply[1..]).trim().parse()?;
//!         assert!(length >= acked, "cut at step {}, seed {seed}", tape.position());
//!     }
//!     if !tape.forward() {
//!         break;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without a tape, [`SimDisk::crash`] cuts the power now, [`SimDisk::cut_power_after`] inside a step to come; the disk
//! and all files open on it are of no more use then, and write nothing.
//!
//! # What a power cut leaves
//!
//! What was synced, and of the rest what the seed decides:
//!
//! * **Contents**: each sector of each write since the file's last good sync is kept, dropped or torn, independently. So
//!   writes are lost, reordered and mixed, and an older version of a block may be found. Sectors have 512 bytes or 4 KiB.
//! * **Length**: changes of length happened in order up to some point, whatever became of the contents: zeros at the end of
//!   a file that grew, or kept contents cut off.
//! * **Names**: what was created, renamed or removed since the last [`sync_dir`](crate::disk::Disk::sync_dir) of its
//!   directory is kept up to some point (as journalling file systems do) or each change by itself (as others may). A
//!   rename is whole: the new name has the old file or the new one. A synced file without a durable name is gone.
//!
//! Among the draws are the extremes: everything kept, and nothing that was not synced
//! ([`SimDisk::crash_keeping_synced`]). [`SimDisk::kill`] is the death of the process alone, which loses nothing that
//! was written.
//!
//! # Faults
//!
//! [`SimDisk::inject`] takes a [`Fault`]: which calls fail (by kind, by name, the n-th, once or for ever) and with which
//! error. A failed sync does what kernels do: it forgets the dirty pages. Some of their sectors are on the disk by
//! chance, reads see the new contents or the old, and a later sync succeeds without them. A sync can also be
//! [lost](Fault::lost_sync): a test that does not notice that tests nothing. A disk may be small
//! ([`SimDisk::set_capacity`]): writes are short, then refused, when it is full. A slow disk is a
//! [hook](SimDisk::set_hook) that waits, for whatever the test wants it to wait for; there is no clock.
//!
//! # What is not simulated
//!
//! Permissions, links, memory maps ([`view`](crate::disk::DiskFile::view) is a copy), damage to bytes that were synced
//! (write over them), and names that are not UTF-8. Files end at 1 GiB.
//!
//! # Replaying a failure
//!
//! The disk draws from its seeds alone and has one history of steps, in the order in which threads took its lock. If the
//! code under test takes the same steps again, the same seeds give the same bytes again. An engine has threads of its
//! own, whose order can vary; a [hook](SimDisk::set_hook) can hold one of them until another is done. (The times in a
//! log's frames vary anyway, but not their lengths.)

pub use crate::disk::sim::{
    Call, CallKind, EDQUOT, EIO, EMFILE, ENOMEM, ENOSPC, EROFS, Fault, Hook, SimDisk, Tape,
};
