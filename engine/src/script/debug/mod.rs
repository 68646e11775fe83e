//! The debugger of scripts (SCRIPT DEBUG), as `redis-cli --ldb` talks to it.
//! <https://redis.io/docs/latest/develop/interact/programmability/lua-debugging/>
//!
//! # What a session is
//!
//! A client that has said SCRIPT DEBUG YES or SYNC sends EVAL. The script runs in an interpreter of its own, which has a
//! hook for lines (`hook.rs`). Where it is to stop, the hook leaves what there is to say in the [`Debugger`] and asks its
//! driver for the next command, as `redis.call` would: so a script that stands still is a coroutine that nobody resumes,
//! and costs nothing. Each request that the client sends from then on is a command for the debugger; each answer is an
//! array of status lines. The last one ends with `<endsession>`; EVAL's own reply follows, and the connection is closed.
//!
//! Code that is typed in (`eval`) runs in a thread of Lua's of its own, since no hook is called within a hook: so it
//! can be left like any script when it takes long, and ended.
//!
//! # What becomes of its changes
//!
//! With SYNC a session is a script like any other that takes long: others are told BUSY from its first line to its end,
//! what it changed stays, whichever way it ends, and is journalled as one transaction then. SCRIPT KILL ends it while
//! it stands still, also after it has written: that is the debugger's `abort`.
//!
//! With YES Redis forks, and forgets the child. There is no fork here. A session has versions of its own of the keys that
//! its commands write, and of no others (`command/scripting/rehearsal.rs`): they are in the place of the real ones only
//! while its commands are carried out, which nobody else is there to see. Between two steps everything is as if there
//! were no session: others are served, may change the same keys, expire and save them. What is left to roll back at the
//! end is nothing. So these differ from a fork, and nothing else is meant to:
//!
//! - What others write is seen by the session, in keys that it has not written itself.
//! - What concerns all keys cannot be carried out (FLUSHALL, FLUSHDB, SWAPDB), nor what leaves the data (MIGRATE), nor
//!   commands for administrators: they are refused, and so are more than 10,000 changed keys, and more than 256 MB of
//!   them. A session with SYNC may do all that.
//! - PUBLISH tells nobody, and its reply counts those who listen to that very channel.
//!
//! What is printed is cut off at 16 MB where Redis has no limit, and what waits to be printed at 64 MB.

pub(super) mod hook;
mod show;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::vec::Vec;

use super::words::Words;
use show::human;

/// Breakpoints that a session may have.
const MOST_BREAKPOINTS: usize = 64;

/// Bytes of a value or reply that are shown, until the user says otherwise.
const DEFAULT_LENGTH: usize = 256;

/// Bytes of one line at most.
const LONGEST_LINE: usize = 16 << 20;

/// Bytes of lines that wait for being sent at most.
const MOST_WAITING: usize = 64 << 20;

/// Words of a command, and bytes of a word, at most.
const MOST_WORDS: usize = 1024;

/// Lines around the current one that `list` shows.
const CONTEXT: i64 = 5;

/// What `whole` shows around line 1.
const EVERYTHING: i64 = 1_000_000;

/// Why a session ends that did not come to its script's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What its client sent is no command.
    Broken,
    /// Its client is gone: the script goes on by itself.
    Gone,
}

/// What a command asks of the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The script is to end.
    Abort,
    /// To run the code in the scratch buffer.
    Evaluate,
    /// The script is to go on.
    GoOn,
    /// To show the variable named in the scratch buffer.
    Print,
    /// To show all local variables.
    PrintAll,
    /// To carry out the command of the server that the words after the first are.
    Redis,
    /// Nothing: it is carried out.
    Stay,
    /// To show where the script is, and who called it.
    Trace,
}

