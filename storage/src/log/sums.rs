//! What the sealed files were like: a private record beside the manifest.
//!
//! `<prefix>.sums` has size and checksum of the base and of every segment that the manifest names, but for the last one.
//! Sealed files never change, so a difference is damage, also where the files themselves look sound: a segment that ends
//! at a frame too early, one that was put back from an older copy.
//!
//! * The record names the manifest that it was written for, by the CRC-32 of its text. It is written after the manifest,
//!   by a background thread. A start that finds another manifest (another server has been at work, or the power failed
//!   between the two), no record, or a damaged one, checks nothing by it.
//! * There is none beside a manifest that another server wrote.
//! * The last segment is not in it: it is being written, and other servers append to it.
//! * A start with `recover=prefix` does not ask it: what the operator accepts is what the files hold.
//!
//! Checksums: of a base, the CRC-32 of the file; of a segment, that of its last frame, which goes on from the header
//! line over all frames. Segments that hold commands of another server have none.

use bincode::{Decode, Encode};

use super::manifest::Manifest;
use super::meta::{self, META_BYTES_MAX, MetaRecord};
use super::segment::Names;
use super::{Catalogue, Shared};
use crate::disk::{Disk, WrittenFile, read_small_file, replace_file};

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SealedFiles {
    /// CRC-32 of the manifest's text.
    manifest: u32,
    files: Vec<SealedFile>,
}

impl MetaRecord for SealedFiles {
    const KIND: u16 = 2;
    const VERSION: u16 = 1;
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SealedFile {
    pub name: String,
    pub bytes: u64,
    pub sum: u32,
}

impl SealedFile {
    pub(super) fn of(name: String, written: WrittenFile) -> SealedFile {
        SealedFile {
            name,
            bytes: written.bytes,
            sum: written.crc32,
        }
    }

    /// For error messages.
    pub(super) fn describe(&self) -> String {
        format!("{} bytes with checksum {:08x}", self.bytes, self.sum)
    }
}

/// Identifies a manifest by its text.
pub(super) fn manifest_id(text: &[u8]) -> u32 {
    crc32fast::hash(text)
}

/// The files of the record, if it is one for this manifest.
pub(super) fn read(disk: &dyn Disk, names: &Names, manifest: u32) -> Vec<SealedFile> {
    let Ok(bytes) = read_small_file(disk, &names.sums(), META_BYTES_MAX) else {
        return Vec::new();
    };
    match meta::decode::<SealedFiles>(&bytes) {
        Some(record) if record.manifest == manifest => record.files,
        Some(_) => Vec::new(),
        None => {
            tracing::warn!(
                "log: {} is damaged; it is made anew",
                names.sums().display()
            );
            Vec::new()
        }
    }
}

impl Catalogue {
    /// Notes what a file is like that the manifest names and that does not change any more.
    pub(super) fn note_sealed(&mut self, file: SealedFile) {
        self.sealed.push(file);
        // The record may have been written since the manifest was.
        self.sums_pending = true;
    }

    /// What the record has to say.
    fn sealed_files(&self) -> SealedFiles {
        let last = self.manifest.increments.last();
        let belongs = |file: &&SealedFile| {
            self.manifest.names(&file.name) && last.is_none_or(|last| last.name != file.name)
        };
        SealedFiles {
            manifest: self.manifest_id,
            files: self.sealed.iter().filter(belongs).cloned().collect(),
        }
    }

    fn forget_removed(&mut self) {
        let manifest: &Manifest = &self.manifest;
        self.sealed.retain(|file| manifest.names(&file.name));
    }
}

impl Shared {
    /// Brings the record up to date. It is a second net: errors cost a check at the next start.
    pub(super) fn write_pending_sums(&self) {
        let record = {
            let mut catalogue = self.catalogue.lock();
            // Without a base the log has not begun: what is there is another one.
            let manifest = &catalogue.manifest;
            if !catalogue.sums_pending || !manifest.checked || manifest.base.is_none() {
                return;
            }
            catalogue.sums_pending = false;
            catalogue.forget_removed();
            catalogue.sealed_files()
        };
        let Some(bytes) = meta::encode(&record) else {
            return;
        };
        if let Err(e) = replace_file(&*self.disk, &self.names.sums(), &bytes) {
            tracing::warn!("log: writing {} failed: {e}", self.names.sums().display());
        }
    }
}
