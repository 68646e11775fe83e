//! The snapshot format (RDB): the only module that knows it.
//!
//! ```text
//! file     "REDIS" version:4 digits (Valkey from 9.0 on: "VALKEY" and 3), then items, then 0xFF and (version ≥ 5) a CRC-64 (Jones), little-endian,
//!          of everything before it; eight zero bytes stand for "no checksum"
//! item     0xFA string string          a named fact about the file (redis-ver, ctime, repl-id, …)
//!          0xF5 string                 a function library
//!          0xF4 length length length   hint of cluster nodes: the keys that follow are of this slot; their number,
//!                                      and the number of those that expire
//!          0xF7 module:length length length [form value]… 0    what a module kept beside the keys
//!          0xFE length                 the keys that follow belong to this database
//!          0xFB length length          hint: number of its keys, and of those that expire
//!          [attribute]… type string value     a key
//! attribute 0xFC i64 LE                expires at this Unix time in milliseconds
//!          0xFD i32 LE                 the same in seconds (version 1 and 2)
//!          0xF8 length                 seconds since the last access
//!          0xF9 u8                     access frequency (LFU)
//! value    by type: 0 string; 4 length (string string)…: hash; 9, 13, 16 string: a hash as one blob
//!          (zipmap, ziplist, listpack); 2 length string…: set; 11, 20 string: a set as one blob (intset,
//!          listpack); 1, 10, 14, 18: a list (see `list.rs`); 15, 19, 21: a stream (see `stream.rs`);
//!          5 length (string f64 LE)…: members with scores, 3 the same with scores as text (a
//!          byte for its length, or 253 NaN, 254 infinite, 255 minus that); 12, 17 string: a sorted set as
//!          one blob (ziplist, listpack);
//!          24 first:i64 LE length (time string string)…: a hash whose fields expire, `time` being a length,
//!          0 for never, or one more than the milliseconds since `first`; 25 first:i64 LE string: the same as a
//!          listpack of field, value and time (0 for never), by time; 22 and 23 as these without `first`, and
//!          with whole times (only release candidates of Redis 7.4 wrote them); in files of Valkey, 22 is instead
//!          length (string string time:i64 LE)…: the time in Unix milliseconds, -1 for never
//! length   00nnnnnn | 01nnnnnn n:8 | 0x80 n:32 BE | 0x81 n:64 BE
//! string   length, then as many bytes; or 0xC0 i8 | 0xC1 i16 LE | 0xC2 i32 LE: a number in decimal;
//!          or 0xC3 length length bytes: LZF, compressed and plain length first
//! ```
//!
//! [`Encoder`] writes version 10, which Redis 7.0 reads, or 12 if it must. [`Decoder`] reads versions 1 to 12,
//! and Valkey's 80, in pieces of any size, as a file or a replication link delivers them. [`dump`] is the same value encoding as
//! one self-checking string (DUMP, RESTORE, MIGRATE).
//!
//! Source: Redis's RDB documentation and files written by Redis 2.4 to 8.0 and by Valkey 9.1.

mod decode;
pub mod dump;
mod encode;
mod event;
mod facts;
mod gather;
mod legacy;
mod list;
mod reader;
mod stream;
mod text;

#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod tests;

pub use crate::value::lzf;
pub use decode::{Decoder, PLAIN_KEYS, Plain, PlainValue};
pub use encode::{Encoder, Header, KeyMeta, Options, ReplicationPoint, ValueView};
pub use event::{Event, RdbError, RdbErrorKind, TimedPair, Value};
pub use facts::{Facts, LoadedReplication};
pub use list::ListPart;
pub use stream::StreamPosition;
pub use text::{HeldText, TextPosition};

/// The version that [`Encoder`] writes.
pub const VERSION: u32 = 10;
/// The version that it writes if fields of hashes expire: Redis 7.4 reads it.
pub const VERSION_WITH_TIMES: u32 = 12;
/// The newest version of Redis's own that [`Decoder`] reads.
pub const MAX_VERSION: u32 = 12;
/// Valkey counts on from here, so that nobody takes its files for those of a later Redis.
const VALKEY_VERSION: u32 = 80;

/// Whose form a snapshot or a payload has: the numbers of some types mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Redis, and Valkey before 9.0.
    Redis,
    /// Valkey from 9.0 on.
    Valkey,
}

impl Origin {
    /// Who writes this version; nobody, if it is not one that can be read.
    fn of_version(version: u32) -> Option<Origin> {
        match version {
            1..=MAX_VERSION => Some(Origin::Redis),
            VALKEY_VERSION => Some(Origin::Valkey),
            _ => None,
        }
    }

    /// How a file begins.
    fn magic(self) -> &'static [u8] {
        match self {
            Origin::Redis => b"REDIS",
            Origin::Valkey => b"VALKEY",
        }
    }
}

/// The name in a module's number: nine letters of six bits above ten bits of version.
fn module_name(number: u64) -> [u8; 9] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    core::array::from_fn(|at| LETTERS[(number >> (58 - 6 * at)) as usize & 63])
}

mod op {
    pub const SLOT_INFO: u8 = 0xF4;
    pub const FUNCTION: u8 = 0xF5;
    pub const FUNCTION_PRE_GA: u8 = 0xF6;
    pub const MODULE_AUX: u8 = 0xF7;
    pub const IDLE: u8 = 0xF8;
    pub const FREQUENCY: u8 = 0xF9;
    pub const AUX: u8 = 0xFA;
    pub const RESIZE_DB: u8 = 0xFB;
    pub const EXPIRE_MS: u8 = 0xFC;
    pub const EXPIRE_S: u8 = 0xFD;
    pub const SELECT_DB: u8 = 0xFE;
    pub const EOF: u8 = 0xFF;
}

mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM: u8 = 15;
    pub const STREAM_2: u8 = 19;
    pub const STREAM_3: u8 = 21;
    pub const HASH_TIMED_PRE_GA: u8 = 22;
    pub const HASH_LISTPACK_TIMED_PRE_GA: u8 = 23;
    pub const HASH_TIMED: u8 = 24;
    pub const HASH_LISTPACK_TIMED: u8 = 25;
    pub const HASH_TIMED_VALKEY: u8 = 22;

    /// Whether values of this type can be read.
    pub fn is_known(kind: u8) -> bool {
        matches!(kind, STRING..=ZSET_2 | HASH_ZIPMAP..=HASH_LISTPACK_TIMED)
    }
}

/// First bytes of strings that are not plain.
mod special {
    pub const INT8: u8 = 0xC0;
    pub const INT16: u8 = 0xC1;
    pub const INT32: u8 = 0xC2;
    pub const LZF: u8 = 0xC3;
}

/// The checksum of snapshots: 16 tables of 256 entries, so that it keeps pace with a disk.
static CRC: crc::Crc<u64, crc::Table<16>> =
    crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_REDIS);

/// CRC-64 (Jones) of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}
