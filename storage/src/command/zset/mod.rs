//! (in the making)

use super::Command;

/// The family's rows of the command table, one list per file.
pub(super) static COMMANDS: &[&[Command]] = &[];
