//! Every directive once, in one table: name, type, default, bounds, whether CONFIG SET may change it.
//!
//! [`Config`] is a plain struct with one typed field for each directive, read directly by whoever
//! decides by it. By name it is read with [`Config::get`] (CONFIG GET), changed with
//! [`Config::set_many`] (CONFIG SET) and [`file::Loader`] (the configuration file and the command line),
//! and written with [`rewrite::rewrite`] (CONFIG REWRITE). Names, values and error texts are those of
//! Redis 7.0.15.

mod checks;
mod choices;
pub mod file;
mod idle;
pub mod rewrite;
mod setting;
mod special;
mod table;
#[cfg(test)]
mod tests;

pub use choices::*;
pub use idle::WITHOUT_EFFECT;
pub use setting::parse_memory;
pub use special::*;
pub use table::{Config, Directive};

use crate::resp::error_text;
use crate::value::glob::glob_match;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use setting::{Origin, Reason};
use table::{
    DENY_LOADING, DIRECTIVES, HIDDEN, IMMUTABLE, LATER, LATER_ALIAS, MULTI, OUTSIDE, PROTECTED,
    SENSITIVE, VOLATILE,
};

/// Under what circumstances CONFIG SET is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The client may set protected directives (see [`Config::protected_configs_allowed`]).
    pub protected: bool,
    /// A dataset is being loaded.
    pub loading: bool,
}

/// Why CONFIG SET failed. Names are as the client wrote them, or as the table has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The directive cannot be set while a dataset is loaded.
    Loading,
    /// A value was refused; nothing was changed.
    Refused {
        /// The directive.
        name: Vec<u8>,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// There is no such directive.
    Unknown(Vec<u8>),
}

impl ConfigError {
    /// The error reply, with its code.
    pub fn reply(&self) -> Vec<u8> {
        match self {
            ConfigError::Loading => b"LOADING Redis is loading the dataset in memory".to_vec(),
            ConfigError::Refused { name, reason } => error_text(&[
                b"ERR CONFIG SET failed (possibly related to argument '",
                name,
                b"') - ",
                reason.as_bytes(),
            ]),
            ConfigError::Unknown(name) => error_text(&[
                b"ERR Unknown option or number of arguments for CONFIG SET - '",
                name,
                b"'",
            ]),
        }
    }
}

