//! When something that has failed is tried again by itself: after a while that doubles with each failure.

use std::time::{Duration, Instant};

/// Free space must have grown by this much, or by an eighth, for an attempt before its time.
const SPACE_STEP: u64 = 1 << 20;

/// What is known of the failures since the last success.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    first: Duration,
    longest: Duration,
    failures: u32,
    failed_at: Option<Instant>,
    /// What was free when the attempt began that failed for lack of space.
    free_then: Option<u64>,
}

impl Retry {
    /// After the first failure `first` passes, and never more than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Retry {
        Retry {
            first,
            longest,
            failures: 0,
            failed_at: None,
            free_then: None,
        }
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.failed_at = None;
        self.free_then = None;
    }

    /// `lacked`: for lack of space, when so much was free at the begin.
    pub fn failed(&mut self, now: Instant, lacked: Option<u64>) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.free_then = lacked;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long until the next attempt; `at_most` shortens every wait to that. `free` is what is free now, where that is
    /// known: more space makes an attempt worth while before its time.
    pub fn due_in(&self, now: Instant, at_most: Duration, free: Option<u64>) -> Duration {
        let Some(failed_at) = self.failed_at else {
            return Duration::ZERO;
        };
        let doubled = 1 << (self.failures - 1).min(16);
        let mut wait = self.first.saturating_mul(doubled).min(self.longest);
        let came = |(then, free): (u64, u64)| free >= then.saturating_add(SPACE_STEP.max(then / 8));
        if self.free_then.zip(free).is_some_and(came) {
            wait = self.first;
        }
        wait.min(at_most.max(self.first))
            .saturating_sub(now.saturating_duration_since(failed_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_a_success() {
        let mut retry = Retry::new(seconds(1), seconds(30));
        let now = Instant::now();
        assert_eq!(retry.due_in(now, seconds(60), None), Duration::ZERO);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            retry.failed(now, None);
            assert_eq!(retry.due_in(now, seconds(60), None), seconds(wait));
            assert_eq!(retry.due_in(now, seconds(5), None), seconds(wait.min(5)));
            let later = now + seconds(wait) - Duration::from_millis(1);
            assert!(!retry.due_in(later, seconds(60), None).is_zero());
            assert!(
                retry
                    .due_in(now + seconds(wait), seconds(60), None)
                    .is_zero()
            );
        }
        retry.succeeded();
        assert!(retry.due_in(now, seconds(60), None).is_zero());
    }

    #[test]
    fn new_space_makes_an_attempt_worth_while() {
        let mut retry = Retry::new(seconds(1), seconds(30));
        let now = Instant::now();
        for _ in 0..6 {
            retry.failed(now, Some(80 * MIB));
        }
        let due_in = |free| retry.due_in(now, seconds(60), free);
        assert_eq!(due_in(None), seconds(30));
        assert_eq!(due_in(Some(80 * MIB)), seconds(30));
        assert_eq!(due_in(Some(89 * MIB)), seconds(30));
        assert_eq!(due_in(Some(90 * MIB)), seconds(1));
        retry.failed(now, None);
        assert_eq!(retry.due_in(now, seconds(60), Some(u64::MAX)), seconds(30));
    }
}
