//! What DEBUG shows of the inside of values and tables, in Redis's words for it.
//!
//! Redis counts the chains of its hash tables. Here entries lie in groups: the buckets of a database's table, the
//! leaves of a large hash or set. A group is what is shown as a chain.

use alloc::format;
use alloc::string::String;

use super::integer;
use crate::command::context::Server;
use crate::command::error::CommandError;
use crate::command::table::Outcome;
use crate::config::Config;
use crate::face::LogLevel;
use crate::store::{EntryRef, Object, ValueRef};
use crate::value::list::{List, NodeRef};
use crate::value::listpack::Entry;

/// Elements of a listpack that are shown.
const MOST_SHOWN: usize = 128;

/// The longest chain that has a line of its own.
const LONGEST: usize = 64;

/// How many groups there are of each number of entries.
struct Chains {
    groups: [usize; LONGEST + 1],
    longest: usize,
    elements: usize,
}

impl Chains {
    fn of(groups: impl Iterator<Item = usize>) -> Chains {
        let mut chains = Chains {
            groups: [0; LONGEST + 1],
            longest: 0,
            elements: 0,
        };
        for entries in groups {
            chains.groups[entries.min(LONGEST)] += 1;
            chains.longest = chains.longest.max(entries);
            chains.elements += entries;
        }
        chains
    }

    fn text(&self) -> String {
        if self.elements == 0 {
            return String::from("No stats available for empty dictionaries\n");
        }
        let size: usize = self.groups.iter().sum();
        let used = size - self.groups[0];
        let mean = self.elements as f64 / used as f64;
        let mut text = format!(
            "Hash table 0 stats (main hash table):\n table size: {size}\n number of elements: {}\n \
             different slots: {used}\n max chain length: {}\n avg chain length (counted): {mean:.2}\n \
             avg chain length (computed): {mean:.2}\n Chain length distribution:\n",
            self.elements, self.longest
        );
        for (length, &groups) in self.groups.iter().enumerate().filter(|(_, n)| **n > 0) {
            let or_more = if length == LONGEST { ">= " } else { "" };
            let percent = groups as f64 * 100.0 / size as f64;
            text += &format!("   {or_more}{length}: {groups} ({percent:.2}%)\n");
        }
        text
    }
}

