//! `oom-score-adj`: how readily the kernel kills this process when memory is short.

use crate::log::{Logger, words};
use reprise_engine::config::{Config, OomScoreAdj};
use std::{fs, io};

const PATH: &str = "/proc/self/oom_score_adj";

/// The score of this process.
#[derive(Default)]
pub struct OomScore {
    /// What it was before it was changed, if it is.
    base: Option<i32>,
    /// The process follows another.
    replica: bool,
}

impl OomScore {
    /// Whether the process follows another; [`OomScore::apply`] acts on it.
    pub fn set_replica(&mut self, replica: bool) {
        self.replica = replica;
    }

    /// Sets the score that the configuration asks for; gives the first one back when it asks for none.
    ///
    /// # Errors
    /// It may not be set. The log says why.
    pub fn apply(&mut self, config: &Config, log: &Logger) -> Result<(), ()> {
        let [primary, replica, _child] = config.oom_score_adj_values.0;
        let value = if self.replica { replica } else { primary };
        let on = config.oom_score_adj != OomScoreAdj::No;
        let base = match self.base {
            Some(base) => base,
            None if !on => return Ok(()),
            None => read().map_err(|error| {
                log.warning(&format!("Unable to read oom_score_adj: {}", words(&error)));
            })?,
        };
        let score = match config.oom_score_adj {
            OomScoreAdj::No => base,
            OomScoreAdj::Relative => base + value,
            OomScoreAdj::Absolute => value,
        };
        fs::write(PATH, score.clamp(-1000, 1000).to_string()).map_err(|error| {
            log.warning(&format!("Unable to write oom_score_adj: {}", words(&error)));
        })?;
        self.base = on.then_some(base);
        Ok(())
    }
}

fn read() -> io::Result<i32> {
    let text = fs::read_to_string(PATH)?;
    text.trim()
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
