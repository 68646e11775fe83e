//! Sequences of commands: mostly right, some wrong in one of many ways, on two connections.

use super::grammar::{Grammar, Row};
use super::pool::{self, Draw, SHORT_MS};
use crate::resp::quote;
use std::fmt;

/// A sequence that begins with empty databases and new connections.
#[derive(Clone, Debug)]
pub struct Script {
    /// 2 or 3: what HELLO asks for on both connections.
    pub protocol: u8,
    /// Whether keys whose time is over stay until a command happens on them.
    pub lazy: bool,
    /// What is done.
    pub steps: Vec<Step>,
}

/// One thing that is done on both servers.
#[derive(Clone, Debug)]
pub enum Step {
    /// A command is sent and its reply compared.
    Command {
        /// Which of the two connections.
        conn: usize,
        /// The row it was made from; empty for none.
        row: String,
        /// All of its words.
        args: Vec<Vec<u8>>,
    },
    /// All that the databases hold is compared.
    Audit,
    /// Time passes until keys that were given [`SHORT_MS`] to live are gone.
    Expire,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Command { conn, args, .. } => {
                let plain = |arg: &Vec<u8>| {
                    !arg.is_empty() && arg.iter().all(|b| b.is_ascii_graphic() && *b != b'"')
                };
                let words: Vec<String> = args
                    .iter()
                    .map(|arg| {
                        if plain(arg) {
                            String::from_utf8_lossy(arg).into_owned()
                        } else {
                            quote(arg)
                        }
                    })
                    .collect();
                write!(
                    f,
                    "{}{}",
                    if *conn == 0 {
                        ""
                    } else {
                        "(second connection) "
                    },
                    words.join(" ")
                )
            }
            Step::Audit => write!(f, "(audit of all keys)"),
            Step::Expire => write!(f, "(wait for short expiries)"),
        }
    }
}

impl Script {
    /// Whether keys expire while it runs, at times of the servers' choice.
    pub fn is_timed(&self) -> bool {
        !self.lazy
            && self.steps.iter().any(|step| match step {
                Step::Command { args, .. } => {
                    args.iter().any(|arg| arg == SHORT_MS.as_bytes())
                        || args.windows(2).any(|pair| {
                            matches!(&pair[0].to_ascii_uppercase()[..], b"EXAT" | b"PXAT")
                        })
                }
                Step::Audit | Step::Expire => false,
            })
    }
}

/// The number of commands in a script.
const LENGTH: usize = 60;

/// The script of a seed.
pub fn generate(grammar: &Grammar, seed: u64) -> Script {
    let mut draw = Draw::new(seed);
    let mut script = Script {
        protocol: if draw.chance(50) { 3 } else { 2 },
        lazy: draw.chance(30),
        steps: Vec::new(),
    };
    // Swarm: each script has a mood, so that some are long runs of right commands on few rows.
    let wrong = *draw.pick(&[0, 5, 20, 50]);
    let second = *draw.pick(&[0, 0, 10, 40]);
    let transactions = *draw.pick(&[0, 3, 10]);
    let favourites: Vec<&Row> = (0..6).map(|_| grammar.draw(&mut draw)).collect();
    let favoured = *draw.pick(&[0, 30, 70]);
    let mut in_multi = [false; 2];
    let mut short_in_multi = [false; 2];
    for _ in 0..LENGTH {
        let conn = usize::from(draw.chance(second));
        let row = match draw.chance(favoured) {
            true => *draw.pick(&favourites),
            false => grammar.draw(&mut draw),
        };
        let mut args = match row.name.as_str() {
            _ if draw.chance(transactions) => vec![if in_multi[conn] {
                b"EXEC".to_vec()
            } else {
                b"MULTI".to_vec()
            }],
            "command|getkeys" | "command|getkeysandflags" => {
                let mut args = row.command(&mut draw);
                args.extend(grammar.draw(&mut draw).command(&mut draw));
                args
            }
            "acl|dryrun" => {
                let mut args = row.command(&mut draw);
                args.truncate(3);
                args.extend(grammar.draw(&mut draw).command(&mut draw));
                args
            }
            _ => row.command(&mut draw),
        };
        if draw.chance(wrong) {
            spoil(&mut draw, row.words(), row.blocks(), &mut args);
        }
        let expires = args.iter().any(|arg| arg == SHORT_MS.as_bytes());
        let word = args[0].to_ascii_uppercase();
        let ends = matches!(word.as_slice(), b"EXEC" | b"DISCARD" | b"RESET" | b"QUIT");
        let settle = if ends {
            expires || short_in_multi[conn]
        } else {
            expires
        };
        in_multi[conn] = (in_multi[conn] || word == b"MULTI") && !ends;
        short_in_multi[conn] = (short_in_multi[conn] || expires) && in_multi[conn];
        let name = if args.len() == 1 && args[0] == b"MULTI" {
            "multi"
        } else {
            &row.name
        };
        script.steps.push(Step::Command {
            conn,
            row: name.to_owned(),
            args,
        });
        if settle || draw.chance(1) {
            script.steps.push(Step::Expire);
        }
    }
    script.steps.extend([Step::Expire, Step::Audit]);
    script
}

/// Makes a command wrong, or at least odd.
fn spoil(draw: &mut Draw, words: usize, blocks: bool, args: &mut Vec<Vec<u8>>) {
    let at = words.min(args.len()) + draw.below(args.len().saturating_sub(words).max(1));
    match draw.below(if blocks { 3 } else { 9 }) {
        0 => drop(args.pop()),
        1 => args.truncate(draw.below(args.len()).max(1)),
        2 => args[0].push(b'X'),
        3 => args.push(pool::nonsense(draw)),
        4 if at < args.len() => drop(args.remove(at)),
        5 if at < args.len() => args.insert(at, args[at].clone()),
        6 if at < args.len() => args[at] = pool::nonsense(draw),
        7 if at < args.len() => {
            let with = args.len() - 1;
            args.swap(at, with);
        }
        _ => args.insert(
            at.min(args.len()),
            draw.pick(&[
                "NX",
                "XX",
                "GET",
                "EX",
                "PX",
                "COUNT",
                "MATCH",
                "WITHVALUES",
                "x",
            ])
            .as_bytes()
            .to_vec(),
        ),
    }
    if args.is_empty() {
        args.push(b"PING".to_vec());
    }
}
