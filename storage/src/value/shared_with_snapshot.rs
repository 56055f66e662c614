//! What a running snapshot holds on to because a writer went on: counted by whoever changes a value.
//!
//! A snapshot shares large values with the keyspace. Memory beyond the data comes into being only when a writer copies
//! a part of such a value, or lets go of one that the snapshot still has. Values do not know of snapshots, so they
//! leave the number of bytes here, per thread, and the keyspace collects it on that thread's next write
//! ([`take`]). The number is an upper bound: somebody else than a snapshot may have shared the value (COPY), and the
//! snapshot may have let go of it meanwhile.

use std::cell::Cell;

use triomphe::Arc;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
    /// The snapshot whose bytes they are.
    static EPOCH: Cell<u32> = const { Cell::new(0) };
}

/// Notes that so many bytes were copied, or let go of, because somebody shares them.
pub(crate) fn note(bytes: usize) {
    BYTES.set(BYTES.get().saturating_add(bytes));
}

/// A part of a value, to be changed: copied first if somebody shares it, and then `bytes` says what the copy takes.
pub(crate) fn own<T: Clone>(part: &mut Arc<T>, bytes: impl FnOnce(&T) -> usize) -> &mut T {
    if !part.is_unique() {
        note(bytes(part));
    }
    Arc::make_mut(part)
}

/// What this thread has noted since it was last asked, for the snapshot of this epoch.
pub(crate) fn take(epoch: u32) -> usize {
    if EPOCH.replace(epoch) != epoch {
        // That was before its time.
        BYTES.set(0);
    }
    BYTES.replace(0)
}
