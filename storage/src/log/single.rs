//! The append-only file as it was before it had parts: one file, as Redis 6 and older leave it.
//!
//! Commands without checksums, after an RDB or not, or an RDB alone; so can the base of a log be. It is only read: the
//! data goes on in a log of our own.

use std::path::Path;

use super::LogOptions;
use super::foreign;
use super::recovery::{
    Corruption, Loss, OpenError, RecoverMode, ReplayTarget, begins_with_rdb, io_at,
};
use crate::disk::Disk;
use crate::types::Lsn;

/// What was read of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleFile {
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes at the end that were left out, because they are not a whole command or transaction.
    pub left_out: u64,
}

/// Loads such a file into `target`.
///
/// # Errors
/// [`OpenError`]; the file is as it was in any case.
pub fn load_single_file(
    disk: &dyn Disk,
    path: &Path,
    options: &LogOptions,
    target: &mut dyn ReplayTarget,
) -> Result<SingleFile, OpenError> {
    let file = disk.open(path).map_err(io_at(path))?;
    let bytes = file.len().map_err(io_at(path))?;
    let view = file.view(bytes).map_err(io_at(path))?;
    let failed = |error| OpenError::Replay {
        path: path.to_path_buf(),
        error,
    };
    let rdb_bytes = if begins_with_rdb(disk, path)? {
        let loaded = target.load_base(path).map_err(failed)?;
        loaded.rdb_bytes.unwrap_or(bytes).min(bytes)
    } else {
        0
    };
    target.begin_file();
    let (_, stop) = foreign::walk(&view, rdb_bytes as usize, |payload, _| {
        target.replay_base(payload)
    })
    .map_err(failed)?;
    let Some(stop) = stop else {
        return Ok(SingleFile { bytes, left_out: 0 });
    };
    let (damage, position, expected) = stop.describe();
    let left_out = bytes - position as u64;
    let accepted = match damage {
        super::Damage::CutOff => options.load_cut_off,
        _ => false,
    };
    if !accepted && options.recover == RecoverMode::Strict {
        return Err(OpenError::Corrupt(Box::new(Corruption {
            damage,
            case: "single_file",
            path: path.to_path_buf(),
            position: position as u64,
            good: Lsn::ZERO..Lsn::ZERO,
            good_until: None,
            expected: expected.into(),
            found: "something else".into(),
            loss: Some(Loss {
                bytes: left_out,
                files: 1,
                ..Loss::default()
            }),
        })));
    }
    Ok(SingleFile {
        bytes: bytes - left_out,
        left_out,
    })
}
