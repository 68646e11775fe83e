//! What the system allows the process: open files, the queue of a listener, memory.

use crate::log::{Logger, words};
use crate::sys;
use std::fs;

/// Files that are not clients: the dataset, logs, replicas, the cluster.
const RESERVED: u64 = 32;

/// Raises the limit of open files so that `maxclients` fit; returns how many clients do.
pub fn adjust_open_files(maxclients: u32, log: &Logger) -> u32 {
    let wanted = u64::from(maxclients) + RESERVED;
    let (old, hard) = match sys::open_files_limit() {
        Ok(old) => old,
        Err(error) => {
            log.warning(&format!(
                "Unable to obtain the current NOFILE limit ({}), assuming 1024 and setting the max clients \
                 configuration accordingly.",
                words(&error)
            ));
            return 1024 - RESERVED as u32;
        }
    };
    if old >= wanted {
        return maxclients;
    }
    let mut refused = String::new();
    let mut fits = |files: &u64| match sys::set_open_files_limit(*files) {
        Ok(()) => true,
        Err(error) => {
            refused = words(&error);
            false
        }
    };
    let fewer = [most_files(), hard].map(|bound| lowered(wanted, bound));
    let mut candidates = [wanted]
        .into_iter()
        .chain(fewer)
        .filter(|&files| files > old);
    let best = candidates.find(|files| fits(files)).unwrap_or(old);
    if best >= wanted {
        log.notice(&format!(
            "Increased maximum number of open files to {wanted} (it was originally set to {old})."
        ));
        return maxclients;
    }
    if best <= RESERVED {
        log.warning(&format!(
            "Your current 'ulimit -n' of {old} is not enough for the server to start. Please increase your open \
             file limit to at least {wanted}. Exiting."
        ));
        std::process::exit(1);
    }
    let fitting = u32::try_from(best - RESERVED).unwrap_or(maxclients);
    log.warning(&format!(
        "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
    ));
    log.warning(&format!(
        "Server can't set maximum open files to {wanted} because of OS error: {refused}."
    ));
    log.warning(&format!(
        "Current maximum open files is {best}. maxclients has been reduced to {fitting} to compensate for low ulimit. \
         If you need higher maxclients increase 'ulimit -n'."
    ));
    fitting
}

/// Lowered in steps of 16 until it is within a bound. (Redis tries each step; only the bound decides.)
fn lowered(wanted: u64, bound: u64) -> u64 {
    const STEP: u64 = 16;
    wanted.saturating_sub(wanted.saturating_sub(bound).next_multiple_of(STEP))
}

/// How many files the system lets any process open, be it privileged.
fn most_files() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most = text.and_then(|text| text.trim().parse().ok());
    most.unwrap_or(1 << 20)
}

/// Warns if the system cuts the listeners' queues.
pub fn check_backlog(backlog: u32, log: &Logger) {
    let Ok(text) = fs::read_to_string("/proc/sys/net/core/somaxconn") else {
        return;
    };
    if let Ok(most) = text.trim().parse::<u32>()
        && most > 0
        && most < backlog
    {
        log.warning(&format!(
            "WARNING: The TCP backlog setting of {backlog} cannot be enforced because \
                 /proc/sys/net/core/somaxconn is set to the lower value of {most}."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lowered_in_steps() {
        for (wanted, bound, expected) in [
            (100, 100, 100),
            (100, 99, 84),
            (100, 84, 84),
            (100, 0, 0),
            (2_000_000_032, 1 << 20, 1_048_576),
        ] {
            assert_eq!(lowered(wanted, bound), expected, "{wanted} {bound}");
        }
    }
}
