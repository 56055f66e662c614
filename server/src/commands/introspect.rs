//! SLOWLOG and LATENCY: what took long.

use hardtack_storage::UnixMillis;
use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, shown};
use hardtack_storage::text::integer;

use super::{Call, CallResult, DONE, Entry, ServerCommand, bad_subcommand, help};
use crate::latency::Series;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    arity: 2,
    ..CommandSpec::DEFAULT
};

const SLOWLOG: CommandSpec = CommandSpec {
    flags: Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE),
    since: "2.2.12",
    ..SPEC
};

const LATENCY: CommandSpec = CommandSpec {
    flags: SLOWLOG.flags.with(Flags::NOSCRIPT),
    since: "2.8.13",
    ..SPEC
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        spec: CommandSpec {
            name: "latency",
            arity: -2,
            flags: Flags::NONE,
            complexity: "Depends on the subcommand.",
            summary: "Looks at what took long, and how long commands take.",
            subcommands: LATENCY_SUBCOMMANDS,
            ..LATENCY
        },
        run: latency,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "slowlog",
            arity: -2,
            flags: Flags::NONE,
            complexity: "Depends on the subcommand.",
            summary: "Looks at the most recent slow commands.",
            subcommands: SLOWLOG_SUBCOMMANDS,
            ..SLOWLOG
        },
        run: slowlog,
    },
];

const SLOWLOG_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "slowlog|get",
        arity: -2,
        complexity: "O(N) where N is the number of commands returned",
        summary: "Returns the latest slow commands, 10 unless told otherwise; -1 means all.",
        syntax: "[count]",
        ..SLOWLOG
    },
    CommandSpec {
        name: "slowlog|help",
        flags: Flags::LOADING.with(Flags::STALE),
        since: "6.2.0",
        summary: "Prints the subcommands.",
        ..SLOWLOG
    },
    CommandSpec {
        name: "slowlog|len",
        summary: "Returns the number of commands in the slow log.",
        ..SLOWLOG
    },
    CommandSpec {
        name: "slowlog|reset",
        complexity: "O(N) where N is the number of commands in the slow log",
        summary: "Empties the slow log.",
        ..SLOWLOG
    },
];

const LATENCY_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "latency|doctor",
        summary: "Explains what the latency monitor has seen.",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|graph",
        arity: 3,
        summary: "Draws the slow moments of an event.",
        syntax: "event",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|help",
        flags: Flags::LOADING.with(Flags::STALE),
        summary: "Prints the subcommands.",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|histogram",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands",
        summary: "Returns how often commands took how long.",
        syntax: "[command [command ...]]",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|history",
        arity: 3,
        summary: "Returns the slow moments of an event.",
        syntax: "event",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|latest",
        summary: "Returns the latest slow moment of each event.",
        ..LATENCY
    },
    CommandSpec {
        name: "latency|reset",
        arity: -2,
        summary: "Forgets the slow moments of some events, or of all.",
        syntax: "[event [event ...]]",
        ..LATENCY
    },
];

fn slowlog(call: &mut Call<'_, '_>) -> CallResult {
    let log = &call.server.slowlog;
    if call.is("len") {
        call.reply.len(log.len());
    } else if call.is("reset") {
        log.reset();
        call.reply.ok();
    } else if call.is("get") {
        let count = match &call.args[2..] {
            [] => 10,
            [count] => integer::parse_i64(count)
                .filter(|count| *count >= -1)
                .ok_or_else(|| CommandError::err("count should be greater than or equal to -1"))?,
            _ => return Err(bad_subcommand("SLOWLOG", call.args[1])),
        };
        let commands = log.latest(usize::try_from(count).unwrap_or(usize::MAX));
        call.reply.array(commands.len());
        for command in commands {
            call.reply.array(6);
            call.reply.int(command.id as i64);
            call.reply.int(command.unix_seconds);
            call.reply.int(command.micros as i64);
            call.reply.array(command.args.len());
            command.args.iter().for_each(|arg| call.reply.bulk(arg));
            call.reply.bulk(command.addr.as_bytes());
            call.reply.bulk(&command.name);
        }
    } else {
        help(call.reply, "slowlog", SLOWLOG_SUBCOMMANDS);
    }
    DONE
}

