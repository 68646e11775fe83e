//! SLOWLOG: the latest commands that took long, with their words.
//!
//! A command's time is the span between two steps of a turn, so it is known when its words are still in the
//! read buffer, and only the slow pay for being remembered.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::context::Server;
use super::error::CommandError;
use super::help;
use super::string::integer;
use super::table::Outcome;
use crate::face::Now;

/// Words of a command that are kept.
const MOST_WORDS: usize = 32;

/// Bytes of a word that are kept.
const LONGEST_WORD: usize = 128;

/// A slow command.
#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    unix_s: u64,
    micros: u64,
    words: Vec<Vec<u8>>,
    peer: Box<[u8]>,
    name: Box<[u8]>,
}

/// The slow log.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    /// The latest first.
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Remembers a command that took `micros`, and no more than `max_len` in all.
    pub fn add(
        &mut self,
        now: Now,
        micros: u64,
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
            micros,
            words: shown,
            peer: peer.as_bytes().into(),
            name: name.into(),
        });
        self.next_id += 1;
        self.entries.truncate(max_len);
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
    let entries = &s.parts.slow_log.entries;
    let count = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(entries.len());
    let out = &mut s.session.out;
    out.array(count);
    for entry in entries.iter().take(count) {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.unix_s as i64);
        out.int(entry.micros as i64);
        out.array(entry.words.len());
        entry.words.iter().for_each(|word| out.bulk(word));
        out.bulk(&entry.peer);
        out.bulk(&entry.name);
    }
    Ok(())
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

/// `SLOWLOG HELP`. <https://redis.io/commands/slowlog-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "SLOWLOG", help::SLOWLOG);
    Ok(())
}