/// A session, as far as it is text: where to stop, and what to say. See the module's documentation.
#[derive(Debug, Default)]
pub struct Debugger {
    source: Vec<Vec<u8>>,
    breakpoints: Vec<i64>,
    /// It is to stop at the next line, and commands until then are shown.
    step: bool,
    /// The script has called `redis.breakpoint()`.
    called: bool,
    /// It has run for so long that it is to stop wherever it is.
    overdue: bool,
    end: Option<End>,
    /// The line that is about to be carried out.
    line: i64,
    /// Bytes of a value that are shown; 0 for all.
    length: usize,
    /// The user knows that values are cut off.
    hinted: bool,
    lines: Vec<Vec<u8>>,
    waiting: usize,
    /// See [`Act`].
    scratch: Vec<u8>,
}

impl Debugger {
    /// A session for a script.
    pub fn new(script: &[u8]) -> Debugger {
        let is_end = |c: &u8| matches!(c, b'\r' | b'\n');
        let len = script.iter().rposition(|c| !is_end(c)).map_or(0, |i| i + 1);
        let lines = script[..len].split(|&c| c == b'\n');
        Debugger {
            // (No text has no lines.)
            source: lines.filter(|_| len > 0).map(<[u8]>::to_vec).collect(),
            step: true,
            length: DEFAULT_LENGTH,
            ..Debugger::default()
        }
    }

    /// The lines that are to be shown now.
    pub fn take_lines(&mut self) -> Vec<Vec<u8>> {
        self.waiting = 0;
        core::mem::take(&mut self.lines)
    }

    /// Whether what the script does is shown.
    pub fn shows(&self) -> bool {
        self.step
    }

    /// Shows a line.
    pub fn say(&mut self, mut line: Vec<u8>) {
        line.truncate(LONGEST_LINE);
        if self.waiting.saturating_add(line.len()) <= MOST_WAITING {
            self.waiting += line.len() + size_of::<Vec<u8>>();
            self.lines.push(line);
        }
    }

