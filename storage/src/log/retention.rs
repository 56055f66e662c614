//! Which segments below the base stay, and for how long.
//!
//! A compaction does not remove the segments that its base replaces: they are the log's history, which a reader that is
//! behind goes on from, and which `restore` goes back to. The manifest names them with type `h`, in the order of their
//! numbers. redis-server deletes what is named so when it starts on the directory, as it does with its own left-overs:
//! what it then writes would not join that history anyway.
//!
//! Bases that were replaced are history too: going back to before the present base needs an older one to begin with. They
//! count against the same limit, and are worth their space only while every segment behind them is kept. A base close to
//! its neighbours adds little, so it goes at once: where the log between the base before it and the one after it is shorter
//! than a quarter of the limit, or than twice its own size.
//!
//! What is kept has no gap and reaches up to the base. It is let go from the old end, by size and by age, when the base
//! changes, when a segment is sealed, and about every [`CHECK_INTERVAL`]. A file of history that is missing or damaged
//! does not stop a start: nothing of the data is in it. It ends the history there.

use std::collections::HashSet;
use std::time::Duration;

use super::rewrite::remove_log_file;
use super::segment::SegmentInfo;
use super::{Log, Shared};
use crate::{Lsn, UnixMillis};

/// How often the age of history is looked at.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Segments below the base are kept up to this size together.
    pub bytes: u64,
    /// And up to this age of their last write. `None`: however old they are.
    pub age: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            bytes: 1 << 30,
            age: None,
        }
    }
}

/// A file of history, as far as the decision needs to know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryFile {
    pub bytes: u64,
    /// Where it begins.
    pub start: Lsn,
    /// When the next one was begun, where that is known.
    pub until: Option<UnixMillis>,
}

/// A base of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldBase {
    pub name: String,
    pub lsn: Lsn,
    pub bytes: u64,
}

/// Which of the old bases are far enough from their neighbours, the last of which is the present base. Oldest first.
fn spaced_out(bases: &[OldBase], base_lsn: Lsn, limit: u64) -> Vec<&OldBase> {
    let mut kept: Vec<&OldBase> = Vec::new();
    for (index, base) in bases.iter().enumerate() {
        let next = bases.get(index + 1).map_or(base_lsn, |next| next.lsn);
        let far = kept.last().is_none_or(|before| {
            let gap = next.0.saturating_sub(before.lsn.0);
            gap > (limit / 4).max(base.bytes.saturating_mul(2))
        });
        if base.lsn < base_lsn && far {
            kept.push(base);
        }
    }
    kept
}

/// How many of the oldest files are let go, and the names of the old bases that stay. What is kept has no gap: it is a
/// suffix.
pub(super) fn let_go(
    history: &[HistoryFile],
    bases: &[OldBase],
    base_lsn: Lsn,
    retention: &Retention,
    now: UnixMillis,
) -> (usize, Vec<String>) {
    let oldest = retention.age.map(|age| {
        now.0
            .saturating_sub(age.as_millis().min(i64::MAX as u128) as i64)
    });
    let bases = spaced_out(bases, base_lsn, retention.bytes);
    let mut kept_bases = Vec::new();
    let mut room = retention.bytes;
    let mut dropped = history.len();
    for file in history.iter().rev() {
        let too_old = match (file.until, oldest) {
            (Some(until), Some(oldest)) => until.0 < oldest,
            _ => false,
        };
        if file.bytes > room || too_old {
            break;
        }
        dropped -= 1;
        room -= file.bytes;
        if let Some(base) = bases.iter().find(|base| base.lsn == file.start)
            && base.bytes <= room
        {
            room -= base.bytes;
            kept_bases.push(base.name.clone());
        }
    }
    (dropped, kept_bases)
}

/// What can be read of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The oldest position that can be read.
    pub from: Lsn,
    /// When the segment that it is in was begun, where that is known.
    pub since: Option<UnixMillis>,
    /// Segments below the base.
    pub kept_segments: usize,
    /// Their size, with that of old bases.
    pub kept_bytes: u64,
    /// The oldest position that the data can be taken back to: that of the oldest base.
    pub restorable_from: Lsn,
}

impl Log {
    /// Changes how much history is kept; what is too much goes soon.
    pub fn set_retention(&self, retention: Retention) {
        let mut present = self.shared.retention.lock();
        if *present != retention {
            *present = retention;
            drop(present);
            self.shared.prepare_signal.wake();
        }
    }

