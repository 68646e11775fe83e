//! The ACL file.
//!
//! ```text
//! file := line ('\n' line)*
//! line := '' | 'user ' name (' ' rule)*      blanks, tabs and \r around it do not count
//! ```
//!
//! There are no comments and no quotes. A user stands in it once. It is taken as a whole, or not at all.

use alloc::format;
use alloc::vec::Vec;

use super::rule::{RuleError, has_spaces, merge};
use super::{Acl, DEFAULT, User, UserId};

impl Acl {
    /// The text of the file that holds all users.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for line in self.lines() {
            text.extend(line);
            text.push(b'\n');
        }
        text
    }

    /// Replaces all users by those of a file's text; `path` is its name. Without a user `default` there, it is as
    /// it is at first. Returns who is gone: all but `default`, also if there is one of the same name again.
    ///
    /// # Errors
    /// All that is wrong with it, in Redis's words; nothing is changed then.
    pub fn load(&mut self, text: &[u8], path: &str) -> Result<Vec<UserId>, Vec<u8>> {
        let mut fresh = self.clone();
        let gone = fresh
            .names
            .values()
            .copied()
            .filter(|id| *id != UserId::DEFAULT);
        let gone: Vec<UserId> = gone.collect();
        fresh.names.clear();
        fresh.users.clear();
        let mut errors = Vec::new();
        for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
            fresh.load_line(line, &format!("{path}:{number}"), number, &mut errors);
        }
        if !errors.is_empty() {
            errors.extend_from_slice(
                b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
            );
            return Err(errors);
        }
        if !fresh.names.contains_key(DEFAULT) {
            fresh.put(DEFAULT, User::all_powerful());
        }
        *self = fresh;
        Ok(gone)
    }

    fn load_line(&mut self, line: &[u8], place: &str, number: usize, errors: &mut Vec<u8>) {
        let line = trimmed(line, b" \t\r\n");
        if line.is_empty() {
            return;
        }
        let mut note = |pieces: &[&[u8]]| errors.extend(pieces.concat());
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            return note(&[
                place.as_bytes(),
                b" should start with user keyword followed by the username. ",
            ]);
        };
        if has_spaces(name) {
            let place = place.as_bytes();
            return note(&[
                b"'",
                place,
                b": username '",
                name,
                b"' contains invalid characters. ",
            ]);
        }
        if self.names.contains_key(*name) {
            let line = format!("{number}");
            return note(&[
                b"WARNING: Duplicate user '",
                name,
                b"' found on line ",
                line.as_bytes(),
                b". ",
            ]);
        }
        let mut user = User::new(self.all_channels);
        let Ok(rules) = merge(rules) else {
            return note(&[
                place.as_bytes(),
                b": Unmatched parenthesis in selector definition.",
            ]);
        };
        let mut told = false;
        for rule in rules {
            let rule = trimmed(&rule, b"\t\r\n");
            match user.apply(rule, self.all_channels, &self.catalogue) {
                Ok(()) => {}
                // What names no command is no secret.
                Err(error @ RuleError::Unknown) => note(&[
                    place.as_bytes(),
                    b": Error in applying operation '",
                    rule,
                    b"': ",
                    error.text().as_bytes(),
                    b". ",
                ]),
                // Others may only follow from the first.
                Err(error) if !core::mem::replace(&mut told, true) => {
                    note(&[place.as_bytes(), b": ", error.text().as_bytes(), b". "]);
                }
                Err(_) => {}
            }
        }
        self.put(name, user);
    }
}

fn trimmed<'a>(text: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    let is_text = |byte: &u8| !blanks.contains(byte);
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(is_text)
        .map_or(start, |last| last + 1);
    &text[start..end]
}
