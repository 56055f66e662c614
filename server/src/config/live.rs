//! Settings at run time: the shared handle, CONFIG GET and CONFIG SET.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use hardtack_storage::text::glob;
use parking_lot::{Mutex, MutexGuard};

use super::table::{Change, Directive, TABLE};
use super::{Config, rewrite};

/// The settings in force, shared by all threads.
///
/// Reading is one atomic load. A reader that needs several settings to belong together keeps one guard.
pub struct ConfigHandle {
    current: ArcSwap<Config>,
    /// Held while settings change, so that changes neither get lost nor interleave with their application.
    changing: Mutex<()>,
    file: Option<PathBuf>,
}

/// Who changes settings, and when.
#[derive(Clone, Copy, Debug)]
pub struct SetContext {
    /// The client is connected over loopback or a Unix socket.
    pub local: bool,
    /// The data set is being loaded.
    pub loading: bool,
    /// Whether it may wait for another change to end. Not under locks that such a change may need.
    pub may_wait: bool,
}

/// Why changed settings could not be put into practice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyError {
    /// The directive at fault.
    pub name: &'static str,
    /// What went wrong.
    pub reason: String,
}

/// Why CONFIG SET was refused. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSetError {
    /// There is no such directive.
    Unknown {
        /// As the client spelled it.
        name: Vec<u8>,
    },
    /// A directive cannot be changed, or not to this value.
    Refused {
        /// The directive.
        name: Vec<u8>,
        /// Why.
        reason: String,
    },
    /// Not while the data set loads.
    Loading,
    /// Another change is under way, and cannot be waited for.
    Busy,
}

/// What is answered to somebody who cannot wait for another change of the settings.
pub(super) const BUSY: &str =
    "ERR The configuration is being changed by another client: try again, outside of a transaction";

impl ConfigSetError {
    /// The error reply's text after its `-`, without the line end.
    pub fn reply(&self) -> Vec<u8> {
        match self {
            Self::Unknown { name } => [
                b"ERR Unknown option or number of arguments for CONFIG SET - '",
                name.as_slice(),
                b"'",
            ]
            .concat(),
            Self::Refused { name, reason } => {
                let start = b"ERR CONFIG SET failed (possibly related to argument '".as_slice();
                [start, name, b"') - ", reason.as_bytes()].concat()
            }
            Self::Loading => b"LOADING Redis is loading the dataset in memory".to_vec(),
            Self::Busy => BUSY.into(),
        }
    }
}

impl fmt::Display for ConfigSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.reply()))
    }
}

impl std::error::Error for ConfigSetError {}

impl ConfigHandle {
    /// Puts `config` in force. `file` is what CONFIG REWRITE rewrites.
    pub fn new(config: Config, file: Option<PathBuf>) -> ConfigHandle {
        ConfigHandle {
            current: ArcSwap::from_pointee(config),
            changing: Mutex::new(()),
            file,
        }
    }

    /// The settings in force, for a short look. Does not block.
    pub fn load(&self) -> Guard<Arc<Config>> {
        self.current.load()
    }