    /// Shows what the script has the server do.
    pub fn show_command<'a>(&mut self, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        const MOST: usize = 10;
        let mut line = b"<redis>".to_vec();
        let n = words.len();
        for word in words.take(MOST) {
            line.push(b' ');
            line.extend_from_slice(word);
        }
        if n > MOST {
            // (One less than there are, as in Redis.)
            line.extend_from_slice(format!(" ... ({} more)", n - MOST - 1).as_bytes());
        }
        self.say(line);
    }

    /// Shows a reply, in RESP.
    pub fn show_reply(&mut self, reply: &[u8]) {
        let mut line = b"<reply> ".to_vec();
        human(&mut line, reply, self.room());
        self.say_value(line);
    }

    /// Shows why a command was not carried out.
    pub fn show_error(&mut self, error: &[u8]) {
        self.say([b"<error> ", error].concat());
    }

    /// The script takes long: it is to stop.
    pub fn stop(&mut self) {
        self.overdue = !self.step;
    }

    /// The client is gone: the script goes on by itself.
    pub fn leave(&mut self) {
        self.end = Some(End::Gone);
    }

    /// The words of the next command; false if it cannot be one, which ends the session.
    pub fn accept(&mut self, args: &[&[u8]]) -> bool {
        let fits = |word: &&[u8]| (1..=MOST_WORDS).contains(&word.len());
        let ok = args.len() <= MOST_WORDS && args.iter().all(fits);
        if !ok {
            self.end = Some(End::Broken);
        }
        ok
    }

    /// `redis.breakpoint()` was called.
    pub(super) fn call(&mut self) {
        self.called = true;
    }

    /// Bytes after which a value need not be written any further.
    fn room(&self) -> usize {
        match self.length {
            0 => LONGEST_LINE,
            length => length + 1,
        }
    }

    /// Shows a value, as much of it as the user wants to see.
    fn say_value(&mut self, mut line: Vec<u8>) {
        let cut = self.length > 0 && line.len() > self.length;
        if cut {
            line.truncate(self.length);
            line.extend_from_slice(b" ...");
        }
        self.say(line);
        if cut && !core::mem::replace(&mut self.hinted, true) {
            self.say(
                b"<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.".to_vec(),
            );
        }
    }

    /// The script is about to carry a line out, or (`counted`) has carried out many instructions: whether it is to
    /// stop here. If so, it is said why.
    fn arrive(&mut self, line: i64, counted: bool) -> bool {
        self.line = line;
        let point = self.called || self.breakpoints.contains(&line);
        let overdue = core::mem::take(&mut self.overdue);
        if !(self.step || point || (overdue && counted)) {
            return false;
        }
        let why = match (point, self.called) {
            (true, true) => "redis.breakpoint() called",
            (true, false) => "break point",
            (false, _) if overdue && !self.step => "timeout reached, infinite loop?",
            (false, _) => "step over",
        };
        self.step = false;
        self.called = false;
        self.say(format!("* Stopped at {line}, stop reason = {why}").into_bytes());
        self.show_line(line);
        true
    }

    fn show_line(&mut self, line: i64) {
        let current = self.line == line;
        let mark = match (current, self.breakpoints.contains(&line)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let mut shown = format!("{mark}{line:<3} ").into_bytes();
        let index = usize::try_from(line).ok().and_then(|n| n.checked_sub(1));
        shown.extend_from_slice(match index.and_then(|i| self.source.get(i)) {
            Some(text) => super::c_text(text),
            None => b"<out of range source code line>",
        });
        self.say(shown);
    }

    fn list(&mut self, around: i64, context: i64) {
        let last = self.source.len() as i64;
        let from = around.saturating_sub(context).max(1);
        for line in from..=around.saturating_add(context).min(last) {
            self.show_line(line);
        }
    }

    /// Carries a command out, as far as it is not the hook's to do.
    fn command(&mut self, words: &Words) -> Act {
        let word = |i: usize| words.range(i..i + 1).next().unwrap_or_default();
        let n = words.len();
        let named = n > 0;
        let name = if named { super::c_text(word(0)) } else { b"" };
        let is = |long: &str| {
            named
                && (name.eq_ignore_ascii_case(long.as_bytes())
                    || name.eq_ignore_ascii_case(&long.as_bytes()[..1]))
        };
        if is("help") {
            HELP.iter()
                .for_each(|line| self.say(line.as_bytes().to_vec()));
        } else if is("step") || is("next") {
            self.step = true;
            return Act::GoOn;
        } else if is("continue") {
            return Act::GoOn;
        } else if is("trace") {
            return Act::Trace;
        } else if is("maxlen") {
            self.max_len((n == 2).then(|| number(word(1))));
        } else if is("break") {
            self.break_at(words.range(1..n));
        } else if is("eval") {
            self.scratch.clear();
            for (i, piece) in words.range(1..n).enumerate() {
                if i > 0 {
                    self.scratch.push(b' ');
                }
                self.scratch.extend_from_slice(piece);
            }
            return Act::Evaluate;
        } else if is("abort") {
            return Act::Abort;
        } else if n > 1 && is("redis") {
            return Act::Redis;
        } else if is("print") && n == 2 {
            self.scratch = super::c_text(word(1)).to_vec();
            return Act::Print;
        } else if is("print") {
            return Act::PrintAll;
        } else if is("list") {
            let around = (n > 1).then(|| number(word(1))).filter(|&line| line > 0);
            let context = if n > 2 { number(word(2)) } else { CONTEXT };
            self.list(around.unwrap_or(self.line), context);
        } else if is("whole") {
            self.list(1, EVERYTHING);
        } else {
            self.say(
                b"<error> Unknown Redis Lua debugger command or wrong number of arguments."
                    .to_vec(),
            );
        }
        Act::Stay
    }

    fn max_len(&mut self, length: Option<i64>) {
        const LEAST: usize = 60;
        if let Some(length) = length {
            self.hinted = true;
            self.length = match usize::try_from(length) {
                Ok(0) => 0,
                Ok(length) => length.max(LEAST),
                Err(_) => LEAST,
            };
        }
        self.say(match self.length {
            0 => b"<value> replies are unlimited.".to_vec(),
            length => format!("<value> replies are truncated at {length} bytes.").into_bytes(),
        });
    }

    fn break_at<'a>(&mut self, lines: impl ExactSizeIterator<Item = &'a [u8]>) {
        if lines.len() == 0 {
            if self.breakpoints.is_empty() {
                return self.say(b"No breakpoints set. Use 'b <line>' to add one.".to_vec());
            }
            self.say(format!("{} breakpoints set:", self.breakpoints.len()).into_bytes());
            for line in self.breakpoints.clone() {
                self.show_line(line);
            }
        }
        for word in lines {
            let Some(line) = crate::value::number::parse_i64(word) else {
                self.say([b"Invalid argument:'", super::c_text(word), b"'"].concat());
                continue;
            };
            let known = |points: &[i64], line: i64| points.iter().position(|&p| p == line);
            match line {
                0 => {
                    self.breakpoints.clear();
                    self.say(b"All breakpoints removed.".to_vec());
                }
                ..0 => match known(&self.breakpoints, line.saturating_neg()) {
                    Some(i) => {
                        self.breakpoints.remove(i);
                        self.say(b"Breakpoint removed.".to_vec());
                    }
                    None => self.say(b"No breakpoint in the specified line.".to_vec()),
                },
                _ if self.breakpoints.len() == MOST_BREAKPOINTS => {
                    self.say(b"Too many breakpoints set.".to_vec());
                }
                _ if line > self.source.len() as i64
                    || known(&self.breakpoints, line).is_some() =>
                {
                    self.say(b"Wrong line number.".to_vec());
                }
                _ => {
                    self.breakpoints.push(line);
                    self.list(line, 1);
                }
            }
        }
    }
}