fn latency(call: &mut Call<'_, '_>) -> CallResult {
    let monitor = &call.server.latency;
    match call.args[1].to_ascii_lowercase().as_slice() {
        b"latest" => {
            let events = monitor.events();
            call.reply.array(events.len());
            for (event, series) in events {
                let (second, ms) = series.samples.back().copied().unwrap_or_default();
                call.reply.array(4);
                call.reply.bulk(event.as_bytes());
                call.reply.int(second);
                call.reply.int(ms as i64);
                call.reply.int(series.max_ms as i64);
            }
        }
        b"history" => {
            let series = monitor.event(call.args[2]).unwrap_or_default();
            call.reply.array(series.samples.len());
            for (second, ms) in series.samples {
                call.reply.array(2);
                call.reply.int(second);
                call.reply.int(ms as i64);
            }
        }
        b"reset" => call.reply.len(monitor.reset(&call.args[2..])),
        b"graph" => {
            let event = shown(call.args[2], call.args[2].len());
            let series = monitor.event(call.args[2]).ok_or_else(|| {
                CommandError::err(format!("No samples available for event '{event}'"))
            })?;
            call.reply
                .verbatim("txt", graph(&event, &series).as_bytes());
        }
        b"doctor" => {
            let text = diagnosis(call);
            call.reply.verbatim("txt", text.as_bytes());
        }
        b"histogram" => histograms(call),
        _ => help(call.reply, "latency", LATENCY_SUBCOMMANDS),
    }
    DONE
}

fn histograms(call: &mut Call<'_, '_>) {
    let registry = &call.server.commands;
    let named: Vec<_> = match &call.args[2..] {
        [] => registry.all().into_iter().map(|(_, entry)| entry).collect(),
        names => names
            .iter()
            .filter_map(|name| registry.find_full_name(name))
            .collect(),
    };
    let with_parts = named
        .into_iter()
        .flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
    let counted: Vec<_> = with_parts
        .filter_map(|entry| Some((entry, entry.stats.latency.cumulated()?)))
        .collect();
    let reply = &mut *call.reply;
    reply.map(counted.len());
    for (entry, (calls, bounds)) in counted {
        let entry: &Entry = entry;
        reply.bulk(entry.spec.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(calls as i64);
        reply.bulk(b"histogram_usec");
        reply.map(bounds.len());
        for (micros, count) in bounds {
            reply.int(micros as i64);
            reply.int(count as i64);
        }
    }
}

/// How long ago, in the largest unit that fits, in at most three characters as far as that is possible.
fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A column for each slow moment: its height is its length, below it stands how long ago it was.
fn graph(event: &str, series: &Series) -> String {
    const COLUMNS_MAX: usize = 80;
    const ROWS: u64 = 4;
    let now = UnixMillis::now().0 / 1000;
    let shown = series.samples.len().saturating_sub(COLUMNS_MAX);
    let samples: Vec<(i64, u64)> = series.samples.iter().skip(shown).copied().collect();
    let high = samples.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let low = samples.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut text = format!(
        "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.max_ms,
        "-".repeat(COLUMNS_MAX)
    );
    // Levels from 0, an underscore, to the highest, whose top is a hash.
    let level = |ms: u64| (ms - low) * ROWS / (high - low).max(1);
    for row in (1..=ROWS).rev() {
        let line: String = samples
            .iter()
            .map(|(_, ms)| match level(*ms) {
                0 if row == 1 => '_',
                own if own == row => '#',
                own if own > row => '|',
                _ => ' ',
            })
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let ages: Vec<Vec<char>> = samples
        .iter()
        .map(|(second, _)| ago((now - second).max(0)).chars().collect())
        .collect();
    text.push('\n');
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        let line: String = ages
            .iter()
            .map(|age| age.get(row).copied().unwrap_or(' '))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn diagnosis(call: &Call<'_, '_>) -> String {
    let server = call.server;
    let threshold = server.latency.threshold_ms();
    if threshold == 0 {
        return "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n".into();
    }
    let events = server.latency.events();
    if events.is_empty() {
        return format!(
            "Nothing has taken {threshold} ms or longer since the latency monitor was last reset.\n"
        );
    }
    let mut text = format!("What has taken {threshold} ms or longer:\n\n");
    for (event, series) in &events {
        let count = series.samples.len() as u64;
        let sum: u64 = series.samples.iter().map(|(_, ms)| ms).sum();
        text.push_str(&format!(
            "- {event}: slow moments {count}, {} ms on average, {} ms at worst\n",
            sum / count.max(1),
            series.max_ms
        ));
    }
    text.push_str("\nWhat to look at:\n\n");
    let slow_log_micros = server.config().slowlog_log_slower_than;
    if slow_log_micros < 0 || slow_log_micros / 1000 > threshold {
        text.push_str(&format!(
            "- The slow log would name the commands if it began at the same time: CONFIG SET slowlog-log-slower-than {}\n",
            threshold * 1000
        ));
    } else {
        text.push_str("- SLOWLOG GET names the commands.\n");
    }
    text.push_str("- Commands that touch many elements are better split into smaller ones.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_shows_height_and_age() {
        let now = UnixMillis::now().0 / 1000;
        let series = Series {
            samples: [(now - 7200, 10), (now - 120, 50), (now - 120, 30)].into(),
            max_ms: 60,
        };
        let text = graph("command", &series);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "command - high 50 ms, low 10 ms (all time high 60 ms)"
        );
        assert_eq!(lines[2..], [" #", " |", " |#", "_||", "", "222", "hmm"]);
    }
}
