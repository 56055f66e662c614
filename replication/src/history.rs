//! Histories: which bytes a (replication id, LSN) stands for, and who may therefore resume from whom.
//!
//! **Never two meanings for one (replid, LSN)**: the bytes before an LSN of a history are the same on every node that
//! claims to have them. All rules follow from it:
//!
//! * Only the primary of a history appends to it. A node that begins to append by its own will (a promotion, or a
//!   primary that may have lost a tail which its replicas have) does so under a new id.
//! * A node claims at most two histories: the one it is in, and an *older* one up to the position where it left it.
//! * A replica is in its primary's history. Its own bytes are always its primary's.
//!
//! What happens to a node's history, by event:
//!
//! | event | replid | older history |
//! |---|---|---|
//! | [`begin`](History::begin): an empty data set | new | none |
//! | [`promote`](History::promote) at `end` | new | the former replid, up to `end` |
//! | [`adopt`](History::adopt): a full sync has completed | the primary's | none |
//! | [`follow`](History::follow): a partial sync from `at`, same id | stays | stays |
//! | [`follow`](History::follow): a partial sync from `at`, new id | the primary's | the former replid, up to `at` |
//! | [`restart`](History::restart): a primary that ended cleanly | stays | stays |
//! | [`restart`](History::restart): a primary that did not, recovered up to `end` | new | the former replid, up to `end` |
//! | [`restart`](History::restart): a replica, recovered up to `end` | stays | stays |
//!
//! Whenever the replid changes, or the data is replaced, the node's own replicas have to ask again ([`Feeds::End`]): a
//! feed that went on would bring them bytes of the new history under the former id.
//!
//! A demotion changes nothing: the former primary asks its new one to resume ([`History::ask`]), and the answer says
//! whether it may.
//!
//! Crash: a changed history has to be durable before the first byte is appended under its new id (the log's segment
//! headers carry the id), else that byte would be claimed under the former one.
//!
//! Elsewhere: offsets as the protocol counts them (`psync`), the bytes (`hardtack_storage::log`). Source: the
//! replication chapter of Redis's documentation, and its PSYNC2.

use hardtack_storage::Lsn;
use hardtack_storage::log::Replid;

/// A node's history: what it may claim about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    replid: Replid,
    older: Option<Older>,
}

/// A history that a node has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    /// Its id.
    pub replid: Replid,
    /// Where the node left it: bytes before this position are the same in the node's present history.
    pub valid_up_to: Lsn,
}

/// What a node does in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It appends.
    Primary,
    /// It repeats what its primary appends.
    Replica,
}

/// How a node's last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything appended was durable before the process ended, so nobody has more than was recovered.
    Cleanly,
    /// Replicas may have bytes that recovery did not find.
    Uncleanly,
}

/// What is known when a node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Its role.
    pub role: Role,
    /// How its last run ended.
    pub ended: Ended,
    /// The end of the recovered stream.
    pub end: Lsn,
    /// For a new history, if one has to begin.
    pub new_replid: Replid,
}

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything: it names no position.
    Everything,
    /// To go on from a position.
    Resume {
        /// The history it is in.
        replid: Replid,
        /// The first byte that it lacks.
        from: Lsn,
        /// It can be told a new replication id (`REPLCONF capa psync2`).
        psync2: bool,
    },
}

/// The stretch of the stream that can be sent; half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The first byte that is kept.
    pub first: Lsn,
    /// The end of the stream.
    pub end: Lsn,
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the stream from here.
    Continue {
        /// The first byte to send.
        from: Lsn,
    },
    /// The same, and tell the replica that it is in [`History::replid`] from here on.
    ContinueNewId {
        /// The first byte to send.
        from: Lsn,
    },
    /// Send a snapshot and the stream behind it.
    FullSync {
        /// Why nothing less will do.
        reason: FullSyncReason,
    },
}

/// Why a replica has to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FullSyncReason {
    /// It asked for it.
    #[error("the replica asks for everything")]
    Asked,
    /// It is in a history that this node knows nothing of.
    #[error("the replica's history is not known here")]
    UnknownHistory,
    /// It went on in a history that this node had left: it has bytes that mean nothing here.
    #[error("the replica has bytes of its history beyond {valid_up_to}, where it was left here")]
    Diverged {
        /// Where this node left that history.
        valid_up_to: Lsn,
    },
    /// It has bytes of this node's history that this node does not have.
    #[error("the replica is ahead of this node, which ends at {end}")]
    Ahead {
        /// The end of this node's stream.
        end: Lsn,
    },
    /// The bytes it lacks are not kept any more.
    #[error("the bytes before {first} are not kept any more")]
    NotRetained {
        /// The first byte that is kept.
        first: Lsn,
    },
    /// It would have to change its replication id, and does not know how to.
    #[error("the replica cannot be told a new replication id")]
    CannotChangeId,
}

