//! (in the making)

use super::Command;

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[];
