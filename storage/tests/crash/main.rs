//! Crash tests of the engine on a simulated disk.
//!
//! A run is a seeded history of commands (all types, transactions, several databases), rotations, compactions,
//! snapshots and clean restarts, on a disk that records every step. The run knows after each command what the data
//! were, where the log ended, and whether the command was acknowledged. Then the power is cut at every step of the
//! recording, and inside writes, and the engine is opened on what is found. It must always open by itself, and hold
//!
//! * exactly the data that there were at the LSN where it says the log ends: a prefix of the one order, transactions whole;
//! * `always`: every acknowledged write; `everysec`: everything before the last sync that had ended; after the death of
//!   the process alone: every acknowledged write, under either;
//! * the same again when it is opened once more, when its recovery is cut off and repeated, and when the power goes
//!   after further writes; and an RDB file that is the state of a SAVE, whole.
//!
//! The data are compared by `DEBUG DIGEST` and all times of expiry.
//!
//! ```text
//! cargo test -p hardtack-storage --test crash                        a few seeds, some thousand states
//! HARDTACK_CRASH_SEEDS=1000 cargo test -p hardtack-storage --test crash --release
//! HARDTACK_CRASH_SEED=17 cargo test -p hardtack-storage --test crash TEST    replays one; a failure prints this line
//! HARDTACK_CRASH_SEED=17 HARDTACK_CRASH_CUT=214 ...                  looks at one step alone
//! HARDTACK_CRASH_KEEP=DIR ...                                        keeps the directory that was found, for a look at it
//! HARDTACK_CRASH_STRIDE=1 ... --test crash fault_at                  a fault at each call, not at every seventh
//! ```
//!
//! What repeats: the commands, the records of the log and their LSNs, and the steps of each thread, since the client goes
//! on when the engine's threads have nothing left to do and a [hook](store) gives the disk to one of them at a time. What
//! does not: times in frames and RDB files, the order of keys in RDB files (keys are hashed under a random key), and
//! whether a thread prepares a segment or writes an index first. So a step can have another number in another run, and
//! a seed that fails is best replayed with all its steps; within one run all states are made from one recording.
//!
//! | file | what it has |
//! |---|---|
//! | `store` | one engine on a simulated disk, and its one client |
//! | `history` | random commands |
//! | `run` | a run, with what it promised when |
//! | `power` | power cuts at every step of runs |
//! | `faults` | runs with a fault at each call |
//! | `rows` | one test for each row of the table of faults that is about disks |
//! | `accepted` | power cuts while damage is accepted with `recover=prefix` |
//! | `slow` | disks that are slow or hang, and processes that die meanwhile |
//! | `gone` | what is gone and must not come back; disks nearly full, and directories that are gone |
//! | `sabotage` | syncs that are lost: the tests above must notice |

mod accepted;
mod faults;
mod gone;
mod history;
mod power;
mod rows;
mod run;
mod sabotage;
mod slow;
mod store;
