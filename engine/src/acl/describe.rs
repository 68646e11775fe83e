//! Permissions written as rules again.
//!
//! A set of commands is described by categories as far as they fit, best first, and by single commands where
//! they do not. Which categories those are is Redis's choice: users compare the lines.

use alloc::vec::Vec;

use super::catalogue::Catalogue;
use super::selector::{KeyPattern, READ, Selector, WRITE};

impl Selector {
    /// The rules that make this selector of a new one, in one line.
    pub fn describe(&self, line: &mut Vec<u8>, catalogue: &Catalogue) {
        // (Nothing may follow `~*`; Redis's lines with a pattern after it cannot be read again.)
        let all = |key: &KeyPattern| key.allows == READ | WRITE && &*key.pattern == b"*";
        let keys = if self.keys.iter().any(all) {
            b"~*".to_vec()
        } else {
            self.key_rules()
        };
        if !keys.is_empty() {
            line.extend_from_slice(&keys);
            line.push(b' ');
        }
        if !self.all_channels {
            line.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channel_rules();
        if !channels.is_empty() {
            line.extend_from_slice(&channels);
            line.push(b' ');
        }
        line.extend_from_slice(&self.command_rules(catalogue));
    }

    /// The rules about keys.
    pub fn key_rules(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut rules = Vec::new();
        for key in &self.keys {
            separate(&mut rules);
            key.write(&mut rules);
        }
        rules
    }

    /// The rules about channels.
    pub fn channel_rules(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let mut rules = Vec::new();
        for pattern in &self.channels {
            separate(&mut rules);
            rules.push(b'&');
            rules.extend_from_slice(pattern);
        }
        rules
    }

    /// The rules about commands. They begin with all or none, by whether commands that are unknown today are
    /// allowed, and go on with what is different.
    pub fn command_rules(&self, catalogue: &Catalogue) -> Vec<u8> {
        let additive = !self.commands.has_future();
        let mut rules = Vec::from(if additive { *b"-@all" } else { *b"+@all" });
        // What the rules so far make, and what is left to be described by further categories.
        let mut made = Selector::new(false);
        if !additive {
            made.commands = super::Bits::ALL;
        }
        let mut left = self.clone();
        let mut applied = 0u32;
        while let Some(best) = left.best_category(additive, applied, catalogue) {
            let name = catalogue.categories()[best].name.as_bytes();
            rules.extend_from_slice(if additive { b" +@" } else { b" -@" });
            rules.extend_from_slice(name);
            // (They are in the catalogue.)
            let _ = made.set_category(name, additive, catalogue);
            let _ = left.set_category(name, !additive, catalogue);
            applied |= 1 << best;
        }
        for (number, row) in catalogue.rows() {
            let allowed = self.commands.has(number);
            if allowed != made.commands.has(number) {
                rules.extend_from_slice(if allowed { b" +" } else { b" -" });
                rules.extend_from_slice(row.name.as_bytes());
                made.set_command(number, allowed, catalogue);
            }
            for arg in self.first_args.get(&number).into_iter().flatten() {
                if !allowed {
                    rules.extend_from_slice(b" +");
                    rules.extend_from_slice(row.name.as_bytes());
                    rules.push(b'|');
                    rules.extend_from_slice(arg);
                }
            }
        }
        debug_assert_eq!(made.commands, self.commands);
        rules
    }

    /// The category that describes most of what is left, of those in which more commands fit than do not: the
    /// fewest that do not fit, then the most that do.
    fn best_category(&self, additive: bool, applied: u32, catalogue: &Catalogue) -> Option<usize> {
        let mut best: Option<(usize, u32, u32)> = None;
        for (at, category) in catalogue.categories().iter().enumerate() {
            let (on, off) = self.commands.split(&category.members);
            let (same, different) = if additive { (on, off) } else { (off, on) };
            let better = best.is_none_or(|(_, least, most)| {
                different < least || (different == least && same > most)
            });
            if applied >> at & 1 == 0 && same > different && better {
                best = Some((at, different, same));
            }
        }
        best.map(|(at, ..)| at)
    }
}

fn separate(rules: &mut Vec<u8>) {
    if !rules.is_empty() {
        rules.push(b' ');
    }
}
