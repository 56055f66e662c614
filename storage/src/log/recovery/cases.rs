//! The start-up cases: how a segment can end, and what follows from that.

use super::{Damage, RecoverMode};

/// How a segment can end, as far as the decision needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Filler or the end of the file after the last frame or command.
    Clean,
    /// A bad header line or birth frame: both were durable before the manifest named the file.
    BadBeginning,
    /// A bad frame, and a later one whose `sync` is above it.
    BadFrameOnceDurable,
    /// A bad frame, and no such proof.
    BadFrame,
    /// A file of another server ends inside a command or a transaction.
    CommandCutOff,
    /// A file of another server has something that is no command.
    NoCommand,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    GoOn,
    /// Cut, keep aside, report, start.
    CutTail,
    /// Stop the start, unless the loss is accepted.
    Corrupt,
}

/// One row of the table.
struct Case {
    name: &'static str,
    ending: Ending,
    last: bool,
    decision: Decision,
}

const fn case(name: &'static str, ending: Ending, last: bool, decision: Decision) -> Case {
    Case {
        name,
        ending,
        last,
        decision,
    }
}

/// How a segment can end, whether it is the last one, and what follows from that.
const CASES: [Case; 12] = [
    case("sealed_segment", Ending::Clean, false, Decision::GoOn),
    case("last_segment", Ending::Clean, true, Decision::GoOn),
    // Sealed segments were synced before the manifest named the next: damage in them is never a torn write.
    case(
        "sealed_segment_bad_beginning",
        Ending::BadBeginning,
        false,
        Decision::Corrupt,
    ),
    case(
        "sealed_segment_bad_frame",
        Ending::BadFrame,
        false,
        Decision::Corrupt,
    ),
    case(
        "sealed_segment_bad_frame_once_durable",
        Ending::BadFrameOnceDurable,
        false,
        Decision::Corrupt,
    ),
    case(
        "last_segment_bad_beginning",
        Ending::BadBeginning,
        true,
        Decision::Corrupt,
    ),
    case(
        "last_segment_bad_frame_once_durable",
        Ending::BadFrameOnceDurable,
        true,
        Decision::Corrupt,
    ),
    case("torn_tail", Ending::BadFrame, true, Decision::CutTail),
    // Unless `LogOptions::load_cut_off` forbids it.
    case(
        "foreign_tail_cut_off",
        Ending::CommandCutOff,
        true,
        Decision::CutTail,
    ),
    case(
        "foreign_file_cut_off_in_the_middle",
        Ending::CommandCutOff,
        false,
        Decision::Corrupt,
    ),
    case(
        "foreign_last_file_no_command",
        Ending::NoCommand,
        true,
        Decision::Corrupt,
    ),
    case(
        "foreign_file_no_command",
        Ending::NoCommand,
        false,
        Decision::Corrupt,
    ),
];

/// What a start does about a segment's ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// The log ends here. `case` is the row's name; `accepted`: somebody asked for that, although it was safe once.
    Cut {
        case: &'static str,
        accepted: bool,
    },
    Refuse {
        case: &'static str,
        damage: Damage,
    },
}

fn find(ending: Ending, last: bool) -> &'static Case {
    CASES
        .iter()
        .find(|case| case.ending == ending && case.last == last)
        .expect("the table has a row for every pair")
}

/// Looks the ending up in the table. `load_cut_off` is [`LogOptions::load_cut_off`](crate::log::LogOptions).
pub(super) fn decide(
    ending: Ending,
    last: bool,
    load_cut_off: bool,
    recover: RecoverMode,
) -> Verdict {
    let case = find(ending, last);
    let decision = match ending {
        Ending::CommandCutOff if !load_cut_off => Decision::Corrupt,
        _ => case.decision,
    };
    match decision {
        Decision::GoOn => Verdict::GoOn,
        Decision::Corrupt if recover == RecoverMode::Strict => Verdict::Refuse {
            case: case.name,
            damage: match ending {
                Ending::NoCommand => Damage::NoCommand,
                Ending::CommandCutOff => Damage::CutOff,
                _ => Damage::Checked,
            },
        },
        Decision::Corrupt | Decision::CutTail => Verdict::Cut {
            case: case.name,
            accepted: decision == Decision::Corrupt,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_exactly_one_row() {
        use Ending::*;
        for ending in [
            Clean,
            BadBeginning,
            BadFrameOnceDurable,
            BadFrame,
            CommandCutOff,
            NoCommand,
        ] {
            for last in [false, true] {
                let rows = CASES
                    .iter()
                    .filter(|case| case.ending == ending && case.last == last)
                    .count();
                assert_eq!(rows, 1, "{ending:?} {last}");
            }
        }
    }

    #[test]
    fn only_unsynced_and_foreign_tails_of_the_last_file_are_cut_unasked() {
        use Ending::*;
        let verdict =
            |ending, last, load_cut_off| decide(ending, last, load_cut_off, RecoverMode::Strict);
        let cut = |case| Verdict::Cut {
            case,
            accepted: false,
        };
        assert_eq!(verdict(BadFrame, true, false), cut("torn_tail"));
        assert_eq!(
            verdict(CommandCutOff, true, true),
            cut("foreign_tail_cut_off")
        );
        for (ending, last, load_cut_off, damage) in [
            (CommandCutOff, true, false, Damage::CutOff),
            (CommandCutOff, false, true, Damage::CutOff),
            (NoCommand, true, true, Damage::NoCommand),
            (BadFrame, false, true, Damage::Checked),
            (BadFrameOnceDurable, true, true, Damage::Checked),
            (BadBeginning, true, true, Damage::Checked),
        ] {
            assert!(
                matches!(verdict(ending, last, load_cut_off), Verdict::Refuse { damage: found, .. } if found == damage),
                "{ending:?} {last}"
            );
            let accepted = decide(ending, last, load_cut_off, RecoverMode::Prefix);
            assert!(
                matches!(accepted, Verdict::Cut { accepted: true, .. }),
                "{ending:?} {last}"
            );
        }
    }
}