/// A number as C reads it: what comes after its digits is nobody's concern.
fn number(word: &[u8]) -> i64 {
    let word = word.trim_ascii_start();
    let (sign, digits) = match word.split_first() {
        Some((b'-', rest)) => (-1, rest),
        Some((b'+', rest)) => (1, rest),
        _ => (1, word),
    };
    let digits = digits.iter().take_while(|c| c.is_ascii_digit());
    let value = digits.fold(0i64, |n, c| {
        n.saturating_mul(10).saturating_add(i64::from(c - b'0'))
    });
    sign * value.min(i64::from(i32::MAX))
}

const HELP: [&str; 30] = [
    "Redis Lua debugger help:",
    "[h]elp               Show this help.",
    "[s]tep               Run current line and stop again.",
    "[n]ext               Alias for step.",
    "[c]ontinue           Run till next breakpoint.",
    "[l]ist               List source code around current line.",
    "[l]ist [line]        List source code around [line].",
    "                     line = 0 means: current position.",
    "[l]ist [line] [ctx]  In this form [ctx] specifies how many lines",
    "                     to show before/after [line].",
    "[w]hole              List all source code. Alias for 'list 1 1000000'.",
    "[p]rint              Show all the local variables.",
    "[p]rint <var>        Show the value of the specified variable.",
    "                     Can also show global vars KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint to the specified line.",
    "[b]reak -<line>      Remove breakpoint from the specified line.",
    "[b]reak 0            Remove all breakpoints.",
    "[t]race              Show a backtrace.",
    "[e]val <code>        Execute some Lua code (in a different callframe).",
    "[r]edis <cmd>        Execute a Redis command.",
    "[m]axlen [len]       Trim logged Redis replies and Lua var dumps to len.",
    "                     Specifying zero as <len> means unlimited.",
    "[a]bort              Stop the execution of the script. In sync",
    "                     mode dataset changes will be retained.",
    "",
    "Debugger functions you can call from Lua scripts:",
    "redis.debug()        Produce logs in the debugger console.",
    "redis.breakpoint()   Stop execution like if there was a breakpoint in the",
    "                     next line of code.",
];
