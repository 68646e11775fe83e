//! What the system allows the process: open files, the queue of a listener, memory.

use crate::log::{Logger, words};
use crate::sys;
use std::fs;

/// Files that are not clients: the dataset, logs, replicas, the cluster.
const RESERVED: u64 = 32;

/// Raises the limit of open files so that `maxclients` fit; returns how many clients do.
pub fn adjust_open_files(maxclients: u32, log: &Logger) -> u32 {
    let wanted = u64::from(maxclients) + RESERVED;
    let old = match sys::open_files_limit() {
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
    const STEP: u64 = 16;
    let mut best = wanted;
    let mut refused = String::new();
    while best > old {
        match sys::set_open_files_limit(best) {
            Ok(()) => break,
            Err(error) => refused = words(&error),
        }
        best = best.saturating_sub(STEP).max(old);
    }
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
