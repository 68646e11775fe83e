//! What a command leaves in the journal.
//!
//! By default the command itself, if it changed anything. A handler whose outcome depends on time,
//! chance or state replaces it by what it came to ([`Effects::instead`]); keys that were found to be
//! due leave their DEL first. Several effects of one command become a transaction.

use alloc::vec::Vec;

use crate::journal::{Audience, Journal};
use crate::planted::{self, Bug};

/// The effects of the running command.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes so far, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Whether anybody reads the journal: if not, nothing is encoded.
    pub wanted: bool,
    /// Who is to see what the commands of a script leave.
    pub audience: Audience,
    /// Commands in RESP with their databases.
    list: Vec<(usize, Vec<u8>, Audience)>,
    replaced: bool,
    /// What the command leaves has nothing to do with each other: it is no transaction.
    apart: bool,
    /// Whether EXEC (or another command that holds several) is running.
    nested: bool,
}

impl Effects {
    /// A command begins.
    #[inline]
    pub fn begin(&mut self) {
        self.dirty = 0;
        self.replaced = false;
        self.apart = false;
    }

    /// Leaves these words besides whatever else the command leaves, in order.
    pub fn also(&mut self, db: usize, args: &[&[u8]]) {
        if self.wanted {
            let mut bytes = Vec::new();
            encode(&mut bytes, args);
            self.list.push((db, bytes, self.audience));
        }
    }

    /// Leaves these words and not the command itself. Several calls leave several.
    pub fn instead(&mut self, db: usize, args: &[&[u8]]) {
        self.replaced = true;
        self.also(db, args);
    }

    /// What the command leaves is no transaction: it met keys by chance.
    pub fn apart(&mut self) {
        self.apart = true;
    }

    /// Leaves nothing for the command itself.
    pub fn nothing(&mut self) {
        self.replaced = true;
    }

    /// Commands from here to [`Effects::close`] are one transaction: their effects are kept until then.
    pub fn open(&mut self) {
        self.nested = true;
    }

    /// Whether commands are part of a transaction.
    pub fn is_open(&self) -> bool {
        self.nested
    }

    /// The transaction ends: journals what its commands left.
    pub fn close(&mut self, journal: &mut Journal) {
        self.nested = false;
        let wrap = self.list.len() > 1 && !planted::is(Bug::SplitsTransactions);
        self.write_list(journal, wrap);
        if wrap {
            journal.append_command(&[b"EXEC"]);
        }
    }

    fn write_list(&mut self, journal: &mut Journal, wrap: bool) {
        if wrap {
            if let Some((db, ..)) = self.list.first() {
                journal.select(*db as u32);
            }
            journal.append_command(&[b"MULTI"]);
        }
        for (db, bytes, audience) in self.list.drain(..) {
            journal.select(db as u32);
            journal.append_for(audience, &bytes);
        }
    }

    /// The command ended: journals what it left. `write` says whether the command itself may be an
    /// effect, `raw` is it in RESP, if it came so.
    #[inline]
    pub fn end(
        &mut self,
        journal: &mut Journal,
        db: usize,
        write: bool,
        args: &[&[u8]],
        raw: Option<&[u8]>,
    ) {
        if !self.wanted {
            return;
        }
        let forgotten = planted::is(Bug::ForgetsDeletions)
            && args
                .first()
                .is_some_and(|name| name.eq_ignore_ascii_case(b"del"));
        let verbatim = write && self.dirty > 0 && !self.replaced && !forgotten;
        if self.nested {
            if verbatim {
                let mut bytes = Vec::new();
                match raw {
                    Some(raw) => bytes.extend_from_slice(raw),
                    None => encode(&mut bytes, args),
                }
                self.list.push((db, bytes, self.audience));
            }
            return;
        }
        if self.list.is_empty() && !verbatim {
            return;
        }
        let wrap = self.list.len() + usize::from(verbatim) > 1 && !self.apart;
        self.write_list(journal, wrap);
        if verbatim {
            journal.select(db as u32);
            match raw {
                Some(raw) => journal.append_raw(raw),
                None => journal.append_command(args),
            }
        }
        if wrap {
            journal.append_command(&[b"EXEC"]);
        }
    }
}

/// Appends a command as a RESP array of bulks.
pub fn encode(out: &mut Vec<u8>, args: &[&[u8]]) {
    use crate::value::number::write_i64;
    out.push(b'*');
    write_i64(out, args.len() as i64);
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        write_i64(out, arg.len() as i64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(journal: &mut Journal) -> alloc::string::String {
        journal.seal();
        let bytes: Vec<u8> = journal
            .read(journal.start(), u64::MAX)
            .flat_map(|b| b.to_vec())
            .collect();
        alloc::string::String::from_utf8(bytes)
            .unwrap()
            .replace("\r\n", " ")
    }

    #[test]
    fn one_effect_is_bare_and_two_are_a_transaction() {
        let mut journal = Journal::new(0);
        let mut effects = Effects {
            wanted: true,
            ..Effects::default()
        };
        effects.begin();
        effects.dirty = 1;
        effects.end(&mut journal, 0, true, &[b"SET"], None);
        assert_eq!(text(&mut journal), "*2 $6 SELECT $1 0 *1 $3 SET ");
        let mut journal = Journal::new(0);
        effects.begin();
        effects.also(0, &[b"DEL"]);
        effects.dirty = 1;
        effects.end(&mut journal, 0, true, &[b"SET"], None);
        assert_eq!(
            text(&mut journal),
            "*2 $6 SELECT $1 0 *1 $5 MULTI *1 $3 DEL *1 $3 SET *1 $4 EXEC "
        );
    }

    #[test]
    fn a_transaction_of_several_effects_is_one() {
        let mut journal = Journal::new(0);
        let mut effects = Effects {
            wanted: true,
            ..Effects::default()
        };
        effects.open();
        for dirty in [0, 1, 1] {
            effects.begin();
            effects.dirty = dirty;
            effects.end(&mut journal, 0, true, &[b"SET"], None);
        }
        effects.close(&mut journal);
        assert_eq!(
            text(&mut journal),
            "*2 $6 SELECT $1 0 *1 $5 MULTI *1 $3 SET *1 $3 SET *1 $4 EXEC "
        );
        let mut journal = Journal::new(0);
        effects.open();
        effects.begin();
        effects.dirty = 1;
        effects.end(&mut journal, 0, true, &[b"SET"], None);
        effects.close(&mut journal);
        assert_eq!(text(&mut journal), "*2 $6 SELECT $1 0 *1 $3 SET ");
        let end = journal.end();
        effects.open();
        effects.close(&mut journal);
        assert_eq!(journal.end(), end);
    }
}
