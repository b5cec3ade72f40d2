//! Trying again while a node is busy, or away to restart.

use std::time::{Duration, Instant};

use super::progress::Progress;
use crate::client::error::ClientError;
use crate::limits;

/// How long to bear with a node that does not answer as it should.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    wait: Duration,
}

impl Patience {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait }
    }

    /// Asks until there is an answer, a failure that does not pass by itself, or no time left.
    pub(super) fn ask<T>(
        self,
        progress: &Progress,
        mut ask: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut pause = limits::PATIENCE_PAUSE_FIRST;
        let mut failing_since = None;
        loop {
            let error = match ask() {
                Err(error) if error.may_pass() => error,
                other => return other,
            };
            let since = *failing_since.get_or_insert_with(|| {
                progress.say_waiting(&error, self.wait);
                Instant::now()
            });
            let left = self.wait.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            std::thread::sleep(pause.min(left));
            pause = pause.saturating_mul(2).min(limits::PATIENCE_PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn unreachable() -> ClientError {
        ClientError::Unreachable {
            failures: Vec::new(),
        }
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let progress = Progress::silent();
        let mut asked = 0;
        let answer = Patience::new(Duration::from_secs(60)).ask(&progress, || {
            asked += 1;
            match asked {
                1 => Err(unreachable()),
                _ => Ok(asked),
            }
        });
        assert_eq!(answer.unwrap(), 2);
        let foreign = Patience::new(Duration::from_secs(60)).ask(&progress, || {
            asked += 1;
            Err::<(), _>(ClientError::NotAnabranch)
        });
        assert!(matches!(foreign, Err(ClientError::NotAnabranch)));
        let none = Patience::new(Duration::ZERO).ask(&progress, || {
            asked += 1;
            Err::<(), _>(unreachable())
        });
        assert!(none.is_err());
        assert_eq!(asked, 4);
    }
}
