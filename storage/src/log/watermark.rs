//! How far the log is written and durable, whether it is sound, and who waits for that.
//!
//! `durable <= written <= appended`. Both watermarks only rise. Once the log has failed they stand still until it is
//! healed: what was not durable then is not going to be.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};

use crate::Lsn;

/// Why the log takes no more writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The disk (or the quota) is full.
    #[error("no space left on the log's disk ({doing}: {error})")]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        error: String,
    },
    /// A write failed.
    #[error("writing the log failed ({doing}: {error})")]
    Write {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        error: String,
    },
    /// A sync failed: what was written since the last good one may be lost, whatever a later sync says.
    #[error("syncing the log failed ({doing}: {error})")]
    Sync {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        error: String,
    },
    /// Its files are not where they were: what is written to them would not be found again.
    #[error(
        "{missing} is not there any more: the data directory was removed, or its file system unmounted. Put it back; or \
         make it anew, and turn appendonly off and on"
    )]
    Gone {
        /// The first file that was missed.
        missing: String,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
    /// The log has no base yet.
    #[error("the log has not begun yet")]
    NotBegun,
}

impl Failure {
    pub(super) fn write(doing: &'static str, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::DiskFull {
                doing,
                error: error.to_string(),
            },
            _ => Failure::Write {
                doing,
                error: error.to_string(),
            },
        }
    }

    pub(super) fn sync(doing: &'static str, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::DiskFull {
                doing,
                error: error.to_string(),
            },
            _ => Failure::Sync {
                doing,
                error: error.to_string(),
            },
        }
    }
}

/// Whether the log takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogStatus {
    /// It does.
    Ok,
    /// It does not, until it has been healed.
    Failed {
        /// Why.
        reason: Failure,
        /// Nothing at or after this position counts as durable.
        durable: Lsn,
        /// A healing is under way.
        healing: bool,
    },
}

/// Called after the watermarks moved.
pub type Notifier = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Watermarks {
    written: AtomicU64,
    durable: AtomicU64,
    failed: AtomicBool,
    waiters: AtomicU32,
    state: Mutex<State>,
    moved: Condvar,
    notifiers: ArcSwap<Vec<Notifier>>,
}

#[derive(Default)]
struct State {
    failure: Option<Failure>,
    healing: bool,
}

impl Watermarks {
    pub(super) fn new(at: Lsn) -> Watermarks {
        Watermarks {
            written: AtomicU64::new(at.0),
            durable: AtomicU64::new(at.0),
            failed: AtomicBool::new(false),
            waiters: AtomicU32::new(0),
            state: Mutex::new(State::default()),
            moved: Condvar::new(),
            notifiers: ArcSwap::from_pointee(Vec::new()),
        }
    }

    pub(super) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(super) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        if self.is_failed() {
            self.state.lock().failure.clone()
        } else {
            None
        }
    }

    pub(super) fn status(&self) -> LogStatus {
        let state = self.state.lock();
        match &state.failure {
            None => LogStatus::Ok,
            Some(reason) => LogStatus::Failed {
                reason: reason.clone(),
                durable: self.durable(),
                healing: state.healing,
            },
        }
    }

    /// Raises `written`. Returns whether it moved.
    pub(super) fn raise_written(&self, to: Lsn) -> bool {
        let moved = self.written.fetch_max(to.0, Ordering::SeqCst) < to.0;
        if moved {
            self.wake();
        }
        moved
    }

    /// Raises `durable`. Returns whether it moved.
    pub(super) fn raise_durable(&self, to: Lsn) -> bool {
        let moved = self.durable.fetch_max(to.0, Ordering::SeqCst) < to.0;
        if moved {
            self.wake();
        }
        moved
    }

    /// Notes the first failure; later ones change nothing.
    pub(super) fn fail(&self, failure: Failure) {
        {
            let mut state = self.state.lock();
            let first = match &state.failure {
                None => {
                    if failure != Failure::Closed {
                        tracing::error!(
                            durable = self.durable().0,
                            "log: {failure}; writes are refused"
                        );
                    }
                    true
                }
                // Nobody depends on it.
                Some(Failure::NotBegun) => true,
                Some(_) => false,
            };
            if first || failure == Failure::Closed {
                state.failure = Some(failure);
            }
            state.healing = false;
            self.failed.store(true, Ordering::SeqCst);
        }
        self.wake_all();
        self.notify();
    }

    /// The log begins when it has its base; that is like a healing. Before anybody has heard of it.
    pub(super) fn begin_later(&self) {
        let mut state = self.state.lock();
        state.failure = Some(Failure::NotBegun);
        state.healing = true;
        self.failed.store(true, Ordering::SeqCst);
    }

    pub(super) fn set_healing(&self, healing: bool) {
        self.state.lock().healing = healing;
    }

    /// The log is sound again, and everything below `at` is on the disk by another way (a base).
    pub(super) fn recover(&self, written: Lsn, durable: Lsn) {
        {
            let mut state = self.state.lock();
            self.written.fetch_max(written.0, Ordering::SeqCst);
            self.durable.fetch_max(durable.0, Ordering::SeqCst);
            *state = State::default();
            self.failed.store(false, Ordering::SeqCst);
        }
        self.wake_all();
        self.notify();
    }

    pub(super) fn wait_written(&self, lsn: Lsn) -> Result<(), Failure> {
        self.wait(|| self.written() >= lsn)
    }

    pub(super) fn wait_durable(&self, lsn: Lsn) -> Result<(), Failure> {
        self.wait(|| self.durable() >= lsn)
    }

    /// Waits until `done`, which looks at the watermarks or at what [`Watermarks::wake_all`] announces.
    fn wait(&self, done: impl Fn() -> bool) -> Result<(), Failure> {
        if done() {
            return Ok(());
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock();
        let outcome = loop {
            if done() {
                break Ok(());
            }
            if let Some(failure) = &state.failure {
                break Err(failure.clone());
            }
            self.moved.wait(&mut state);
        };
        drop(state);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    /// Waits for any change, or a little while.
    pub(super) fn wait_for_change(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        self.moved
            .wait_for(&mut self.state.lock(), std::time::Duration::from_millis(5));
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        // A waiter counts itself before it looks at the watermark, which was stored before this load: one of the two
        // sees the other.
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    pub(super) fn wake_all(&self) {
        let _guard = self.state.lock();
        self.moved.notify_all();
    }

    pub(super) fn add_notifier(&self, notifier: Notifier) {
        self.notifiers.rcu(|list| {
            let mut list = Vec::clone(list);
            list.push(Arc::clone(&notifier));
            list
        });
    }

    /// Tells those that registered: called by background threads, once after each advance.
    pub(super) fn notify(&self) {
        for notifier in self.notifiers.load().iter() {
            notifier();
        }
    }
}
