//! Finding what is left of the segments below the base.

use std::path::Path;

use crate::disk::{Disk, read_small_file};
use crate::log::frame::{FrameHeader, HEADER_BYTES, Replid, SegmentHeader};
use crate::log::manifest::{Entry, FileKind, Manifest};
use crate::log::meta::{self, META_BYTES_MAX, SegmentIndex};
use crate::log::retention::OldBase;
use crate::log::scan::{FrameScan, Stop};
use crate::log::segment::{FramedFrom, Names, SegmentInfo};
use crate::log::sums::SealedFile;
use crate::{Lsn, UnixMillis};

/// The segments of history that reach up to `base_lsn` without a gap, oldest first. Whatever is wrong with one ends
/// the history there: the data does not depend on it.
pub(super) fn find(
    disk: &dyn Disk,
    names: &Names,
    manifest: &Manifest,
    base_lsn: Lsn,
    sealed: &[SealedFile],
    may_be: impl Fn(&Replid) -> bool,
) -> Vec<SegmentInfo> {
    let mut entries: Vec<&Entry> = manifest
        .history
        .iter()
        .filter(|entry| names.recognise(&entry.name) == Some((FileKind::Increment, entry.seq)))
        .collect();
    entries.sort_by_key(|entry| entry.seq);
    let mut kept: Vec<SegmentInfo> = Vec::new();
    for entry in entries.into_iter().rev() {
        let end = kept.last().map_or(base_lsn, |newer| newer.start);
        let inspected = inspect(disk, names, entry, end, &may_be).and_then(|segment| match sealed
            .iter()
            .find(|file| file.name == segment.name)
        {
            Some(expected) if expected.bytes != segment.bytes => {
                Err(format!("is not the {} bytes it was", expected.bytes))
            }
            _ => Ok(segment),
        });
        match inspected {
            Ok(segment) => kept.push(segment),
            Err(reason) => {
                tracing::warn!(
                    "log: the history before LSN {end} is let go: {} {reason}",
                    names.dir.join(&entry.name).display()
                );
                break;
            }
        }
    }
    kept.reverse();
    kept
}

/// The old bases that are as they were sealed, oldest first. `lsn` says which position one stands for, if it is of use.
pub(super) fn find_bases(
    disk: &dyn Disk,
    names: &Names,
    manifest: &Manifest,
    sealed: &[SealedFile],
    mut lsn: impl FnMut(&Path) -> Option<Lsn>,
) -> Vec<OldBase> {
    let mut bases = Vec::new();
    for entry in &manifest.history {
        if names.recognise(&entry.name) != Some((FileKind::Base, entry.seq)) {
            continue;
        }
        let path = names.dir.join(&entry.name);
        let Ok(Some(found)) = disk.metadata(&path) else {
            continue;
        };
        let expected = sealed.iter().find(|file| file.name == entry.name);
        if expected.is_some_and(|expected| expected.bytes != found.bytes) {
            tracing::warn!("log: {} has changed and is let go", path.display());
            continue;
        }
        bases.extend(lsn(&path).map(|lsn| OldBase {
            name: entry.name.clone(),
            lsn,
            bytes: found.bytes,
        }));
    }
    bases.sort_by_key(|base| base.lsn);
    bases
}

/// Looks at one segment, which should end at `end`. The frames are read only if its index does not vouch for it.
fn inspect(
    disk: &dyn Disk,
    names: &Names,
    entry: &Entry,
    end: Lsn,
    may_be: &impl Fn(&Replid) -> bool,
) -> Result<SegmentInfo, String> {
    let path = names.dir.join(&entry.name);
    let file = disk
        .open(&path)
        .map_err(|e| format!("cannot be opened: {e}"))?;
    let view = file
        .len()
        .and_then(|bytes| file.view(bytes))
        .map_err(|e| format!("cannot be read: {e}"))?;
    let header = SegmentHeader::parse(&view).ok_or("does not begin like a segment")?;
    let birth = FrameHeader::parse(view.get(HEADER_BYTES..).unwrap_or_default())
        .filter(|birth| birth.lsn == header.lsn && birth.len == 0)
        .ok_or("has no birth frame")?;
    if !may_be(&header.replid) {
        return Err(format!("belongs to the history {}", header.replid));
    }
    let bytes = view.len() as u64;
    let indexed = read_small_file(disk, &names.index(&entry.name), META_BYTES_MAX)
        .ok()
        .and_then(|bytes| meta::decode::<SegmentIndex>(&bytes))
        .is_some_and(|index| {
            index.start == header.lsn.0 && index.end == end.0 && index.bytes == bytes
        });
    if !indexed {
        let mut scan = FrameScan::new(&view, 0, &header);
        scan.by_ref().for_each(drop);
        if scan.stop() != Stop::End || scan.lsn() != end {
            return Err(format!("is good up to LSN {} only", scan.lsn()));
        }
    }
    Ok(SegmentInfo {
        name: entry.name.clone(),
        seq: entry.seq,
        start: header.lsn,
        end: Some(end),
        bytes,
        framed: Some(FramedFrom {
            lsn: header.lsn,
            position: 0,
        }),
        since: Some(UnixMillis(birth.ts.0)),
    })
}
