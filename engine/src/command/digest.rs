//! DEBUG DIGEST: one hash of a whole dataset, computed as Redis computes it, so that the data of two servers
//! of either kind can be compared.
//!
//! ```text
//! xor(d, bytes)  d ← d ⊕ SHA1(bytes)               the order of several does not matter
//! mix(d, bytes)  d ← SHA1(d ⊕ SHA1(bytes))         it does
//!
//! dataset  for each database that is not empty: mix its number (32 bits, big-endian), then xor each key's digest
//! key      mix the key, then as its value
//! value    mix its type's number (32 bits, big-endian); a string: mix it; a hash: xor, for each pair, the digest
//!          that mixes field and value (and xors "!!hexpire!!" if the field expires); a set: xor each member; a
//!          sorted set: as a hash, of members and scores; a list: mix its elements in order; a stream: mix
//!          `ms.seq`, field, value, … of each entry in turn; with a deadline: xor "!!expire!!"
//! ```

use alloc::format;
use alloc::vec::Vec;
use sha1::{Digest as _, Sha1};

use super::context::Text;
use crate::store::{EntryRef, Object, Store, ValueRef};
use crate::value::list::End;
use crate::value::number::write_f64;

/// A SHA-1 digest.
pub type Digest = [u8; 20];

/// The numbers of Redis's types.
const STRING: u32 = 0;
const LIST: u32 = 1;
const SET: u32 = 2;
const ZSET: u32 = 3;
const HASH: u32 = 4;
const STREAM: u32 = 6;

fn xor(digest: &mut Digest, bytes: &[u8]) {
    for (d, s) in digest.iter_mut().zip(Sha1::digest(bytes)) {
        *d ^= s;
    }
}

fn mix(digest: &mut Digest, bytes: &[u8]) {
    xor(digest, bytes);
    *digest = Sha1::digest(&digest[..]).into();
}

/// The digest of all data. Takes time in proportion to it.
pub fn digest(store: &Store) -> Digest {
    let mut total = Digest::default();
    for (db, database) in store.databases().iter().enumerate() {
        if database.is_empty() {
            continue;
        }
        mix(&mut total, &(db as u32).to_be_bytes());
        let mut next = Some(0);
        while let Some(position) = next {
            next = database.table().walk(position, |_, entry| {
                let mut digest = Digest::default();
                mix(&mut digest, entry.key());
                add_value(&mut digest, entry);
                xor(&mut total, &digest);
            });
        }
    }
    total
}

/// The digest of one entry's value, with its having a deadline.
pub fn of_value(entry: EntryRef<'_>) -> Digest {
    let mut digest = Digest::default();
    add_value(&mut digest, entry);
    digest
}

fn add_value(digest: &mut Digest, entry: EntryRef<'_>) {
    if let Some(text) = Text::of(entry.value()) {
        mix(digest, &STRING.to_be_bytes());
        mix(digest, &text);
    } else if let ValueRef::Object(Object::Hash(hash)) = entry.value() {
        mix(digest, &HASH.to_be_bytes());
        for (field, value) in hash.iter() {
            let mut pair = Digest::default();
            mix(&mut pair, &field.text());
            mix(&mut pair, &value.text());
            if hash.time(&field.text()).is_some() {
                xor(&mut pair, b"!!hexpire!!");
            }
            xor(digest, &pair);
        }
    } else if let ValueRef::Object(Object::Stream(stream)) = entry.value() {
        mix(digest, &STREAM.to_be_bytes());
        for item in stream.entries.iter() {
            mix(digest, format!("{}.{}", item.id.ms, item.id.seq).as_bytes());
            for (field, value) in item.pairs() {
                mix(digest, &field.text());
                mix(digest, &value.text());
            }
        }
    } else if let ValueRef::Object(Object::List(list)) = entry.value() {
        mix(digest, &LIST.to_be_bytes());
        list.visit(0, usize::MAX, End::Front, |element| {
            mix(digest, &element.text());
            true
        });
    }
    if let ValueRef::Object(Object::Set(set)) = entry.value() {
        mix(digest, &SET.to_be_bytes());
        set.iter().for_each(|member| xor(digest, &member.text()));
    }
    if let ValueRef::Object(Object::ZSet(set)) = entry.value() {
        mix(digest, &ZSET.to_be_bytes());
        let mut text = Vec::new();
        for (member, score) in set.iter() {
            let mut pair = Digest::default();
            mix(&mut pair, &member.text());
            text.clear();
            write_f64(&mut text, score);
            mix(&mut pair, &text);
            xor(digest, &pair);
        }
    }
    if entry.deadline().is_some() {
        xor(digest, b"!!expire!!");
    }
}
