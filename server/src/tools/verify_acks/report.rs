//! What is said at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::Findings;
use super::journal::Recorded;
use super::plan::{Mode, ServerInfo};
use super::write::Written;
use crate::tools::Failure;
use crate::tools::out::Out;

/// The outcome of a check.
#[derive(Debug, Serialize)]
pub struct Report {
    run: String,
    mode: Mode,
    clients: u32,
    pipeline: u32,
    /// What the server said before,
    server: ServerInfo,
    /// and whether it has been started anew since; unknown if it does not tell.
    restarted: Option<bool>,
    /// Whether a connection was lost while records were written.
    connection_lost: bool,
    /// Whether the tool came to the end of its writing.
    journal_complete: bool,
    /// Bytes of an incomplete entry at the journal's end.
    journal_torn_bytes: u64,
    sent: u64,
    refused: u64,
    /// By the first word of the error; unknown if the tool was killed.
    refused_with: BTreeMap<String, u64>,
    unanswered: u64,
    /// Of the writing, if it was part of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(flatten)]
    findings: Findings,
    allow_loss_ms: Option<u64>,
    /// Whether the server passes.
    #[serde(rename = "fine")]
    pub is_fine: bool,
}

impl Report {
    /// Judges.
    pub fn new(
        recorded: &Recorded,
        written: Option<Written>,
        now: &ServerInfo,
        findings: Findings,
        allow_loss_ms: Option<u64>,
    ) -> Report {
        let plan = &recorded.plan;
        let sum = |of: fn(&super::journal::Client) -> u64| recorded.clients.iter().map(of).sum();
        let sent: u64 = sum(|client| client.sent);
        let refused: u64 = sum(|client| client.refused);
        Report {
            run: plan.run.clone(),
            mode: plan.mode,
            clients: plan.clients,
            pipeline: plan.pipeline,
            server: plan.server.clone(),
            restarted: match (&plan.server.run_id, &now.run_id) {
                (Some(before), Some(after)) => Some(before != after),
                _ => None,
            },
            connection_lost: recorded.lost_at.is_some(),
            journal_complete: recorded.has_ended,
            journal_torn_bytes: recorded.torn_bytes,
            sent,
            refused,
            refused_with: recorded.errors.clone(),
            unanswered: sent - refused - findings.acked,
            seconds: written.map(|written| written.seconds),
            is_fine: is_fine(&findings, allow_loss_ms),
            allow_loss_ms,
            findings,
        }
    }

    /// In words.
    pub fn print(&self, out: &mut Out) -> Result<(), Failure> {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        out.line(format_args!(
            "server     {}, appendonly {}, appendfsync {}; {}",
            known(&self.server.redis_version),
            known(&self.server.appendonly),
            known(&self.server.appendfsync),
            match self.restarted {
                Some(true) => "it has been started anew since",
                Some(false) => "it has run all the time",
                None => "it does not say whether it was started anew",
            }
        ))?;
        out.line(format_args!(
            "sent       {} records over {} connections{}",
            self.sent,
            self.clients,
            if self.connection_lost {
                ", until the connection was lost"
            } else {
                ""
            }
        ))?;
        if !self.journal_complete {
            out.line(format_args!(
                "journal    the tool was killed ({} bytes of a last entry)",
                self.journal_torn_bytes
            ))?;
        }
        let findings = &self.findings;
        out.line(format_args!("acked      {}", findings.acked))?;
        if self.refused > 0 {
            let kinds = self.refused_with.iter();
            let kinds: Vec<_> = kinds
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            out.line(format_args!(
                "refused    {} ({})",
                self.refused,
                kinds.join(", ")
            ))?;
        }
        out.line(format_args!("unanswered {}", self.unanswered))?;
        out.line(format_args!("present    {}", findings.present))?;
        let age = match (findings.oldest_missing_ms, findings.newest_missing_ms) {
            (Some(oldest), Some(newest)) => {
                let end = if self.connection_lost {
                    "the connection was lost"
                } else {
                    "the end of the writing"
                };
                format!(", acknowledged {oldest} to {newest} ms before {end}")
            }
            _ => String::new(),
        };
        out.line(format_args!("missing    {}{age}", findings.missing))?;
        out.line(format_args!("reordered  {}", findings.reordered))?;
        out.line(format_args!("torn       {}", findings.torn))?;
        out.line(format_args!("wrong      {}", findings.wrong))?;
        out.line(format_args!("phantom    {}", findings.phantom))?;
        for example in &findings.examples {
            out.line(format_args!("  {example}"))?;
        }
        out.line(match (self.is_fine, findings.missing) {
            (true, 0) => "verdict    fine: everything that was acknowledged is there",
            (true, _) => "verdict    fine: what is missing is within --allow-loss-ms",
            (false, 0) => "verdict    NOT FINE: nothing is missing, but see above",
            (false, _) => "verdict    NOT FINE: acknowledged records are missing",
        })
    }
}

/// Whether a server passes.
fn is_fine(findings: &Findings, allow_loss_ms: Option<u64>) -> bool {
    let loss_is_allowed = match (findings.oldest_missing_ms, allow_loss_ms) {
        (None, _) => true,
        (Some(oldest), Some(allowed)) => oldest <= allowed,
        (Some(_), None) => false,
    };
    let others = findings.reordered + findings.torn + findings.wrong + findings.phantom;
    loss_is_allowed && others == 0
}

/// Says how the writing went.
pub fn print_written(written: &Written, json: bool) -> Result<(), Failure> {
    let mut out = Out::new();
    if json {
        out.json(written)?;
        return out.flush();
    }
    out.line(format_args!(
        "{} records sent, {} acknowledged, {} unanswered, {} refused, in {:.1} s",
        written.sent,
        written.acked,
        written.unanswered,
        written.refused.values().sum::<u64>(),
        written.seconds
    ))?;
    for (kind, count) in &written.refused {
        out.line(format_args!("refused with {kind}: {count}"))?;
    }
    out.line(match &written.connection_lost {
        Some(reason) => format!("The connection was lost: {reason}"),
        None => "The connections held to the end".to_owned(),
    })?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_losses_can_be_allowed() {
        let none = Findings::default();
        let lost = Findings {
            missing: 3,
            oldest_missing_ms: Some(900),
            newest_missing_ms: Some(10),
            ..Findings::default()
        };
        assert!(is_fine(&none, None));
        assert!(!is_fine(&lost, None) && !is_fine(&lost, Some(899)) && is_fine(&lost, Some(900)));
        for broken in [
            Findings {
                torn: 1,
                ..none.clone()
            },
            Findings {
                wrong: 1,
                ..none.clone()
            },
            Findings {
                phantom: 1,
                ..none.clone()
            },
            Findings {
                reordered: 1,
                ..lost
            },
        ] {
            assert!(!is_fine(&broken, Some(100_000)), "{broken:?}");
        }
    }
}
