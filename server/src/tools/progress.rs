//! Progress of the tools: a bar on standard error if that is a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of `total`.
    Bytes,
    /// Things of `total`.
    Count,
}

/// A bar, which goes away when this is dropped.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for `total`, with what is being done in front.
    pub fn new(doing: &'static str, total: u64, unit: Unit) -> Progress {
        Progress::with_target(doing, total, unit, ProgressDrawTarget::stderr())
    }

    /// The same for a tool that writes lines to standard output meanwhile: no bar if that is a terminal too.
    pub fn beside_lines(doing: &'static str, total: u64, unit: Unit) -> Progress {
        let target = if std::io::stdout().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Progress::with_target(doing, total, unit, target)
    }

    fn with_target(
        doing: &'static str,
        total: u64,
        unit: Unit,
        target: ProgressDrawTarget,
    ) -> Progress {
        // A bar on what is no terminal is not drawn.
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = match unit {
            Unit::Bytes => {
                "{msg} [{wide_bar}] {percent}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
            }
            Unit::Count => "{msg} [{wide_bar}] {percent}% {pos} of {len}, {per_sec}, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(doing);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress { bar }
    }

    /// So much is done.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_both_kinds_can_be_made() {
        for unit in [Unit::Bytes, Unit::Count] {
            let bar = Progress::with_target("Reading", 0, unit, ProgressDrawTarget::hidden());
            bar.set(1);
            assert_eq!(bar.bar.message(), "Reading");
        }
    }
}
