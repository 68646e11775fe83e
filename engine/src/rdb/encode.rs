//! Writing a snapshot, stepwise: each call appends to an internal buffer that the caller takes in
//! pieces, so a snapshot of any size passes through a bounded amount of memory.

use super::stream::StreamPosition;
use super::{CRC, Origin, VERSION, VERSION_WITH_TIMES, kind, lzf, op, special};
use crate::value::hash::Hash;
use crate::value::list::List;
use crate::value::listpack::Listpack;
use crate::value::pack::Pack;
use crate::value::set::Set;
use crate::value::stream::Stream;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Compress strings of more than 20 bytes (`rdbcompression`).
    pub compress: bool,
    /// End with a checksum, not with zeros (`rdbchecksum`).
    pub checksum: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            compress: true,
            checksum: true,
        }
    }
}

/// The facts that open a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// `redis-ver`: the version that we claim to be.
    pub redis_version: &'a str,
    /// `ctime`: Unix time in seconds.
    pub ctime_s: u64,
    /// `used-mem` in bytes.
    pub used_memory: u64,
    /// Where in the replication stream the snapshot stands, if there is a stream.
    pub replication: Option<ReplicationPoint<'a>>,
    /// Whether the snapshot is the base of an AOF.
    pub aof_base: bool,
}

/// A position in a replication stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationPoint<'a> {
    /// `repl-stream-db`: the database selected in the stream.
    pub selected_db: i64,
    /// `repl-id`: the stream's name, 40 characters.
    pub id: &'a str,
    /// `repl-offset` in bytes.
    pub offset: u64,
}

/// What is stored beside a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyMeta {
    /// Expiry as Unix time in milliseconds.
    pub expire_ms: Option<u64>,
    /// Seconds since the last access; stored when the eviction policy is LRU.
    pub idle_s: Option<u64>,
    /// Access frequency; stored when the eviction policy is LFU.
    pub frequency: Option<u8>,
}

