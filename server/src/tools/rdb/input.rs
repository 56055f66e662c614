//! An RDB file that is looked at.

use std::path::{Path, PathBuf};

use hardtack_storage::disk::{Disk, FileView, RealDisk};
use hardtack_storage::rdb::{self, Checksum, RdbError};

use crate::tools::out::note;
use crate::tools::{Failure, Verdict};

/// A file, mapped into memory. Servers replace snapshots by rename, so it stays what it was when it was opened.
pub struct Input {
    /// Its name.
    pub path: PathBuf,
    view: FileView,
}

impl Input {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Input, Failure> {
        let failed = |error| Failure::new(format!("can't read {}: {error}", path.display()));
        let disk = RealDisk;
        if disk
            .metadata(path)
            .map_err(failed)?
            .is_some_and(|found| found.is_dir)
        {
            let text = "is a directory; the RDB file in it is needed";
            return Err(Failure::new(format!("{} {text}", path.display())));
        }
        let file = disk.open(path).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let view = if bytes == 0 {
            FileView::Owned(Vec::new())
        } else {
            file.view(bytes).map_err(failed)?
        };
        Ok(Input {
            path: path.to_owned(),
            view,
        })
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.view
    }

    /// What becomes of the checksum, or why there is none to be found.
    pub fn checksum(&self) -> Result<Checksum, RdbError> {
        rdb::verify_slice(&self.view).map(|(checksum, _)| checksum)
    }

    /// The end of a tool that needs a sound RDB file and nothing else, if this is none.
    pub fn refusal(&self) -> Result<Option<Verdict>, Failure> {
        match rdb::verify_slice(&self.view) {
            Err(error) => self.refuse(error).map(Some),
            Ok((_, bytes)) if bytes < self.view.len() as u64 => Err(Failure::new(format!(
                "{} goes on behind the RDB that it begins with ({} bytes): an append-only file?",
                self.path.display(),
                self.view.len() as u64 - bytes
            ))),
            Ok(_) => Ok(None),
        }
    }

    /// The end of a tool that can do nothing with such a file.
    pub fn refuse(&self, error: RdbError) -> Result<Verdict, Failure> {
        let flaw = self.flaw(error);
        if !flaw.is_damage {
            return Err(Failure::new(flaw.text));
        }
        note(format_args!("hardtack: {}", flaw.text));
        Ok(Verdict::NotFine)
    }

    /// An error of reading, in words. Something is wrong with the file unless it just is not for us.
    pub fn flaw(&self, error: RdbError) -> Flaw {
        let is_damage = match &error {
            RdbError::Truncated { .. }
            | RdbError::Checksum { .. }
            | RdbError::Corrupt { .. }
            | RdbError::Container { .. } => true,
            RdbError::Io(_)
            | RdbError::NotRdb { .. }
            | RdbError::Version { .. }
            | RdbError::Unsupported { .. }
            | RdbError::Refused { .. } => false,
        };
        Flaw {
            text: format!("{}: {error}", self.path.display()),
            is_damage,
        }
    }
}

/// What is wrong with a file.
#[derive(Debug)]
pub struct Flaw {
    /// In words, beginning with the file's name.
    pub text: String,
    /// The file is damaged, rather than none of our business.
    pub is_damage: bool,
}
