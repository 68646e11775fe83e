//! What is found in a snapshot: items, values, and what can be wrong.

use super::legacy;
use super::list::ListPart;
use crate::value::stream::Stream;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One thing found in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// [`feed`](super::Decoder::feed) more, or say that there is no more by [`super::Decoder::cut_short`].
    NeedMore,
    /// A named fact about the file.
    Aux {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The keys that follow belong to this database. Check it against the number of databases.
    SelectDb(u32),
    /// A hint: that many keys follow in this database, of which so many expire. It is no more than the rest of the
    /// file could hold, if its size is known; else not to be relied on.
    ResizeDb {
        /// The database.
        db: u32,
        /// Keys.
        keys: u64,
        /// Keys with an expiry.
        expires: u64,
    },
    /// A key. Checking that it is new is the caller's part.
    Key {
        /// The database.
        db: u32,
        /// The key.
        key: Vec<u8>,
        /// Expiry as Unix time in milliseconds.
        expire_ms: Option<u64>,
        /// Seconds since the last access.
        idle_s: Option<u64>,
        /// Access frequency.
        frequency: Option<u8>,
        /// The value.
        value: Value,
    },
    /// Some elements of a large collection; more of them follow, the last with their [`Event::Key`]. Only from a decoder
    /// that is asked for such.
    Part {
        /// The elements.
        value: Value,
        /// How many follow, as the snapshot says.
        left: u64,
    },
    /// A key whose collection is empty, as some old servers wrote. Redis drops it with a warning.
    EmptyKey {
        /// The key.
        key: Vec<u8>,
    },
    /// What a module kept beside the keys. It was passed over: there are no modules here.
    ModuleAux {
        /// The module's name, of nine letters.
        module: [u8; 9],
    },
    /// A function library's source.
    Function(Vec<u8>),
    /// The snapshot is complete and right. Bytes behind it are in [`super::Decoder::take_rest`].
    End {
        /// Whether it had a checksum and that was verified.
        checked: bool,
    },
}

/// A value as the snapshot stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A string that is a number in decimal.
    Int(i64),
    /// A small hash as a listpack of fields and values; its frame was checked, not its entries.
    HashListpack(Vec<u8>),
    /// A hash, pair by pair. Fields may be there twice in a damaged file: the caller refuses that.
    Hash(legacy::Pairs),
    /// A hash with the times at which its fields expire, in Unix milliseconds. Fields may be there twice in a damaged
    /// file: the caller refuses that.
    HashTimed(Vec<TimedPair>),
    /// A list.
    List(Vec<ListPart>),
    /// A set as an intset; not checked.
    SetIntset(Vec<u8>),
    /// A small set as a listpack; its frame was checked, not its entries.
    SetListpack(Vec<u8>),
    /// A set, member by member. Members may be there twice in a damaged file: the caller refuses that.
    Set(Vec<Vec<u8>>),
    /// A stream, checked.
    Stream(Box<Stream>),
    /// A small sorted set as a listpack of members and scores; its frame was checked, not its entries.
    ZSetListpack(Vec<u8>),
    /// A sorted set, member by member, in any order; no score is NaN. Members may be there twice in a
    /// damaged file: the caller refuses that.
    ZSet(legacy::Members),
}

/// Up to so many bytes a value is small.
const SMALL: usize = 4096;

impl Value {
    /// Whether it takes little memory, as far as that is easily said.
    pub fn is_small(&self) -> bool {
        match self {
            Value::Int(_) => true,
            Value::Str(bytes)
            | Value::HashListpack(bytes)
            | Value::SetIntset(bytes)
            | Value::SetListpack(bytes)
            | Value::ZSetListpack(bytes) => bytes.len() <= SMALL,
            _ => false,
        }
    }
}

/// A field, its value, and when it expires.
pub type TimedPair = (Vec<u8>, Vec<u8>, Option<u64>);

/// What is wrong with a snapshot, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at offset {offset})")]
pub struct RdbError {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What.
    pub kind: RdbErrorKind,
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbErrorKind {
    /// It does not begin with `REDIS`.
    #[error("Wrong signature trying to load DB from file")]
    Signature,
    /// A version that is none, or is newer than [`super::MAX_VERSION`].
    #[error("Can't handle RDB format version {0}")]
    Version(u32),
    /// The checksum at the end is not that of the bytes before it.
    #[error("Wrong RDB checksum expected: ({expected:x}) but got ({found:x}). Aborting now.")]
    Checksum {
        /// Computed from the bytes.
        expected: u64,
        /// Found in the file.
        found: u64,
    },
    /// A type byte that means nothing.
    #[error("Unknown RDB encoding type {0}")]
    UnknownType(u8),
    /// A type that this server does not have yet.
    #[error("The RDB file contains data of type {number} ({name}), which this server can't load")]
    Unsupported {
        /// The type byte.
        number: u8,
        /// What Redis keeps under it.
        name: &'static str,
    },
    /// Something that cannot be.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The file ends in the middle.
    #[error("Unexpected EOF reading RDB file: expected {0}")]
    ShortRead(&'static str),
}
