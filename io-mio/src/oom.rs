//! `oom-score-adj`: how readily the kernel kills this process when memory is short.

use crate::log::{Logger, words};
use reprise_engine::config::{Config, OomScoreAdj};
use std::fs;

const PATH: &str = "/proc/self/oom_score_adj";

/// The score that the process was started with, and whether it was changed.
#[derive(Default)]
pub struct OomScore {
    base: i32,
    changed: bool,
}

impl OomScore {
    /// Notes the score at the start.
    pub fn read() -> OomScore {
        let base = fs::read_to_string(PATH)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        OomScore {
            base: base.unwrap_or(0),
            changed: false,
        }
    }

    /// Sets the score that the configuration asks for; gives the first one back when it asks for none.
    pub fn apply(&mut self, config: &Config, log: &Logger) {
        let [primary, replica, _child] = config.oom_score_adj_values.0;
        let value = if config.replicaof.0.is_some() {
            replica
        } else {
            primary
        };
        let score = match config.oom_score_adj {
            OomScoreAdj::No if self.changed => self.base,
            OomScoreAdj::No => return,
            OomScoreAdj::Relative => self.base + value,
            OomScoreAdj::Absolute => value,
        };
        match fs::write(PATH, score.clamp(-1000, 1000).to_string()) {
            Ok(()) => self.changed = config.oom_score_adj != OomScoreAdj::No,
            Err(error) => log.warning(&format!("Unable to write oom_score_adj: {}", words(&error))),
        }
    }
}
