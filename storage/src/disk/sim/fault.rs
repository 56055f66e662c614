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
    Exchange,
    Remove,
    RemoveDir,
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
            Create | CreateDir | Rename | Exchange | Remove | RemoveDir | SyncDir | Lock
            | Write | Sync | SetLen | Allocate => true,
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
        let kind = match self.kind {
            Some(kind) => kind == call.kind,
            None => call.kind.changes(),
        };
        let name = call.path.file_name().and_then(|name| name.to_str());
        kind && self
            .name
            .as_deref()
            .is_none_or(|part| name.is_some_and(|name| name.contains(part)))
    }
}

/// The faults that are to come.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What befalls a call: an error, or a limit to the bytes that it may write.
    pub(super) fn befall(&mut self, call: &Call<'_>) -> io::Result<usize> {
        let mut limit = usize::MAX;
        let mut error = None;
        for fault in self.0.iter_mut().filter(|fault| fault.concerns(call)) {
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
            match fault.effect {
                Effect::Errno(errno) => error = error.or(Some(errno)),
                Effect::Short(bytes) => limit = limit.min(bytes),
            }
        }
        self.0.retain(|fault| fault.times != Some(0));
        match error {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(limit),
        }
    }
}
