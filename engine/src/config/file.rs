//! The configuration file and the command line.
//!
//! ```text
//! file      := line ('\n' line)*
//! line      := blank | '#' comment | name value… ['#' comment]
//! name      := a directive of the table, or include, rename-command, user, loadmodule
//! ```
//!
//! Options of the command line are lines that follow the file: `--port 7001` is the line `port "7001"`.
//! Reading files is the caller's: an `include` comes back as a [`Step`], its text is fed to the same
//! [`Loader`], and reading goes on with the next line.

use super::setting::{Origin, Reason};
use super::table::MULTI;
use super::{Config, Directive};
use crate::acl::{self, Catalogue};
use crate::resp::{quote, split_words};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Why a configuration was refused; displayed, what Redis prints to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, counted from 1, and its text; `None` if the whole is at fault.
    pub line: Option<(usize, String)>,
    /// What is wrong.
    pub reason: Reason,
}

impl core::fmt::Display for FileError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***")?;
        if let Some((number, text)) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number}")?;
            writeln!(f, ">>> '{text}'")?;
        }
        writeln!(f, "{}", self.reason)
    }
}

impl core::error::Error for FileError {}

/// What is to be done after a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Go on with the next line.
    Next,
    /// Load the files that this path or glob pattern names, then go on.
    Include(String),
}

/// Takes lines and makes a configuration of them.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    config: Config,
    save_seen: bool,
    /// The commands that there are; without them, lines that name commands are not checked.
    commands: Option<Catalogue>,
}

/// The lines of a text, counted from 1.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|&b| b == b'\n')
        .enumerate()
        .map(|(i, line)| (i + 1, line))
}

impl Loader {
    /// Starts from these values.
    pub fn new(config: Config) -> Loader {
        Loader {
            config,
            save_seen: false,
            commands: None,
        }
    }

    /// Has lines that name commands checked.
    pub fn with_commands(mut self, commands: Catalogue) -> Loader {
        self.commands = Some(commands);
        self
    }

    /// What the lines so far make.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes one line.
    pub fn line(&mut self, number: usize, line: &[u8]) -> Result<Step, FileError> {
        let line = trimmed(line);
        self.directive(line).map_err(|reason| FileError {
            line: Some((number, String::from_utf8_lossy(line).into_owned())),
            reason,
        })
    }

    /// The configuration, once all lines are in.
    pub fn finish(mut self) -> Result<Config, FileError> {
        if self.config.cluster_enabled && self.config.replicaof.0.is_some() {
            let reason = "replicaof directive not allowed in cluster mode".into();
            return Err(FileError { line: None, reason });
        }
        self.config.clamp();
        Ok(self.config)
    }

    fn directive(&mut self, line: &[u8]) -> Result<Step, Reason> {
        if line.first().is_none_or(|&b| b == b'#') {
            return Ok(Step::Next);
        }
        let words = split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, values)) = words.split_first() else {
            return Ok(Step::Next);
        };
        match Directive::find(name).or_else(|| find_ssl(name)) {
            Some(directive) => self.set(directive, values).map(|()| Step::Next),
            None => self.file_only(name, values),
        }
    }

    fn set(&mut self, directive: &Directive, values: &[Vec<u8>]) -> Result<(), Reason> {
        let mut words: Vec<&[u8]> = without_comment(values);
        let resplit;
        if directive.has(MULTI) {
            if let [one] = words[..]
                && !one.is_empty()
            {
                resplit = split_words(one).ok_or("Unbalanced quotes in configuration line")?;
                words = resplit.iter().map(Vec::as_slice).collect();
            }
        } else if words.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        let mut origin = Origin::Replace;
        if directive.name == "save" {
            if self.save_seen {
                origin = Origin::Add;
            }
            self.save_seen = true;
        }
        directive.set(&mut self.config, &words, origin)
    }

    /// Whether there is a command of this name, after the renamings so far.
    fn names_command(&self, name: &[u8]) -> bool {
        let Some(commands) = &self.commands else {
            return true;
        };
        let renamed = &self.config.renamed_commands;
        let last = renamed.iter().rev().find_map(|(from, to)| {
            let is = |other: &[u8]| other.eq_ignore_ascii_case(name);
            match (is(to), is(from)) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            }
        });
        last.unwrap_or_else(|| commands.find(name).is_some())
    }

    fn file_only(&mut self, name: &[u8], values: &[Vec<u8>]) -> Result<Step, Reason> {
        match (name.to_ascii_lowercase().as_slice(), values) {
            (b"include", [path]) => {
                let path =
                    core::str::from_utf8(path).map_err(|_| "argument must be valid UTF-8")?;
                return Ok(Step::Include(path.to_string()));
            }
            (b"rename-command", [from, to]) => {
                if !self.names_command(from) {
                    return Err("No such command in rename-command".into());
                }
                if !to.is_empty() && self.commands.is_some() && self.names_command(to) {
                    return Err("Target command name already exists".into());
                }
                (self.config.renamed_commands).push((from.clone(), to.clone()));
            }
            (b"user", [_, ..]) => {
                let none = Catalogue::default();
                let commands = self.commands.as_ref().unwrap_or(&none);
                let words: Vec<Vec<u8>> =
                    (core::iter::once(name.to_vec()).chain(values.iter().cloned())).collect();
                acl::check_declaration(&words, &self.config.users, commands)
                    .map_err(|why| String::from_utf8_lossy(&why).into_owned())?;
                self.config.users.push(values.to_vec());
            }
            (b"loadmodule", [_, ..]) => self.config.modules.push(values.to_vec()),
            // Settings that did something once.
            (
                b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands",
                [_],
            ) => {}
            (b"sentinel", [_, ..]) => {
                return Err("sentinel directive while not in sentinel mode".into());
            }
            (b"sentinel", []) => return Err("Reprise does not run as a sentinel".into()),
            _ => return Err("Bad directive or wrong number of arguments".into()),
        }
        Ok(Step::Next)
    }
}