/// A value that fits one step. Large hashes go by [`Encoder::hash`] and [`Encoder::pair`], large sets by
/// [`Encoder::set`] and [`Encoder::element`].
#[derive(Clone, Copy, Debug)]
pub enum ValueView<'a> {
    /// A string.
    Str(&'a [u8]),
    /// A string that is a number in decimal.
    Int(i64),
    /// A hash, written as a listpack: field, value, field, value, …
    HashPack(&'a Pack),
    /// A list. Long ones go by [`Encoder::list`] and [`Encoder::list_node`].
    List(&'a List),
    /// A set. (Redis 7.0 knows no sets in listpacks: these are written member by member.)
    Set(&'a Set),
    /// A stream.
    Stream(&'a Stream),
    /// A sorted set, written as a listpack: member, score, member, score, …
    ZSetPack(&'a Pack),
    /// A hash some of whose fields expire.
    HashTimed(&'a Hash),
}

/// Strings up to this length may be numbers of 32 bits: `-2147483648` has eleven.
const MAX_INT_TEXT: usize = 11;
/// Strings must be longer than this to be compressed, and be shortened by [`MIN_GAIN`].
const MIN_COMPRESSED: usize = 20;
pub(super) const MIN_GAIN: usize = 4;
/// Room that is kept from one value to the next, in bytes.
const MOST_KEPT: usize = 1 << 16;

/// Writes one snapshot: [`begin`](Encoder::begin), any of the middle ones, [`end`](Encoder::end).
#[derive(Debug)]
pub struct Encoder {
    options: Options,
    out: Vec<u8>,
    /// How far `out` is in `digest`.
    summed: usize,
    digest: Digest,
    taken: u64,
    lzf: lzf::Compressor,
    packed: Vec<u8>,
    /// Room for a value to be put together in.
    whole: Vec<u8>,
    version: u32,
}

struct Digest(crc::Digest<'static, u64, crc::Table<16>>);

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0.clone().finalize())
    }
}

impl Encoder {
    /// An encoder that has written nothing.
    pub fn new(options: Options) -> Encoder {
        Encoder {
            options,
            out: Vec::new(),
            summed: 0,
            digest: Digest(CRC.digest()),
            taken: 0,
            lzf: lzf::Compressor::default(),
            packed: Vec::new(),
            whole: Vec::new(),
            version: VERSION,
        }
    }

    /// Some hash has fields that expire: the snapshot is of the version that knows such. Before
    /// [`begin`](Encoder::begin).
    pub fn with_times(&mut self) {
        self.version = VERSION_WITH_TIMES;
    }

    /// The signature and the facts about the file.
    pub fn begin(&mut self, header: &Header<'_>) {
        self.out.extend_from_slice(Origin::Redis.magic());
        self.out
            .extend_from_slice(format!("{:04}", self.version).as_bytes());
        self.aux("redis-ver", header.redis_version);
        self.aux("redis-bits", "64");
        self.aux("ctime", &format!("{}", header.ctime_s));
        self.aux("used-mem", &format!("{}", header.used_memory));
        if let Some(point) = &header.replication {
            self.aux("repl-stream-db", &format!("{}", point.selected_db));
            self.aux("repl-id", point.id);
            self.aux("repl-offset", &format!("{}", point.offset));
        }
        self.aux("aof-base", if header.aof_base { "1" } else { "0" });
    }

    /// One named fact.
    pub fn aux(&mut self, name: &str, value: &str) {
        self.out.push(op::AUX);
        self.string(name.as_bytes());
        self.string(value.as_bytes());
    }

    /// A function library's source.
    pub fn function(&mut self, code: &[u8]) {
        self.out.push(op::FUNCTION);
        self.string(code);
    }

    /// The keys that follow belong to database `db`, which has `keys` keys, `expires` of them with an expiry.
    pub fn select_db(&mut self, db: u32, keys: u64, expires: u64) {
        self.out.push(op::SELECT_DB);
        self.length(u64::from(db));
        self.out.push(op::RESIZE_DB);
        self.length(keys);
        self.length(expires);
    }

    /// A key with its value.
    pub fn key(&mut self, key: &[u8], meta: &KeyMeta, value: ValueView<'_>) {
        self.meta(meta);
        self.out.push(value_kind(value));
        self.string(key);
        self.value(value);
    }

    /// A key whose value is a string; all steps of its [`TextPosition`](super::TextPosition) must follow before anything
    /// else.
    pub fn text(&mut self, key: &[u8], meta: &KeyMeta) {
        self.meta(meta);
        self.out.push(kind::STRING);
        self.string(key);
    }

    /// A key whose value is a hash of `pairs` pairs; as many calls of [`pair`](Encoder::pair) must follow
    /// before anything else.
    pub fn hash(&mut self, key: &[u8], meta: &KeyMeta, pairs: u64) {
        self.meta(meta);
        self.out.push(kind::HASH);
        self.string(key);
        self.length(pairs);
    }

    /// One field of a hash begun by [`hash`](Encoder::hash), and its value.
    pub fn pair(&mut self, field: &[u8], value: &[u8]) {
        self.string(field);
        self.string(value);
    }

    /// A key whose value is a hash of `pairs` pairs of which the first to expire does so at `first_ms`; as many calls
    /// of [`timed_pair`](Encoder::timed_pair) must follow before anything else.
    pub fn timed_hash(&mut self, key: &[u8], meta: &KeyMeta, pairs: u64, first_ms: u64) {
        self.meta(meta);
        self.out.push(kind::HASH_TIMED);
        self.string(key);
        self.out.extend_from_slice(&first_ms.to_le_bytes());
        self.length(pairs);
    }

    /// One field of a hash begun by [`timed_hash`](Encoder::timed_hash), its value, and when it expires.
    pub fn timed_pair(&mut self, field: &[u8], value: &[u8], time: Option<u64>, first_ms: u64) {
        self.length(time.map_or(0, |time| time.saturating_sub(first_ms) + 1));
        self.string(field);
        self.string(value);
    }

    /// A key whose value is a set of `members` members; as many calls of [`element`](Encoder::element) must follow
    /// before anything else.
    pub fn set(&mut self, key: &[u8], meta: &KeyMeta, members: u64) {
        self.meta(meta);
        self.out.push(kind::SET);
        self.string(key);
        self.length(members);
    }

    /// A key whose value is a sorted set of `members` members; as many calls of
    /// [`member`](Encoder::member) must follow before anything else.
    pub fn zset(&mut self, key: &[u8], meta: &KeyMeta, members: u64) {
        self.meta(meta);
        self.out.push(kind::ZSET_2);
        self.string(key);
        self.length(members);
    }

    /// One element of a collection that was begun.
    pub fn element(&mut self, element: &[u8]) {
        self.string(element);
    }

    /// A key whose value is a stream; all steps of its [`StreamPosition`] must follow before anything else.
    pub fn stream(&mut self, key: &[u8], meta: &KeyMeta) {
        self.meta(meta);
        self.out.push(kind::STREAM_2);
        self.string(key);
    }

    /// One member of a sorted set begun by [`zset`](Encoder::zset), and its score.
    pub fn member(&mut self, member: &[u8], score: f64) {
        self.string(member);
        self.out.extend_from_slice(&score.to_le_bytes());
    }

    /// The end mark and the checksum. Nothing may follow but [`take`](Encoder::take).
    pub fn end(&mut self) {
        self.out.push(op::EOF);
        self.sum();
        let sum = if self.options.checksum {
            self.digest.0.clone().finalize()
        } else {
            0
        };
        self.out.extend_from_slice(&sum.to_le_bytes());
    }

    /// So many bytes are about to be written before they are taken: they need one allocation.
    pub fn expect(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Bytes that wait to be taken.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Bytes written so far, taken or not.
    pub fn written(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    /// What was written since the last call.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        self.sum();
        self.summed = 0;
        self.taken += self.out.len() as u64;
        Bytes::from(mem::take(&mut self.out))
    }

    /// One value with its type byte, without key: the body of a DUMP payload.
    pub(super) fn object(&mut self, value: ValueView<'_>) {
        self.out.push(value_kind(value));
        self.value(value);
    }

    /// The head of a hash of `pairs` pairs without key; the pairs follow.
    pub(super) fn hash_object(&mut self, pairs: u64) {
        self.out.push(kind::HASH);
        self.length(pairs);
    }

    /// The head of a sorted set of `members` members without key; the members follow.
    pub(super) fn zset_object(&mut self, members: u64) {
        self.out.push(kind::ZSET_2);
        self.length(members);
    }

    fn sum(&mut self) {
        if self.options.checksum {
            self.digest.0.update(&self.out[self.summed..]);
        }
        self.summed = self.out.len();
    }

    pub(super) fn meta(&mut self, meta: &KeyMeta) {
        if let Some(at) = meta.expire_ms {
            self.out.push(op::EXPIRE_MS);
            self.out
                .extend_from_slice(&at.min(i64::MAX as u64).to_le_bytes());
        }
        if let Some(idle) = meta.idle_s {
            self.out.push(op::IDLE);
            self.length(idle);
        }
        if let Some(frequency) = meta.frequency {
            self.out.extend_from_slice(&[op::FREQUENCY, frequency]);
        }
    }

    fn value(&mut self, value: ValueView<'_>) {
        match value {
            ValueView::Str(bytes) => self.string(bytes),
            ValueView::Int(number) => match i32::try_from(number) {
                Ok(small) => self.int(small),
                Err(_) => self.string(format!("{number}").as_bytes()),
            },
            ValueView::HashPack(pack) | ValueView::ZSetPack(pack) => {
                self.as_string(|bytes| pack.write_listpack(bytes));
            }
            ValueView::HashTimed(hash) => {
                let first = hash.next_time().unwrap_or(0);
                self.out.extend_from_slice(&first.to_le_bytes());
                if hash.as_pack().is_some() {
                    return self.string(by_time(hash).bytes());
                }
                self.length(hash.len() as u64);
                for (field, value) in hash.iter() {
                    let field = field.text();
                    self.timed_pair(&field, &value.text(), hash.time(&field), first);
                }
            }
            ValueView::List(list) => self.list_nodes(list),
            ValueView::Set(set) => match set.as_intset() {
                Some(integers) => self.string(integers.bytes()),
                None => {
                    self.length(set.len() as u64);
                    set.iter().for_each(|member| self.string(&member.text()));
                }
            },
            ValueView::Stream(stream) => {
                let mut at = StreamPosition::default();
                while !at.step(stream, self, usize::MAX) {}
            }
        }
    }

    pub(super) fn string(&mut self, bytes: &[u8]) {
        if let Some(number) = canonical_i32(bytes) {
            return self.int(number);
        }
        if self.options.compress && bytes.len() > MIN_COMPRESSED {
            self.packed.clear();
            if self
                .lzf
                .compress(bytes, bytes.len() - MIN_GAIN, &mut self.packed)
            {
                let packed = mem::take(&mut self.packed);
                self.compressed(&packed, bytes.len() as u64);
                self.packed = packed;
                return;
            }
        }
        self.length(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// What `write` appends, as a string.
    pub(super) fn as_string(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut whole = mem::take(&mut self.whole);
        write(&mut whole);
        self.string(&whole);
        if whole.capacity() <= MOST_KEPT {
            whole.clear();
            self.whole = whole;
        }
    }

    /// A string that has been compressed already, of `plain` bytes before.
    pub(super) fn compressed(&mut self, packed: &[u8], plain: u64) {
        self.compressed_head(packed.len() as u64, plain);
        self.out.extend_from_slice(packed);
    }

    /// What stands before the compressed form of a string: its length, and that of the string.
    pub(super) fn compressed_head(&mut self, packed: u64, plain: u64) {
        self.out.push(special::LZF);
        self.length(packed);
        self.length(plain);
    }

    /// Whether strings are compressed.
    pub(super) fn compresses(&self) -> bool {
        self.options.compress
    }

    fn int(&mut self, number: i32) {
        if let Ok(byte) = i8::try_from(number) {
            self.out.extend_from_slice(&[special::INT8, byte as u8]);
        } else if let Ok(short) = i16::try_from(number) {
            self.out.push(special::INT16);
            self.out.extend_from_slice(&short.to_le_bytes());
        } else {
            self.out.push(special::INT32);
            self.out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn length(&mut self, length: u64) {
        if length < 1 << 6 {
            self.out.push(length as u8);
        } else if length < 1 << 14 {
            self.out
                .extend_from_slice(&(length as u16 | 1 << 14).to_be_bytes());
        } else if let Ok(word) = u32::try_from(length) {
            self.out.push(0x80);
            self.out.extend_from_slice(&word.to_be_bytes());
        } else {
            self.out.push(0x81);
            self.out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn value_kind(value: ValueView<'_>) -> u8 {
    match value {
        ValueView::Str(_) | ValueView::Int(_) => kind::STRING,
        ValueView::HashPack(_) => kind::HASH_LISTPACK,
        ValueView::HashTimed(hash) if hash.as_pack().is_some() => kind::HASH_LISTPACK_TIMED,
        ValueView::HashTimed(_) => kind::HASH_TIMED,
        ValueView::List(_) => kind::LIST_QUICKLIST_2,
        ValueView::Set(set) if set.as_intset().is_some() => kind::SET_INTSET,
        ValueView::Set(_) => kind::SET,
        ValueView::Stream(_) => kind::STREAM_2,
        ValueView::ZSetPack(_) => kind::ZSET_LISTPACK,
    }
}

/// A small hash as Redis keeps one whose fields expire: field, value and time (0 for never), by time.
fn by_time(hash: &Hash) -> Listpack {
    let mut pairs: Vec<_> = hash
        .iter()
        .map(|(field, value)| (hash.time(&field.text()), field, value))
        .collect();
    pairs.sort_by_key(|(time, ..)| time.unwrap_or(u64::MAX));
    let mut list = Listpack::new();
    for (time, field, value) in pairs {
        list.append(&field.text());
        list.append(&value.text());
        list.append_int(time.unwrap_or(0) as i64);
    }
    list
}

/// The number that `text` is the decimal form of, if printing the number gives back the text.
fn canonical_i32(text: &[u8]) -> Option<i32> {
    if text.is_empty() || text.len() > MAX_INT_TEXT {
        return None;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_prints_back_is_a_number() {
        for (text, number) in [
            ("0", 0),
            ("-1", -1),
            ("2147483647", i32::MAX),
            ("-2147483648", i32::MIN),
        ] {
            assert_eq!(canonical_i32(text.as_bytes()), Some(number));
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "2147483648",
            "-2147483649",
            "12345678901",
        ] {
            assert_eq!(canonical_i32(text.as_bytes()), None, "{text}");
        }
    }
}
