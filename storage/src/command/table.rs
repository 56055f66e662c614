//! The one table of commands on data, assembled from the families.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Command;

/// Longest command name; longer ones need no look-up.
const NAME_LEN_MAX: usize = 32;

/// Every command on data, family by family.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    let families = [
        super::generic::COMMANDS,
        super::expire::COMMANDS,
        super::sort::COMMANDS,
        super::dump::COMMANDS,
        super::database::COMMANDS,
        super::debug::COMMANDS,
        super::htstats::COMMANDS,
        super::string::COMMANDS,
        super::list::COMMANDS,
        super::hash::COMMANDS,
        super::set::COMMANDS,
    ];
    families
        .into_iter()
        .chain(super::zset::COMMANDS.iter().copied())
        .flatten()
}

/// Finds a command by its name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Command>> = LazyLock::new(|| {
        commands()
            .map(|row| (row.spec.name.as_bytes(), row))
            .collect()
    });
    let mut lower = [0; NAME_LEN_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}