    /// The settings in force, to be kept for longer.
    pub fn load_full(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// CONFIG GET: the directives whose name or alias matches one of `patterns`, each name once, with its value.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let config = self.load();
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], directive: &Directive| {
            if !found
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                found.push((name.to_vec(), directive.value(&config).shown()));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(directive) = Directive::find(pattern) {
                    add(pattern, directive);
                }
                continue;
            }
            for directive in TABLE.iter().filter(|directive| !directive.hidden) {
                for name in directive
                    .names()
                    .filter(|name| glob::matches(pattern, name.as_bytes(), true))
                {
                    add(name.as_bytes(), directive);
                }
            }
        }
        found
    }

    /// CONFIG SET: changes all of `pairs` (name, value) or nothing, and returns the names of the directives whose
    /// value is now another.
    ///
    /// `apply` puts the new settings into practice where reading the handle is not enough (listening sockets, the
    /// log): it gets the old and the new settings and the names of what changes. If it fails it must have undone
    /// what it did, and the old settings stay in force. It must not use this handle's `set`.
    ///
    /// # Errors
    /// [`ConfigSetError`]; nothing has changed then.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        context: SetContext,
        apply: impl FnOnce(&Config, &Config, &[&'static str]) -> Result<(), ApplyError>,
    ) -> Result<Vec<&'static str>, ConfigSetError> {
        let _changing = self.change(context.may_wait).ok_or(ConfigSetError::Busy)?;
        let old = self.load_full();
        let directives = find_settable(pairs, &old, context)?;
        let mut new = Config::clone(&old);
        let mut changed = Vec::new();
        for (directive, (_, value)) in directives.into_iter().zip(pairs) {
            let args: Vec<Vec<u8>> = match directive.kind.takes_many() {
                true if value.is_empty() => Vec::new(),
                true => value
                    .split(|&byte| byte == b' ')
                    .map(<[u8]>::to_vec)
                    .collect(),
                false => vec![value.to_vec()],
            };
            let assigned = new.assign(directive, &args, false, &old.dir);
            let refused = |reason| ConfigSetError::Refused {
                name: directive.name.into(),
                reason,
            };
            if assigned.map_err(refused)? {
                changed.push(directive.name);
            }
        }
        let applied = apply(&old, &new, &changed);
        applied.map_err(|error| ConfigSetError::Refused {
            name: error.name.into(),
            reason: error.reason,
        })?;
        self.current.store(Arc::new(new));
        Ok(changed)
    }

    /// CONFIG REWRITE: brings the configuration file up to date with the settings in force.
    ///
    /// `write_defaults` also writes directives that have their default value; `may_wait` is as in [`SetContext`].
    ///
    /// # Errors
    /// [`rewrite::RewriteError`]; the file is then as it was.
    pub fn rewrite(
        &self,
        write_defaults: bool,
        may_wait: bool,
    ) -> Result<(), rewrite::RewriteError> {
        let changing = self.change(may_wait);
        let _changing = changing.ok_or(rewrite::RewriteError::Busy)?;
        let file = self.file.as_deref().ok_or(rewrite::RewriteError::NoFile)?;
        rewrite::rewrite_file(file, &self.load(), write_defaults)
    }

    /// Keeps others from changing settings.
    fn change(&self, may_wait: bool) -> Option<MutexGuard<'_, ()>> {
        match may_wait {
            true => Some(self.changing.lock()),
            false => self.changing.try_lock(),
        }
    }
}

/// Looks up the directives of a CONFIG SET and checks whether this client may change them now.
fn find_settable(
    pairs: &[(&[u8], &[u8])],
    config: &Config,
    context: SetContext,
) -> Result<Vec<&'static Directive>, ConfigSetError> {
    let mut found: Vec<&'static Directive> = Vec::with_capacity(pairs.len());
    for (name, _) in pairs {
        let Some(directive) = Directive::find(name) else {
            return Err(ConfigSetError::Unknown {
                name: name.to_vec(),
            });
        };
        let refused = |reason: &str| {
            Err(ConfigSetError::Refused {
                name: name.to_vec(),
                reason: reason.into(),
            })
        };
        match directive.change {
            Change::AtStart => return refused("can't set immutable config"),
            Change::Protected if !config.enable_protected_configs.permits(context.local) => {
                return refused("can't set protected config");
            }
            _ => {}
        }
        if context.loading && directive.denied_while_loading {
            return Err(ConfigSetError::Loading);
        }
        // As in Redis, a name beside its own alias does not count; the later one wins.
        if pairs[..found.len()]
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return refused("duplicate parameter");
        }
        found.push(directive);
    }
    Ok(found)
}

/// True if the directive's value is a secret that must stay out of MONITOR and the slow log.
pub fn is_sensitive(name: &[u8]) -> bool {
    Directive::find(name).is_some_and(|directive| directive.sensitive)
}
