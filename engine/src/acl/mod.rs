//! Access: users, their passwords, and what each may do. Pure rules: who asks, and what comes of a refusal, is
//! decided above.
//!
//! ```text
//! rule      := flag | password | '(' permission… ')' | 'clearselectors' | 'reset' | permission
//! flag      := 'on' | 'off' | 'sanitize-payload' | 'skip-sanitize-payload'
//! password  := '>' text | '<' text | '#' sha256 | '!' sha256 | 'nopass' | 'resetpass'
//! permission:= ('+' | '-') ('@' category | command | container '|' subcommand)
//!            | '+' command '|' first-argument | 'allcommands' | 'nocommands'
//!            | '~' pattern | '%' ('R' | 'W' | 'RW') '~' pattern | 'allkeys' | 'resetkeys'
//!            | '&' pattern | 'allchannels' | 'resetchannels'
//! ```
//!
//! Users are named by [`UserId`], which is never used again: a session keeps it, and what is changed of the user
//! holds for the session at once. Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

mod catalogue;
mod describe;
mod file;
mod log;
mod rule;
mod selector;
#[cfg(test)]
mod tests;
mod user;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

pub use catalogue::{Bits, Catalogue, Category, Row};
pub use log::{Context, Entry, Log, Reason};
pub use rule::{RuleError, has_spaces};
pub use selector::channel_fits;
pub use selector::{ChannelUse, Denied, KeyPattern, KeyUse, Question, READ, Selector, WRITE};
pub use user::User;

use crate::resp::c_string;
use rule::merge;

/// The name of the user that everybody is who is nobody else.
pub const DEFAULT: &[u8] = b"default";

/// A user's name for sessions. Never used again after the user is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(u64);

impl UserId {
    /// The user `default`, who is always there.
    pub const DEFAULT: UserId = UserId(0);
}

/// Why users that a configuration declares cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationError(pub Vec<u8>);

/// What came of a change to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who it is.
    pub user: UserId,
    /// How it was before; `None` for a new user.
    pub before: Option<User>,
}

#[derive(Clone, Debug)]
struct Account {
    name: Box<[u8]>,
    user: User,
}

/// All users.
#[derive(Clone, Debug)]
pub struct Acl {
    catalogue: Catalogue,
    names: BTreeMap<Box<[u8]>, UserId>,
    users: BTreeMap<UserId, Account>,
    last: u64,
    /// Users are made with all channels allowed (`acl-pubsub-default`).
    pub all_channels: bool,
}

impl Acl {
    /// The user `default` alone, who can do everything.
    pub fn new(catalogue: Catalogue, all_channels: bool) -> Acl {
        let mut acl = Acl {
            catalogue,
            names: BTreeMap::new(),
            users: BTreeMap::new(),
            last: 0,
            all_channels,
        };
        acl.put(DEFAULT, User::all_powerful());
        acl
    }

