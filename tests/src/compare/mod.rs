//! The comparison: the same commands to the subject and to a real Redis, every reply compared.
//!
//! Commands are made from the grammar that the oracle itself declares (COMMAND DOCS), so a command
//! that the subject learns is compared from then on without a line being added here. The tables hold
//! what the grammar cannot say: how a reply is compared where it may differ ([`table::POLICIES`]),
//! which commands are left out and why ([`table::EXCUSED`]), which differences are meant
//! ([`allowed::ALLOWED`]), and the values to draw from ([`pool`]).
//!
//! Keys are few, so that types collide; values sit at the limits. Each script runs on empty servers,
//! in RESP2 or RESP3, and ends with an audit of all keys. A difference is shrunk to the shortest
//! script that still shows one.

pub mod allowed;
pub mod grammar;
pub mod policy;
pub mod pool;
pub mod run;
pub mod script;
pub mod shrink;
pub mod table;
pub mod witness;

use grammar::Grammar;
use run::Pair;
use script::{Script, Step};
use std::collections::BTreeMap;
use std::fmt;

use crate::resp::Value;
use crate::server::{Launch, Server};

/// The first step at which the replies differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which step of the script.
    pub step: usize,
    /// What the server under test answered.
    pub subject: Value,
    /// What Redis answered.
    pub oracle: Value,
}

/// A difference with the shortest script that was found to show one.
pub struct Finding {
    /// The seed of the long script.
    pub seed: u64,
    /// The short script.
    pub script: Script,
    /// What differs in it.
    pub difference: Difference,
}

impl Finding {
    /// The command whose reply differs, for grouping.
    pub fn command(&self) -> String {
        if self
            .difference
            .oracle
            .text()
            .starts_with("ERR unknown command")
        {
            return "(unknown)".to_owned();
        }
        match self.script.steps.get(self.difference.step) {
            Some(Step::Command { args, .. }) => {
                String::from_utf8_lossy(args.first().map_or(b"", Vec::as_slice)).to_lowercase()
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} in RESP{}:", self.seed, self.script.protocol)?;
        for (at, step) in self
            .script
            .steps
            .iter()
            .enumerate()
            .take(self.difference.step + 1)
        {
            writeln!(f, "  {at}. {step}")?;
        }
        let short = |value: &Value| format!("{value:?}").chars().take(2000).collect::<String>();
        writeln!(f, "  subject: {}", short(&self.difference.subject))?;
        write!(f, "  oracle:  {}", short(&self.difference.oracle))
    }
}

/// What a comparison did and found.
#[derive(Default)]
pub struct Outcome {
    /// Commands compared, by name.
    pub compared: BTreeMap<String, u64>,
    /// Commands of the oracle that the subject does not have.
    pub absent: Vec<String>,
    /// Differences, shrunk; at most one for each command.
    pub findings: Vec<Finding>,
}

/// Starts a server that is to be compared. Redis ends blocking commands at its timer's ticks, so these
/// are frequent.
pub fn launch(server: Launch) -> Server {
    server.set("hz", "500").set("loglevel", "notice").start()
}

/// Compares the servers at two ports with scripts from successive seeds until `count` commands have
/// run, or until `limit` commands showed differences. With `only`, commands whose names begin so; if
/// `witnessed`, also what others see of them: events and effects.
pub fn compare(
    subject: u16,
    oracle: u16,
    seed: u64,
    count: u64,
    limit: usize,
    only: &[String],
    witnessed: bool,
) -> Outcome {
    let pair = Pair::new(subject, oracle);
    let pair = if witnessed { pair.witnessed() } else { pair };
    let grammar = Grammar::learn(&pair, only);
    let mut outcome = Outcome {
        absent: grammar.absent.clone(),
        ..Outcome::default()
    };
    let mut seed = seed;
    let mut done = 0;
    while done < count && outcome.findings.len() < limit {
        let script = script::generate(&grammar, seed);
        for step in &script.steps {
            if let Step::Command { row, .. } = step {
                *outcome.compared.entry(row.clone()).or_default() += 1;
                done += 1;
            }
        }
        if let Some(difference) = pair.run(&script) {
            let (script, difference) = shrink::shrink(&pair, script, difference);
            let finding = Finding {
                seed,
                script,
                difference,
            };
            if outcome
                .findings
                .iter()
                .all(|known| known.command() != finding.command())
            {
                outcome.findings.push(finding);
            }
        }
        seed += 1;
    }
    outcome
}
