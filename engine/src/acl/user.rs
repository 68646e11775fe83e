//! A user: whether and how it may come in, and what it may do.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

use super::catalogue::Catalogue;
use super::rule::RuleError;
use super::selector::{Denied, Question, Selector};
use crate::resp::{c_string, split_words};

/// A user. The first of its selectors is what rules outside parentheses speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    enabled: bool,
    /// Any password will do.
    no_password: bool,
    /// Whether values that it restores are checked wholly, if a rule said so.
    sanitizes: Option<bool>,
    /// SHA-256 of each password.
    passwords: Vec<[u8; 32]>,
    root: Selector,
    selectors: Vec<Selector>,
}

impl User {
    /// A user who can do nothing (but use all channels, by `acl-pubsub-default`).
    pub fn new(all_channels: bool) -> User {
        User {
            enabled: false,
            no_password: false,
            sanitizes: None,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
        }
    }

    /// The user `default` as it is if nobody says otherwise: it needs no password and can do everything.
    pub fn all_powerful() -> User {
        let mut user = User::new(true);
        user.enabled = true;
        user.no_password = true;
        user.root.all_keys = true;
        user.root.all_commands = true;
        user.root.commands = super::Bits::ALL;
        user
    }

    /// Whether one may come in as this user.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether any password will do.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether everything is permitted, and nothing need be looked at.
    pub fn is_all_powerful(&self) -> bool {
        self.all_selectors().any(Selector::is_all)
    }

    /// Whether no decision depends on keys.
    pub fn ignores_keys(&self) -> bool {
        self.all_selectors().all(Selector::ignores_keys)
    }

    /// What rules outside parentheses made.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// What each rule in parentheses made.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        core::iter::once(&self.root).chain(&self.selectors)
    }

    /// Its flags by name, as ACL GETUSER lists them.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            (self.enabled, "on"),
            (!self.enabled, "off"),
            (self.no_password, "nopass"),
            (self.sanitizes == Some(false), "skip-sanitize-payload"),
            (self.sanitizes == Some(true), "sanitize-payload"),
        ];
        flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1)
    }

    /// The hashes of its passwords, in hexadecimal digits.
    pub fn passwords(&self) -> impl Iterator<Item = String> {
        self.passwords.iter().map(hex)
    }

    /// Whether the password is right. How long that takes does not tell how much of it was.
    pub fn accepts(&self, password: &[u8]) -> bool {
        if !self.enabled {
            return false;
        }
        if self.no_password {
            return true;
        }
        let given = hash(password);
        let same = |known: &[u8; 32]| {
            let differences = known.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
            differences == 0
        };
        self.passwords
            .iter()
            .fold(false, |any, known| any | same(known))
    }

    /// Makes a password the only one; without one, none is needed (`requirepass`).
    pub fn set_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.no_password = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }

    /// Whether the command is permitted.
    ///
    /// # Errors
    /// Why not: of what each selector says, the greatest.
    pub fn check(&self, question: &Question<'_>) -> Result<(), Denied> {
        let mut reason = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(question) {
                Ok(()) => return Ok(()),
                Err(denied) => reason = reason.max(denied),
            }
        }
        Err(reason)
    }

    /// Whether a selector permits the command that also permits to read all keys: the command will look at keys
    /// that nobody can tell beforehand (SORT with BY and GET).
    pub fn reads_all_keys(&self, question: &Question<'_>) -> bool {
        self.all_selectors()
            .any(|selector| selector.reads_all_keys() && selector.check(question).is_ok())
    }

    /// The channel patterns that are left if it becomes `new`; `None` if that takes nothing away.
    pub fn revoked_channels(&self, new: &User) -> Option<Vec<Box<[u8]>>> {
        if new.all_selectors().any(|selector| selector.all_channels) {
            return None;
        }
        let left: Vec<Box<[u8]>> = (new.all_selectors())
            .flat_map(|selector| selector.channels.iter().cloned())
            .collect();
        let keeps = self.all_selectors().all(|selector| {
            !selector.all_channels && selector.channels.iter().all(|own| left.contains(own))
        });
        (!keeps).then_some(left)
    }

    /// Applies a rule. Parentheses must be in one word, see [`super::rule::merge`].
    ///
    /// # Errors
    /// It is none, or makes no sense here; nothing is changed then.
    pub fn apply(
        &mut self,
        rule: &[u8],
        all_channels: bool,
        catalogue: &Catalogue,
    ) -> Result<(), RuleError> {
        match rule {
            [] => return Ok(()),
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', digits @ ..] => self.add_password(unhex(digits)?),
            [b'<', password @ ..] => self.remove_password(&hash(password))?,
            [b'!', digits @ ..] => self.remove_password(&unhex(digits)?)?,
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::new(all_channels);
                // (Quotes that do not match make it an empty one, in Redis too.)
                for rule in split_words(inner).unwrap_or_default() {
                    selector.apply(&rule, catalogue)?;
                }
                self.selectors.push(selector);
            }
            _ => match c_string(rule).to_ascii_lowercase().as_slice() {
                b"on" => self.enabled = true,
                b"off" => self.enabled = false,
                b"skip-sanitize-payload" => self.sanitizes = Some(false),
                b"sanitize-payload" => self.sanitizes = Some(true),
                b"nopass" => {
                    self.no_password = true;
                    self.passwords.clear();
                }
                b"resetpass" => {
                    self.no_password = false;
                    self.passwords.clear();
                }
                b"clearselectors" => self.selectors.clear(),
                b"reset" => {
                    *self = User::new(all_channels);
                    self.sanitizes = Some(true);
                }
                _ => self.root.apply(rule, catalogue)?,
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: [u8; 32]) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, hash: &[u8; 32]) -> Result<(), RuleError> {
        let mut all = self.passwords.iter();
        let at = all
            .position(|known| known == hash)
            .ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// The rules that make this user of a new one, in one line.
    pub fn describe(&self, catalogue: &Catalogue) -> Vec<u8> {
        let mut line = Vec::new();
        for flag in self.flags() {
            line.extend_from_slice(flag.as_bytes());
            line.push(b' ');
        }
        for password in self.passwords() {
            line.push(b'#');
            line.extend_from_slice(password.as_bytes());
            line.push(b' ');
        }
        self.root.describe(&mut line, catalogue);
        for selector in &self.selectors {
            line.extend_from_slice(b" (");
            selector.describe(&mut line, catalogue);
            line.push(b')');
        }
        line
    }
}

fn hash(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

fn unhex(digits: &[u8]) -> Result<[u8; 32], RuleError> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(RuleError::Hash),
    };
    if digits.len() != 64 {
        return Err(RuleError::Hash);
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(hash)
}