    /// The commands that rules may name.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// A user, if it is still there.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id).map(|account| &account.user)
    }

    /// A user's name. (Who is gone has none.)
    pub fn name(&self, id: UserId) -> &[u8] {
        self.users.get(&id).map_or(&[], |account| &account.name)
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<UserId> {
        self.names.get(name).copied()
    }

    /// All users, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &User)> {
        (self.names.iter()).filter_map(|(name, id)| Some((&**name, self.user(*id)?)))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there is always the user `default`.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All users as lines of a file, without the lines' ends.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.iter()
            .map(|(name, user)| [b"user ", name, b" ", &user.describe(&self.catalogue)].concat())
            .collect()
    }

    /// Whether one who has not said who they are may do nothing.
    pub fn wants_authentication(&self) -> bool {
        let default = self.user(UserId::DEFAULT);
        default.is_none_or(|user| !user.needs_no_password() || !user.is_enabled())
    }

    /// Whether a user may do anything at all.
    pub fn is_all_powerful(&self, id: UserId) -> bool {
        self.user(id).is_some_and(User::is_all_powerful)
    }

    /// Whether somebody without a password is let in as `default` (whom protected mode keeps out).
    pub fn is_open(&self) -> bool {
        let default = self.user(UserId::DEFAULT);
        default.is_some_and(User::needs_no_password)
    }

    /// The user who comes in with this name and password.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<UserId> {
        let id = self.find(name)?;
        self.user(id)?.accepts(password).then_some(id)
    }

    /// Changes a user by rules, or makes one: all of it, or nothing.
    ///
    /// # Errors
    /// What is wrong, in Redis's words.
    pub fn set(&mut self, name: &[u8], rules: &[&[u8]]) -> Result<Change, Vec<u8>> {
        let rules = merge(rules).map_err(|at| {
            let start = rules.get(at).copied().unwrap_or_default();
            let start = c_string(start);
            [
                b"Unmatched parenthesis in acl selector starting at '",
                start,
                b"'.",
            ]
            .concat()
        })?;
        let id = self.find(name);
        let before = id.and_then(|id| self.user(id)).cloned();
        let mut user = (before.clone()).unwrap_or_else(|| User::new(self.all_channels));
        for rule in rules {
            user.apply(&rule, self.all_channels, &self.catalogue)
                .map_err(|error| {
                    let text = error.text().as_bytes();
                    let rule = c_string(&rule);
                    [b"Error in ACL SETUSER modifier '", rule, b"': ", text].concat()
                })?;
        }
        let id = self.put(name, user);
        Ok(Change { user: id, before })
    }

    /// Puts a user in the place of the one with this name, or adds it.
    fn put(&mut self, name: &[u8], user: User) -> UserId {
        let id = if name == DEFAULT {
            UserId::DEFAULT
        } else {
            self.find(name).unwrap_or(UserId(self.last + 1))
        };
        self.last = self.last.max(id.0);
        self.names.insert(name.into(), id);
        let name = name.into();
        self.users.insert(id, Account { name, user });
        id
    }

    /// Removes a user. The user `default` stays.
    pub fn remove(&mut self, name: &[u8]) -> Option<UserId> {
        if name == DEFAULT {
            return None;
        }
        let id = self.names.remove(name)?;
        self.users.remove(&id);
        Some(id)
    }

    /// Sets the one password of the user `default`; with none, none is needed (`requirepass`).
    pub fn set_default_password(&mut self, password: &[u8]) {
        if let Some(default) = self.users.get_mut(&UserId::DEFAULT) {
            default.user.set_password(password);
        }
    }

    /// Closes the door until the users are known: nobody comes in.
    pub fn lock(&mut self) {
        self.put(DEFAULT, User::new(false));
    }

    /// Adds the users that a configuration declares: the words after `user` of each line. `default` begins anew.
    ///
    /// # Errors
    /// The line for the log; some of the users may have been added.
    pub fn declare(&mut self, users: &[Vec<Vec<u8>>]) -> Result<Vec<String>, DeclarationError> {
        let mut notes = Vec::new();
        for words in users {
            let [name, rules @ ..] = &words[..] else {
                continue;
            };
            if has_spaces(name) {
                let text = b"Spaces not allowed in ACL usernames".to_vec();
                return Err(DeclarationError(text));
            }
            let mut user = User::new(self.all_channels);
            if name == DEFAULT {
                // (It cannot fail.)
                let _ = user.apply(b"reset", self.all_channels, &self.catalogue);
            }
            let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
            for rule in merge(&rules).unwrap_or_default() {
                user.apply(&rule, self.all_channels, &self.catalogue)
                    .map_err(|error| {
                        DeclarationError(
                            [
                                b"Error loading ACL rule '",
                                &*rule,
                                b"' for the user named '",
                                name,
                                b"': ",
                                error.text().as_bytes(),
                            ]
                            .concat(),
                        )
                    })?;
            }
            if !user.is_enabled() {
                let name = String::from_utf8_lossy(name);
                notes.push(alloc::format!(
                    "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure this is \
                     not a configuration error."
                ));
            }
            self.put(name, user);
        }
        Ok(notes)
    }
}

/// Looks a declaration over: the words of a line that begins with `user`. Commands that there are none of are no
/// error yet. `known`: the names that were declared before.
///
/// # Errors
/// Redis's words, without those that name the line.
pub fn check_declaration(
    words: &[Vec<u8>],
    known: &[Vec<Vec<u8>>],
    catalogue: &Catalogue,
) -> Result<(), Vec<u8>> {
    let error = |at: usize, text: &str| {
        let word = words.get(at).map_or(&b""[..], Vec::as_slice);
        [
            b"Error in user declaration '",
            word,
            b"': ",
            text.as_bytes(),
        ]
        .concat()
    };
    let [_, name, rules @ ..] = words else {
        return Err(error(0, "Wrong format"));
    };
    if known.iter().any(|other| other.first() == Some(name)) {
        return Err(error(
            1,
            "Duplicate user found. A user can only be defined once in config files",
        ));
    }
    let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    let merged = merge(&rules).map_err(|at| error(at, "Wrong format"))?;
    let mut user = User::new(false);
    for (at, rule) in merged.iter().enumerate() {
        match user.apply(rule, false, catalogue) {
            Ok(()) | Err(RuleError::Unknown) => {}
            // (The word that is shown is two before the one at fault, as in Redis.)
            Err(wrong) => return Err(error(at, wrong.text())),
        }
    }
    Ok(())
}
