//! Waiting for something to become true, with a deadline instead of a guess.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should happen soon. Generous: machines that build have little time
/// to spare, and only a failing test waits for so long.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until `probe` has an answer.
///
/// # Panics
/// When there is none after `within`.
#[track_caller]
pub fn eventually<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// [`eventually`] for conditions.
#[track_caller]
pub fn until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    eventually(within, what, || holds().then_some(()));
}

/// Lets a moment of the wall clock pass: for expiry, which has no event to wait for.
pub fn pass(moment: Duration) {
    let end = Instant::now() + moment;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        thread::sleep(left);
    }
}
