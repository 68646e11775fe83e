//! What a snapshot holds, in figures: by type, and the largest keys of each.

use reprise_engine::command::examine::Examined;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

/// How many of the largest keys are named for each type.
const LARGEST: usize = 5;

/// The figures so far.
#[derive(Default)]
pub struct Stats {
    /// Keys.
    pub keys: u64,
    /// Keys that expire.
    pub expires: u64,
    /// Keys whose time has passed.
    pub expired: u64,
    types: BTreeMap<&'static str, OfType>,
    databases: BTreeMap<u32, u64>,
    seen: HashSet<u128>,
    hashers: (RandomState, RandomState),
}

#[derive(Default)]
struct OfType {
    keys: u64,
    elements: u64,
    bytes: u64,
    /// By bytes in the file, the largest first.
    largest: Vec<(u64, u64, u32, Vec<u8>)>,
}

impl Stats {
    /// A key of database `db`, whose value takes `bytes` in the file. False if it was there before.
    pub fn add(&mut self, db: u32, key: &[u8], value: Examined, bytes: u64) -> bool {
        self.keys += 1;
        *self.databases.entry(db).or_default() += 1;
        let of = self.types.entry(value.type_name).or_default();
        of.keys += 1;
        of.elements += value.elements;
        of.bytes += bytes;
        let at = of.largest.partition_point(|(more, ..)| *more >= bytes);
        if at < LARGEST {
            of.largest
                .insert(at, (bytes, value.elements, db, key.to_vec()));
            of.largest.truncate(LARGEST);
        }
        let (one, other) = &self.hashers;
        let name = (db, key);
        let name = u128::from(one.hash_one(name)) << 64 | u128::from(other.hash_one(name));
        self.seen.insert(name)
    }

    /// The table of `--stats`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:<8} {:>12} {:>14} {:>16} {:>10}",
            "type", "keys", "elements", "bytes", "bytes/key"
        )?;
        for (name, of) in &self.types {
            let each = of.bytes as f64 / of.keys as f64;
            writeln!(
                out,
                "{name:<8} {:>12} {:>14} {:>16} {each:>10.1}",
                of.keys, of.elements, of.bytes
            )?;
        }
        for (db, keys) in &self.databases {
            writeln!(out, "db{db}: {keys} keys")?;
        }
        for (name, of) in &self.types {
            let unit = match *name {
                "string" => "bytes long",
                "hash" => "fields",
                "stream" => "entries",
                "list" => "items",
                _ => "members",
            };
            writeln!(out, "\nlargest of type {name}, in bytes of the file:")?;
            for (bytes, elements, db, key) in &of.largest {
                writeln!(
                    out,
                    "{bytes:>12}  db{db} '{}' ({elements} {unit})",
                    key.escape_ascii()
                )?;
            }
        }
        Ok(())
    }
}
