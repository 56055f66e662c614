//! What it would cost to accept damage: what stands behind it, as far as that can still be recognised.

use super::cut::trailing_filler;
use super::error::Loss;
use super::replay::Opened;
use crate::Lsn;
use crate::log::frame::{FrameHeader, SegmentHeader};
use crate::log::scan::later_frames;

/// What is lost if the log ends at file position `at` of segment `index`, which is LSN `lsn`.
pub(super) fn estimate(all: &[Opened], index: usize, at: usize, lsn: Lsn) -> Loss {
    let (here, later) = (&all[index], &all[index + 1..]);
    let tail = &here.view[at..];
    let mut loss = Loss {
        bytes: (tail.len() - trailing_filler(tail)) as u64,
        files: 1 + later.len(),
        from: lsn,
        ..Loss::default()
    };
    // Of the damaged frame itself the header may be sound.
    let own = FrameHeader::parse(tail).filter(|header| header.lsn == lsn && header.len > 0);
    own.into_iter()
        .chain(later_frames(&here.view, at, lsn))
        .for_each(|header| loss.count(&header));
    for segment in later {
        loss.bytes += segment.view.len() as u64;
        if let Some(header) = SegmentHeader::parse(&segment.view) {
            let before = Lsn(header.lsn.0.saturating_sub(1));
            later_frames(&segment.view, 0, before).for_each(|header| loss.count(&header));
        }
    }
    loss
}

impl Loss {
    /// Counts a frame that is lost.
    fn count(&mut self, header: &FrameHeader) {
        if header.len == 0 {
            return;
        }
        self.to = self.to.max(Some(header.end()));
        let (first, last) = self.written.unwrap_or((header.ts, header.ts));
        self.written = Some((first.min(header.ts), last.max(header.ts)));
    }
}