    /// What can be read of the past.
    pub fn history(&self) -> History {
        let from = self.shared.oldest_readable();
        let catalogue = self.shared.catalogue.lock();
        let kept = catalogue.history();
        History {
            from,
            since: catalogue
                .segments
                .iter()
                .find(|segment| segment.framed.is_some_and(|framed| framed.lsn >= from))
                .and_then(|segment| segment.since),
            kept_segments: kept.len(),
            kept_bytes: kept.iter().map(|segment| segment.bytes).sum::<u64>()
                + catalogue
                    .old_bases
                    .iter()
                    .map(|base| base.bytes)
                    .sum::<u64>(),
            restorable_from: catalogue
                .old_bases
                .first()
                .map_or(catalogue.base_lsn, |base| base.lsn),
        }
    }
}

impl super::Catalogue {
    /// The segments below the base, oldest first.
    fn history(&self) -> &[SegmentInfo] {
        let entries = self.manifest.history.iter();
        let named: HashSet<&str> = entries.map(|entry| entry.name.as_str()).collect();
        let is_kept = |segment: &&SegmentInfo| named.contains(segment.name.as_str());
        let count = self.segments.iter().take_while(is_kept).count();
        &self.segments[..count]
    }
}

impl Shared {
    /// The oldest position that segments have without a gap: files of other servers cannot be read by position.
    pub(super) fn oldest_readable(&self) -> Lsn {
        let catalogue = self.catalogue.lock();
        let mut oldest = self.marks.written();
        for segment in catalogue.segments.iter().rev() {
            let Some(framed) = segment.framed else {
                break;
            };
            if segment.end.is_some_and(|end| end != oldest) {
                break;
            }
            oldest = framed.lsn;
            if framed.lsn != segment.start {
                break;
            }
        }
        oldest
    }

    pub(super) fn has_history(&self) -> bool {
        !self.catalogue.lock().manifest.history.is_empty()
    }

