//! SLOWLOG and COMMANDLOG: the latest commands that took long, or that were large or had large replies, with their
//! words.
//!
//! A command's time is the span between two steps of a turn, so it is known when its words are still in the
//! read buffer, and only the slow pay for being remembered.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::context::{Parts, Server};
use super::error::CommandError;
use super::help;
use super::string::integer;
use super::table::Outcome;
use crate::face::Now;
use crate::resp::Output;

/// Words of a command that are kept.
const MOST_WORDS: usize = 32;

/// Bytes of a word that are kept.
const LONGEST_WORD: usize = 128;

/// A slow command.
#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    unix_s: u64,
    /// Microseconds, or bytes.
    value: u64,
    words: Vec<Vec<u8>>,
    peer: Box<[u8]>,
    name: Box<[u8]>,
}

/// One log of commands: the slow ones, or the large ones.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    /// The latest first.
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Remembers a command that took so many microseconds (or bytes), and no more than `max_len` in all.
    pub fn add(
        &mut self,
        now: Now,
        value: u64,
        words: &[&[u8]],
        peer: &str,
        name: &[u8],
        max_len: usize,
    ) {
        let kept = if words.len() > MOST_WORDS {
            MOST_WORDS - 1
        } else {
            words.len()
        };
        let mut shown: Vec<Vec<u8>> = words[..kept].iter().map(|word| shortened(word)).collect();
        if kept < words.len() {
            let rest = words.len() - kept;
            shown.push(alloc::format!("... ({rest} more arguments)").into_bytes());
        }
        self.entries.push_front(Entry {
            id: self.next_id,
            unix_s: now.unix_us / 1_000_000,
            value,
            words: shown,
            peer: peer.as_bytes().into(),
            name: name.into(),
        });
        self.next_id += 1;
        self.entries.truncate(max_len);
    }

    /// How many there are, the number of the latest, and what it took.
    pub fn latest(&self) -> (usize, u64, u64) {
        let latest = self.entries.front();
        let (id, value) = latest.map_or((0, 0), |entry| (entry.id, entry.value));
        (self.entries.len(), id, value)
    }
}

fn shortened(word: &[u8]) -> Vec<u8> {
    let mut shown = word[..word.len().min(LONGEST_WORD)].to_vec();
    if word.len() > LONGEST_WORD {
        let rest = word.len() - LONGEST_WORD;
        shown.extend_from_slice(alloc::format!("... ({rest} more bytes)").as_bytes());
    }
    shown
}

/// `SLOWLOG GET [count]`. <https://redis.io/commands/slowlog-get/>
pub(super) fn get(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let count = match args {
        [_, _] => 10,
        [_, _, count] => integer(count)
            .ok()
            .filter(|&n| n >= -1)
            .ok_or(CommandError::fixed(
                "ERR count should be greater than or equal to -1",
            ))?,
        _ => return Err(CommandError::subcommand("SLOWLOG", args[1])),
    };
    write(&mut s.session.out, &s.parts.slow_log, count);
    Ok(())
}

/// The newest entries of a log; all, if the number is negative.
fn write(out: &mut Output, log: &SlowLog, count: i64) {
    let entries = &log.entries;
    let count = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(entries.len());
    out.array(count);
    for entry in entries.iter().take(count) {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.unix_s as i64);
        out.int(entry.value as i64);
        out.array(entry.words.len());
        entry.words.iter().for_each(|word| out.bulk(word));
        out.bulk(&entry.peer);
        out.bulk(&entry.name);
    }
}

/// `SLOWLOG LEN`. <https://redis.io/commands/slowlog-len/>
pub(super) fn len(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.int(s.parts.slow_log.entries.len() as i64);
    Ok(())
}

/// `SLOWLOG RESET`. <https://redis.io/commands/slowlog-reset/>
pub(super) fn reset(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.parts.slow_log.entries.clear();
    s.session.out.ok();
    Ok(())
}

/// The log that COMMANDLOG's last word names.
fn log_of<'a>(parts: &'a mut Parts, kind: &[u8]) -> Result<&'a mut SlowLog, CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"slow" => Ok(&mut parts.slow_log),
        b"large-request" => Ok(&mut parts.large_requests),
        b"large-reply" => Ok(&mut parts.large_replies),
        _ => Err(CommandError::fixed(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

/// `COMMANDLOG GET count SLOW | LARGE-REQUEST | LARGE-REPLY`, of Valkey 8.1.
/// <https://valkey.io/commands/commandlog-get/>
pub(super) fn command_get(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let [_, _, count, kind] = args else {
        return Err(CommandError::subcommand("COMMANDLOG", args[1]));
    };
    let count = integer(count)
        .ok()
        .filter(|&n| n >= -1)
        .ok_or(CommandError::fixed(
            "ERR count should be greater than or equal to -1",
        ))?;
    write(&mut s.session.out, log_of(s.parts, kind)?, count);
    Ok(())
}

/// `COMMANDLOG LEN SLOW | LARGE-REQUEST | LARGE-REPLY`. <https://valkey.io/commands/commandlog-len/>
pub(super) fn command_len(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let len = log_of(s.parts, args[2])?.entries.len();
    s.session.out.int(len as i64);
    Ok(())
}

/// `COMMANDLOG RESET SLOW | LARGE-REQUEST | LARGE-REPLY`. <https://valkey.io/commands/commandlog-reset/>
pub(super) fn command_reset(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    log_of(s.parts, args[2])?.entries.clear();
    s.session.out.ok();
    Ok(())
}

/// `COMMANDLOG HELP`. <https://valkey.io/commands/commandlog-help/>
pub(super) fn command_help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "COMMANDLOG", help::COMMANDLOG);
    Ok(())
}

/// `SLOWLOG HELP`. <https://redis.io/commands/slowlog-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "SLOWLOG", help::SLOWLOG);
    Ok(())
}
