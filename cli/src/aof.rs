//! `reprise-check-aof`: whether an append-only file, or a directory of them by its manifest, is whole; and cutting
//! off what is not, or what came after a moment.
//!
//! What can be cut is the end of the last file: whatever stands behind damage was carried out after it, and would
//! mean something else without it.

use crate::progress::Progress;
use crate::rdb::{Check, PIECE};
use crate::{Code, words};
use reprise_engine::persistence::{CommandReader, Manifest, Next, read_previous};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "Usage: reprise-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>\n";

const HELP: &str = "\n\
    Reads the append-only file, or all files of a manifest, as a server would, and says where they are damaged.\n  \
    --fix                          cut off what is not whole at the end of the last file, after asking\n  \
    --truncate-to-timestamp TIME   cut off what was written after this Unix time (needs aof-timestamp-enabled)\n\
    The exit code is 0 if all is whole, or has been made so, and 1 if not.\n";

/// What to do with what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Look,
    Fix,
    CutAfter(i64),
}

/// Runs the tool with these arguments; questions are answered from `answers`.
pub fn run(args: &[String], answers: &mut dyn BufRead, out: &mut dyn Write) -> Code {
    let given: Vec<&str> = args.iter().map(String::as_str).collect();
    let (task, path) = match given[..] {
        ["--help" | "-h"] => {
            let _ = write!(out, "{USAGE}{HELP}");
            return ExitCode::SUCCESS;
        }
        ["--version" | "-v"] => {
            let _ = writeln!(out, "reprise-check-aof {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        [path] if !path.starts_with("--") => (Task::Look, path),
        ["--fix", path] => (Task::Fix, path),
        ["--truncate-to-timestamp", time, path] => match time.parse() {
            Ok(time) => (Task::CutAfter(time), path),
            Err(_) => {
                let _ = writeln!(out, "Invalid timestamp, aborting...");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            let _ = out.write_all(USAGE.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    let path = Path::new(path);
    let found = match is_manifest(path) {
        Ok(true) => check_manifest(path, task, answers, out),
        Ok(false) => check_single(path, task, answers, out),
        Err(error) => {
            let _ = writeln!(
                out,
                "Cannot open file {}: {}",
                path.display(),
                words(&error)
            );
            return ExitCode::FAILURE;
        }
    };
    match found {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(out, "{}: {}", path.display(), words(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_manifest(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(5).read_to_end(&mut head)?;
    Ok(path.extension().is_some_and(|end| end == "manifest") || head == b"file ")
}

fn check_single(
    path: &Path,
    task: Task,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<bool> {
    writeln!(out, "Start checking Old-Style AOF")?;
    let name = path.display().to_string();
    let mut file = Aof {
        path: path.into(),
        name,
        kind: "AOF",
        last: true,
        previous: None,
    };
    file.check(task, answers, out)
}

fn check_manifest(
    path: &Path,
    task: Task,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<bool> {
    writeln!(out, "Start checking Multi Part AOF")?;
    let manifest = match Manifest::parse(&std::fs::read(path)?) {
        Ok(manifest) => manifest,
        Err(error) => {
            if let Some((number, line)) = error.line {
                writeln!(
                    out,
                    "Reading the manifest file, at line {number}\n>>> '{line}'"
                )?;
            }
            writeln!(out, "{}", error.reason)?;
            return Ok(false);
        }
    };
    let dir = path.parent().unwrap_or(Path::new(""));
    let increments = manifest.increments.len();
    if let Some(base) = &manifest.base {
        let mut file = Aof {
            path: dir.join(&base.name),
            name: base.name.clone(),
            kind: "BASE AOF",
            last: increments == 0,
            previous: None,
        };
        let size = file.open()?.metadata()?.len();
        if base.bytes.is_some_and(|bytes| bytes != size) {
            let bytes = base.bytes.unwrap_or_default();
            writeln!(
                out,
                "BASE AOF {} has {size} bytes and had {bytes} when it was written",
                base.name
            )?;
            return Ok(false);
        }
        if size == 0 && base.name.ends_with(".rdb") {
            writeln!(
                out,
                "BASE AOF {} is empty, and should be a snapshot",
                base.name
            )?;
            return Ok(false);
        }
        let format = if file.holds_snapshot()? {
            "RDB"
        } else {
            "RESP"
        };
        writeln!(out, "Start to check BASE AOF ({format} format).")?;
        if !file.check(task, answers, out)? {
            return Ok(false);
        }
    }
    if increments > 0 {
        writeln!(out, "Start to check INCR files.")?;
    }
    for (at, entry) in manifest.increments.iter().enumerate() {
        let mut file = Aof {
            path: dir.join(&entry.name),
            name: entry.name.clone(),
            kind: "INCR AOF",
            last: at + 1 == increments,
            previous: None,
        };
        if !file.check(task, answers, out)? {
            return Ok(false);
        }
        let earlier = &manifest.increments[..at];
        if let Some((seq, bytes)) = file.previous
            && let Some(previous) = earlier.iter().find(|previous| previous.seq == seq)
        {
            let size = std::fs::metadata(dir.join(&previous.name))?.len();
            if size != bytes {
                writeln!(
                    out,
                    "INCR AOF {} has {size} bytes and had {bytes} when the next one was begun",
                    previous.name
                )?;
                return Ok(false);
            }
        }
    }
    writeln!(out, "All AOF files and manifest are valid")?;
    Ok(true)
}

/// One file of commands, or of a snapshot and commands behind it.
struct Aof {
    path: PathBuf,
    name: String,
    kind: &'static str,
    /// Whether no file comes behind it.
    last: bool,
    /// What it says of the increment before it: number and bytes. Known when it was read.
    previous: Option<(u64, u64)>,
}

/// How far a file is right.
#[derive(Default)]
struct Extent {
    /// Up to here nothing is wrong, and no transaction is open.
    valid: u64,
    /// The line that would come there, counted from 1.
    line: u64,
    /// What a note says of the increment before.
    previous: Option<(u64, u64)>,
    /// Where the first note stands that names a later time than asked for.
    later: Option<u64>,
    /// What is wrong, and where.
    fault: Option<(u64, String)>,
}

impl Aof {
    fn holds_snapshot(&self) -> io::Result<bool> {
        let mut head = Vec::new();
        self.open()?.take(6).read_to_end(&mut head)?;
        Ok(head.starts_with(b"REDIS") || head == b"VALKEY")
    }

    fn open(&self) -> io::Result<File> {
        File::open(&self.path).map_err(|error| {
            io::Error::other(format!("Cannot open file {}: {}", self.name, words(&error)))
        })
    }

    /// Checks the file, and does what `task` asks for; whether it is whole in the end.
    fn check(
        &mut self,
        task: Task,
        answers: &mut dyn BufRead,
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        let (kind, name) = (self.kind, self.name.clone());
        let size = self.open()?.metadata()?.len();
        if size == 0 {
            writeln!(out, "{kind} {name} is empty")?;
            return Ok(true);
        }
        let Some(extent) = self.read(task, size, out)? else {
            writeln!(out, "RDB preamble of AOF file is not sane, aborting.")?;
            return Ok(false);
        };
        self.previous = extent.previous;
        if let Task::CutAfter(time) = task {
            return self.cut_after(time, &extent, out);
        }
        if let Some((at, text)) = &extent.fault {
            writeln!(out, "0x{at:>16x}: {text}")?;
        }
        let (valid, line) = (extent.valid, extent.line);
        let diff = size - valid;
        writeln!(
            out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid}, ok_up_to_line={line}, diff={diff}"
        )?;
        if diff == 0 {
            writeln!(out, "{kind} {name} is valid")?;
            return Ok(true);
        }
        if task == Task::Look {
            writeln!(
                out,
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            )?;
            return Ok(false);
        }
        if !self.last {
            writeln!(
                out,
                "Failed to truncate AOF {name} because it is not the last file"
            )?;
            return Ok(false);
        }
        write!(
            out,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {valid} bytes\n\
             Continue? [y/N]: "
        )?;
        out.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        if !answer.starts_with(['y', 'Y']) {
            writeln!(out, "Aborting...")?;
            return Ok(false);
        }
        self.truncate(valid)?;
        writeln!(out, "Successfully truncated AOF {name}")?;
        Ok(true)
    }

    fn cut_after(&self, time: i64, extent: &Extent, out: &mut dyn Write) -> io::Result<bool> {
        let (kind, name) = (self.kind, &self.name);
        match extent.later {
            None => {
                writeln!(out, "Truncate nothing in AOF {name} to timestamp {time}")?;
                writeln!(out, "{kind} {name} is valid")?;
            }
            Some(0) => {
                writeln!(
                    out,
                    "AOF {name} has nothing before timestamp {time}, aborting..."
                )?;
                return Ok(false);
            }
            Some(at) if !self.last => {
                writeln!(
                    out,
                    "Failed to truncate AOF {name} to timestamp {time} to offset {at} because it is not the last file.\n\
                     To go on, remove the files behind it and their lines in the manifest, and try again."
                )?;
                return Ok(false);
            }
            Some(at) => {
                self.truncate(at)?;
                writeln!(out, "Successfully truncated AOF {name} to timestamp {time}")?;
            }
        }
        Ok(true)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    /// Reads the whole file; nothing, if it begins with a snapshot that is damaged.
    fn read(&self, task: Task, size: u64, out: &mut dyn Write) -> io::Result<Option<Extent>> {
        let mut input = Progress::new(self.open()?, size);
        let mut piece = vec![0; PIECE];
        let mut start = 0;
        let mut rest = Vec::new();
        if self.holds_snapshot()? {
            let mut check = Check::new(&self.name, size, out)?;
            while !check.is_done() {
                let count = input.read(&mut piece)?;
                if count == 0 {
                    check.cut_short(out)?;
                    return Ok(None);
                }
                if !check.feed(&piece[..count], out)? {
                    return Ok(None);
                }
            }
            writeln!(out, "RDB preamble is OK, proceeding with AOF tail...")?;
            (start, rest) = (check.offset(), check.take_rest());
        }
        let mut reading = Reading::new(start, size, task);
        reading.reader.feed(&rest);
        loop {
            if reading.take() {
                break;
            }
            let count = input.read(&mut piece)?;
            if count == 0 {
                reading.ends();
                break;
            }
            reading.reader.feed(&piece[..count]);
        }
        Ok(Some(reading.extent))
    }
}

/// Commands that are being read.
struct Reading {
    reader: CommandReader,
    size: u64,
    /// Later notes than this are cut off.
    until: Option<i64>,
    extent: Extent,
    line: u64,
    in_multi: bool,
}

impl Reading {
    fn new(start: u64, size: u64, task: Task) -> Reading {
        Reading {
            reader: CommandReader::new(start, size),
            size,
            until: match task {
                Task::CutAfter(time) => Some(time),
                _ => None,
            },
            extent: Extent {
                valid: start,
                line: 1,
                ..Extent::default()
            },
            line: 1,
            in_multi: false,
        }
    }

    /// Takes what has been fed; whether there is no use in more.
    fn take(&mut self) -> bool {
        loop {
            let before = self.reader.offset();
            match self.reader.next_command() {
                Next::NeedMore => return false,
                Next::Short => {
                    let at = self.reader.offset();
                    self.fault(
                        at,
                        format!(
                            "Expected more than the {} bytes that the file has",
                            self.size
                        ),
                    );
                    return true;
                }
                Next::Damage(at) => {
                    let here = self.reader.rest();
                    let found = here
                        .get((at - self.reader.offset()) as usize..)
                        .unwrap_or_default();
                    let found = found[..found.len().min(16)].escape_ascii().to_string();
                    let expected = self.reader.expected();
                    self.fault(at, format!("Expected {expected}, got: {found}"));
                    return true;
                }
                Next::Rot(from) => {
                    let to = self.reader.offset();
                    self.extent.valid = self.extent.valid.min(from);
                    self.fault(
                        from,
                        format!("The bytes from here to offset {to} are not those that were written, by their checksum"),
                    );
                    return true;
                }
                Next::Note(note) => {
                    self.line += 1;
                    self.extent.previous = self.extent.previous.or(read_previous(&note));
                    let time = note
                        .strip_prefix(b"#TS:")
                        .and_then(|time| std::str::from_utf8(time).ok()?.parse::<i64>().ok());
                    let later =
                        matches!((time, self.until), (Some(time), Some(until)) if time > until);
                    if later {
                        self.extent.later.get_or_insert(before);
                    }
                    self.whole();
                }
                Next::Command(words) => {
                    self.line += 1 + 2 * words.len() as u64;
                    let opens = words[0].eq_ignore_ascii_case(b"MULTI");
                    let closes = words[0].eq_ignore_ascii_case(b"EXEC");
                    if opens && self.in_multi || closes && !self.in_multi {
                        let name = words[0].escape_ascii().to_string().to_uppercase();
                        self.fault(before, format!("Unexpected {name}"));
                        return true;
                    }
                    self.in_multi = (self.in_multi || opens) && !closes;
                    self.whole();
                }
            }
        }
    }

    /// What was read so far is right; outside of a transaction it may end here.
    fn whole(&mut self) {
        if !self.in_multi {
            (self.extent.valid, self.extent.line) = (self.reader.offset(), self.line);
        }
    }

    fn ends(&mut self) {
        if !self.reader.at_boundary() {
            self.fault(
                self.size,
                "Reached the end in the middle of a command".into(),
            );
        } else if self.in_multi {
            self.fault(
                self.size,
                "Reached EOF before reading EXEC for MULTI".into(),
            );
        }
    }

    fn fault(&mut self, at: u64, text: String) {
        self.extent.fault = Some((at, text));
    }
}