    /// Lets go of history as far as the limits say. Errors leave files for later.
    pub(super) fn apply_retention(&self) {
        let retention = *self.retention.lock();
        let dropped = {
            let catalogue = self.catalogue.lock();
            // A log that has not begun: what is history to it is still the log that is there.
            if catalogue.manifest.base.is_none() {
                return;
            }
            let segments = catalogue.history();
            // Whatever stands before a file that cannot be read by position is of no use.
            let usable = segments.iter().rev().take_while(|s| s.is_ours()).count();
            let first = segments.len() - usable;
            let segments = &segments[first..];
            let files: Vec<HistoryFile> = (0..segments.len())
                .map(|index| HistoryFile {
                    bytes: segments[index].bytes,
                    start: segments[index].start,
                    until: catalogue
                        .segments
                        .get(first + index + 1)
                        .filter(|next| Some(next.start) == segments[index].end)
                        .and_then(|next| next.since),
                })
                .collect();
            let (drop, bases) = let_go(
                &files,
                &catalogue.old_bases,
                catalogue.base_lsn,
                &retention,
                UnixMillis::now(),
            );
            let kept: HashSet<&str> = segments[drop..]
                .iter()
                .map(|segment| segment.name.as_str())
                .chain(bases.iter().map(String::as_str))
                .collect();
            let history = catalogue.manifest.history.iter();
            let dropped: HashSet<String> = history
                .filter(|entry| !kept.contains(entry.name.as_str()))
                .map(|entry| entry.name.clone())
                .collect();
            dropped
        };
        if dropped.is_empty() {
            return;
        }
        {
            let mut catalogue = self.catalogue.lock();
            catalogue.segments.retain(|s| !dropped.contains(&s.name));
            catalogue.old_bases.retain(|b| !dropped.contains(&b.name));
        }
        for name in &dropped {
            remove_log_file(self, name);
        }
        // A compaction may have made more history meanwhile, which stays.
        let forgotten = self
            .replace_manifest(|manifest| manifest.history.retain(|e| !dropped.contains(&e.name)));
        if let Err(e) = forgotten {
            tracing::warn!("log: history could not be taken out of the manifest: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(u64, i64)]) -> Vec<HistoryFile> {
        list.iter()
            .zip(0..)
            .map(|(&(bytes, until), index)| HistoryFile {
                bytes,
                start: Lsn(index * 100),
                until: Some(UnixMillis(until)),
            })
            .collect()
    }

    fn files_to_drop(history: &[HistoryFile], retention: &Retention, now: UnixMillis) -> usize {
        let_go(history, &[], Lsn::MAX, retention, now).0
    }

    #[test]
    fn bases_stay_with_what_is_behind_them_and_within_the_limit() {
        // Segments of 10 bytes begin at 0, 100, 200, 300; the present base stands for 400.
        let history = files(&[(10, 0); 4]);
        let kept = |list: &[(u64, u64)], limit| {
            let bases: Vec<OldBase> = list
                .iter()
                .map(|&(lsn, bytes)| OldBase {
                    name: lsn.to_string(),
                    lsn: Lsn(lsn),
                    bytes,
                })
                .collect();
            let retention = Retention {
                bytes: limit,
                age: None,
            };
            let (dropped, names) = let_go(&history, &bases, Lsn(400), &retention, UnixMillis(1));
            (dropped, names.join(" "))
        };
        assert_eq!(kept(&[(0, 5)], 45), (0, "0".into()));
        // It has no room, or what is behind it has none.
        assert_eq!(kept(&[(0, 5)], 44), (0, String::new()));
        assert_eq!(kept(&[(0, 5)], 39), (1, String::new()));
        // Newer ones come first, and take the room of what is older.
        assert_eq!(kept(&[(0, 5), (200, 5)], 50), (0, "200 0".into()));
        assert_eq!(kept(&[(0, 5), (200, 15)], 55), (0, "200".into()));
        assert_eq!(kept(&[(0, 5), (200, 15)], 49), (1, "200".into()));
        assert_eq!(kept(&[(0, 5), (200, 15)], 40), (2, "200".into()));
        // One that is close to its neighbours, by its size or by the limit, goes; the oldest does not.
        assert_eq!(kept(&[(0, 5), (200, 200)], 1000), (0, "0".into()));
        assert_eq!(kept(&[(0, 5), (100, 5)], 1600), (0, "0".into()));
        assert_eq!(
            kept(&[(0, 5), (100, 5), (300, 5)], 600),
            (0, "300 100 0".into())
        );
        // One that stands for what the present base stands for is of no use.
        assert_eq!(kept(&[(400, 5)], 1000), (0, String::new()));
        // Nor one that no segment goes on from.
        assert_eq!(kept(&[(50, 5)], 1000), (0, String::new()));
    }

    #[test]
    fn history_is_dropped_from_the_old_end() {
        let drop = |sizes: &[u64], bytes| {
            let history: Vec<_> = sizes.iter().map(|&bytes| (bytes, 0)).collect();
            let retention = Retention { bytes, age: None };
            files_to_drop(&files(&history), &retention, UnixMillis(1_000_000))
        };
        assert_eq!(drop(&[], 10), 0);
        assert_eq!(drop(&[5, 5, 5], 0), 3);
        assert_eq!(drop(&[5, 5, 5], 10), 1);
        assert_eq!(drop(&[5, 5, 5], 100), 0);
        // A large one in the middle must not leave a gap.
        assert_eq!(drop(&[1, 50, 5], 10), 2);
    }

    #[test]
    fn age_counts_from_the_last_write_of_a_file() {
        let drop = |history: &[(u64, i64)], seconds, now| {
            let retention = Retention {
                bytes: 100,
                age: Some(Duration::from_secs(seconds)),
            };
            files_to_drop(&files(history), &retention, UnixMillis(now))
        };
        let history = [(1, 10_000), (1, 20_000), (1, 30_000)];
        assert_eq!(drop(&history, 20, 30_000), 0);
        assert_eq!(drop(&history, 20, 30_001), 1);
        assert_eq!(drop(&history, 20, 50_001), 3);
        // A clock that was set back in between leaves no gap either.
        assert_eq!(drop(&[(1, 30_000), (1, 5_000), (1, 31_000)], 20, 40_000), 2);
        assert_eq!(drop(&history, u64::MAX, 50_000), 0);
        let unknown = [HistoryFile {
            bytes: 1,
            start: Lsn::ZERO,
            until: None,
        }];
        let retention = Retention {
            bytes: 1,
            age: Some(Duration::ZERO),
        };
        assert_eq!(files_to_drop(&unknown, &retention, UnixMillis(1)), 0);
    }
}
