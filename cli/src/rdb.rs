//! `reprise-check-rdb`: whether a snapshot is whole, and what is in it.

use crate::progress::Progress;
use crate::stats::Stats;
use crate::{Code, words};
use reprise_engine::command::examine::Examiner;
use reprise_engine::rdb::{Decoder, Event, RdbError};
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "Usage: reprise-check-rdb <rdb-file-name> [--stats]\n\
    \n\
    Reads the snapshot as a server would, with its checksum, and says where it is damaged.\n  \
    --stats   keys, elements and bytes by type, and the largest keys of each\n\
    The exit code is 0 for a snapshot that is whole, and 1 for any other.\n";

/// How much of a file is read at once.
pub(crate) const PIECE: usize = 256 << 10;

/// Runs the tool with these arguments.
pub fn run(args: &[String], out: &mut dyn Write) -> Code {
    let (mut name, mut stats) = (None, false);
    for arg in args {
        match arg.as_str() {
            "--stats" => stats = true,
            "--help" | "-h" => {
                let _ = out.write_all(USAGE.as_bytes());
                return ExitCode::SUCCESS;
            }
            "--version" | "-v" => {
                let _ = writeln!(out, "reprise-check-rdb {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            _ if name.is_none() && !arg.starts_with("--") => name = Some(arg),
            _ => name = None,
        }
    }
    let Some(name) = name else {
        let _ = out.write_all(USAGE.as_bytes());
        return ExitCode::FAILURE;
    };
    match check_file(name, stats, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(out, "Cannot read file {name}: {}", words(&error));
            ExitCode::FAILURE
        }
    }
}

fn check_file(name: &str, stats: bool, out: &mut dyn Write) -> io::Result<bool> {
    let file = File::open(name)?;
    let total = file.metadata()?.len();
    let mut check = Check::new(name, total, out)?;
    let mut input = Progress::new(file, total);
    let mut piece = vec![0; PIECE];
    while !check.is_done() {
        let count = input.read(&mut piece)?;
        if count == 0 {
            check.cut_short(out)?;
            return Ok(false);
        }
        if !check.feed(&piece[..count], out)? {
            return Ok(false);
        }
    }
    if stats {
        check.stats.write(out)?;
    }
    Ok(true)
}

/// A snapshot that is being checked.
pub(crate) struct Check {
    decoder: Decoder,
    examiner: Examiner,
    stats: Stats,
    now_ms: u64,
    /// Where the item under way began.
    item: u64,
}

impl Check {
    /// Announces and begins the check of a snapshot in a file of `total` bytes.
    pub fn new(name: &str, total: u64, out: &mut dyn Write) -> io::Result<Check> {
        writeln!(out, "[offset 0] Checking RDB file {name}")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Check {
            decoder: Decoder::new(Some(total), true),
            examiner: Examiner::new(),
            stats: Stats::default(),
            now_ms: now.map_or(0, |now| now.as_millis() as u64),
            item: 0,
        })
    }

    /// Whether the snapshot's end was reached.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// What was fed behind the end.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.decoder.take_rest()
    }

    /// Where the snapshot ends, or how far it is right.
    pub fn offset(&self) -> u64 {
        self.decoder.offset()
    }

    /// Checks what comes next; false, once said why, if it is damaged.
    pub fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<bool> {
        self.decoder.feed(bytes);
        loop {
            match self.decoder.next_event() {
                Ok(Event::NeedMore) => return Ok(true),
                Ok(event) => {
                    if !self.event(event, out)? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    self.fail(&error, out)?;
                    return Ok(false);
                }
            }
        }
    }

    /// The file ends here, too early.
    pub fn cut_short(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let error = self.decoder.cut_short();
        self.fail(&error, out)
    }

    fn event(&mut self, event: Event, out: &mut dyn Write) -> io::Result<bool> {
        let (from, to) = (self.item, self.decoder.offset());
        self.item = to;
        match event {
            Event::NeedMore | Event::Part { .. } | Event::ResizeDb { .. } => {}
            Event::Aux { name, value } => {
                let (name, value) = (name.escape_ascii(), value.escape_ascii());
                writeln!(out, "[offset {to}] AUX FIELD {name} = '{value}'")?;
            }
            Event::SelectDb(db) => writeln!(out, "[offset {to}] Selecting DB ID {db}")?,
            Event::EmptyKey { key } => {
                let key = key.escape_ascii();
                writeln!(
                    out,
                    "[offset {from}] Key '{key}' has no elements: a server skips it"
                )?;
            }
            Event::ModuleAux { module } => {
                let module = String::from_utf8_lossy(&module);
                writeln!(out, "[offset {from}] MODULE AUX for: {module}, skipped")?;
            }
            Event::Function(_) => writeln!(out, "[offset {from}] Function library")?,
            Event::Key {
                db,
                key,
                expire_ms,
                value,
                ..
            } => {
                let examined = match self.examiner.examine(value) {
                    Ok(examined) => examined,
                    Err(text) => {
                        self.complain(from, &text, Some(&key), out)?;
                        return Ok(false);
                    }
                };
                self.stats.expires += u64::from(expire_ms.is_some());
                self.stats.expired += u64::from(expire_ms.is_some_and(|at| at < self.now_ms));
                if !self.stats.add(db, &key, examined, to - from) {
                    self.complain(from, "The key is there twice", Some(&key), out)?;
                    return Ok(false);
                }
            }
            Event::End { checked } => {
                let word = if checked {
                    "OK"
                } else {
                    "not verified: the file has none"
                };
                writeln!(out, "[offset {to}] Checksum {word}")?;
                writeln!(out, "[offset {to}] \\o/ RDB looks OK! \\o/")?;
                self.figures(out)?;
            }
        }
        Ok(true)
    }

    fn fail(&mut self, error: &RdbError, out: &mut dyn Write) -> io::Result<()> {
        let text = error.kind.to_string();
        let key = self.decoder.key_under_way().map(<[u8]>::to_vec);
        self.complain(error.offset, &text, key.as_deref(), out)
    }

    fn complain(
        &mut self,
        offset: u64,
        text: &str,
        key: Option<&[u8]>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        writeln!(out, "[offset {offset}] {text}")?;
        let expected = self.decoder.expected();
        writeln!(out, "[additional info] While expecting: {expected}")?;
        if let Some(key) = key {
            writeln!(
                out,
                "[additional info] Reading key '{}'",
                key.escape_ascii()
            )?;
        }
        self.figures(out)
    }

    fn figures(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.stats.keys)?;
        writeln!(out, "[info] {} expires", self.stats.expires)?;
        writeln!(out, "[info] {} already expired", self.stats.expired)
    }
}
