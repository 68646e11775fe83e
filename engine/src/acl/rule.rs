//! Rules as words: what is wrong with one, and parentheses that stretch over several.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// A channel pattern after all channels were allowed.
    AfterAllChannels,
    /// A key pattern after all keys were allowed.
    AfterAllKeys,
    /// `+container|subcommand|argument`.
    FirstArgOfSubcommand,
    /// A hash that is not 64 lower-case hexadecimal digits.
    Hash,
    /// A password is to be removed that is not there.
    NoSuchPassword,
    /// It is no rule.
    Syntax,
    /// There is no such command or category.
    Unknown,
}

impl RuleError {
    /// Redis's words for it.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
            RuleError::Hash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::Syntax => "Syntax error",
            RuleError::Unknown => "Unknown command or category name in ACL",
        }
    }
}

/// Whether a name or pattern has bytes that the lines of a file could not show: white space, NUL.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter()
        .any(|byte| matches!(byte, 0 | b' ' | b'\t'..=b'\r'))
}

/// Puts selectors together that stretch over several words, from the one that begins with `(` to the one that
/// ends with `)`.
///
/// # Errors
/// The place of the word that begins one without an end.
pub fn merge<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, usize> {
    let mut merged: Vec<Cow<'a, [u8]>> = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, &word) in words.iter().enumerate() {
        let closes = word.last() == Some(&b')');
        // (As in Redis, one that begins within another takes its place.)
        if word.first() == Some(&b'(') && !closes {
            open = Some((at, word.to_vec()));
        } else if let Some((_, text)) = &mut open {
            text.push(b' ');
            text.extend_from_slice(word);
            if closes {
                merged.extend(open.take().map(|(_, text)| Cow::Owned(text)));
            }
        } else {
            merged.push(Cow::Borrowed(word));
        }
    }
    match open {
        Some((at, _)) => Err(at),
        None => Ok(merged),
    }
}
