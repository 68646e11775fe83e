//! One set of permissions: commands, keys, channels. A user has one, and may have more besides: what any of
//! them permits as a whole is permitted.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::catalogue::{Bits, Catalogue};
use super::rule::{RuleError, has_spaces};
use crate::resp::c_string;
use crate::value::glob::glob_match;

/// The value of a key is read.
pub const READ: u8 = 1;
/// The key is written, or what is in it is.
pub const WRITE: u8 = 2;

/// A key that a command mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which of the words.
    pub at: usize,
    /// [`READ`], [`WRITE`], both, or neither (its existence, or length).
    pub needs: u8,
}

/// A channel that a command mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelUse {
    /// Which of the words.
    pub at: usize,
    /// It is a pattern of channels.
    pub is_pattern: bool,
}

/// What is asked: may this command be carried out?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The command's number.
    pub command: u16,
    /// Everybody may use the command itself.
    pub for_all: bool,
    /// Its words.
    pub words: &'a [&'a [u8]],
    /// The keys among them.
    pub keys: &'a [KeyUse],
    /// The channels among them.
    pub channels: &'a [ChannelUse],
}

/// Why not. Of several reasons the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command.
    Command,
    /// The key that is this word.
    Key(usize),
    /// The channel that is this word.
    Channel(usize),
}

/// A pattern of keys, and what may be done with those that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// The pattern.
    pub pattern: Box<[u8]>,
    /// [`READ`], [`WRITE`] or both.
    pub allows: u8,
}

impl KeyPattern {
    /// As a rule.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.allows {
            READ => b"%R~",
            WRITE => b"%W~",
            _ => b"~",
        });
        out.extend_from_slice(&self.pattern);
    }
}

/// A set of permissions. A new one permits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The commands.
    pub(super) commands: Bits,
    /// All commands, without a look at `commands`.
    pub(super) all_commands: bool,
    /// First arguments with which a command is allowed that is not otherwise, by its number.
    pub(super) first_args: BTreeMap<u16, Vec<Box<[u8]>>>,
    /// All keys; then there are no patterns.
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    /// All channels; then there are no patterns.
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