/// What becomes of the feeds to a node's own replicas when its history may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a feed that goes on under the wrong id gives bytes two meanings"]
pub enum Feeds {
    /// They go on.
    GoOn,
    /// The connections are to be closed, so that the replicas ask again.
    End,
}

impl History {
    /// The history of a new, empty data set.
    pub fn begin(replid: Replid) -> History {
        History {
            replid,
            older: None,
        }
    }

    /// A history as it was kept; `older` is dropped if it is the same history.
    pub fn restore(replid: Replid, older: Option<Older>) -> History {
        History {
            replid,
            older: older.filter(|older| older.replid != replid),
        }
    }

    /// The id of the history that the node is in.
    pub fn replid(&self) -> Replid {
        self.replid
    }

    /// The history that the node was in before.
    pub fn older(&self) -> Option<Older> {
        self.older
    }

    /// What this node, whose stream ends at `end`, asks of a primary.
    pub fn ask(&self, end: Lsn) -> Ask {
        Ask::Resume {
            replid: self.replid,
            from: end,
            psync2: true,
        }
    }

    /// Answers a replica. It may resume if and only if its position lies in a history that this node claims, and the
    /// bytes from there on are kept. The end itself is a position too: then nothing is to be sent yet.
    pub fn verdict(&self, ask: &Ask, retained: Retained) -> Verdict {
        match self.admit(ask, retained) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::FullSync { reason },
        }
    }

    fn admit(&self, ask: &Ask, retained: Retained) -> Result<Verdict, FullSyncReason> {
        let Ask::Resume {
            replid,
            from,
            psync2,
        } = *ask
        else {
            return Err(FullSyncReason::Asked);
        };
        let changes_id = self.find(replid, from)?;
        if from > retained.end {
            return Err(FullSyncReason::Ahead { end: retained.end });
        }
        if from < retained.first {
            return Err(FullSyncReason::NotRetained {
                first: retained.first,
            });
        }
        match (changes_id, psync2) {
            (false, _) => Ok(Verdict::Continue { from }),
            (true, true) => Ok(Verdict::ContinueNewId { from }),
            (true, false) => Err(FullSyncReason::CannotChangeId),
        }
    }

    /// Whether a position of a claimed history is one of the older history.
    fn find(&self, replid: Replid, from: Lsn) -> Result<bool, FullSyncReason> {
        if replid == self.replid {
            return Ok(false);
        }
        match self.older {
            Some(older) if older.replid != replid => Err(FullSyncReason::UnknownHistory),
            None => Err(FullSyncReason::UnknownHistory),
            Some(Older { valid_up_to, .. }) if from > valid_up_to => {
                Err(FullSyncReason::Diverged { valid_up_to })
            }
            Some(_) => Ok(true),
        }
    }

    /// The node, whose stream ends at `end`, becomes a primary.
    pub fn promote(&mut self, end: Lsn, new_replid: Replid) -> Feeds {
        self.change(new_replid, end)
    }

    /// The node has replaced its data by a primary's snapshot.
    pub fn adopt(&mut self, primary: Replid) -> Feeds {
        *self = History::begin(primary);
        Feeds::End
    }

    /// A primary lets the node go on from `at`, the end of its stream, in the history `primary`.
    pub fn follow(&mut self, primary: Replid, at: Lsn) -> Feeds {
        if primary == self.replid {
            return Feeds::GoOn;
        }
        self.change(primary, at)
    }

    /// The node is back with what recovery found; it has no feeds yet.
    pub fn restart(&mut self, restart: Restart) {
        match (restart.role, restart.ended) {
            (Role::Primary, Ended::Uncleanly) => {
                let _none_yet = self.change(restart.new_replid, restart.end);
            }
            // Nobody has more than this node.
            (Role::Primary, Ended::Cleanly) => {}
            // Its primary says what the lost bytes were.
            (Role::Replica, _) => {}
        }
    }

    fn change(&mut self, replid: Replid, valid_up_to: Lsn) -> Feeds {
        self.older = Some(Older {
            replid: self.replid,
            valid_up_to,
        });
        self.replid = replid;
        Feeds::End
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
