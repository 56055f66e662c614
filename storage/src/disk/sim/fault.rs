//! Which calls of a simulated disk fail, and how.

use std::io;
use std::path::Path;

/// Kinds of calls to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the methods")]
pub enum CallKind {
    Open,
    Create,
    CreateDir,
    Metadata,
    List,
    Rename,
    Remove,
    SyncDir,
    Lock,
    FreeBytes,
    Len,
    Read,
    Write,
    Sync,
    SetLen,
    Allocate,
    View,
}

impl CallKind {
    /// Whether such a call changes the disk, or what is durable of it.
    pub fn changes(self) -> bool {
        use CallKind::*;
        match self {
            Open | Metadata | List | FreeBytes | Len | Read | View => false,
            Create | CreateDir | Rename | Remove | SyncDir | Lock | Write | Sync | SetLen
            | Allocate => true,
        }
    }
}

/// One call to a disk, as hooks and faults see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called.
    pub kind: CallKind,
    /// The file or directory; of a rename the old name.
    pub path: &'a Path,
    /// Bytes to be read or written; 0 where there are none.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Errno(i32),
    Short(usize),
    Lie,
}

/// A fault to come. Without more said it befalls the next call that changes the disk, once.
///
/// ```
/// use hardtack_storage::testing::{CallKind, ENOSPC, Fault, SimDisk};
///
/// let disk = SimDisk::new(1);
/// // The disk is full from the third write on, until `disk.clear_faults()`.
/// disk.inject(Fault::errno(ENOSPC).on(CallKind::Write).skip(2).forever());
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    kind: Option<CallKind>,
    name: Option<String>,
    skip: u64,
    /// Calls that still fail; `None`: all.
    times: Option<u64>,
}

impl Fault {
    /// The call fails with an error number: [`ENOSPC`](super::ENOSPC), [`EIO`](super::EIO) and so on.
    ///
    /// A sync that fails has lost what it should have made durable, but for some sectors by chance: a later one
    /// succeeds without them. Other calls that fail have done nothing.
    pub fn errno(errno: i32) -> Fault {
        Fault {
            effect: Effect::Errno(errno),
            kind: None,
            name: None,
            skip: 0,
            times: Some(1),
        }
    }

    /// A write takes no more than so many bytes, and says so.
    pub fn short_write(bytes: usize) -> Fault {
        Fault {
            effect: Effect::Short(bytes),
            kind: Some(CallKind::Write),
            ..Fault::errno(0)
        }
    }

    /// A sync, of a file or a directory, says that all is well and does nothing: a disk that lies, or code that forgot
    /// to sync. Once, unless more is said.
    pub fn lost_sync() -> Fault {
        Fault {
            effect: Effect::Lie,
            ..Fault::errno(0)
        }
    }

    /// Only calls of this kind.
    pub fn on(mut self, kind: CallKind) -> Fault {
        self.kind = Some(kind);
        self
    }

    /// Only calls on files and directories whose name contains this.
    pub fn named(mut self, part: &str) -> Fault {
        self.name = Some(part.to_owned());
        self
    }

    /// Lets so many calls pass first.
    pub fn skip(mut self, calls: u64) -> Fault {
        self.skip = calls;
        self
    }

    /// Befalls so many calls.
    pub fn times(mut self, calls: u64) -> Fault {
        self.times = Some(calls);
        self
    }

    /// Befalls every call from then on.
    pub fn forever(mut self) -> Fault {
        self.times = None;
        self
    }

    fn concerns(&self, call: &Call<'_>) -> bool {
        let is_sync = matches!(call.kind, CallKind::Sync | CallKind::SyncDir);
        let kind = match (self.effect, self.kind) {
            (Effect::Lie, kind) => is_sync && kind.is_none_or(|kind| kind == call.kind),
            (_, Some(kind)) => kind == call.kind,
            (_, None) => call.kind.changes(),
        };
        let name = call.path.file_name().and_then(|name| name.to_str());
        kind && self
            .name
            .as_deref()
            .is_none_or(|part| name.is_some_and(|name| name.contains(part)))
    }
}

/// What befalls a call that succeeds.
pub(super) struct Unheard {
    /// It writes no more.
    pub bytes_max: usize,
    /// It does nothing.
    pub is_lost: bool,
}

/// The faults that are to come.
#[derive(Default)]
pub(super) struct Faults {
    to_come: Vec<Fault>,
    /// Calls that one befell.
    befallen: u64,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.to_come.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.to_come.clear();
    }

    pub(super) fn befallen(&self) -> u64 {
        self.befallen
    }

    /// What befalls a call: an error, or something that it does not hear of.
    pub(super) fn befall(&mut self, call: &Call<'_>) -> io::Result<Unheard> {
        let mut unheard = Unheard {
            bytes_max: usize::MAX,
            is_lost: false,
        };
        let mut befallen = false;
        let mut error = None;
        for fault in self.to_come.iter_mut().filter(|fault| fault.concerns(call)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                if *times == 0 {
                    continue;
                }
                *times -= 1;
            }
            befallen = true;
            match fault.effect {
                Effect::Errno(errno) => error = error.or(Some(errno)),
                Effect::Short(bytes) => unheard.bytes_max = unheard.bytes_max.min(bytes),
                Effect::Lie => unheard.is_lost = true,
            }
        }
        self.to_come.retain(|fault| fault.times != Some(0));
        self.befallen += u64::from(befallen);
        match error {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(unheard),
        }
    }
}
