//! Space on a disk that snapshots leave to the log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Disk;

/// So many bytes are to stay free on the file system of a directory.
#[derive(Clone)]
pub(crate) struct Reserve {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub bytes: u64,
}

impl Reserve {
    /// Whether the reserve is whole when so many bytes more have been written.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if not. Where the system does not say what is free nothing is known to be missing.
    pub fn check(&self, more: u64) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        match self.disk.free_bytes(&self.dir) {
            Ok(free) if free < self.bytes.saturating_add(more) => {
                let reserve = self.bytes;
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!(
                        "{free} bytes are free on the disk, and disk-reserve-bytes leaves {reserve} of them to the log"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}