/// `DEBUG HTSTATS db`.
pub(super) fn database(s: &mut Server<'_>, db: &[u8]) -> Outcome {
    let database = usize::try_from(integer(db)?)
        .ok()
        .and_then(|db| s.parts.store.databases().get(db))
        .ok_or(CommandError::fixed("ERR Out of range database"))?;
    // Times to live are no table here, but an index by time: of it there is the number.
    let expires = match database.expires() {
        0 => String::from("No stats available for empty dictionaries\n"),
        n => format!("Hash table 0 stats (main hash table):\n number of elements: {n}\n"),
    };
    let text = format!(
        "[Dictionary HT]\n{}[Expires HT]\n{expires}",
        Chains::of(database.table().bucket_sizes()).text()
    );
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// The entry of a key.
fn entry<'a>(s: &'a Server<'_>, key: &[u8]) -> Result<EntryRef<'a>, CommandError> {
    let store = &s.parts.store;
    let place = store
        .find(s.session.db, store.hasher().key(key))
        .ok_or(CommandError::NO_SUCH_KEY)?;
    Ok(store.entry(s.session.db, place))
}

/// `DEBUG HTSTATS-KEY key`.
pub(super) fn value(s: &mut Server<'_>, key: &[u8]) -> Outcome {
    let table = match entry(s, key)?.value() {
        ValueRef::Object(Object::Hash(hash)) => hash.as_table(),
        ValueRef::Object(Object::Set(set)) => set.as_table(),
        _ => None,
    };
    let groups = table
        .map(|table| table.leaf_sizes())
        .ok_or(CommandError::fixed(
            "ERR The value stored at the specified key is not represented using an hash table",
        ))?;
    let text = Chains::of(groups).text();
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// `DEBUG LISTPACK key`: what is in it goes to the log, as the listpack that a snapshot has of it.
pub(super) fn listpack(s: &mut Server<'_>, key: &[u8]) -> Outcome {
    let pack = match entry(s, key)?.value() {
        ValueRef::Object(Object::Hash(hash)) => hash.as_pack(),
        ValueRef::Object(Object::Set(set)) => set.as_pack(),
        ValueRef::Object(Object::ZSet(set)) => set.as_pack(),
        _ => None,
    };
    let pack = pack.ok_or(CommandError::fixed("ERR Not a listpack encoded object."))?;
    let (bytes, len) = (pack.listpack_bytes(), pack.len());
    let mut text = format!("{{total bytes {bytes}}} {{num entries {len}}}");
    for (number, element) in pack.iter().take(MOST_SHOWN).enumerate() {
        text += &match element {
            Entry::Int(n) => format!("\n{{{number}}} {n}"),
            Entry::Str(bytes) => format!("\n{{{number}}} \"{}\"", bytes.escape_ascii()),
        };
    }
    s.parts.log(LogLevel::Notice, text);
    let text = "Listpack structure printed on stdout";
    s.session.out.simple(text);
    Ok(())
}

/// `DEBUG QUICKLIST key [full]`: its nodes go to the log.
pub(super) fn quicklist(s: &mut Server<'_>, key: &[u8]) -> Outcome {
    let ValueRef::Object(Object::List(list)) = entry(s, key)?.value() else {
        return Err(CommandError::fixed("ERR Not a quicklist encoded object."));
    };
    let mut text = format!("{{count : {}}}\n{{nodes : {}}}", list.len(), list.nodes());
    let (mut at, mut number) = (Some(0), 0);
    while let Some(from) = at.filter(|_| number < MOST_SHOWN) {
        at = list.visit_node(from, |node| {
            let (container, bytes) = shape(node);
            text += &format!(
                "\n{{quicklist node({number})\n{{container : {container}, size: {bytes}}}}}"
            );
        });
        number += 1;
    }
    s.parts.log(LogLevel::Notice, text);
    let text = "Quicklist structure printed on stdout";
    s.session.out.simple(text);
    Ok(())
}

/// What a node is called, and its bytes if it were not compressed.
fn shape(node: NodeRef<'_>) -> (&'static str, usize) {
    match node {
        NodeRef::Packed(chunk) => ("PACKED", chunk.listpack_bytes()),
        NodeRef::Compressed(_, bytes) => ("PACKED", bytes),
        NodeRef::Plain(text) => ("PLAIN", text.len()),
    }
}

/// The fields of DEBUG OBJECT that lists have. All nodes are looked at.
pub(super) fn of_list(list: &List, config: &Config) -> String {
    let (mut bytes, mut at) = (0, Some(0));
    while let Some(from) = at {
        at = list.visit_node(from, |node| bytes += shape(node).1);
    }
    format!(
        " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{bytes}",
        list.nodes(),
        list.len() as f64 / list.nodes().max(1) as f64,
        config.list_max_listpack_size,
        u8::from(config.list_compress_depth != 0),
    )
}

/// `DEBUG SDSLEN key`: the lengths of key and value. Strings have no room to spare here, and lie in the key's entry
/// unless they are long.
pub(super) fn lengths(s: &mut Server<'_>, key: &[u8]) -> Outcome {
    let entry = entry(s, key)?;
    let (text, memory) = match entry.value() {
        ValueRef::Inline(bytes) => (bytes.len(), 0),
        ValueRef::Object(Object::Str(bytes)) => (bytes.len(), bytes.capacity()),
        _ => return Err(CommandError::fixed("ERR Not an sds encoded string.")),
    };
    let text = format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{text}, val_sds_avail:0, val_zmalloc: {memory}",
        key.len(),
        key.len(),
    );
    s.session.out.simple(&text);
    Ok(())
}