/// The directive that goes by `tls-…` here, and by `ssl-…` in files for builds of Redis from before it knew TLS.
fn find_ssl(name: &[u8]) -> Option<&'static Directive> {
    let (prefix, rest) = name.split_at_checked(4)?;
    prefix.eq_ignore_ascii_case(b"ssl-").then_some(())?;
    Directive::find(&[b"tls-", rest].concat())
}

/// Leaves out what follows a word that starts with `#`, except right after the name, where it may well
/// be a password. Redis refuses such lines (too many arguments), so nothing that works there changes.
fn without_comment(values: &[Vec<u8>]) -> Vec<&[u8]> {
    let comment = values
        .iter()
        .skip(1)
        .position(|word| word.starts_with(b"#"));
    let kept = comment.map_or(values.len(), |at| at + 1);
    values[..kept].iter().map(Vec::as_slice).collect()
}

/// What the arguments of `redis-server` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file.
    pub file: Option<String>,
    /// Whether standard input is a configuration file too, after the first.
    pub stdin: bool,
    /// Lines that follow the files.
    pub options: Vec<u8>,
}

impl CommandLine {
    /// Divides the arguments (without the program's name) as Redis does: a first one without a dash is
    /// the file; `-` as the first or last is standard input; `--name` opens a line, and what follows it
    /// are its values. A value that looks like an option must follow its option directly.
    pub fn parse(args: &[&[u8]]) -> CommandLine {
        let mut parsed = CommandLine::default();
        let mut rest = args;
        if let [first, tail @ ..] = args
            && first.first() != Some(&b'-')
        {
            parsed.file = Some(String::from_utf8_lossy(first).into_owned());
            rest = tail;
        }
        let options = &mut parsed.options;
        let mut complete = true;
        for (i, arg) in rest.iter().enumerate() {
            let last = i + 1 == rest.len();
            let first = i == 0 && parsed.file.is_none();
            if *arg == b"-" && (first || last) {
                parsed.stdin = true;
            } else if let (true, Some(name)) = (complete, arg.strip_prefix(b"--")) {
                if !options.is_empty() {
                    options.push(b'\n');
                }
                options.extend(name);
                options.push(b' ');
                complete = split_words(arg).is_none_or(|words| words.len() != 1);
                let option_follows = rest.get(i + 1).is_some_and(|next| next.starts_with(b"--"));
                if !complete && name.eq_ignore_ascii_case(b"save") && (last || option_follows) {
                    // An empty list of save points, as scripts give it that build the command line.
                    options.extend(b"\"\"");
                    complete = true;
                } else if !complete && name.eq_ignore_ascii_case(b"sentinel") && option_follows {
                    complete = true;
                }
            } else {
                quote(options, arg);
                options.push(b' ');
                complete = true;
            }
        }
        parsed
    }
}

/// A line without the blanks around it. A form feed is none of them: it can be the end of a value.
pub(super) fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = line {
        line = rest;
    }
    line
}