impl Directive {
    /// Finds a directive by its name or alias, in any case.
    pub fn find(name: &[u8]) -> Option<&'static Directive> {
        DIRECTIVES.iter().find(|d| {
            d.name.as_bytes().eq_ignore_ascii_case(name)
                || (!d.alias.is_empty() && d.alias.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    /// Its name or its alias, whichever `typed` is.
    fn spelled(&self, typed: &[u8]) -> &'static str {
        if self.alias.as_bytes().eq_ignore_ascii_case(typed) {
            self.alias
        } else {
            self.name
        }
    }

    /// Whether its value is a secret, to be left out of logs and of MONITOR.
    pub fn is_sensitive(&self) -> bool {
        self.traits & SENSITIVE != 0
    }

    /// Whether the runtime may find that it cannot do what it says (a port that is taken).
    pub fn is_outside(&self) -> bool {
        self.traits & OUTSIDE != 0
    }

    /// Whether CONFIG SET always refuses it.
    pub fn is_immutable(&self) -> bool {
        self.traits & IMMUTABLE != 0
    }

    fn has(&self, traits: u16) -> bool {
        self.traits & traits != 0
    }

    fn value(&self, config: &Config) -> Vec<u8> {
        (self.of)(config).value(&self.rule)
    }

    /// Takes a value as CONFIG SET has it, and as CONFIG GET shows it.
    fn replace(&self, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
        let words: Vec<&[u8]> = match (self.has(MULTI), value.is_empty()) {
            (true, true) => Vec::new(),
            (true, false) => value.split(|&b| b == b' ').collect(),
            (false, _) => Vec::from([value]),
        };
        self.set(config, &words, Origin::Replace)
    }

    fn set(&self, config: &mut Config, args: &[&[u8]], origin: Origin) -> Result<(), Reason> {
        (self.of_mut)(config).set(args, &self.rule, origin)
    }
}

impl Config {
    /// Names and values that match any of `patterns`, each name once. A pattern without `*`, `?` and `[`
    /// is a name, and comes back as it was written; hidden directives answer only to their name.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            if !pattern.iter().any(|b| b"*?[".contains(b)) {
                if let Some(directive) = Directive::find(pattern)
                    && !found
                        .iter()
                        .any(|(name, _)| name.eq_ignore_ascii_case(pattern))
                {
                    found.push((pattern.to_vec(), directive.value(self)));
                }
                continue;
            }
            for directive in DIRECTIVES.iter().filter(|d| !d.has(HIDDEN | LATER)) {
                let alias = match directive.has(LATER_ALIAS) {
                    true => "",
                    false => directive.alias,
                };
                for name in [directive.name, alias] {
                    let name = name.as_bytes();
                    let fresh = !name.is_empty()
                        && !found.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
                    if fresh && glob_match(pattern, name, true) {
                        found.push((name.to_vec(), directive.value(self)));
                    }
                }
            }
        }
        found
    }

    /// Sets all pairs of name and value, or none. Returns the names (never aliases) of those that changed.
    pub fn set_many(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        access: Access,
    ) -> Result<Vec<&'static str>, ConfigError> {
        let directives = settable(pairs, access)?;
        let mut wanted = self.clone();
        for (directive, (typed, value)) in directives.iter().zip(pairs) {
            directive
                .replace(&mut wanted, value)
                .map_err(|reason| ConfigError::Refused {
                    name: directive.spelled(typed).into(),
                    reason,
                })?;
        }
        wanted.clamp();
        let mut changed: Vec<&'static str> = Vec::new();
        for directive in directives {
            let differs =
                directive.has(VOLATILE) || directive.value(self) != directive.value(&wanted);
            if differs && !changed.contains(&directive.name) {
                changed.push(directive.name);
            }
        }
        *self = wanted;
        Ok(changed)
    }

    /// Gives directives the values back that they had `before`.
    pub fn restore(&mut self, before: &Config, names: &[&'static str]) {
        for directive in names
            .iter()
            .filter_map(|name| Directive::find(name.as_bytes()))
        {
            let restored = directive.replace(self, &directive.value(before));
            debug_assert!(restored.is_ok(), "a value that was there is allowed");
        }
    }

    /// Whether a client may set protected directives; `local`: it is on this machine.
    pub fn protected_configs_allowed(&self, local: bool) -> bool {
        self.enable_protected_configs.allows(local)
    }

    /// `hz` is a hint: values out of range are taken and cut.
    fn clamp(&mut self) {
        self.hz = self.hz.clamp(1, 500);
    }
}

impl ProtectedAction {
    /// Whether a client may do it; `local`: it is on this machine.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
        }
    }
}

/// The directives that `pairs` name, if all of them may be set.
fn settable(
    pairs: &[(&[u8], &[u8])],
    access: Access,
) -> Result<Vec<&'static Directive>, ConfigError> {
    let mut directives: Vec<&'static Directive> = Vec::new();
    for (name, _) in pairs {
        let refused = |reason: &'static str| ConfigError::Refused {
            name: name.to_vec(),
            reason: reason.into(),
        };
        let directive = Directive::find(name).ok_or_else(|| ConfigError::Unknown(name.to_vec()))?;
        if directive.has(IMMUTABLE) {
            return Err(refused("can't set immutable config"));
        }
        if directive.has(PROTECTED) && !access.protected {
            return Err(refused("can't set protected config"));
        }
        if directive.has(DENY_LOADING) && access.loading {
            return Err(ConfigError::Loading);
        }
        // A name and its alias are two directives in this, as in Redis; the later decides.
        let spelled = directive.spelled(name);
        let same = |(d, (n, _)): (&&'static Directive, &(&[u8], &[u8]))| d.spelled(n) == spelled;
        if directives.iter().zip(pairs).any(same) {
            return Err(refused("duplicate parameter"));
        }
        directives.push(directive);
    }
    Ok(directives)
}
