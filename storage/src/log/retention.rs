//! Which segments below the base stay, and for how long.
//!
//! A compaction does not remove the segments that its base replaces: they are the log's history, which a reader that is
//! behind goes on from, and which `restore` goes back to. The manifest names them with type `h`, in the order of their
//! numbers. redis-server deletes what is named so when it starts on the directory, as it does with its own left-overs:
//! what it then writes would not join that history anyway.
//!
//! What is kept has no gap and reaches up to the base. It is let go from the old end, by size and by age, when the base
//! changes, when a segment is sealed, and about every [`CHECK_INTERVAL`]. A file of history that is missing or damaged
//! does not stop a start: nothing of the data is in it. It ends the history there.

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
    /// When the next one was begun, where that is known.
    pub until: Option<UnixMillis>,
}

/// How many of the oldest files are let go. What is kept has no gap: it is a suffix.
pub(super) fn files_to_drop(
    history: &[HistoryFile],
    retention: &Retention,
    now: UnixMillis,
) -> usize {
    let oldest = retention.age.map(|age| {
        now.0
            .saturating_sub(age.as_millis().min(i64::MAX as u128) as i64)
    });
    let mut kept_bytes = 0u64;
    let kept = history.iter().rev().take_while(|file| {
        kept_bytes = kept_bytes.saturating_add(file.bytes);
        let too_old = match (file.until, oldest) {
            (Some(until), Some(oldest)) => until.0 < oldest,
            _ => false,
        };
        kept_bytes <= retention.bytes && !too_old
    });
    history.len() - kept.count()
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
    /// Their size.
    pub kept_bytes: u64,
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
            kept_bytes: kept.iter().map(|segment| segment.bytes).sum(),
        }
    }
}

impl super::Catalogue {
    /// The segments below the base, oldest first.
    fn history(&self) -> &[SegmentInfo] {
        let count = self
            .segments
            .iter()
            .take_while(|segment| {
                let named = |kept: &super::manifest::Entry| kept.name == segment.name;
                self.manifest.history.iter().any(named)
            })
            .count();
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

    /// Lets go of history: old bases at once, segments as far as the limits say. Errors leave files for later.
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
            let segments = &segments[segments.len() - usable..];
            let files: Vec<HistoryFile> = (0..segments.len())
                .map(|index| HistoryFile {
                    bytes: segments[index].bytes,
                    until: catalogue
                        .segments
                        .iter()
                        .find(|next| Some(next.start) == segments[index].end)
                        .and_then(|next| next.since),
                })
                .collect();
            let drop = files_to_drop(&files, &retention, UnixMillis::now());
            let kept = &segments[drop..];
            let history = catalogue.manifest.history.iter();
            let dropped: Vec<String> = history
                .filter(|entry| !kept.iter().any(|segment| segment.name == entry.name))
                .map(|entry| entry.name.clone())
                .collect();
            dropped
        };
        if dropped.is_empty() {
            return;
        }
        self.catalogue
            .lock()
            .segments
            .retain(|s| !dropped.contains(&s.name));
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
            .map(|&(bytes, until)| HistoryFile {
                bytes,
                until: Some(UnixMillis(until)),
            })
            .collect()
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
            until: None,
        }];
        let retention = Retention {
            bytes: 1,
            age: Some(Duration::ZERO),
        };
        assert_eq!(files_to_drop(&unknown, &retention, UnixMillis(1)), 0);
    }
}