impl Selector {
    /// Nothing is permitted, but perhaps all channels (`acl-pubsub-default`).
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            commands: Bits::NONE,
            all_commands: false,
            first_args: BTreeMap::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels,
            channels: Vec::new(),
        }
    }

    /// Whether everything is permitted.
    pub fn is_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether the keys of a command need not be known.
    pub fn ignores_keys(&self) -> bool {
        self.all_keys
    }

    /// Whether everything in the keyspace may be read.
    pub fn reads_all_keys(&self) -> bool {
        let all = |key: &KeyPattern| key.allows & READ != 0 && &*key.pattern == b"*";
        self.all_keys || self.keys.iter().any(all)
    }

    /// Whether it permits the command with these arguments.
    ///
    /// # Errors
    /// The first thing that it does not permit.
    pub fn check(&self, question: &Question<'_>) -> Result<(), Denied> {
        if !self.all_commands && !question.for_all && !self.allows_command(question) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            for key in question.keys {
                let name = question.words.get(key.at).copied().unwrap_or_default();
                let fits = |own: &KeyPattern| {
                    own.allows & key.needs == key.needs && glob_match(&own.pattern, name, false)
                };
                if !self.keys.iter().any(fits) {
                    return Err(Denied::Key(key.at));
                }
            }
        }
        if !self.all_channels {
            for channel in question.channels {
                let name = question.words.get(channel.at).copied().unwrap_or_default();
                if !channel_fits(&self.channels, name, channel.is_pattern) {
                    return Err(Denied::Channel(channel.at));
                }
            }
        }
        Ok(())
    }

    fn allows_command(&self, question: &Question<'_>) -> bool {
        if self.commands.has(question.command) {
            return true;
        }
        let (Some(allowed), Some(word)) = (
            self.first_args.get(&question.command),
            question.words.get(1),
        ) else {
            return false;
        };
        allowed
            .iter()
            .any(|arg| c_string(word).eq_ignore_ascii_case(arg))
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// It is none, or makes no sense here; nothing is changed then.
    pub fn apply(&mut self, rule: &[u8], catalogue: &Catalogue) -> Result<(), RuleError> {
        let word = c_string(rule);
        let is = |text: &str| word.eq_ignore_ascii_case(text.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => {
                self.all_keys = true;
                self.keys.clear();
            }
            _ if is("resetkeys") => {
                self.all_keys = false;
                self.keys.clear();
            }
            _ if is("allchannels") || is("&*") => {
                self.all_channels = true;
                self.channels.clear();
            }
            _ if is("resetchannels") => {
                self.all_channels = false;
                self.channels.clear();
            }
            _ if is("allcommands") || is("+@all") => self.set_all_commands(true),
            _ if is("nocommands") || is("-@all") => self.set_all_commands(false),
            [b'~', pattern @ ..] => self.add_keys(pattern, READ | WRITE)?,
            [b'%', ..] if self.all_keys => return Err(RuleError::AfterAllKeys),
            [b'%', rest @ ..] => {
                let (allows, pattern) = key_permissions(rest)?;
                self.add_keys(pattern, allows)?;
            }
            [b'&', pattern @ ..] => self.add_channels(pattern)?,
            [sign @ (b'+' | b'-'), b'@', ..] => {
                self.set_category(&word[2..], *sign == b'+', catalogue)?;
            }
            [b'+', ..] => self.allow(&word[1..], catalogue)?,
            [b'-', ..] => {
                let number = catalogue.find(&word[1..]).ok_or(RuleError::Unknown)?;
                self.set_command(number, false, catalogue);
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_all_commands(&mut self, on: bool) {
        self.commands = if on { Bits::ALL } else { Bits::NONE };
        self.all_commands = on;
        self.first_args.clear();
    }

    /// Allows or forbids a command, with its subcommands if it has some.
    pub(super) fn set_command(&mut self, number: u16, on: bool, catalogue: &Catalogue) {
        let last = number + catalogue.row(number).map_or(0, |row| row.subcommands);
        (number..=last).for_each(|each| self.commands.put(each, on));
        self.all_commands &= on;
        self.first_args.remove(&number);
    }

    pub(super) fn set_category(
        &mut self,
        name: &[u8],
        on: bool,
        catalogue: &Catalogue,
    ) -> Result<(), RuleError> {
        let category = catalogue.category(name).ok_or(RuleError::Unknown)?;
        self.commands.put_all(&category.reach, on);
        self.all_commands &= on;
        self.first_args
            .retain(|number, _| !category.members.has(*number));
        Ok(())
    }

    /// `+name`, `+container|subcommand` or `+name|first-argument`.
    fn allow(&mut self, name: &[u8], catalogue: &Catalogue) -> Result<(), RuleError> {
        let whole = catalogue.find(name);
        let Some(bar) = memchr::memrchr(b'|', name) else {
            self.set_command(whole.ok_or(RuleError::Unknown)?, true, catalogue);
            return Ok(());
        };
        let number = catalogue.find(&name[..bar]).ok_or(RuleError::Unknown)?;
        let row = catalogue.row(number).ok_or(RuleError::Unknown)?;
        let arg = &name[bar + 1..];
        if row.parent.is_some() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if arg.is_empty() {
            return Err(RuleError::Syntax);
        }
        if row.subcommands > 0 {
            self.set_command(whole.ok_or(RuleError::Unknown)?, true, catalogue);
            return Ok(());
        }
        let args = self.first_args.entry(number).or_default();
        if !args.iter().any(|known| known.eq_ignore_ascii_case(arg)) {
            args.push(arg.into());
        }
        Ok(())
    }

    fn add_keys(&mut self, pattern: &[u8], allows: u8) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|key| &*key.pattern == pattern) {
            Some(known) => known.allows |= allows,
            None => self.keys.push(KeyPattern {
                pattern: pattern.into(),
                allows,
            }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| &**known == pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }
}

/// The letters between `%` and `~`, and the pattern after them.
fn key_permissions(rest: &[u8]) -> Result<(u8, &[u8]), RuleError> {
    let mut allows = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte.to_ascii_uppercase() {
            b'R' if allows & READ == 0 => allows |= READ,
            b'W' if allows & WRITE == 0 => allows |= WRITE,
            // (Redis 7.0 takes a pattern that allows nothing, and fails when it has to show it.)
            b'~' if allows != 0 => return Ok((allows, &rest[at + 1..])),
            _ => return Err(RuleError::Syntax),
        }
    }
    if allows == 0 {
        return Err(RuleError::Syntax);
    }
    Ok((allows, &[]))
}

/// Whether a channel, or a pattern of channels, is allowed by one of the patterns: a channel must match, a
/// pattern must be the same.
pub fn channel_fits(patterns: &[Box<[u8]>], name: &[u8], is_pattern: bool) -> bool {
    patterns.iter().any(|own| {
        if is_pattern {
            **own == *name
        } else {
            glob_match(own, name, false)
        }
    })
}
